"""Fraud Detection Handbook protocol: the served student against tuned boosters, same features.

SPT_DATA_HOME=... python -m tests.bench.bench_handbook [--trials 50] [--seeds 5]

The book's split (Le Borgne et al. 2022, chapter 3): train 2018-07-25..31, seven days' delay, test
2018-08-08..14, customers known as compromised removed day by day. Everything is fitted, tuned,
stopped and calibrated on transactions up to 07-31: validation is 07-18..24, calibration 07-11..17.
"""

from __future__ import annotations

import argparse
import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.settings import load_settings
from spt_core.data.catalog import open_dataset
from spt_core.data.windows import add_windows
from spt_core.task import find
from tests.bench import protocol

START = datetime.datetime(2018, 6, 25)
DAY = datetime.timedelta(days=1)
TRAIN_START, NUM_DAYS, DELAY_DAYS = datetime.datetime(2018, 7, 25), 7, 7


def between(table: pa.Table, start: datetime.datetime, num_days: int) -> pa.Table:
    """Transactions of some days."""
    times = table["TX_DATETIME"]
    end = start + num_days * DAY
    return table.filter(pc.and_(pc.greater_equal(times, start), pc.less(times, end)))


def fraudulent_customers(table: pa.Table) -> set[str]:
    """Customers with a fraud."""
    return set(table.filter(pc.equal(table["TX_FRAUD"], 1))["CUSTOMER_ID"].to_pylist())


def test_week(table: pa.Table) -> pa.Table:
    """The test week without customers known as compromised, as in the book's get_train_test_set."""
    known = fraudulent_customers(between(table, TRAIN_START, NUM_DAYS))
    test_start = TRAIN_START + (NUM_DAYS + DELAY_DAYS) * DAY
    days = []
    for day in range(NUM_DAYS):
        known |= fraudulent_customers(between(table, TRAIN_START + (NUM_DAYS + day - 1) * DAY, 1))
        rows = between(table, test_start + day * DAY, 1)
        days.append(
            rows.filter(
                pc.invert(pc.is_in(rows["CUSTOMER_ID"], pa.array(sorted(known), pa.large_string())))
            )
        )
    return pa.concat_tables(days)


def main() -> None:
    """Run the protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    storage = protocol.bench_storage("handbook")
    task = find("financial_services/fraud_detection")
    with protocol.local_session(storage):
        corpus = open_dataset(
            "fraud-handbook-sim",
            data_home=load_settings(storage=storage).data_home,
            storage=storage,
        )
        table, columns = protocol.typed_rows(task, corpus, storage)
        table = add_windows(table, corpus.windows, "TX_DATETIME", "TX_FRAUD")
        parts = {
            "train": between(table, TRAIN_START, NUM_DAYS),
            "validation": between(table, TRAIN_START - 7 * DAY, 7),
            "calibration": between(table, TRAIN_START - 14 * DAY, 7),
            "test": test_week(table),
        }
        splits = protocol.make_splits(task, corpus, columns, parts, storage)
        protocol.say(f"rows {dict(splits.num_rows)}, frauds {dict(splits.num_positives)}")
        test, labels = protocol.encoded_arrays(splits, "test", splits.signature, limit=10**9)
        scores = protocol.students_scores(splits, task, storage, test, labels, given.seeds)
    customers = np.unique(np.asarray(splits.table("test")["CUSTOMER_ID"]), return_inverse=True)[1]
    command = f"python -m tests.bench.bench_handbook --trials {given.trials} --seeds {given.seeds}"
    figures = protocol.beside_boosters(splits, test, labels, scores, customers, given.trials)
    protocol.finish("handbook", {"command": command, **figures})


if __name__ == "__main__":
    main()
