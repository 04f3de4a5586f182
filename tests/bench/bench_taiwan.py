"""UCI default of credit card clients: the served student against tuned boosters.

SPT_DATA_HOME=... python -m tests.bench.bench_taiwan [--trials 50] [--seeds 5] [--salt taiwan-dev-]

Test: int(sha256(salt + ID).hexdigest(), 16) % 100 < 20; validation and calibration are cut from the
rest by the same hash (20 to 35, 35 to 45). Rows of a later part that are identical to an earlier
part's (features and label) are left out. SEX and AGE are protected, and no features.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cluster.settings import load_settings
from spt_core.data.catalog import open_dataset
from spt_core.data.corpus import ROW
from spt_core.data.hashing import row_hashes
from spt_core.task import find
from tests.bench import protocol

CUTS = {"test": (0, 20), "validation": (20, 35), "calibration": (35, 45), "train": (45, 100)}


def dealt(table: pa.Table, ids: pd.Series, salt: str) -> dict[str, pa.Table]:
    """The four parts by the hash of the client's ID, duplicates on one side."""
    hashes = [int(hashlib.sha256(f"{salt}{i}".encode()).hexdigest(), 16) % 100 for i in ids]
    places = np.array(hashes)[np.asarray(table[ROW])]
    content = row_hashes(table, [name for name in table.column_names if name != ROW])
    seen = np.empty(0, np.uint64)
    parts: dict[str, pa.Table] = {}
    for part in ("train", "calibration", "validation", "test"):
        low, high = CUTS[part]
        inside = (places >= low) & (places < high) & ~np.isin(content, seen)
        parts[part] = table.filter(pa.array(inside))
        seen = np.concatenate([seen, content[inside]])
    return parts


def main() -> None:
    """Run the protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--salt", default="taiwan-dev-")
    given = parser.parse_args()
    storage = protocol.bench_storage(f"taiwan-{given.salt}")
    task = find("financial_services/risk_assessment")
    home = load_settings(storage=storage).data_home
    folder = Path(home) / "financial_services" / "credit-taiwan"
    with gzip.open(folder / "taiwan_default_train.csv.gz") as stream:
        ids = pd.read_csv(stream, usecols=["ID"])["ID"]
    with protocol.local_session(storage):
        corpus = open_dataset("credit-taiwan", data_home=home, storage=storage)
        table, columns = protocol.typed_rows(task, corpus, storage)
        splits = protocol.make_splits(task, corpus, columns, dealt(table, ids, given.salt), storage)
        protocol.say(f"rows {dict(splits.num_rows)}, defaults {dict(splits.num_positives)}")
        test, labels = protocol.encoded_arrays(splits, "test", splits.signature, limit=10**9)
        scores = protocol.students_scores(splits, task, storage, test, labels, given.seeds)
    command = (
        f"python -m tests.bench.bench_taiwan --trials {given.trials} --seeds {given.seeds} "
        f"--salt {given.salt}"
    )
    clients = np.arange(len(labels))
    figures = protocol.beside_boosters(splits, test, labels, scores, clients, given.trials)
    protocol.finish(f"taiwan-{given.salt}", {"command": command, **figures})


if __name__ == "__main__":
    main()
