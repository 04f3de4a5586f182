"""Retrain a model on new publications: python -m jobs.retrain --submission-id ID

The watcher submits it; the id is a retraining's present attempt in the ledger. The job claims the
id, trains on the publications beside at least half of old rows, compares the candidate with the
champion on the same rows, registers it, and stores the result. It decides nothing: the gate does. A
killed job of the same id goes on where it stopped; a second one beside it is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.settings import Settings, load_settings
from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.recipes import RECIPES
from jobs.recipes.config import PipelineConfig
from jobs.stages.exporting import exported
from jobs.stages.fitting import deidentifying, distilled, trained
from jobs.stages.judging import benchmarked, decided, registered
from spt_core.artifacts import code_fingerprint, digest, load_artifact, unrefitted, write_bytes
from spt_core.continuous.ledger import Ledger, Retrain, RunClaim
from spt_core.continuous.retraining import (
    Labeled,
    Mixture,
    RetrainConfig,
    candidate_sha,
    labeled,
    mixture,
    model_of,
    of_submission,
    pinned_items,
    retrain_config,
    rewritten,
    task_of,
)
from spt_core.data.replay import evaluation_set_of, with_training
from spt_core.data.splits import EvaluationSet, Splits, load_splits
from spt_core.deidentification import sentence
from spt_core.errors import ConflictError, InputError, SptError
from spt_core.registry import CHAMPION, ModelVersion, Registry
from spt_core.task import Task
from spt_core.training import TrainingConfig

if TYPE_CHECKING:
    from spt_core.vocabulary.growth import Grown

CLAIM_TTL_S = 90.0
FROZEN, PUBLICATIONS = "held-out rows", "publications"


def main(arguments: Sequence[str] | None = None) -> int:
    """A submission -> its candidate and the comparison, stored for the gate."""
    args = _parser().parse_args(arguments)
    settings = load_settings(storage=args.storage)
    ledger = Ledger(settings.database_url)
    with claimed(ledger, args.submission_id) as claim:
        retrain = of_submission(ledger, args.submission_id)
        config = retrain_config(ledger.configuration(retrain.bucket).get("retraining", {}))
        run, champion = run_of(settings, retrain, config, as_json=args.json)
        with started(run):
            result = retrained(run, ledger, retrain, config, champion)
        uri = stored(settings, ledger, claim, result)
    comparison = result["evaluation"]["sets"][0]
    run.screen.result(
        {"result": uri, **{k: v for k, v in result.items() if k != "evaluation"}},
        f"{result['candidate_version']}: {comparison['difference']['value']:+.4f} against "
        f"{result['champion_before']}; {uri}",
    )
    return 0


def stored(settings: Settings, ledger: Ledger, claim: RunClaim, result: Mapping[str, Any]) -> str:
    """The address of the result, which ends the claim."""
    uri = f"{settings.storage}/retrains/{claim.submission_id}/result.json"
    write_bytes(uri, json.dumps(result, indent=1).encode())
    ledger.finish_run(claim, uri, result["candidate_sha"])
    return uri


@contextlib.contextmanager
def claimed(ledger: Ledger, submission_id: str) -> Generator[RunClaim]:
    """The claim, renewed from a thread; who loses it is interrupted, a failure ends it."""
    claim = ledger.claim_run(submission_id, ttl_s=CLAIM_TTL_S)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(CLAIM_TTL_S / 5):
            try:
                ledger.beat(claim)
            except ConflictError:
                if not ended.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)
                return
            except SptError:  # the database is away: the claim lasts until its time is up
                continue

    thread = threading.Thread(target=beat, name="claim", daemon=True)
    thread.start()
    try:
        yield claim
    except BaseException as error:
        with contextlib.suppress(SptError):
            ledger.give_up_run(claim, f"{type(error).__name__}: {error}"[:300])
        raise
    finally:
        ended.set()
        thread.join()


def run_of(
    settings: Settings, retrain: Retrain, config: RetrainConfig, *, as_json: bool
) -> tuple[Run, ModelVersion]:
    """The run of the stages, configured as the champion was unless the bucket says otherwise."""
    task, name = task_of(retrain.bucket), model_of(retrain.bucket)
    champion = Registry(settings.database_url).get(f"{name}@{CHAMPION}")
    words = [task.path, "--name", name.rpartition("/")[2], "--storage", settings.storage]
    words += [word for one in config.assignments for word in ("--set", one)]
    arguments = parser("retrain", "").parse_args([*words, *(["--json"] if as_json else [])])

    def recipe(task: Task) -> PipelineConfig:
        return as_trained(RECIPES[config.recipe or "default"](task), champion, config)

    return tracked(read_run(arguments, recipe=recipe), config), champion


def tracked(run: Run, config: RetrainConfig) -> Run:
    """The run followed by the bucket's trackers too."""
    trackers = tuple(dict.fromkeys((*run.settings.trackers, *config.trackers)))
    distillation = run.config.distillation
    student = dataclasses.replace(distillation.training, trackers=trackers)
    own = dataclasses.replace(
        run.config,
        training=dataclasses.replace(run.config.training, trackers=trackers),
        distillation=dataclasses.replace(distillation, training=student),
    )
    return dataclasses.replace(run, config=own)


