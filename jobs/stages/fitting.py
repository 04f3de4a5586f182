"""The stages from a corpus to a student, as a person watches them.

Corpus -> Splits -> teacher -> student
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jobs.command import Run
from jobs.console import Stage
from spt_core.compression.limits import Limits
from spt_core.data.splits import Splits
from spt_core.deidentification import TASK, Deidentifier, deidentifier, sentence
from spt_core.errors import InputError
from spt_core.model import SpecializedModel
from spt_core.registry import (
    CHAMPION,
    DEFAULT_MODEL_NAME,
    ModelVersion,
    require_compatible,
)
from spt_core.task import Task
from spt_core.training import TrainingConfig

if TYPE_CHECKING:
    from spt_core.optimization.search import SearchResult

SHOWN_FROM_S = 60.0  # a shorter rest is no news
MIN_SHARE_KEPT = 0.95  # of the teacher's metric; a student below it is warned of


def prepared(run: Run) -> Splits:
    """Corpus -> Splits."""
    from spt_core.data.splitting import split

    rewrite = deidentifying(run)
    with run.screen.stage("prepare") as stage:
        stage.say("reading")
        corpus = run.corpus()
        stage.say(f"checking and splitting {corpus.name}")
        with run.registry().lease(f"prepare:{run.settings.storage}"):  # names share the splits
            splits = split(
                run.task, corpus, run.settings.storage, run.config.split, rewrite=rewrite
            )
        rows = ", ".join(f"{count:,} {part}" for part, count in splits.num_rows.items())
        stage.say(f"{rows} rows{reused(splits.reused)}")
    _show_rows(run, splits)
    _show_deidentified(run, splits)
    for finding in splits.findings:
        where = f" {finding.column}" if finding.column else ""
        run.screen.warn(f"  {finding.kind}", f"{where}: {finding.detail}")
    for reason, count in splits.quarantine.items():
        run.screen.warn(
            "  quarantine",
            f": {count:,} bad row{'s' if count > 1 else ''}, {reason}; see "
            f"{splits.uri}/quarantine.parquet",
        )
    return splits


def deidentifying(run: Run) -> Deidentifier | None:
    """What removes identifiers from the run's texts, if it asks for that.

    The champion of the task that finds them works beside the patterns, when there is one.
    """
    if not run.config.data.deidentify:
        return None
    if run.config.distillation.unlabelled is not None:
        raise InputError(
            "texts of a de-identified run are read with its corpus, however: "
            "distillation.unlabelled names others, which would stay as they are"
        )
    registry, name = run.registry(), f"{TASK}/{DEFAULT_MODEL_NAME}"
    if name not in registry.names() or CHAMPION not in registry.aliases(name):
        return deidentifier(run.task)
    version = registry.get(f"{name}@{CHAMPION}")
    return deidentifier(run.task, ref=version.ref, exported=version.exported, policy=version.policy)


def _show_deidentified(run: Run, splits: Splits) -> None:
    facts = splits.deidentified
    if not facts:
        return
    run.screen.say(f"  de-identified {sentence(facts, facts['replaced'])}")
    if "exported" not in facts:
        run.screen.warn(
            "  de-identified",
            ": by patterns alone, which find no names and hardly any places; deploy a model of "
            f"{TASK} to look for those",
        )


def _show_rows(run: Run, splits: Splits) -> None:
    run.screen.say(f"  {rows_sentence(splits)}")


def rows_sentence(splits: Splits) -> str:
    """Where each row of the corpus has gone."""
    shares = [f"{sum(splits.num_rows.values()):,} in parts"]
    shares += [f"{count:,} left out ({reason})" for reason, count in splits.num_left_out.items()]
    shares += [f"{sum(splits.quarantine.values()):,} in quarantine"] if splits.quarantine else []
    return f"{splits.num_rows_in:,} rows in: {', '.join(shares)}"


def refuse_incompatible(run: Run, splits: Splits) -> None:
    """Say before the training, not after it, that the model could not become the champion."""
    registry, name = run.registry(), f"{run.task.path}/{run.arguments.name}"
    if name in registry.names() and CHAMPION in registry.aliases(name):
        champion = registry.get(name)
        require_compatible(splits.signature, champion, "this data")
        _refuse_without_privacy(run, champion)


def _refuse_without_privacy(run: Run, champion: ModelVersion) -> None:
    """A model that kept its rows to itself is not followed by one that does not, unawares."""
    if champion.exported.artifact.privacy and run.config.training.privacy is None:
        raise InputError(
            f"what follows {champion.ref}, which has differential privacy, must have it too, "
            "however: privacy.epsilon is not set; --name trains another model"
        )


def trained(run: Run, splits: Splits) -> SpecializedModel:
    """Splits -> teacher."""
    from spt_core.training import SpecializedModelTrainer

    with run.screen.stage("train") as stage:
        stage.say("starting workers")
        trainer = SpecializedModelTrainer(run.config.training)
        teacher = trainer.train(
            splits, fresh=run.fresh, on_metrics=watch(stage, run.config.training)
        )
        stage.say(_quality("teacher", run.task, teacher))
    _show_notes(run, teacher)
    if teacher.artifact.privacy:
        _show_privacy(run, teacher.artifact.privacy)
    return teacher


def _show_privacy(run: Run, facts: Mapping[str, Any]) -> None:
    run.screen.say(f"  privacy: {privacy_sentence(facts)}")
    if "caution" in facts:
        run.screen.warn("  privacy", f": {facts['caution']}")
    spent = facts["all_trainings"]
    if spent["trainings"] > 1:
        run.screen.warn(
            "  privacy",
            f": {spent['trainings']} private trainings of the same data have spent epsilon "
            f"{spent['epsilon']:.3g} and delta {spent['delta']:.2g} together",
        )


def privacy_sentence(facts: Mapping[str, Any]) -> str:
    """What was spent, and for whom."""
    network = facts["network"]
    return (
        f"epsilon {facts['epsilon']:.3g} of {facts['epsilon_asked']:g}, delta "
        f"{facts['delta']:.2g}, per {facts['unit']} ({facts['neighbours']}); DP-SGD of "
        f"{network['steps']:,} steps, noise {network['noise_multiplier']:.3g}, sampling rate "
        f"{network['sampling_rate']:.3g}; "
        f"{facts['accountant']}"
    )


def distilled(run: Run, teacher: SpecializedModel, splits: Splits) -> SpecializedModel:
    """Teacher -> student."""
    from spt_core.distillation import DistillationPipeline, share_kept

    config = run.config.distillation
    with run.screen.stage("distill") as stage:
        stage.say("labelling augmented rows with the teacher")
        student = DistillationPipeline(config).distill(
            teacher,
            splits,
            fresh=run.fresh,
            on_metrics=watch(stage, config.training),
            on_fold=lambda number, of: stage.say(f"the teacher of fold {number} of {of}"),
        )
        metrics = student.artifact.metrics
        kept = share_kept(metrics, teacher.artifact.metrics, run.task)
        stage.say(f"{_quality('student', run.task, student)}, {kept:.1%} of its teacher's")
    if kept < MIN_SHARE_KEPT:
        run.screen.warn(
            "  quality",
            f": the student keeps {kept:.1%} of its teacher's {run.task.metric.replace('_', ' ')}; "
            "more steps (distillation.num_steps) or a larger student "
            "(distillation.training.network) may keep more",
        )
    _show_notes(run, student)
    return student


def students_of(
    run: Run, teacher: SpecializedModel, splits: Splits
) -> Mapping[str, SpecializedModel]:
    """Teacher -> the recipe's student; where limits are stated, those that a search finds."""
    if run.config.limits == Limits() or not run.config.search.num_trials:
        return {"": distilled(run, teacher, splits)}
    return searched(run, teacher, splits).students


