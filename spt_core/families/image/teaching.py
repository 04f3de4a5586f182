"""The teacher of an image task: pretrained stages, fine-tuned end to end on altered images.

Splits -> levels (Ray Data) -> Ray Train -> calibration, what training images are like -> files
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, Role, as_uri
from spt_core.data.read import Dataset
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.image.bases import LICENCE, NOT_INSTALLED, find_start
from spt_core.families.image.config import ImageConfig
from spt_core.families.image.learner import LEARNER, run_square
from spt_core.families.image.network import (
    LITE0,
    PLAIN,
    ImageNetwork,
    image_facts,
    multiply_adds,
)
from spt_core.families.image.reading import Square, features_of, scaled
from spt_core.families.image.rows import held_levels, image_dataset, sampled_rows
from spt_core.families.image.scores import figures_of, score_images
from spt_core.families.image.serving import REACH
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.heads import HEADS
from spt_core.heads.base import Floats
from spt_core.heads.label_calibration import fit_label_calibration
from spt_core.heads.outcomes import values_of
from spt_core.images import decoded
from spt_core.task import Head, Task, find

FACT_IMAGES = 400  # that tell channels, depth and levels
LIKE_IMAGES = 2_000  # of training, that tell what its images are like
HELD_OUT_IMAGES = 5_000
MIN_SPREAD = 1e-3  # of levels in [0, 1]


class ImageTeaching:
    """The FitPlan of a teacher."""

    role: Role = "teacher"
    scratch: Sequence[str] = ()

    def __init__(
        self, splits: Splits, config: TrainingConfig, twin: ModelArtifact | None = None
    ) -> None:
        self._splits, self._config, self._task = splits, config, find(splits.task)
        self._twin = twin
        network = _network(config)
        self._start = find_start(network.base, as_uri(config.output_dir))
        self.identity: Sequence[Any] = [
            splits.signature.to_json(),
            self._start,
            self._task.symmetries,
            *([twin.files] if twin else []),
        ]

    def prepare(self, name: str) -> TrainingRun:
        """Facts of the training images."""
        del name
        splits, config, task, network = self._splits, self._config, self._task, self._config.network
        looks = _looks(splits, task, network.size_px)
        facts = image_facts(
            architecture=LITE0 if self._start is not None else PLAIN,
            head=task.head,
            classes=splits.classes,
            **looks._asdict(),
            symmetries=task.symmetries,
            start=self._start,
            class_weights=_class_weights(task, splits, config),
        )
        if self._twin is not None:  # what its calibration was fitted to
            facts = json.loads(self._twin.read(FACTS))
        self._run = image_run(self.role, task, splits, config, facts, splits.num_rows["train"])
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """Levels and targets."""
        square, facts = run_square(self._run), self._run.facts
        rows = image_dataset(self._splits, part, self._task, square, facts)
        # What is read again every epoch is decoded once, unless memory could not hold it.
        return rows if self._run.streamed_rows is not None else rows.materialize()

    def finish(self, weights: bytes) -> Trained:
        """Calibrated on the calibration part."""
        files, metrics = finish_image(self._run, self._task, self._splits, weights, self._twin)
        is_started = self._run.facts["start"] is not None
        notes = () if is_started or self._config.network.base is None else (NOT_INSTALLED,)
        return Trained(files, metrics, (LICENCE,) if is_started else (), notes)


class Looks(NamedTuple):
    """What training images have in common: channels, bits, mean and spread of their levels."""

    channels: int
    depth_bits: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]


def image_run(
    role: Role,
    task: Task,
    splits: Splits,
    config: TrainingConfig,
    facts: Mapping[str, Any],
    num_rows: int,
    *,
    temperature: float = 1.0,
) -> TrainingRun:
    """The run of an image network."""
    square = Square(config.network.size_px, facts["channels"], facts["depth_bits"])
    return TrainingRun(
        learner=LEARNER,
        signature=splits.signature,
        role=role,
        config=config,
        facts=facts,
        num_rows=num_rows,
        row_bytes=square.row_bytes + 4 * (len(facts["classes"]) + 1),
        scoring_rows=2 * config.batch_size,
        head=task.head,
        temperature=temperature,
    )


def finish_image(
    run: TrainingRun,
    task: Task,
    splits: Splits,
    weights: bytes,
    twin: ModelArtifact | None = None,
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Calibrate on the calibration part, compare with training images, measure on validation rows.

    With a twin calibration, reach and figures are its own: every row that could fit them has
    trained this model.
    """
    network = LEARNER.network(run)
    network.load_state_dict(load_weights(weights))
    square, facts = run_square(run), run.facts
    like, _ = held_levels(splits, "train", task, square, facts, LIKE_IMAGES)
    if twin is not None:
        own = load_weights(twin.read(WEIGHTS))
        network.calibrate(own["scale"], own["shift"])
        center, whitening = likeness(figures_of(network, like))
        network.compare_with(_tensor(center), _tensor(whitening / twin.metrics[_REACHED]))
        return _files(network), dict(twin.metrics)
    levels, targets = held_levels(splits, "calibration", task, square, facts, HELD_OUT_IMAGES)
    logits = score_images(network, levels)
    scale, shift = fit_label_calibration(
        calibrated_as(task.head), logits, targets.astype(np.float64), _weights(facts)
    )
    network.calibrate(_tensor(scale), _tensor(shift))
    center, whitening = likeness(figures_of(network, like))
    apart = np.linalg.norm((figures_of(network, levels) - center) @ whitening, axis=1)
    reached = max(float(np.quantile(apart, REACH, method="higher")), 1e-6)
    network.compare_with(_tensor(center), _tensor(whitening / reached))
    levels, targets = held_levels(splits, "validation", task, square, facts, HELD_OUT_IMAGES)
    logits = score_images(network, levels) * scale + shift
    metrics = figures(task, facts, targets.astype(np.float64), logits)
    named = {f"validation_{name}": value for name, value in metrics.items()}
    products = multiply_adds(network, square.channels, square.size_px)
    return _files(network), {**named, _REACHED: reached, MULTIPLY_ADDS: float(products)}


