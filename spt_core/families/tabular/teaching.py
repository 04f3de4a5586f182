"""The teacher of a table: a TabM network on all rows, two forests on a capped sample, blended.

Splits -> encoded rows -> Ray Train (network) + one Ray task (forests) -> blend -> files
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

from spt_core.artifacts import WEIGHTS, Role
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.families.tabular.boosters import open_forest, quality_of, tune
from spt_core.families.tabular.ensemble import (
    BLEND,
    FORESTS,
    NETWORK,
    best_weights,
    mix,
    network_probability,
)
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS, row_bytes
from spt_core.families.tabular.network import table_facts
from spt_core.families.tabular.rows import (
    booster_rows,
    class_weights,
    encoded_arrays,
    encoded_dataset,
    trim_categories,
)
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.heads import HEADS
from spt_core.heads.beta import apply_calibration, fit_calibration
from spt_core.signature import Signature
from spt_core.task import Task, find

FACT_ROWS = 200_000
HELD_OUT_ROWS = 500_000
_FOREST_TIMEOUT_S = 24 * 3600.0


class TableTeaching:
    """The FitPlan of a teacher."""

    role: Role = "teacher"
    scratch: Sequence[str] = ()

    def __init__(self, splits: Splits, config: TrainingConfig) -> None:
        self._splits, self._config, self._task = splits, config, find(splits.task)
        self._signature = trim_categories(splits.signature, config.domain_vocabulary_size)
        self.identity: Sequence[Any] = [self._signature.to_json()]

    def prepare(self, name: str) -> TrainingRun:
        """Facts of the training rows; the forests are tuned beside the network's training."""
        del name
        splits, config, signature = self._splits, self._config, self._signature
        sample, labels = encoded_arrays(splits, "train", signature, limit=FACT_ROWS)
        self._forests = _forest_task.remote(splits, signature, config)
        self._run = TrainingRun(
            learner=LEARNER,
            signature=signature,
            role=self.role,
            config=config,
            facts=table_facts(signature, config.network, sample, labels),
            num_rows=splits.num_rows["train"],
            row_bytes=row_bytes(len(signature.columns)),
            scoring_rows=SCORING_ROWS,
            head=self._task.head,
        )
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> ray.data.Dataset:
        """Encoded rows; those of training with their classes' weights."""
        if part == "validation":
            return encoded_dataset(self._splits, part, self._signature)
        weights = class_weights(self._splits, self._config.class_weighting)
        return encoded_dataset(self._splits, part, self._signature, weights)

    def finish(self, weights: bytes) -> Trained:
        """The network and the forests, blended on validation and calibrated on calibration rows."""
        forests = ray.get(self._forests, timeout=_FOREST_TIMEOUT_S)
        files, metrics = _blend(self._task, self._splits, self._run, weights, forests)
        return Trained(files, metrics)


def _blend(
    task: Task, splits: Splits, run: TrainingRun, weights: bytes, forests: Mapping[str, bytes]
) -> tuple[dict[str, bytes], dict[str, float]]:
    network = LEARNER.network(run)
    network.load_state_dict(load_weights(weights))
    opened = {kind: open_forest(kind, content) for kind, content in forests.items()}

    def members(part: Part) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
        features, labels = encoded_arrays(splits, part, run.signature, limit=HELD_OUT_ROWS)
        found = {kind: forest.probability(features) for kind, forest in opened.items()}
        return labels, {NETWORK: network_probability(network, features), **found}

    labels, found = members("validation")
    weights_of = best_weights(labels, found)
    known_labels, known = members("calibration")
    calibration = fit_calibration(mix(known, weights_of), known_labels.astype(np.float64))
    odds = apply_calibration(mix(found, weights_of), calibration)
    shares = {f"{name}_weight": share for name, share in weights_of.items()}
    blend = {"weights": weights_of, "calibration": calibration}
    files = {
        WEIGHTS: weights,
        BLEND: json.dumps(blend).encode(),
        **{FORESTS[kind]: content for kind, content in forests.items()},
    }
    return files, {**validation_metrics(task, labels, odds), **shares}


def validation_metrics(
    task: Task, labels: NDArray[np.floating[Any]], log_odds: NDArray[np.float64]
) -> dict[str, float]:
    """Every metric on validation rows, named so that nobody takes it for a held-out figure."""
    head = HEADS[task.head]
    probabilities = 1.0 / (1.0 + np.exp(-log_odds))
    of = head.fitted(task, (), labels.astype(np.float64)[:, None], probabilities[:, None])
    return {f"validation_{name}": metric(of) for name, metric in head.metrics.items()}


@ray.remote(num_cpus=0.5, max_retries=3)
def _forest_task(splits: Splits, signature: Signature, config: TrainingConfig) -> dict[str, bytes]:
    """Both forests, tuned on the validation rows, from a capped sample of the training rows."""
    rows = booster_rows(splits, signature, limit=config.network.booster_rows)
    metric = quality_of(find(splits.task))
    trials = config.network.booster_trials
    return {
        kind: tune(kind, rows, metric, num_trials=trials, seed=config.seed).to_bytes()
        for kind in FORESTS
    }
