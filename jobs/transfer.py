"""Begin a task's model with another task's: python -m jobs.transfer INDUSTRY/TASK [--from MODEL]

The source is the task's own (insurance/claims_fraud starts from financial_services/fraud_detection)
or --from, a registered model: train it first with jobs.pipeline. Of tables, columns are matched by
name, by what they stand for and by their values, and shown. The transferred model is kept if it is
not worse on validation rows than one from scratch; what was kept is distilled, exported,
benchmarked and registered, and jobs.deploy serves it.

--set transfer.strategy=full|head_only|progressive_unfreezing|l2_sp, transfer.columns=MINE:THEIRS,
MINE:none, transfer.margin=0.005, transfer.shares=0.5,0.25 (how many labels it saves); or all of it
in a file, --config transfer.json:
  {"strategy": "progressive_unfreezing", "freeze_layers": ["embedding", "encoder.0"],
   "unfreeze_schedule": {"epoch_2": ["encoder.0"], "epoch_4": ["embedding"]},
   "columns": {"sum_insured": "loan_details.amount", "colour": null}}
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.stages.exporting import optimized
from jobs.stages.fitting import prepared, students_of
from jobs.stages.judging import benchmarked, decided, registered, show_report
from jobs.stages.transferring import transferred
from spt_core.errors import InputError, NotFoundError
from spt_core.registry import ModelVersion
from spt_core.transfer import transfer_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Source + corpus -> the better of a transferred and a new model, registered."""
    command_line = parser("transfer", __doc__ or "")
    command_line.add_argument(
        "--from",
        metavar="MODEL",
        dest="source",
        help="INDUSTRY/TASK[/MODEL_NAME][@VERSION_OR_ALIAS] to start from (default: the task's)",
    )
    command_line.add_argument(
        "--config", metavar="FILE", help="JSON: strategy, freeze_layers, columns, ..."
    )
    run = _configured(read_run(command_line.parse_args(arguments)))
    source = _source(run)
    with started(run):
        splits = prepared(run)
        result, facts = transferred(run, source, splits)
        teacher, run = result.model, _alone(run, result.verdict.kept)
        model, front, _ = optimized(run, teacher, students_of(run, teacher, splits), splits)
        policy = decided(model, splits)
        report, uri = benchmarked(run, model, policy, splits, front, transfer=facts)
        version = registered(run, model, policy, report, uri, created_by="jobs.transfer")
    show_report(run, report)
    named = "" if run.arguments.name == "default" else f" --name {run.arguments.name}"
    run.screen.say(f"  to serve it: python -m jobs.deploy {run.task.path}{named}")
    run.screen.result(
        {"version": version.ref, "report": uri, "source": source.ref, "transfer": facts},
        f"{version.ref}\n{uri}",
    )
    return 0


def _configured(run: Run) -> Run:
    """The run with what the file says of the transfer."""
    path, usual = run.arguments.config, run.config.transfer
    if path is None:
        return run
    if usual != type(usual)():
        raise InputError(
            "a transfer is configured by --config or by --set, however: both are given"
        )
    try:
        content: Any = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--config must name a JSON file, however: {path}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"--config must hold one JSON object, however: {path} does not")
    return dataclasses.replace(
        run, config=dataclasses.replace(run.config, transfer=transfer_config(content))
    )


def _source(run: Run) -> ModelVersion:
    """The registered model to start from."""
    name = run.arguments.source or run.task.transfer_from
    if name is None:
        raise InputError(
            f"a transfer must have a source, however: {run.task.path} names none; give --from"
        )
    try:
        return run.registry().get(name)
    except NotFoundError as error:
        task = name.partition("@")[0]
        raise NotFoundError(
            f"a transfer must start from a registered model, however: {error}; python -m "
            f"jobs.pipeline {task} trains one"
        ) from error


def _alone(run: Run, kept: str) -> Run:
    """Where the transferred model is kept, it alone teaches: teachers of folds have no source."""
    if kept != "transferred":
        return run
    distillation = dataclasses.replace(run.config.distillation, num_folds=0)
    return dataclasses.replace(
        run, config=dataclasses.replace(run.config, distillation=distillation)
    )


if __name__ == "__main__":
    call(main)
