"""Search students on Ray Tune, and show what keeps the limits and what that costs in quality.

python -m jobs.optimize INDUSTRY/TASK --budget-minutes 10 --set limits.latency_ms=0.1

Of each shape of a student (layers and widths) latency and size are measured first, with random
weights: what breaks a limit is never trained. Trials then look for the least loss at each latency;
the best are exported, with the teacher's forests and blends of both beside them, measured as they
would be served, and shown: a table, a page with a plot, and trials.parquet. Nothing is deployed:
`jobs.pipeline` with the same limits serves what was chosen, and trains nothing again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages.exporting import optimized, show_search
from jobs.stages.fitting import prepared, searched, trained


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> teacher (reused if it is there) -> students -> the front."""
    command_line = parser("optimize", __doc__ or "")
    command_line.add_argument(
        "--budget-minutes",
        type=float,
        metavar="M",
        help="no trial goes on after so long (default: as many as search.num_trials)",
    )
    run = read_run(command_line.parse_args(arguments))
    if run.arguments.budget_minutes is not None:
        own = dataclasses.replace(run.config.search, budget_minutes=run.arguments.budget_minutes)
        run = dataclasses.replace(run, config=dataclasses.replace(run.config, search=own))
    with started(run):
        splits = prepared(run)
        teacher = trained(run, splits)
        result = searched(run, teacher, splits)
        selection = optimized(run, teacher, result.students, splits)
        page = show_search(run, result, selection)
    chosen = next(point for point in selection.front if point.chosen)
    content = {
        "search": result.uri,
        "page": page,
        "trials": f"{result.uri}/trials.parquet",
        "front": [point.to_json() for point in selection.front],
        "chosen": chosen.to_json(),
        "exported": selection.model.uri,
    }
    run.screen.result(content, f"{chosen.name}: {selection.model.uri}\n{page}")
    return 0


if __name__ == "__main__":
    call(main)
