"""The teacher of a table: a TabM network on all rows, two forests and a linear model, blended.

Splits -> encoded rows -> Ray Train (network) + one Ray task (the others) -> blend -> files
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, Role
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.families.tabular.boosters import (
    fit_quantile,
    open_forest,
    quality_of,
    tune,
)
from spt_core.families.tabular.ensemble import (
    BLEND,
    FILES,
    FORESTS,
    LINEAR,
    MEMBER_SETTINGS,
    NETWORK,
    QUANTILE_FORESTS,
    Member,
    best_weights,
    member_settings,
    mix,
    network_said,
    open_member,
    refitted,
    with_quantiles,
)
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS, row_bytes
from spt_core.families.tabular.linear import best_linear
from spt_core.families.tabular.network import table_facts
from spt_core.families.tabular.outputs import QUANTILES, Target, target_from_json
from spt_core.families.tabular.rows import (
    booster_rows,
    encoded_arrays,
    encoded_dataset,
    row_weights,
    target_of,
    trim_categories,
    with_seen,
)
from spt_core.families.tabular.settings import REFERENCE, is_searched, reference_of
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.fitting.worker import give_way
from spt_core.heads import HEADS
from spt_core.heads.base import Floats
from spt_core.heads.outcomes import values_of
from spt_core.signature import Signature
from spt_core.task import Task, find

FACT_ROWS = 200_000
HELD_OUT_ROWS = 500_000
_MEMBERS_TIMEOUT_S = 24 * 3600.0


class TableTeaching:
    """The FitPlan of a teacher."""

    role: Role = "teacher"
    scratch: Sequence[str] = ()

    def __init__(
        self, splits: Splits, config: TrainingConfig, twin: ModelArtifact | None = None
    ) -> None:
        self._splits, self._config, self._task = splits, config, find(splits.task)
        self._twin = twin
        self._signature = trim_categories(splits.signature, config.domain_vocabulary_size)
        self.identity: Sequence[Any] = [self._signature.to_json(), *([twin.files] if twin else [])]

    def prepare(self, name: str) -> TrainingRun:
        """Facts of the training rows; the other members are tuned beside the network's training."""
        del name
        splits, config, signature = self._splits, self._config, self._signature
        self._target = target = target_of(self._task, splits, config.class_weighting)
        sample, targets = encoded_arrays(splits, "train", signature, target, limit=FACT_ROWS)
        signature = with_seen(signature, sample)
        settings = None if self._twin is None else json.loads(self._twin.read(MEMBER_SETTINGS))
        self._others = _member_task.remote(splits, signature, target, config, settings)
        facts = table_facts(signature, config.network, sample, targets, target)
        if self._twin is not None:  # what its calibration was fitted to
            facts = json.loads(self._twin.read(FACTS))
        self._run = TrainingRun(
            learner=LEARNER,
            signature=signature,
            role=self.role,
            config=config,
            facts=facts,
            num_rows=splits.num_rows["train"],
            row_bytes=row_bytes(len(signature.columns), targets[0].size),
            scoring_rows=SCORING_ROWS,
            head=self._task.head,
        )
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> ray.data.Dataset:
        """Encoded rows; those of training with their classes' weights."""
        return encoded_dataset(self._splits, part, self._signature, self._target)

    def finish(self, weights: bytes) -> Trained:
        """All members, blended on validation and calibrated on calibration rows."""
        others = ray.get(self._others, timeout=_MEMBERS_TIMEOUT_S)
        if self._twin is not None:
            files = {WEIGHTS: weights, BLEND: self._twin.read(BLEND), **others}
            files |= reference_files(self._splits, self._run)
            return Trained(files, self._twin.metrics)
        files, metrics = _blend(self._task, self._splits, self._run, weights, others)
        return Trained({**files, **reference_files(self._splits, self._run)}, metrics)


