"""SpecializedModelTrainer: splits in, a trained model out, on Ray Train with any worker count.

Splits -> encoded rows -> Ray Train (network) + one Ray task (forests) -> blend -> ModelArtifact
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import ray
import ray.data
import ray.train
from numpy.typing import NDArray
from ray.train.torch import TorchTrainer
from safetensors.torch import load as load_weights

from spt_core.artifacts import (
    ModelArtifact,
    as_uri,
    code_fingerprint,
    digest,
    filesystem,
    has_manifest,
    load_artifact,
    remove,
    write_bytes,
    write_manifest,
)
from spt_core.data.held_out import with_validation
from spt_core.data.partition import Part
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.errors import InputError
from spt_core.metrics import METRICS
from spt_core.model import SpecializedModel
from spt_core.models import FAMILIES
from spt_core.models.boosters import Rows, open_forest, tune
from spt_core.models.calibration import apply_calibration, fit_calibration
from spt_core.models.ensemble import (
    BLEND,
    FACTS,
    FORESTS,
    NETWORK,
    WEIGHTS,
    best_weights,
    mix,
    network_probability,
)
from spt_core.signature import Signature
from spt_core.task import Task, find
from spt_core.training.config import TrainingConfig
from spt_core.training.encoded import (
    class_weights,
    encoded_arrays,
    encoded_dataset,
    trim_categories,
)
from spt_core.training.loop import BEST, TrainingRun
from spt_core.training.progress import OnMetrics, progress
from spt_core.training.worker import work

FACT_ROWS = 200_000
HELD_OUT_ROWS = 500_000
_FOREST_TIMEOUT_S = 24 * 3600.0


class SpecializedModelTrainer:
    """Trains the teacher of a task: a TabM network on all rows, two forests on a capped sample."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config

    def train(
        self,
        train: Any,
        eval: Any = None,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
    ) -> SpecializedModel:
        """The trained model; an unfinished run of the same content resumes, a finished one is kept.

        Args:
            train: a Splits, or what `open_corpus` takes (URI, DataFrame, list of records, Ray
                Dataset), which is then split.
            eval: validation rows for data that is not a Splits; None takes them from `train`.
            fresh: forget an earlier run with the same content.
            on_metrics: called with each report of the training loop.
        """
        splits = self._splits(train, eval)
        config = checked_config(self._config, find(splits.task), splits)
        signature = trim_categories(splits.signature, config.domain_vocabulary_size)
        name = f"teacher-{run_digest(config, splits, signature)}"
        uri = f"{as_uri(config.output_dir)}/{splits.task}/{config.model_name}/{name}"
        if fresh:  # what is finished stays until its successor is: a version may be served from it
            remove(f"{as_uri(config.output_dir)}/runs/{name}")
        elif has_manifest(uri):
            return SpecializedModel(load_artifact(uri), reused=True)
        sample, labels = encoded_arrays(splits, "train", signature, limit=FACT_ROWS)
        facts = FAMILIES[config.family].facts(signature, config.network, sample, labels)
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
        files, metrics = self._blend(
            splits, run, trained, ray.get(forests, timeout=_FOREST_TIMEOUT_S)
        )
        return SpecializedModel(write_artifact(uri, splits, run, files, metrics))

    def _splits(self, train: Any, eval: Any) -> Splits:
        if isinstance(train, Splits):
            if eval is not None:
                raise InputError(
                    "a Splits brings its own validation rows, however: eval was given too"
                )
            return train
        if self._config.task is None:
            raise InputError(
                "TrainingConfig.task must name the task (industry/task) unless the data is a "
                "Splits, however: it is None"
            )
        task = find(self._config.task)
        storage = as_uri(self._config.output_dir)
        corpus = open_corpus(task, train, storage=storage)
        splits = split(task, corpus, storage)
        if eval is None:
            return splits
        return with_validation(splits, open_corpus(task, eval, storage=storage))

    def _blend(
        self, splits: Splits, run: TrainingRun, weights: bytes, forests: Mapping[str, bytes]
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


def checked_config(config: TrainingConfig, task: Task, splits: Splits) -> TrainingConfig:
    """The configuration, refused where it contradicts the task or where the family cannot obey."""
    if config.industry != task.industry:
        raise InputError(
            f"TrainingConfig.industry must be the task's ({task.industry}), "
            f"however: {config.industry}"
        )
    if config.task not in (None, task.path):
        raise InputError(f"TrainingConfig.task must be {task.path}, however: {config.task}")
    if config.family != task.family:
        raise InputError(f"{task.path} is of family {task.family}, however: {config.family=}")
    unknown = sorted(set(config.compliance_requirements or ()) - set(task.compliance_checks))
    if unknown:
        raise InputError(
            f"compliance_requirements must be checks of {task.path} "
            f"({', '.join(task.compliance_checks)}), "
            f"however: {unknown}"
        )
    if config.num_workers > splits.num_rows["train"]:
        raise InputError(
            f"every worker needs rows, however: {config.num_workers} workers share "
            f"{splits.num_rows['train']} training rows"
        )
    network = dataclasses.replace(
        config.network, gradient_checkpointing=config.gradient_checkpointing
    )
    return dataclasses.replace(config, task=task.path, network=network)


def run_digest(config: TrainingConfig, splits: Splits, signature: Signature, *more: Any) -> str:
    """The name of a run: the same content gives the same name, and so resumes or is reused."""
    content = [config.identity(), splits.uri, signature.to_json(), code_fingerprint(), *more]
    return digest(content)


def fit_network(
    run: TrainingRun,
    train: ray.data.Dataset,
    validation: ray.data.Dataset | None,
    *,
    name: str,
    on_metrics: OnMetrics | None = None,
) -> bytes:
    """The best weights (safetensors) of a network trained on Ray Train, resuming the run `name`."""
    config = run.config
    files, folder = filesystem(f"{as_uri(config.output_dir)}/runs")
    if isinstance(files, pafs.LocalFileSystem):
        Path(folder).mkdir(parents=True, exist_ok=True)
    datasets = (
        {"train": train} if validation is None else {"train": train, "validation": validation}
    )
    num_cpus = ray.cluster_resources().get("CPU", 1.0)
    with progress(config, name, on_metrics) as channel:
        trainer = _InterruptibleTrainer(
            work,
            train_loop_config={
                "run": run,
                "progress": channel,
                "num_threads": max(int(num_cpus // config.num_workers), 1),
            },
            datasets=dict(datasets),
            dataset_config=ray.train.DataConfig(execution_options=_ordered()),
            scaling_config=ray.train.ScalingConfig(
                num_workers=config.num_workers,
                use_gpu=config.use_gpu,
                # A quarter of the processors, so that Ray Data can always feed the workers.
                resources_per_worker={
                    "CPU": min(1.0, num_cpus / 4 / config.num_workers),
                    **({"GPU": 1} if config.use_gpu else {}),
                },
            ),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=folder,
                storage_filesystem=files,
                failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            ),
        )
        result = trainer.fit()
    if result.checkpoint is None:
        raise RuntimeError(
            f"a finished training run must have a checkpoint, however: {name} has none"
        )
    with result.checkpoint.as_directory() as path:
        return (Path(path) / BEST).read_bytes()


class _InterruptibleTrainer(TorchTrainer):
    """Ctrl-C raises KeyboardInterrupt; Ray's own handler ends the process without a word."""

    def _register_sigint_handler(self, controller: object) -> None:
        """Leave the caller's handler: the workers end with the driver's connection."""


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


def write_artifact(
    uri: str,
    splits: Splits,
    run: TrainingRun,
    files: Mapping[str, bytes],
    metrics: Mapping[str, float],
    parents: tuple[str, ...] = (),
) -> ModelArtifact:
    """Write a model's files, then its manifest."""
    contents = {**files, FACTS: json.dumps(run.facts).encode()}
    digests = {name: write_bytes(f"{uri}/{name}", content) for name, content in contents.items()}
    artifact = ModelArtifact(
        uri=uri,
        task=splits.task,
        model_name=run.config.model_name,
        family=run.config.family,
        role=run.role,
        signature=run.signature,
        files=digests,
        config=json.loads(json.dumps(dataclasses.asdict(run.config))),
        metrics=dict(metrics),
        seed=run.config.seed,
        data_fingerprint=splits.data_fingerprint,
        code_fingerprint=code_fingerprint(),
        splits=splits.uri,
        protected=splits.protected,
        licences=splits.licences,
        parents=parents,
    )
    write_manifest(uri, artifact.to_json())
    return artifact


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


def _ordered() -> ray.data.ExecutionOptions:
    options = ray.data.ExecutionOptions()
    options.preserve_order = True  # the order of rows is part of what a seed promises
    return options