def searched(run: Run, teacher: SpecializedModel, splits: Splits) -> SearchResult:
    """Teacher -> students on Ray Tune; an interrupted search goes on."""
    from spt_core.optimization.search import Progress, search

    with run.screen.stage("search") as stage:
        stage.say("measuring what each shape of a student takes")

        def on_progress(progress: Progress) -> None:
            total = progress.num_trials
            best = "" if math.isnan(progress.best_loss) else f", best {progress.best_loss:.4f}"
            trial = f"trial {progress.num_done} of {total}, " if progress.num_done else ""
            stage.advance(progress.num_done, total, f"{trial}{progress.what}{best}")

        result = search(
            teacher,
            splits,
            run.config.distillation,
            run.config.limits,
            run.config.search,
            fresh=run.fresh,
            on_progress=on_progress,
        )
        front = sum(trial.on_front for trial in result.trials)
        stage.say(
            f"{len(result.trials)} students trained, {front} on the front, "
            f"{len(result.students)} to be exported: {', '.join(result.students)}"
        )
    for shape, reason in result.left_out.items():
        run.screen.say(f"  {shape}: {reason}")
    return result


def _show_notes(run: Run, model: SpecializedModel) -> None:
    for note in model.artifact.notes:
        run.screen.warn("  note", f": {note}")


def watch(stage: Stage, config: TrainingConfig) -> Callable[[Mapping[str, float]], None]:
    """What shows how far a training is, its losses, and how long it may take, for trainers."""
    start_s, start_done, last_done = 0.0, 0.0, math.inf

    def on_metrics(metrics: Mapping[str, float]) -> None:
        shown = [f"{k.replace('_', ' ')} {v:.4f}" for k, v in metrics.items() if k.endswith("loss")]
        epoch, of = int(metrics["epoch"]), config.num_epochs
        num_done = metrics.get("progress", epoch / of) * of
        is_within = num_done > epoch + 1e-6  # of the next one
        nonlocal start_s, start_done, last_done
        if num_done < last_done:  # the first of a training, of which a stage may have several
            start_s, start_done = time.monotonic(), num_done
        elif num_done > start_done:
            left_s = (of - num_done) * (time.monotonic() - start_s) / (num_done - start_done)
            if left_s > SHOWN_FROM_S:  # it may stop early
                shown.append(f"at most {datetime.timedelta(seconds=round(left_s))} more")
        last_done = num_done
        text = ", ".join([f"epoch {epoch + is_within} of {of}", *shown])
        stage.advance(num_done, of, text)

    return on_metrics


def _quality(role: str, task: Task, model: SpecializedModel) -> str:
    metric = f"validation_{task.metric}"
    value = model.artifact.metrics[metric]
    return f"{role}: {metric.replace('_', ' ')} {value:.4f}{reused(model.reused)}"


def reused(is_reused: bool) -> str:
    """What a stage adds to its line where its work was there already."""
    return " (finished before, reused; --fresh makes it again)" if is_reused else ""
