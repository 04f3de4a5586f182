"""Score a data set in batch: python -m jobs.predict INDUSTRY/TASK --data URI --output URI

Writes Parquet: `row` (the row's number in the input), `score` (the calibrated probability) and the
answer's fields. Unlabelled data is fine; bad rows go to `_quarantine.parquet` with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from cluster.lifecycle import ray_session
from cluster.settings import load_settings, require_absolute
from jobs.console import Screen
from jobs.exits import run as call
from spt_core.artifacts import as_uri
from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.registry import Registry
from spt_core.task import find

NOTHING_SCORED = 2  # the exit code where every row is bad


def main(arguments: Sequence[str] | None = None) -> int:
    """Data + version -> scores."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="INDUSTRY/TASK")
    parser.add_argument(
        "--data", metavar="URI", required=True, help="Parquet, CSV, JSONL or images"
    )
    parser.add_argument("--output", metavar="URI", required=True, help="a new folder")
    parser.add_argument(
        "--label",
        metavar="COLUMN",
        help="past labels, for windows of label rates (else the task's)",
    )
    parser.add_argument("--time", metavar="COLUMN", help="when it happened (else the model's)")
    parser.add_argument(
        "--entity",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a key that windows look back over, as the model names it",
    )
    parser.add_argument(
        "--model", metavar="VERSION|ALIAS", default="champion", help="such as 7 (default: champion)"
    )
    parser.add_argument(
        "--variant", metavar="TARGET", help="that version's model for a deployment target"
    )
    parser.add_argument(
        "--name", metavar="MODEL_NAME", default="default", help="model below the task"
    )
    parser.add_argument("--storage", metavar="URI", help="storage root (default: SPT_STORAGE)")
    parser.add_argument("--fresh", action="store_true", help="replace finished scores in --output")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    given = parser.parse_args(arguments)
    from spt_core.scoring import QUARANTINE, score_corpus  # ray and pandas

    task, settings = find(given.task), load_settings(storage=given.storage)
    if settings.is_named:
        require_absolute(given.data, "--data")
        require_absolute(given.output, "--output")
    screen = Screen(as_json=given.json)
    variant = "" if given.variant is None else f":{given.variant}"
    ref = f"{task.path}/{given.name}@{given.model}{variant}"
    version = Registry(settings.database_url).get(ref)
    with ray_session(settings), screen.stage("predict") as stage:
        signature = version.exported.artifact.signature
        corpus = open_corpus(
            task,
            given.data,
            storage=settings.storage,
            roles=Roles(
                label=given.label,
                time=given.time,
                entities=tuple(given.entity) or None,
                windows=(),  # the model's own
                gaps=signature.gaps,
            ),
            require_label=False,
        )
        stage.say(f"scoring {corpus.name} with {version.ref}")
        scored = score_corpus(
            corpus,
            version.exported,
            version.policy,
            ref=version.ref,
            output=as_uri(given.output),
            fresh=given.fresh,
        )
        stage.say(
            f"{scored.num_rows + scored.num_quarantined:,} rows in: {scored.num_rows:,} scored, "
            f"{scored.num_quarantined:,} in quarantine"
        )
    if corpus.ignored:
        screen.warn("  ignored", f": {', '.join(corpus.ignored)}, beside the folders of images")
    if scored.computed:
        screen.say(f"  windows over this data set's own rows: {', '.join(scored.computed)}")
    if scored.absent:
        screen.warn("  counted as missing", f": {', '.join(scored.absent)}")
    for oddity in scored.oddities:
        screen.warn("  unlike training", f": {oddity}")
    for reason, count in scored.reasons.items():
        rows = f"{count:,} bad row{'s' if count > 1 else ''}"
        screen.warn("  quarantine", f": {rows}, {reason}; see {scored.uri}/{QUARANTINE}")
    screen.result({"model": version.ref, **dataclasses.asdict(scored)}, scored.uri)
    return 0 if scored.num_rows or not scored.num_quarantined else NOTHING_SCORED


if __name__ == "__main__":
    call(main)
