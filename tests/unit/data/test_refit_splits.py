"""Splits of a last training: every row but those of the test."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.data.corpus import Corpus
from spt_core.data.partition import PARTS
from spt_core.data.splits import SplitConfig, Splits, refit_splits
from spt_core.signature import Field, Signature


def splits_at(folder):
    for number, part in enumerate(PARTS):
        (folder / part).mkdir()
        pq.write_table(pa.table({"x": [number] * (number + 1)}), folder / part / "rows.parquet")
    counts = {part: number + 1 for number, part in enumerate(PARTS)}
    return Splits(
        uri=folder.as_uri(),
        task="finance/fraud",
        corpus=Corpus(uris=(), format="csv", name="rows", identity="1"),
        config=SplitConfig(),
        kind="random",
        signature=Signature(fields=(Field(name="x", kind="number"),)),
        label="y",
        num_rows=counts,
        num_positives=counts,
        fingerprints={part: part[0] for part in PARTS},
        num_left_out={},
        quarantine={},
        findings=(),
        data_fingerprint="d",
        code_fingerprint="c",
    )


def test_training_has_every_row_but_the_test_s(tmp_path):
    splits = splits_at(tmp_path)
    whole = refit_splits(splits)
    assert whole.table("train")["x"].to_pylist() == [0, 1, 1, 2, 2, 2]
    assert whole.num_rows == {**splits.num_rows, "train": 6}
    assert whole.table("test") == splits.table("test")
    assert whole.evaluation_set() == splits.evaluation_set()
    assert whole.fingerprints["train"] == "t-v-c"
    assert whole.data_fingerprint == splits.data_fingerprint


def test_a_copy_of_them_is_of_all_rows_too(tmp_path):
    whole = dataclasses.replace(refit_splits(splits_at(tmp_path)), reused=True)
    assert len(whole.files("train")) == 3
