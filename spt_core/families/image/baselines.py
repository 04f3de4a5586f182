"""What a good engineer would try first on images: logistic regression on pixels and on features.

pixels, features of a network of random weights, features of a pretrained one; same training rows,
strength and thresholds on the validation rows. A model that does not beat them has learnt nothing
that its data needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from spt_core.artifacts import as_uri
from spt_core.families.baseline import Baseline, Baselines, BaselineWork, UnfitError
from spt_core.families.image.bases import NOT_INSTALLED, find_start, start_weights
from spt_core.families.image.config import DEFAULT_BASE, ImageConfig
from spt_core.families.image.network import LITE0, ImageNetwork, image_facts
from spt_core.families.image.reading import Square, features_of, levels_of
from spt_core.families.image.rows import sampled_rows
from spt_core.families.image.scores import passed
from spt_core.families.image.teaching import calibrated_as
from spt_core.heads import ITEM_HEADS, metric_of
from spt_core.heads.base import Floats, Truth
from spt_core.heads.label_calibration import fit_label_calibration
from spt_core.heads.outcomes import Outcomes, groups_of
from spt_core.policy import DecisionPolicy, Policy

STRENGTHS = (0.01, 1.0, 0.0001)  # C, the likely ones first
MAX_STEPS = 1000
PIXEL_SQUARE = Square(32, 1, 8)
FEATURE_SQUARE = Square(96, 3, 8)
TIMED_IMAGES = 100
MAX_IMAGES = 5_000
_HALF = 0.5  # of [0, 1], and about the spread of photographs: what the pretrained weights know
_SPREAD = 0.25

Features = Callable[[Sequence[bytes]], Floats]


class Labelled(NamedTuple):
    """Features [N, F] of rows, and what is true of them."""

    features: Floats
    truth: Truth


def tune_image_baselines(work: BaselineWork) -> Baselines:
    """Each baseline at its best by the task's metric on validation rows."""
    tuned = Baselines([], {})
    storage = work.splits.uri.rsplit("/", 2)[0]  # the root that splits lie below
    fits: dict[str, Callable[[], Features]] = {
        "pixels + logistic regression": lambda: _pixels,
        "random features + logistic regression": lambda: _network_features(None, work.seed),
        "pretrained features + logistic regression": lambda: _network_features(
            _pretrained(storage), work.seed
        ),
    }
    for name, features in fits.items():
        try:
            tuned.fitted.append(_fitted(name, work, features()))
        except UnfitError as error:
            tuned.left_out[name] = str(error)
    return tuned


def _pretrained(storage: str) -> str:
    start = find_start(DEFAULT_BASE, as_uri(storage))
    if start is None:
        raise UnfitError(NOT_INSTALLED)
    return start


def _pixels(contents: Sequence[bytes]) -> Floats:
    levels = levels_of(contents, PIXEL_SQUARE)
    return features_of(levels).reshape(len(levels), -1).astype(np.float64)


def _network_features(start: str | None, seed: int) -> Features:
    """What a network says that no image of the task has trained."""
    facts = image_facts(
        architecture=LITE0,
        head="binary",
        classes=(),
        channels=FEATURE_SQUARE.channels,
        depth_bits=8,
        mean=[_HALF] * FEATURE_SQUARE.channels,
        spread=[_SPREAD] * FEATURE_SQUARE.channels,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ImageNetwork(ImageConfig(size_px=FEATURE_SQUARE.size_px), facts)
    if start is not None:
        network.load_state_dict(start_weights(start, FEATURE_SQUARE.channels), strict=False)
    return lambda contents: passed(network, network.pooled, levels_of(contents, FEATURE_SQUARE))


def _fitted(name: str, work: BaselineWork, features: Features) -> Baseline:
    task, classes, head = work.task, work.classes, ITEM_HEADS[work.task.head]
    subject = task.subject
    assert subject is not None, "a task of images has one as its subject"
    limit = min(work.max_rows, MAX_IMAGES)
    columns = [subject.name, work.splits.label]

    def labelled(table: pa.Table, label: str, group: str | None) -> Labelled:
        truth = Truth(table, label, groups_of(table, group or task.group))
        return Labelled(features(table[subject.name].to_pylist()), truth)

    train, validation = (
        labelled(sampled_rows(work.splits, part, columns, limit), work.splits.label, None)
        for part in ("train", "validation")
    )
    scaler: Any = StandardScaler().fit(train.features)  # of a library whose results have no types
    design, held_out = (scaler.transform(of.features) for of in (train, validation))
    targets = head.truths(task, classes, train.truth)
    true = head.truths(task, classes, validation.truth)
    metric, usual = metric_of(task), head.default_policy(task, classes)
    best: tuple[float, float, Callable[[Floats], Floats], Policy] | None = None
    strengths = STRENGTHS[: max(work.num_trials, 1)]
    for number, strength in enumerate(strengths, 1):
        predict = _model(task.head, design, targets, strength)
        if task.head != "single_label":
            predict = _calibrated(predict, held_out, true)
        answers = predict(held_out)
        policy = work.policy
        if not isinstance(policy, DecisionPolicy):
            policy = head.policy(
                task, head.decided(task, classes, validation.truth, answers, usual)
            )
        of = head.decided(task, classes, validation.truth, answers, policy)
        value = metric.sign * metric(of)
        if best is None or value > best[0]:
            best = (value, strength, predict, policy)
        work.tell(name, number, len(strengths))
    assert best is not None, "there is at least one trial"
    _, strength, predict, policy = best

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        of = labelled(table, label, group)
        answers = predict(scaler.transform(of.features))
        return head.decided(task, classes, of.truth, answers, policy)

    return Baseline(
        name,
        outcomes,
        lambda table: table[subject.name].slice(0, TIMED_IMAGES).to_pylist(),
        lambda content: predict(scaler.transform(features([content]))),
        {"C": strength},
    )


def _model(head: str, design: Any, targets: Floats, strength: float) -> Callable[[Any], Floats]:
    """Probabilities [N, K] of rows of the design."""
    if head != "single_label":
        models = [_one(design, targets[:, k], strength) for k in range(targets.shape[1])]
        return lambda rows: np.column_stack([model(rows) for model in models])
    is_labelled = targets.sum(1) > 0
    chosen = targets.argmax(1)[is_labelled]
    if len(np.unique(chosen)) < 2:
        raise UnfitError(
            "logistic regression must learn two classes, however: the training rows are of one"
        )
    model = LogisticRegression(C=strength, max_iter=MAX_STEPS).fit(design[is_labelled], chosen)

    def predict(rows: Any) -> Floats:
        probabilities = np.zeros((len(rows), targets.shape[1]))
        probabilities[:, model.classes_] = model.predict_proba(rows)
        return probabilities

    return predict


def _one(design: Any, targets: Floats, strength: float) -> Callable[[Any], NDArray[np.float64]]:
    if targets.min() == targets.max():
        return lambda rows: np.full(len(rows), targets[0])
    model = LogisticRegression(C=strength, max_iter=MAX_STEPS).fit(design, targets)
    return lambda rows: model.predict_proba(rows)[:, 1]


def _calibrated(
    predict: Callable[[Floats], Floats], rows: Floats, true: Floats
) -> Callable[[Floats], Floats]:
    """Probabilities calibrated on labelled rows as a model's are: its thresholds rest on them."""

    def log_odds(of: Floats) -> Floats:
        return logit(np.clip(predict(of), 1e-9, 1 - 1e-9))

    scale, shift = fit_label_calibration(calibrated_as("binary"), log_odds(rows), true)
    return lambda of: expit(log_odds(of) * scale + shift)
