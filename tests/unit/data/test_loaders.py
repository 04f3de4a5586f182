"""What a torch DataLoader, or anything else that is handed over in memory, holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from spt_core.data.loaders import loaded_records
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.task import find

pytestmark = pytest.mark.slow  # torch
RISK = find("financial_services/risk_assessment")
ROWS = [{"a": {"x": 1.5}, "b": "one"}, {"a": {"x": None}, "b": "two"}, {"a": {"x": 2.0}, "b": None}]
FLAT = [{"a.x": 1.5, "b": "one"}, {"a.x": None, "b": "two"}, {"a.x": 2.0, "b": None}]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(ROWS)


def columns(rows: list[Any]) -> dict[str, Any]:
    """What a collate_fn makes of tuples."""
    return {"a": {"x": torch.tensor([row[0] for row in rows])}, "b": [row[1] for row in rows]}


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(ROWS, batch_size=2),
        DataLoader(ROWS, batch_size=2, shuffle=True, drop_last=True),
        DataLoader(Stream(), batch_size=2),
        DataLoader(Subset([{}, *ROWS], [1, 2, 3])),
        DataLoader(list(enumerate(ROWS)), collate_fn=lambda items: [row for _, row in items]),
    ],
    ids=["rows", "shuffled", "stream", "subset", "batches of rows"],
)
def test_a_dataloader_gives_each_row_once_in_the_dataset_s_order(loader: Any) -> None:
    assert list(loaded_records(loader)) == FLAT


def test_batches_may_be_columns_and_tensors_become_numbers() -> None:
    pairs = [(1.5, "one"), (2.5, "two"), (3.5, "three")]
    loaded = list(loaded_records(DataLoader(pairs, batch_size=2, collate_fn=columns)))
    assert loaded == [{"a.x": x, "b": b} for x, b in pairs]
    rows = [{"x": torch.tensor(3), "y": torch.tensor([1, 2])}]
    assert list(loaded_records(DataLoader(rows))) == [{"x": 3, "y": [1, 2]}]


@pytest.mark.parametrize(
    ("loader", "fact"),
    [
        (DataLoader(TensorDataset(torch.zeros(4, 2)), batch_size=2), "items are Tensor"),
        (DataLoader([1, 2], collate_fn=sum), "its batches are int"),
        (DataLoader([1, 2], collate_fn=lambda items: {"x": items, "y": [1]}), "x has 2, y has 1"),
        (DataLoader([1, 2], collate_fn=lambda items: {"x": 3}), "'x' is int"),
        (
            DataLoader(ROWS, sampler=WeightedRandomSampler([1.0, 2.0, 1.0], 3)),
            "its sampler is a WeightedRandomSampler",
        ),
    ],
)
def test_a_dataloader_without_names_or_with_repeated_rows_is_refused(
    loader: Any, fact: str
) -> None:
    with pytest.raises(InputError, match=fact):
        list(loaded_records(loader))


def test_a_corpus_of_a_dataloader_is_that_of_its_rows(tmp_path: Path) -> None:
    rows = RISK.sample(50, 0).to_pylist()
    listed = open_corpus(RISK, rows, storage=str(tmp_path))
    loaded = open_corpus(RISK, DataLoader(rows, batch_size=16, shuffle=True), storage=str(tmp_path))
    assert loaded == listed
    assert pq.read_table(loaded.uris[0]).num_rows == 50


@pytest.mark.parametrize(
    ("source", "fact"),
    [(5, "it is int"), ({"a": [1]}, "it is dict"), ([(1, 2)], "a row is tuple")],
)
def test_what_holds_no_records_is_refused_by_what_it_is(
    source: Any, fact: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"rows must be a path or URI.*however: {fact}"):
        open_corpus(RISK, source, storage=str(tmp_path))