_REACHED, MULTIPLY_ADDS = "likeness_reach", "multiply_adds"


def likeness(of_training: Floats) -> tuple[Floats, Floats]:
    """The mean [D] of figures [N, D], and what makes distances of differences to it [D, D].

    The covariance is shrunk (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", 2004): there may be more figures than images.
    """
    from sklearn.covariance import LedoitWolf

    spread = np.maximum(of_training.std(0), 1e-6)
    estimate = LedoitWolf().fit(of_training / spread)
    floor = 1e-6 * np.eye(len(spread))
    factor = np.linalg.cholesky(np.linalg.inv(estimate.covariance_ + floor))
    return of_training.mean(0), factor / spread[:, None]


def figures(
    task: Task, facts: Mapping[str, Any], targets: Floats, logits: Floats
) -> dict[str, float]:
    """The head's metrics of calibrated logits, without a policy that was fitted."""
    head = HEADS[task.head]
    scores = 1.0 / (1.0 + np.exp(-logits)) if task.head == "binary" else logits
    of = head.fitted(task, tuple(facts["classes"]), targets, scores)
    return values_of(head.metrics, of)


def calibrated_as(head: Head) -> Head:
    """The head whose calibration fits: a yes or no is one label that may be given."""
    return "multi_label" if head == "binary" else head


def _looks(splits: Splits, task: Task, size_px: int) -> Looks:
    """Of some training images: three channels if any is in color, 16 bits if any has them."""
    assert task.subject is not None, "a task of images has one as its subject"
    name = task.subject.name
    contents = sampled_rows(splits, "train", [name], FACT_IMAGES)[name].to_pylist()
    pictures = [decoded(content, "an image must", side_px=size_px) for content in contents]
    channels = 1 if all(picture.is_gray for picture in pictures) else 3
    square = Square(size_px, channels, max(picture.depth_bits for picture in pictures))
    levels = features_of(np.stack([scaled(picture, square) for picture in pictures]))
    spread = np.maximum(levels.std((0, 2, 3)), MIN_SPREAD)
    return Looks(
        channels,
        square.depth_bits,
        tuple(levels.mean((0, 2, 3)).tolist()),
        tuple(spread.tolist()),
    )


def _class_weights(task: Task, splits: Splits, config: TrainingConfig) -> dict[str, float]:
    """The weight of each class' images; empty when all weigh the same."""
    if config.class_weighting == "none":
        return {}
    if task.head != "single_label":
        raise InputError(
            "class_weighting must be none unless images are of one class each, however: "
            f"{task.path} has the head {task.head!r}"
        )
    labels = sampled_rows(splits, "train", [splits.label], splits.num_rows["train"])
    counts = Counter(labels[splits.label].to_pylist())
    present = [name for name in splits.classes if counts[name]]
    total = sum(counts[name] for name in present)
    return {name: total / (len(present) * counts[name]) for name in present}


def _weights(facts: Mapping[str, Any]) -> Floats | None:
    """The weights [K] that the classes had in training, if they had any."""
    own = facts["class_weights"]
    return np.array([own.get(name, 1.0) for name in facts["classes"]]) if own else None


def _files(network: ImageNetwork) -> dict[str, bytes]:
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {WEIGHTS: save_weights(state)}


def _tensor(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _network(config: TrainingConfig) -> ImageConfig:
    assert isinstance(config.network, ImageConfig), "the configuration has checked it"
    return config.network
