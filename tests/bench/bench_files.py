"""Rows a second from a file to splits: python -m tests.bench.bench_files [--rows 1000000]

A million transactions of 8 columns as CSV and as Parquet, made here; `prepare` as the job does it,
each repetition in a storage of its own. Prints a line for each, and one JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.data.splitting import split
from spt_core.task import find
from tests.bench import protocol

TASK = "financial_services/fraud_detection"
ROLES = Roles(label="is_fraud", time="booked")


def transactions(num_rows: int) -> pa.Table:
    """Numbers, words, codes and times; 1 % fraud."""
    draw = np.random.default_rng(0)
    seconds = np.sort(draw.integers(0, 90 * 86_400, num_rows)) + 1_700_000_000
    return pa.table(
        {
            "booked": pa.array(seconds, pa.timestamp("s")),
            "amount_eur": np.round(draw.lognormal(3, 1, num_rows), 2),
            "channel": draw.choice(np.array(["web", "shop", "atm", "app"]), num_rows),
            "mcc": draw.integers(1000, 1400, num_rows),
            "holder_years": draw.integers(0, 60, num_rows),
            "country": draw.choice(np.array(["DE", "FR", "IT", "NA", "US"]), num_rows),
            "balance": np.round(draw.normal(2000, 900, num_rows), 2),
            "is_fraud": (draw.random(num_rows) < 0.01).astype(np.int8),
        }
    )


def main() -> None:
    """Write, prepare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    table = transactions(arguments.rows)
    pq.write_table(table, folder / "a.parquet", row_group_size=250_000)
    pyarrow.csv.write_csv(table, str(folder / "a.csv"))
    rates: dict[str, list[float]] = {"a.csv": [], "a.parquet": []}
    with protocol.local_session(f"file://{folder}/ray"):
        for repetition in range(arguments.repetitions + 1):
            for name, values in rates.items():
                storage = f"file://{folder}/{name}-{repetition}"
                begin = time.perf_counter()
                corpus = open_corpus(find(TASK), str(folder / name), storage=storage, roles=ROLES)
                splits = split(find(TASK), corpus, storage)
                seconds = time.perf_counter() - begin
                assert splits.num_rows_in == arguments.rows
                if repetition:  # the first starts workers
                    values.append(arguments.rows / seconds)
                    protocol.say(f"{name}: {values[-1]:,.0f} rows/s")
    shutil.rmtree(folder)
    content = {name: round(statistics.median(values)) for name, values in rates.items()}
    protocol.say(json.dumps({"rows": arguments.rows, "rows_per_second": content}))


if __name__ == "__main__":
    main()
