"""Check, type and split a corpus: python -m jobs.prepare INDUSTRY/TASK --data tx.parquet"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages import prepared


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> Splits; shows the schema that was inferred."""
    run = read_run(parser("prepare", __doc__ or "").parse_args(arguments))
    with started(run):
        splits = prepared(run)
    run.screen.table(
        "inputs",
        ["field", "kind", "may be missing", "categories"],
        [
            [f.name, f.kind, "no" if f.required else "yes", str(len(f.categories) or "")]
            for f in splits.signature.fields
        ],
    )
    run.screen.result(splits.to_json(), splits.uri)
    return 0


if __name__ == "__main__":
    call(main)