def _blend(
    task: Task, splits: Splits, run: TrainingRun, weights: bytes, others: Mapping[str, bytes]
) -> tuple[dict[str, bytes], dict[str, float]]:
    network, target = LEARNER.network(run), target_from_json(run.facts)
    network.load_state_dict(load_weights(weights))
    output = target.output
    opened = {k: open_member(k, others[name]) for k, name in FILES.items() if name in others}
    quantiles = [
        open_forest("lightgbm", others[name]) for name in QUANTILE_FORESTS if name in others
    ]

    def members(part: Part) -> tuple[NDArray[np.float32], Floats, dict[str, Floats]]:
        features, targets = encoded_arrays(splits, part, run.signature, target, limit=HELD_OUT_ROWS)
        of_others = {k: output.of_forest(other.predict(features)) for k, other in opened.items()}
        network_members = network_said(network, features, output)
        return features, targets.astype(np.float64), {NETWORK: network_members, **of_others}

    def logits(features: NDArray[np.float32], said: dict[str, Floats]) -> Floats:
        return with_quantiles(output.logits(mix(said, shares)), quantiles, features)

    features, targets, said = members("validation")
    weights_held_out = row_weights(splits, "validation", limit=HELD_OUT_ROWS)
    shares = best_weights(targets, said, output, weights_held_out)
    held_out, held_out_targets, of_held_out = members("calibration")
    calibration = output.calibration(
        logits(held_out, of_held_out),
        held_out_targets,
        target,
        row_weights(splits, "calibration", limit=HELD_OUT_ROWS),
    )
    scores = output.calibrated(logits(features, said), calibration)
    blend = {"weights": shares, "calibration": calibration}
    files = {WEIGHTS: weights, BLEND: json.dumps(blend).encode(), **others}
    figures = {f"{name}_weight": share for name, share in shares.items()}
    metrics = validation_metrics(task, target, targets, scores, weights_held_out)
    return files, {**metrics, **figures}


def reference_files(splits: Splits, run: TrainingRun) -> dict[str, bytes]:
    """Past rows that settings are searched among, where there is a goal and somebody can set.

    They are rows of the owner's data: a model of other tasks keeps none.
    """
    if not is_searched(run.signature):
        return {}
    target = target_from_json(run.facts)
    rows, _ = encoded_arrays(splits, "train", run.signature, target, limit=FACT_ROWS)
    reference = reference_of(rows, len(run.signature.numbers), seed=run.config.seed)
    return {REFERENCE: reference.to_bytes()}


def validation_metrics(
    task: Task, target: Target, targets: Floats, scores: Floats, weights: Floats | None = None
) -> dict[str, float]:
    """Every metric on validation rows, named so that nobody takes it for a held-out figure."""
    head, output = HEADS[task.head], target.output
    of = head.fitted(
        task, target.classes, output.head_targets(targets, target), output.head_scores(scores)
    )._replace(weights=weights)
    return {f"validation_{name}": value for name, value in values_of(head.metrics, of).items()}


@ray.remote(num_cpus=0.5, max_retries=3, max_calls=1)  # a process of its own, as it gives way
def _member_task(
    splits: Splits,
    signature: Signature,
    target: Target,
    config: TrainingConfig,
    settings: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, bytes]:
    """The other members' files, tuned on validation rows, from a capped sample of training rows.

    With the settings of all files nothing is tuned, and a forest has as many trees as they say.
    """
    give_way()
    network, seed = config.network, config.seed
    rows = booster_rows(splits, signature, target, limit=network.booster_rows)
    if settings is not None:
        files = {name: refitted(own, rows, seed).to_bytes() for name, own in settings.items()}
        return {**files, MEMBER_SETTINGS: json.dumps(settings).encode()}
    quality, output = quality_of(find(splits.task), target), target.output
    members: dict[str, Member] = {}
    for kind, name in FORESTS.items():
        forest = tune(kind, rows, quality, num_trials=network.booster_trials, seed=seed)
        members[name] = forest
        if kind == "lightgbm" and target.head == "regression":
            for quantile, file in zip(QUANTILES, QUANTILE_FORESTS, strict=True):
                members[file] = fit_quantile(quantile, forest.parameters, rows, seed)

    def closeness(truth: Floats, said: Floats, weights: Floats | None) -> float:
        return -output.loss(truth, output.of_forest(said), weights)

    # By its loss, as shares of a blend are: few validation rows rank many models alike.
    members[FILES[LINEAR]] = best_linear(rows, closeness, seed=seed)
    files = {name: member.to_bytes() for name, member in members.items()}
    own = {name: member_settings(name, member) for name, member in members.items()}
    return {**files, MEMBER_SETTINGS: json.dumps(own).encode()}