def as_trained(
    recipe: PipelineConfig, champion: ModelVersion, config: RetrainConfig
) -> PipelineConfig:
    """The recipe with the champion's base; and its whole training, where none was named."""
    from spt_core.training.trainer import training_config_from_json  # torch and ray

    artifact = unrefitted(champion.exported.artifact)
    student = training_config_from_json(artifact.config)
    teacher = student
    if artifact.parents:
        teacher = training_config_from_json(load_artifact(artifact.parents[0]).config)
    if config.recipe:
        base = teacher.network.base
        teacher = based(recipe.training, base)
        student = based(recipe.distillation.training, base)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, deidentify=bool(artifact.deidentified)),
        training=teacher,
        distillation=dataclasses.replace(recipe.distillation, training=student),
        # The baselines were beside the champion when it was first made; here it is the baseline.
        benchmark=dataclasses.replace(recipe.benchmark, num_trials=0),
    )


def based(training: TrainingConfig, base: str) -> TrainingConfig:
    """The training from another base."""
    return dataclasses.replace(training, network=dataclasses.replace(training.network, base=base))


def retrained(
    run: Run, ledger: Ledger, retrain: Retrain, config: RetrainConfig, champion: ModelVersion
) -> dict[str, Any]:
    """The whole flow; the result that the gate reads."""
    before = load_splits(champion.exported.artifact.splits)
    examples, mixed, added_rows = prepared(run, ledger, retrain, config, before)
    base = followed(run, config, examples, before)
    licences = sorted({f"texts published by {one.item.source_id}" for one in examples})
    splits = with_training(
        before,
        mixed.train,
        name=f"{retrain.retrain_id} on {champion.ref}",
        licences=licences,
        added_rows=added_rows,
    )
    teacher = based(run.config.training, base.base)
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, training=teacher))
    artifact = trained(run, splits)
    if champion.exported.artifact.role == "student":  # else it was small enough as it was
        artifact = distilled(run, artifact, splits)
    model = exported(run, artifact, splits)
    policy = decided(model, splits)
    report, report_uri = benchmarked(run, model, policy, splits)
    version = registered(run, model, policy, report, report_uri, created_by="jobs.retrain")
    sets = {FROZEN: splits.evaluation_set()}
    if mixed.held_out.num_rows:
        sets[PUBLICATIONS] = evaluation_set_of(splits, mixed.held_out, "publications")
    evaluation = {
        **compared(run, champion, version, sets, config, before),
        "vocabulary": {"added": list(base.added), "mlm_losses": list(base.losses)[-5:]},
        "compliance": dict(report.compliance),
        "data": mixed.facts,
        "report": report_uri,
    }
    return {
        "submission_id": retrain.submission_id,
        "retrain_id": retrain.retrain_id,
        "bucket": retrain.bucket,
        "candidate_version": version.ref,
        "candidate_sha": candidate_sha(version.exported, version.policy),
        "champion_before": champion.ref,
        "evaluation_set_sha": digest([one.fingerprint for one in sets.values()]),
        "evaluation": evaluation,
        "manifest_sha": retrain.manifest_sha,
        "splits": splits.uri,
        "data_fingerprint": splits.data_fingerprint,
        "code_fingerprint": code_fingerprint(),
        "configuration": config.to_json(),
        "labels": [[*one.item.ref, one.label, one.by, one.why] for one in examples],
        "seconds": run.screen.seconds,
    }


