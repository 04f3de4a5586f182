"""The teacher of a table: a TabM network on all rows, two forests on a capped sample, blended.

Splits -> encoded rows -> Ray Train (network) + one Ray task (forests) -> blend -> ModelArtifact
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import as_uri, has_manifest, load_artifact, remove
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.metrics import METRICS
from spt_core.model import SpecializedModel
from spt_core.models import FAMILIES
from spt_core.models.boosters import Rows, open_forest, tune
from spt_core.models.calibration import apply_calibration, fit_calibration
from spt_core.models.ensemble import (
    BLEND,
    FORESTS,
    NETWORK,
    WEIGHTS,
    best_weights,
    mix,
    network_probability,
)
from spt_core.models.tabular import TABULAR
from spt_core.signature import Signature
from spt_core.task import find
from spt_core.training.config import TrainingConfig
from spt_core.training.encoded import (
    class_weights,
    encoded_arrays,
    encoded_dataset,
    trim_categories,
)
from spt_core.training.loop import TrainingRun
from spt_core.training.network import fit_network, run_digest, write_artifact
from spt_core.training.progress import OnMetrics

FACT_ROWS = 200_000
HELD_OUT_ROWS = 500_000
_FOREST_TIMEOUT_S = 24 * 3600.0


def train_table(
    splits: Splits, config: TrainingConfig, *, fresh: bool, on_metrics: OnMetrics | None
) -> SpecializedModel:
    """The teacher; an unfinished run of the same content resumes, a finished one is kept."""
    signature = trim_categories(splits.signature, config.domain_vocabulary_size)
    name = f"teacher-{run_digest(config, splits, signature)}"
    uri = f"{as_uri(config.output_dir)}/{splits.task}/{config.model_name}/{name}"
    if fresh:  # what is finished stays until its successor is: a version may be served from it
        remove(f"{as_uri(config.output_dir)}/runs/{name}")
    elif has_manifest(uri):
        return SpecializedModel(load_artifact(uri), reused=True)
    sample, labels = encoded_arrays(splits, "train", signature, limit=FACT_ROWS)
    facts = TABULAR.facts(signature, config.network, sample, labels)
    run = TrainingRun(
        signature=signature,
        role="teacher",
        config=config,
        facts=facts,
        num_rows=splits.num_rows["train"],
    )
    weights = class_weights(splits, config.class_weighting)
    forests = _forest_task.remote(splits, signature, config)  # beside the network's training
    trained = fit_network(
        run,
        encoded_dataset(splits, "train", signature, weights),
        validation_dataset(splits, signature, config),
        name=name,
        on_metrics=on_metrics,
    )
    files, metrics = _blend(splits, run, trained, ray.get(forests, timeout=_FOREST_TIMEOUT_S))
    return SpecializedModel(write_artifact(uri, splits, run, files, metrics))


def _blend(
    splits: Splits, run: TrainingRun, weights: bytes, forests: Mapping[str, bytes]
) -> tuple[dict[str, bytes], dict[str, float]]:
    network = FAMILIES[run.config.family].build(
        run.signature, run.role, run.config.network, run.facts
    )
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
    return files, {**validation_metrics(labels, odds), **shares}


def validation_dataset(
    splits: Splits, signature: Signature, config: TrainingConfig
) -> ray.data.Dataset | None:
    """The encoded validation rows, unless the run never evaluates."""
    if config.evaluation_strategy == "no":
        return None
    return encoded_dataset(splits, "validation", signature)


def validation_metrics(
    labels: NDArray[np.float32], log_odds: NDArray[np.float64]
) -> dict[str, float]:
    """Every metric on validation rows, named so that nobody takes it for a held-out figure."""
    probabilities = 1.0 / (1.0 + np.exp(-log_odds))
    return {
        f"validation_{name}": metric(labels.astype(np.float64), probabilities)
        for name, metric in METRICS.items()
    }


@ray.remote(num_cpus=0.5, max_retries=3)
def _forest_task(splits: Splits, signature: Signature, config: TrainingConfig) -> dict[str, bytes]:
    """Both forests, tuned on the validation rows, from a capped sample of the training rows."""
    limit = config.network.booster_rows
    train, labels = encoded_arrays(splits, "train", signature, limit=limit)
    held_out, held_out_labels = encoded_arrays(splits, "validation", signature, limit=limit)
    rows = Rows(
        train,
        labels.astype(np.float64),
        held_out,
        held_out_labels.astype(np.float64),
        len(signature.numbers),
    )
    metric = METRICS[find(splits.task).metric]
    trials = config.network.booster_trials
    return {
        kind: tune(kind, rows, metric, num_trials=trials, seed=config.seed).to_bytes()
        for kind in FORESTS
    }
