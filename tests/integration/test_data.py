"""Corpora of all kinds through Ray Data into Splits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import ray

from spt_core.artifacts import exists
from spt_core.data.catalog import open_dataset
from spt_core.data.corpus import Corpus, Roles
from spt_core.data.partition import PARTS
from spt_core.data.sources import open_corpus
from spt_core.data.splits import SplitConfig, evaluation_set_from_json, load_splits
from spt_core.data.splitting import split
from spt_core.data.windows import add_windows, add_windows_to_dataset
from spt_core.errors import InputError
from spt_core.families.tabular.reading import Encoder
from spt_core.signature import Window
from spt_core.task import find
from tests.unit.data.examples import TASK, rows

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
RANDOM = SplitConfig(kind="random")


def corpus_of(table: pa.Table, folder: Path, **roles: Any) -> Corpus:
    return open_corpus(TASK, table, storage=str(folder), roles=Roles(**roles))


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        table.to_pandas().to_json(path, orient="records", lines=True, date_format="iso")
    return path


def test_a_time_split_is_in_order_and_complete(tmp_path: Path) -> None:
    splits = split(TASK, corpus_of(rows(2000), tmp_path), str(tmp_path))
    assert splits.kind == "time"
    assert sum(splits.num_rows.values()) + sum(splits.num_left_out.values()) == 2000
    parts = [splits.table(part)["when"] for part in PARTS]
    for before, after in zip(parts[:-1], parts[1:], strict=True):
        assert pc.max(before).as_py() < pc.min(after).as_py()
    assert abs(splits.num_rows["train"] - 1200) < 20


def test_a_finished_split_is_reused_and_loads(tmp_path: Path) -> None:
    corpus = corpus_of(rows(500), tmp_path)
    first = split(TASK, corpus, str(tmp_path), RANDOM)
    again = split(TASK, corpus, str(tmp_path), RANDOM)
    assert again.reused
    assert not first.reused
    assert dataclasses.replace(again, reused=False) == first == load_splits(first.uri)
    assert split(TASK, corpus, str(tmp_path), SplitConfig(kind="random", seed=1)).uri != first.uri


def test_the_label_delay_leaves_a_gap_before_each_later_part(tmp_path: Path) -> None:
    config = SplitConfig(label_delay_days=2)
    splits = split(TASK, corpus_of(rows(2000), tmp_path), str(tmp_path), config)
    assert splits.num_left_out["label delay"] > 50
    assert sum(splits.num_left_out.values()) + sum(splits.num_rows.values()) == 2000
    gap = (
        pc.min(splits.table("test")["when"]).as_py()
        - pc.max(splits.table("calibration")["when"]).as_py()
    )
    assert gap.total_seconds() > 2 * 86_400


def test_identical_rows_never_part_in_a_random_split(tmp_path: Path) -> None:
    table = rows(600)
    corpus = corpus_of(pa.concat_tables([table, table, table.slice(0, 100)]), tmp_path)
    splits = split(TASK, corpus, str(tmp_path), RANDOM)
    hashes = [set(splits.table(part)["__hash"].to_pylist()) for part in PARTS]
    assert sum(len(part) for part in hashes) == len(set.union(*hashes)) == 600


def test_a_group_is_never_split_and_twins_are_removed(tmp_path: Path) -> None:
    table = rows(2000)
    other = table.set_column(3, "card", pa.array(np.asarray(table["card"]) + 1000))
    corpus = corpus_of(pa.concat_tables([table, other.slice(0, 300)]), tmp_path, group="card")
    splits = split(TASK, corpus, str(tmp_path), SplitConfig(kind="group"))
    parts = [splits.table(part) for part in PARTS]
    groups = [set(part["card"].to_pylist()) for part in parts]
    assert sum(len(group) for group in groups) == len(set.union(*groups))
    removed = splits.num_left_out["identical to a training row"]
    assert removed > 10
    assert sum(part.num_rows for part in parts) == 2300 - removed
    known = set(parts[0]["__hash"].to_pylist())
    assert not any(known & set(part["__hash"].to_pylist()) for part in parts[1:])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_formats_and_files_give_the_same_fingerprint(tmp_path: Path, suffix: str) -> None:
    table = rows(900)
    whole = write(table, tmp_path / "whole.parquet")
    folder = tmp_path / "parts"
    folder.mkdir()
    for index, start in enumerate((600, 0, 300)):
        write(table.slice(start, 300), folder / f"{index}{suffix}")
    one, other = (
        split(TASK, open_corpus(TASK, s, storage=str(tmp_path)), str(tmp_path))
        for s in (whole, folder)
    )
    assert one.data_fingerprint == other.data_fingerprint
    assert one.fingerprints == other.fingerprints
    assert one.signature == other.signature
    numbers = sorted(n for part in PARTS for n in other.table(part)["__row"].to_pylist())
    assert numbers == list(range(900))


def test_bad_rows_go_to_quarantine_and_are_counted(tmp_path: Path) -> None:
    path = write(rows(800).drop_columns(["when"]), tmp_path / "a.csv")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[0], "lots", 1)
    lines[5] = "-1" + lines[5][lines[5].index(",") :]
    lines[9] = "1,2"
    lines[11] = lines[11].rsplit(",", 1)[0] + ","
    path.write_text("\n".join(lines))
    corpus = open_corpus(TASK, path, storage=str(tmp_path))
    splits = split(TASK, corpus, str(tmp_path))
    assert splits.kind == "random"
    assert splits.quarantine == {
        "the field 'amount' must be a finite number": 1,
        "the field 'amount' must be at least 0": 1,
        "a line must have 5 columns": 1,
        "the label 'y' must be known, however: it is missing": 1,
    }
    table = splits.quarantined()
    assert sorted(table["__row"].to_pylist()) == [2, 4, 8, 10]
    by_row = dict(zip(table["__row"].to_pylist(), table["record"].to_pylist(), strict=True))
    assert json.loads(by_row[2])["amount"] == "lots"
    assert sum(splits.num_rows.values()) == 796


def test_frames_records_and_datasets_are_taken(tmp_path: Path) -> None:
    frame = rows(300).to_pandas()
    records = [{"amount": 1.0, "deep": {"code": "x"}, "y": 0}] * 3 + [{"amount": "n", "y": 1}]
    one = open_corpus(TASK, frame, storage=str(tmp_path))
    assert open_corpus(TASK, frame, storage=str(tmp_path)).uris == one.uris
    assert open_corpus(TASK, ray.data.from_pandas(frame), storage=str(tmp_path)).label == "y"
    with pytest.raises(InputError, match="full of text"):
        open_corpus(TASK, records, storage=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "roles", "message"),
    [
        ({}, {"label": "is_y"}, "label column.*no column 'is_y'"),
        ({}, {"entities": ("cart",)}, "entity column.*nearest is 'card'"),
        ({"y": pa.array(np.zeros(400))}, {}, "two classes, however: all 400 rows are negative"),
        ({"leak": "y"}, {}, "'leak' alone reaches an AUC of 1.000"),
        ({}, {"windows": (Window(entity="shop", function="count", span_days=1),)}, "needs the col"),
    ],
)
def test_a_corpus_that_cannot_train_is_refused(
    tmp_path: Path, change: dict[str, object], roles: dict[str, object], message: str
) -> None:
    table = rows(400)
    for name, values in change.items():
        column = pc.add(table["y"], 1) if values == "y" else values
        place = table.column_names.index(name) if name in table.column_names else None
        table = (
            table.append_column(name, column)
            if place is None
            else table.set_column(place, name, column)
        )
    with pytest.raises(InputError, match=message):
        split(TASK, corpus_of(table, tmp_path, **roles), str(tmp_path), RANDOM)
    assert not list(tmp_path.glob("splits/*"))


def test_a_leak_that_is_kept_is_a_finding(tmp_path: Path) -> None:
    table = rows(400)
    table = table.append_column("leak", pc.add(table["y"], 1))
    splits = split(TASK, corpus_of(table, tmp_path, keep=("leak",)), str(tmp_path), RANDOM)
    assert ("accepted", "leak") in {(f.kind, f.column) for f in splits.findings}


def test_a_file_that_breaks_midway_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(20):
        write(rows(50, seed=index), folder / f"{index:02d}.parquet")
    corpus = open_corpus(TASK, folder, storage=str(tmp_path))
    good = (folder / "05.parquet").read_bytes()
    (folder / "05.parquet").write_bytes(good[:100] + b"\0" * 400 + good[500:])
    with pytest.raises(InputError, match="05.parquet"):
        split(TASK, corpus, str(tmp_path))
    assert not list(tmp_path.glob("splits/*"))


def test_a_column_of_some_files_is_missing_in_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(20):
        table = rows(50, seed=index)
        write(table.drop_columns(["code"]) if index < 5 else table, folder / f"{index:02d}.parquet")
    corpus = open_corpus(TASK, folder, storage=str(tmp_path))
    splits = split(TASK, corpus, str(tmp_path), RANDOM)
    assert sum(splits.num_rows.values()) == 1000
    assert sum(splits.table(part)["code"].null_count for part in PARTS) == 250
    assert not splits.signature.field("code").complete
    (finding,) = [finding for finding in splits.findings if finding.kind == "absent"]
    assert (finding.column, finding.detail) == (
        "code",
        "15 of 20 files have it: missing in the others",
    )


def test_the_parts_can_be_encoded_and_the_evaluation_set_travels(tmp_path: Path) -> None:
    splits = split(TASK, corpus_of(rows(500), tmp_path), str(tmp_path), RANDOM)
    encoded = Encoder(splits.signature).table(splits.table("train"))
    assert encoded.shape == (splits.num_rows["train"], len(splits.signature.columns))
    assert splits.signature.field("code").categories == ("b", "c", "a")
    held_out = splits.evaluation_set()
    assert evaluation_set_from_json(json.loads(json.dumps(held_out.to_json()))) == held_out
    assert held_out.table().num_rows == held_out.num_rows == splits.dataset("test").count()
    assert splits.protected == ("sex",)


WINDOWS = (
    Window(entity="card", function="count", span_days=7),
    Window(entity="card", function="mean", value="amount", span_days=30),
    Window(entity="code", function="label_rate", span_days=7, delay_days=7),
)


@pytest.mark.parametrize("num_partitions", [1, 3])
def test_windows_of_a_dataset_equal_those_of_a_table(num_partitions: int) -> None:
    table = rows(600).append_column("__row", pa.array(np.arange(600)))
    dataset = ray.data.from_arrow([table.slice(0, 200), table.slice(200)])
    made = add_windows_to_dataset(dataset, WINDOWS, "when", "y", num_partitions=num_partitions)
    expected = add_windows(table, WINDOWS, "when", "y")
    blocks = made.iter_batches(batch_size=None, batch_format="pyarrow")
    found = pa.concat_tables(blocks).sort_by("__row")
    assert set(found.column_names) == set(expected.column_names)
    for window in WINDOWS:
        np.testing.assert_allclose(
            found[window.name].to_numpy(), expected[window.name].to_numpy(), rtol=1e-12
        )


def test_windows_are_fields_of_the_signature(tmp_path: Path) -> None:
    corpus = corpus_of(rows(1500), tmp_path, entities=("card",), windows=WINDOWS)
    splits = split(TASK, corpus, str(tmp_path))
    assert splits.signature.windows == WINDOWS
    assert splits.signature.field("card.count_7d").kind == "number"
    assert pc.min(splits.table("test")["card.count_7d"]).as_py() >= 1


def test_a_full_disk_is_not_called_a_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    corpus = corpus_of(rows(300), tmp_path)
    monkeypatch.setattr("spt_core.data.splitting.collected", full)
    with pytest.raises(OSError, match="No space left"):
        split(TASK, corpus, str(tmp_path))
    assert not list(tmp_path.glob("splits/*"))


@pytest.mark.parametrize(
    ("name", "num_rows"), [("credit-german", 1000), ("fraud-ulb-sampled", 4131)]
)
def test_public_data_sets_split(data_home: str, tmp_path: Path, name: str, num_rows: int) -> None:
    corpus = open_dataset(name, data_home=data_home, storage=str(tmp_path))
    splits = split(find(corpus_task(name)), corpus, str(tmp_path))
    total = sum(splits.num_rows.values()) + sum(splits.num_left_out.values())
    assert total == num_rows
    assert not splits.quarantine
    assert exists(splits.uri)


def corpus_task(name: str) -> str:
    kind = "fraud_detection" if name.startswith("fraud") else "risk_assessment"
    return f"financial_services/{kind}"


def test_bad_rows_of_arrays_are_in_the_split_s_quarantine_and_figures(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    life = range(60, 0, -1)
    units = [
        {"machine": f"m{n}", "cycle": [*range(60)], "remaining_useful_life": [*life]}
        | {name: draw.normal(size=60).tolist() for name in ("heat", "speed")}
        for n in range(20)
    ]
    lines = [json.dumps(unit) for unit in units]
    lines[3] = "{oops"
    lines[9] = json.dumps(units[9] | {"heat": [1.0, 2.0]})
    lines[12] = json.dumps(units[12] | {"speed": "fast"})
    (tmp_path / "units.jsonl").write_text("\n".join(lines))
    task = find("manufacturing/predictive_maintenance")
    corpus = open_corpus(task, tmp_path / "units.jsonl", storage=str(tmp_path))
    splits = split(task, corpus, str(tmp_path))
    assert splits.quarantined()["__row"].to_pylist() == [3, 9, 12]
    assert sum(splits.quarantine.values()) == 3
    assert splits.num_rows_in == 17 * 60 + 3
    assert load_splits(splits.uri).corpus == corpus
