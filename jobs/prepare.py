"""Check, type and split a corpus: python -m jobs.prepare INDUSTRY/TASK --data tx.parquet"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages.fitting import prepared


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> Splits; shows the schema that was inferred."""
    run = read_run(parser("prepare", __doc__ or "").parse_args(arguments))
    with started(run):
        splits = prepared(run)
    run.screen.table(
        "inputs",
        ["field", "kind", "written as", "gaps in training", "categories"],
        [
            [
                f.name,
                f.kind,
                (f.notation or "").replace("_", " "),
                "no" if f.complete else "yes",
                str(len(f.categories) or ""),
            ]
            for f in splits.signature.fields
        ],
    )
    run.screen.say(
        "  to change any of it: --set data.types=COLUMN:KIND data.drop= data.keep= data.gaps=TEXT "
        "data.protected= data.required="
    )
    run.screen.result(splits.to_json(), splits.uri)
    return 0


if __name__ == "__main__":
    call(main)
