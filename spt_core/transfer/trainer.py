"""DomainTransferTrainer: a model of one task begins with what one of another has learnt.

source model + target's splits -> TransferPlan -> Ray Train -> beside one from scratch -> the better
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spt_core.artifacts import ModelArtifact, unrefitted
from spt_core.data.fewer import with_share
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.progress import OnMetrics
from spt_core.fitting.ray_train import Fit, fit_model
from spt_core.model import SpecializedModel
from spt_core.task import IndustryType, Task, all_tasks, find, industry_named
from spt_core.training.trainer import (
    SpecializedModelTrainer,
    checked_config,
    splits_of,
    training_config_from_json,
)
from spt_core.transfer.config import TransferConfig, transfer_config
from spt_core.transfer.guard import Verdict, is_as_good, judged
from spt_core.transfer.plan import TransferPlan, teacher_of

EPOCHS_AFTER = 2  # the last scheduled one, where nobody said how many there are


class Transferred(NamedTuple):
    """The model that was kept, the two that it was chosen of, and why."""

    model: SpecializedModel
    transferred: SpecializedModel
    scratch: SpecializedModel
    verdict: Verdict


class DomainTransferTrainer:
    """Trains teachers that begin with a teacher of another task.

    Args:
        config: how, for `transfer_between_domains` and `transfer`; None trains everything on.
        training: the target's training; None takes the source's, for the target's task.
        task: the target's `industry/task`, for data that is not a Splits.
    """

    def __init__(
        self,
        config: TransferConfig | None = None,
        *,
        training: TrainingConfig | None = None,
        task: str | None = None,
    ) -> None:
        self._config, self._training = config or TransferConfig(), training
        self._task = None if task is None else find(task)

    def transfer_between_domains(
        self,
        *,
        source_model: SpecializedModel,
        source_domain: IndustryType | str,
        target_domain: IndustryType | str,
        target_data: Any,
    ) -> SpecializedModel:
        """The model of another industry's task that is kept: transferred, or from scratch.

        `target_data` is a Splits, or what `open_corpus` takes (URI, DataFrame, list of records, Ray
        Dataset), which is then split; its task is the trainer's, else the one of the target domain
        that says that it starts from the source's. The model's notes say which was kept.
        """
        source = industry_named(source_domain, "source_domain")
        target = industry_named(target_domain, "target_domain")
        task = source_model.task
        if task.industry != source:
            raise InputError(
                f"source_domain must be that of the source model, {task.path}, however: {source}"
            )
        named = self._named(target_data) or _declared(task, target)
        if named.industry != target:
            raise InputError(
                f"target_domain must be that of the target's task, {named.path}, however: {target}"
            )
        return self._kept(source_model, named, target_data, self._config)

    def transfer_with_strategy(
        self,
        source_model: SpecializedModel,
        target_data: Any,
        transfer_config: TransferConfig | Mapping[str, Any],
    ) -> SpecializedModel:
        """The same by a configuration such as the specification's.

        Data that is not a Splits is of the trainer's task, else of the source's own.
        """
        named = self._named(target_data) or source_model.task
        return self._kept(source_model, named, target_data, _checked(transfer_config))

    def transfer(
        self,
        source: SpecializedModel,
        splits: Splits,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
        on_model: Callable[[str], None] | None = None,
        fit: Fit | None = None,
    ) -> Transferred:
        """A transferred model, one from scratch, and the verdict.

        Unfinished runs of the same content resume, finished ones are reused. `on_model` is called
        with "transferred", "scratch" or a share of rows before that one is trained; `fit` takes
        the place of Ray Train.
        """
        task = find(splits.task)
        return self._transferred(
            source,
            splits,
            self._training_of(source.artifact, task, self._config),
            self._config,
            fresh=fresh,
            on_metrics=on_metrics,
            on_model=on_model,
            fit=fit,
        )

    def _named(self, data: Any) -> Task | None:
        """The task that the data or the trainer names."""
        of_data = find(data.task) if isinstance(data, Splits) else None
        if of_data is not None and self._task is not None and of_data != self._task:
            raise InputError(
                f"the splits must be of the trainer's task, {self._task.path}, however: they are "
                f"of {of_data.path}"
            )
        return of_data or self._task

    def _kept(
        self, source: SpecializedModel, task: Task, data: Any, config: TransferConfig
    ) -> SpecializedModel:
        training = self._training_of(source.artifact, task, config)
        splits = splits_of(training, data, None)
        return self._transferred(source, splits, training, config).model

    def _training_of(
        self, source: ModelArtifact, task: Task, config: TransferConfig
    ) -> TrainingConfig:
        if self._training is not None:
            return self._training
        own = training_config_from_json(unrefitted(teacher_of(source)).config)
        last = max(config.epochs, default=0)
        return dataclasses.replace(
            own,
            task=task.path,
            industry=task.industry,
            compliance_requirements=None,
            specialized_layers=None,
            num_epochs=max(own.num_epochs, last + EPOCHS_AFTER if last else 0),
        )

    def _transferred(
        self,
        source: SpecializedModel,
        splits: Splits,
        training: TrainingConfig,
        config: TransferConfig,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
        on_model: Callable[[str], None] | None = None,
        fit: Fit | None = None,
    ) -> Transferred:
        teacher = teacher_of(source.artifact)
        if training.privacy is not None or teacher.privacy:
            raise InputError(
                "a transfer reads training rows of both tasks, and must be without differential "
                f"privacy, however: {teacher.uri if teacher.privacy else splits.task} has a budget"
            )

        def begun(rows: Splits) -> SpecializedModel:
            checked = checked_config(training, find(rows.task), rows)
            plan = TransferPlan(teacher, rows, checked, config)
            artifact, reused = fit_model(
                plan,
                rows,
                plan.config,
                parents=(teacher.uri,),
                licences=teacher.licences,
                fresh=fresh,
                on_metrics=on_metrics,
                fit=fit,
            )
            return SpecializedModel(artifact, reused=reused)

        tell = on_model or _nobody
        tell("transferred")
        transferred = begun(splits)
        tell("scratch")
        scratch = SpecializedModelTrainer(training).train(
            splits, fresh=fresh, on_metrics=on_metrics, fit=fit
        )
        verdict = judged(transferred, scratch, splits, config.margin)
        if verdict.kept == "scratch":
            return Transferred(_noted(scratch, verdict), transferred, scratch, verdict)
        # Where it is worse within the margin no label is saved, and nothing is tried.
        shares = sorted(config.shares, reverse=True) if verdict.gain >= 0 else []
        needed = splits.num_rows["train"] if shares else None
        for share in shares:
            tell(f"{share:.0%} of the rows")
            fewer = with_share(splits, share)
            if not _is_learnable(fewer) or not is_as_good(begun(fewer), verdict, splits):
                break
            needed = fewer.num_rows["train"]
        verdict = dataclasses.replace(verdict, rows_needed=needed)
        return Transferred(_noted(transferred, verdict), transferred, scratch, verdict)


def _nobody(what: str) -> None:
    del what


def _is_learnable(splits: Splits) -> bool:
    """Whether the training rows are of both classes, where there are two."""
    positives, rows = splits.num_positives["train"], splits.num_rows["train"]
    return splits.labels.head != "binary" or 0 < positives < rows


def _checked(content: TransferConfig | Mapping[str, Any]) -> TransferConfig:
    return transfer_config(content)


def _noted(model: SpecializedModel, verdict: Verdict) -> SpecializedModel:
    """The model whose notes say why it was kept, and what that saved; what is stored stays."""
    notes = (*model.artifact.notes, verdict.sentence(), verdict.saved())
    return SpecializedModel(dataclasses.replace(model.artifact, notes=notes), reused=model.reused)


def _declared(source: Task, domain: IndustryType) -> Task:
    """The one task of a domain that says that it starts from the source's."""
    tasks = [t for t in all_tasks().values() if t.industry == domain]
    named = [task for task in tasks if task.transfer_from == source.path]
    if len(named) == 1:
        return named[0]
    what = ", ".join(task.path for task in named) or "none does"
    raise InputError(
        f"one task of {domain} must start from {source.path} (transfer_from), or the trainer must "
        f"be given one (DomainTransferTrainer(task=...)), however: {what}"
    )
