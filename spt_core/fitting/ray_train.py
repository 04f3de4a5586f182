"""FitPlan -> ModelArtifact: one network on Ray Train, and what every trained model is written with.

name the run -> reuse or forget -> encoded rows -> Ray Train -> the best weights -> finish -> write
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray
import ray.data
import ray.train
from ray.train.torch import TorchTrainer

from spt_core.artifacts import (
    FACTS,
    ModelArtifact,
    as_uri,
    code_fingerprint,
    digest,
    filesystem,
    has_manifest,
    load_artifact,
    merge_licences,
    remove,
    write_bytes,
    write_manifest,
)
from spt_core.data.read import original_error
from spt_core.data.splits import Splits
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import BEST, BEST_EPOCH
from spt_core.fitting.plan import FitPlan, Fitted, Trained, TrainingRun
from spt_core.fitting.progress import OnMetrics, progress
from spt_core.fitting.worker import work

# A run, its rows and its validation rows -> the best weights.
Fit = Callable[[TrainingRun, ray.data.Dataset, ray.data.Dataset | None], Fitted]
NUM_EPOCHS = "num_epochs"  # of the weights that are kept, among a model's figures


def fit_model(
    plan: FitPlan,
    splits: Splits,
    config: TrainingConfig,
    *,
    parents: tuple[str, ...] = (),
    licences: tuple[str, ...] = (),
    fresh: bool = False,
    on_metrics: OnMetrics | None = None,
    accept: Callable[[Mapping[str, float]], None] | None = None,
    fit: Fit | None = None,
    twin: str = "",
) -> tuple[ModelArtifact, bool]:
    """The model of a plan, and whether it was there already.

    An unfinished run of the same content resumes. `licences` are of data beside the splits';
    `accept` raises where the figures on validation rows do not do. `fit` takes the place of
    Ray Train. `twin` is the address of the model that this one is a refit of.
    """
    root = as_uri(config.output_dir)
    rows = [splits.uri, splits.fingerprints]  # an address may have been written anew
    name = f"{plan.role}-{digest([config.identity(), rows, code_fingerprint(), *plan.identity])}"
    uri = f"{root}/{splits.task}/{config.model_name}/{name}"
    scratch = [f"{root}/runs/{name}-{folder}" for folder in plan.scratch]
    if fresh:  # what is finished stays until its successor is: a version may be served from it
        for folder in (*scratch, f"{root}/runs/{name}"):
            remove(folder)
    elif has_manifest(uri):
        artifact = load_artifact(uri)
        if accept is not None:
            accept(artifact.metrics)
        return artifact, True
    run = plan.prepare(name)
    validation = None if config.evaluation_strategy == "no" else plan.rows("validation")
    rows_of = plan.rows("train")
    if fit is None:
        fitted = fit_network(run, rows_of, validation, name=name, on_metrics=on_metrics)
    else:
        fitted = fit(run, rows_of, validation)
    trained = plan.finish(fitted.weights)
    trained = trained._replace(metrics={**trained.metrics, NUM_EPOCHS: fitted.num_epochs})
    if accept is not None:
        accept(trained.metrics)
    artifact = write_artifact(
        uri,
        splits,
        run,
        trained._replace(licences=(*licences, *trained.licences)),
        parents,
        twin,
        fitted.runs,
    )
    for folder in scratch:
        remove(folder)
    return artifact, False


def fit_network(
    run: TrainingRun,
    train: ray.data.Dataset,
    validation: ray.data.Dataset | None,
    *,
    name: str,
    on_metrics: OnMetrics | None = None,
) -> Fitted:
    """The best weights of a network trained on Ray Train, resuming the run `name`.

    An SptError or OSError that a worker raised is raised here as it was.
    """
    config = run.config
    files, folder = filesystem(f"{as_uri(config.output_dir)}/runs")
    if isinstance(files, pafs.LocalFileSystem):
        Path(folder).mkdir(parents=True, exist_ok=True)
    datasets = (
        {"train": train} if validation is None else {"train": train, "validation": validation}
    )
    num_cpus = ray.cluster_resources().get("CPU", 1.0)
    runs: list[str] = []
    with progress(config, name, on_metrics, runs) as channel:
        trainer = _InterruptibleTrainer(
            work,
            train_loop_config={
                "run": ray.put(run),  # what the controller, too, would load with torch and all
                "progress": channel,
                "num_threads": max(int(num_cpus // config.num_workers), 1),
            },
            datasets=dict(datasets),
            dataset_config=ray.train.DataConfig(
                # One worker reads for itself: a coordinator's process takes seconds to start.
                datasets_to_split=[] if config.num_workers == 1 else "all",
                execution_options=_ordered(),
            ),
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
                worker_runtime_env=_environment(config),
            ),
        )
        with worker_errors():
            result = trainer.fit()
    if result.checkpoint is None:
        raise RuntimeError(
            f"a finished training run must have a checkpoint, however: {name} has none"
        )
    with result.checkpoint.as_directory() as path:
        weights = (Path(path) / BEST).read_bytes()
    metrics = result.metrics or {}
    return Fitted(weights, int(metrics.get(BEST_EPOCH, config.num_epochs)), tuple(runs))


@contextlib.contextmanager
def worker_errors() -> Generator[None]:
    """Turns Ray Train's failure into what a worker raised, if that is a caller's business."""
    try:
        yield
    except ray.train.WorkerGroupError as error:
        for failure in error.worker_failures.values():
            cause = original_error(failure)
            if cause is not None:
                raise cause from error
        raise


class _InterruptibleTrainer(TorchTrainer):
    """Ctrl-C raises KeyboardInterrupt; Ray's own handler ends the process without a word."""

    def _register_sigint_handler(self, controller: object) -> None:
        """Leave the caller's handler: the workers end with the driver's connection."""


def write_artifact(
    uri: str,
    splits: Splits,
    run: TrainingRun,
    trained: Trained,
    parents: tuple[str, ...] = (),
    twin: str = "",
    runs: tuple[str, ...] = (),
) -> ModelArtifact:
    """Write a model's files, then its manifest."""
    contents = {**trained.files, FACTS: json.dumps(run.facts).encode()}
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
        metrics=dict(trained.metrics),
        seed=run.config.seed,
        data_fingerprint=splits.data_fingerprint,
        code_fingerprint=code_fingerprint(),
        splits=splits.uri,
        protected=splits.protected,
        licences=merge_licences([splits.licences, trained.licences]),
        parents=parents,
        classes=tuple(run.facts.get("classes", ())),
        notes=trained.notes,
        twin=twin,
        deidentified=splits.deidentified,
        runs=runs,
        privacy=dict(trained.privacy),
    )
    write_manifest(uri, artifact.to_json())
    return artifact


def _environment(config: TrainingConfig) -> dict[str, Any] | None:
    """DeepSpeed takes what it finds for the accelerator, unless it is told."""
    if config.strategy == "data_parallel" or config.use_gpu:
        return None
    return {"env_vars": {"DS_ACCELERATOR": "cpu"}}


def _ordered() -> ray.data.ExecutionOptions:
    options = ray.data.ExecutionOptions()
    options.preserve_order = True  # the order of rows is part of what a seed promises
    return options
