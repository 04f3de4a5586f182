"""SpecializedModelTrainer: splits in, a trained model out, on Ray Train with any worker count.

Splits -> the family's FitPlan -> Ray Train -> SpecializedModel
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spt_core.artifacts import ModelArtifact, as_uri
from spt_core.data.held_out import with_validation
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits, refit_splits
from spt_core.data.splitting import split
from spt_core.errors import InputError
from spt_core.families.serving import SERVING
from spt_core.families.training import TRAINING
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.progress import OnMetrics
from spt_core.fitting.ray_train import NUM_EPOCHS, Fit, fit_model
from spt_core.model import SpecializedModel
from spt_core.plain import from_plain
from spt_core.task import Task, find

if TYPE_CHECKING:
    from spt_core.transfer.config import TransferConfig


class SpecializedModelTrainer:
    """Trains the teacher of a task."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config

    def train(
        self,
        train: Any,
        eval: Any = None,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
        fit: Fit | None = None,
    ) -> SpecializedModel:
        """The trained model; an unfinished run of the same content resumes, a finished one is kept.

        Args:
            train: a Splits, or what `open_corpus` takes (URI, DataFrame, list of records, Ray
                Dataset, torch DataLoader), which is then split; `config.task` must name its task.
            eval: validation rows for data that is not a Splits; None takes them from `train`.
            fresh: forget an earlier run with the same content.
            on_metrics: called with each report of the training loop: `epoch` (those that are over),
                `step`, `progress` (a share of all steps) and losses.
            fit: takes the place of Ray Train: see fit_model.
        """
        splits = splits_of(self._config, train, eval)
        config = checked_config(self._config, find(splits.task), splits)
        plan = TRAINING[config.family].teach(splits, config, None)
        artifact, reused = fit_model(
            plan, splits, config, fresh=fresh, on_metrics=on_metrics, fit=fit
        )
        return SpecializedModel(artifact, reused=reused)

    def refit(
        self,
        twin: SpecializedModel,
        splits: Splits,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
    ) -> SpecializedModel:
        """The teacher `twin` once more, on every row but those of the test.

        For as many epochs and trees as its twin found best, with its blend and its calibration:
        no row is left to choose them by.
        """
        checked = checked_config(self._config, find(splits.task), splits)
        return fit_like(twin, refit_splits(splits), checked, fresh=fresh, on_metrics=on_metrics)

    def transfer_with_strategy(
        self,
        source_model: SpecializedModel,
        target_data: Any,
        transfer_config: TransferConfig | Mapping[str, Any],
    ) -> SpecializedModel:
        """The better of a model begun with the source's and one from scratch, trained by `config`.

        Data that is not a Splits is of `config.task`, else of the source's own task; the rest is
        DomainTransferTrainer.transfer_with_strategy's.
        """
        from spt_core.transfer.trainer import DomainTransferTrainer  # which trains by this class

        of_data = target_data.task if isinstance(target_data, Splits) else None
        task = self._config.task or of_data or source_model.artifact.task
        training = dataclasses.replace(self._config, task=task)
        return DomainTransferTrainer(training=training, task=task).transfer_with_strategy(
            source_model, target_data, transfer_config
        )


def fit_like(
    twin: SpecializedModel,
    rows: Splits,
    config: TrainingConfig,
    *,
    fresh: bool = False,
    on_metrics: OnMetrics | None = None,
) -> SpecializedModel:
    """A teacher like `twin` of other training rows, which none of its choices are made by."""
    if config.privacy is not None or twin.artifact.privacy:
        raise InputError(
            "a model with differential privacy must be trained once, as each training spends a "
            f"budget of its own, however: {twin.artifact.uri} is to be trained again"
        )
    config = refit_config(config, twin.artifact)
    artifact, reused = fit_model(
        TRAINING[config.family].teach(rows, config, twin.artifact),
        rows,
        config,
        parents=(twin.artifact.uri,),
        fresh=fresh,
        on_metrics=on_metrics,
        twin=twin.artifact.uri,
    )
    return SpecializedModel(artifact, reused=reused)


def refit_config(config: TrainingConfig, twin: ModelArtifact) -> TrainingConfig:
    """The training of a twin without anything held out: it ends where its twin was best."""
    return dataclasses.replace(
        config,
        num_epochs=max(int(twin.metrics[NUM_EPOCHS]), 1),
        evaluation_strategy="no",
        early_stopping_patience=None,
    )


def splits_of(config: TrainingConfig, train: Any, eval: Any) -> Splits:
    """The Splits that were given, or those of data; InputError where the two contradict."""
    if isinstance(train, Splits):
        if eval is not None:
            raise InputError("a Splits brings its own validation rows, however: eval was given too")
        return train
    if config.task is None:
        raise InputError(
            "TrainingConfig.task must name the task (industry/task) unless the data is a "
            "Splits, however: it is None"
        )
    task = find(config.task)
    storage = as_uri(config.output_dir)
    corpus = open_corpus(task, train, storage=storage)
    splits = split(task, corpus, storage)
    if eval is None:
        return splits
    return with_validation(splits, open_corpus(task, eval, storage=storage))


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
    kind = SERVING[config.family].config
    network = kind() if config.network is None else config.network
    if not isinstance(network, kind):
        raise InputError(
            f"network must be the {config.family} family's {kind.__name__}, however: "
            f"{type(network).__name__}"
        )
    network = dataclasses.replace(network, gradient_checkpointing=config.gradient_checkpointing)
    return dataclasses.replace(config, task=task.path, network=network)


def training_config_from_json(content: Mapping[str, Any]) -> TrainingConfig:
    """The TrainingConfig that an artifact's configuration holds."""
    network = from_plain(SERVING[content["family"]].config, content["network"])
    return from_plain(TrainingConfig, {**content, "network": network})