def prepared(
    run: Run, ledger: Ledger, retrain: Retrain, config: RetrainConfig, before: Splits
) -> tuple[list[Labeled], Mixture, str]:
    """The manifest's items, labelled, beside replayed rows; and what removed identifiers."""
    with run.screen.stage("data") as stage:
        stage.say("labelling publications")
        examples = labeled(run.task, pinned_items(ledger, retrain), before, config)
        examples, added_rows = deidentified(run, examples)
        mixed = mixture(run.task, examples, before, config)
        facts = mixed.facts
        if not facts["num_new"] and not config.mlm_steps:
            raise InputError(
                f"a retraining needs a publication with a label, however: none of the "
                f"{facts['num_items']} has one that is new; label some, or set mlm_steps"
            )
        stage.say(
            f"{facts['num_new']:,} new rows of {facts['num_items']:,} publications, "
            f"{facts['num_replayed']:,} old ones"
        )
    return examples, mixed, added_rows


def deidentified(run: Run, examples: list[Labeled]) -> tuple[list[Labeled], str]:
    """The publications as the champion's texts are, and what was done to them in words."""
    rewrite = deidentifying(run)
    if rewrite is None:
        return examples, "as they were"
    examples, replaced = rewritten(examples, rewrite)
    return examples, sentence(rewrite.facts, replaced)


def followed(run: Run, config: RetrainConfig, examples: Sequence[Labeled], before: Splits) -> Grown:
    """The champion's base after the publications' texts, labelled or not."""
    from spt_core.vocabulary.growth import GrowthConfig, grown  # torch

    with run.screen.stage("adapt") as stage:

        def on_step(metrics: Mapping[str, float]) -> None:
            step = int(metrics["step"])
            text = f"step {step} of {config.mlm_steps}, {metrics['loss']:.2f} bits a token"
            stage.advance(step, config.mlm_steps, text)

        growth = grown(
            run.config.training.network.base,
            [one.text for one in examples if one.text],
            before.table("train", len(examples))[run.task.text_field.name].to_pylist(),
            task=run.task,
            config=GrowthConfig(
                max_new_tokens=config.max_new_tokens,
                min_term_uses=config.min_term_uses,
                mlm_steps=config.mlm_steps,
            ),
            storage=run.settings.storage,
            licences=before.licences,
            on_step=on_step,
        )
        stage.say(f"{len(growth.added)} new tokens, {len(growth.losses)} steps on raw text")
    return growth


def compared(
    run: Run,
    champion: ModelVersion,
    candidate: ModelVersion,
    sets: Mapping[str, EvaluationSet],
    config: RetrainConfig,
    before: Splits,
) -> dict[str, Any]:
    """Both models on the same rows."""
    from spt_core.benchmark.comparison import CompareConfig, Model, compare  # torch and pandas

    with run.screen.stage("compare") as stage:
        stage.say(f"{candidate.ref} beside {champion.ref}")
        comparison = compare(
            Model(champion.exported, champion.policy),
            Model(candidate.exported, candidate.policy),
            sets,
            CompareConfig(
                slices=config.slices,
                group=before.corpus.group,
                num_resamples=run.config.benchmark.num_resamples,
                seed=run.config.benchmark.seed,
            ),
        )
        frozen = comparison["sets"][0]
        stage.say(
            f"{comparison['metric'].replace('_', ' ')} {frozen['champion']['value']:.4f} to "
            f"{frozen['candidate']['value']:.4f}, {frozen['churn']:.1%} of the answers changed"
        )
    return comparison


def _parser() -> argparse.ArgumentParser:
    command_line = argparse.ArgumentParser(
        prog="python -m jobs.retrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_argument(
        "--submission-id", required=True, metavar="ID", help="as in the ledger"
    )
    command_line.add_argument(
        "--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage"
    )
    command_line.add_argument("--json", action="store_true", help="print one JSON object")
    return command_line


if __name__ == "__main__":
    call(main)
