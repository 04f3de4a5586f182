"""The stage from a source and Splits to the teacher that is kept, as a person watches it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jobs.command import Run
from jobs.stages.fitting import watch
from spt_core.data.splits import Splits
from spt_core.model import SpecializedModel
from spt_core.registry import ModelVersion

if TYPE_CHECKING:
    from spt_core.transfer.trainer import Transferred


def transferred(
    run: Run, source: ModelVersion, splits: Splits
) -> tuple[Transferred, dict[str, Any]]:
    """Source + Splits -> the kept teacher, and what a report says of the transfer."""
    from spt_core.transfer.plan import TRANSFER
    from spt_core.transfer.trainer import DomainTransferTrainer

    training = run.config.training
    with run.screen.stage("transfer") as stage:
        stage.say(f"starting from {source.ref}")
        trainer = DomainTransferTrainer(run.config.transfer, training=training)
        what = {"transferred": f"beginning with {source.ref}", "scratch": "one from scratch"}
        result = trainer.transfer(
            SpecializedModel(source.exported),
            splits,
            fresh=run.fresh,
            on_metrics=watch(stage, training),
            on_model=lambda name: stage.say(what.get(name, f"with {name}")),
        )
        stage.say(result.verdict.sentence())
    facts = json.loads(result.transferred.artifact.read(TRANSFER))
    _show(run, facts)
    run.screen.say(f"  {result.verdict.saved()}")
    return result, {**facts, "source_version": source.ref, "verdict": result.verdict.to_json()}


def _show(run: Run, facts: dict[str, Any]) -> None:
    """What came over, what did not, and which column was taken for which."""
    if facts["columns"]:
        run.screen.table(
            "columns, and what they begin with (to change any: --set transfer.columns=MINE:THEIRS)",
            ["column", "of the source", "because of"],
            [[m["target"], m["source"] or "-", m["reason"]] for m in facts["columns"]],
        )
    others = [what for what in facts["taken"] if not what.startswith("the column ")]
    run.screen.say(f"  taken over: {', '.join(others) or 'nothing beside columns'}")
    run.screen.say(f"  afresh: {'; '.join(facts['fresh']) or 'nothing'}")
    for note in facts["notes"]:
        run.screen.warn("  note", f": {note}")
    run.screen.say(
        f"  licences of the source's data: {', '.join(facts['source_licences']) or 'unknown'}"
    )
