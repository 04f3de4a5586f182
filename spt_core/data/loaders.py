"""A torch DataLoader -> the records of its dataset, each once and in the dataset's order.

How its rows are shuffled and batched is the TrainingConfig's matter. This module never imports
torch: whoever has a DataLoader has imported it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from spt_core.errors import InputError
from spt_core.records import flatten

_NUM_COLLATED = 1000  # items at a time, of a dataset whose items are no records


def is_loader(source: object) -> bool:
    """Whether a source of rows is a torch DataLoader."""
    loading = sys.modules.get("torch.utils.data")
    return loading is not None and isinstance(source, loading.DataLoader)


def loaded_records(loader: Any) -> Iterator[dict[str, Any]]:
    """The records of a DataLoader: its dataset's items, else those of the batches made of them.

    A batch, which the loader's `collate_fn` makes, is a list of records or a dict of columns
    (lists or tensors, [N] or [N, ...]). Tensors become numbers or lists of them. InputError where
    the loader would not draw each item once, or where there are no names of columns.
    """
    _require_each_once(loader)
    items = iter(_items(loader.dataset))
    first = next(items, None)
    if first is None:
        return
    items = itertools.chain([first], items)
    if isinstance(first, Mapping):
        for item in items:
            yield _record(item, "its dataset's items")
        return
    while chunk := list(itertools.islice(items, _NUM_COLLATED)):
        yield from _rows(loader.collate_fn(chunk))


def _items(dataset: Any) -> Iterator[Any]:
    if isinstance(dataset, sys.modules["torch.utils.data"].IterableDataset):
        return iter(dataset)
    return (dataset[index] for index in range(len(dataset)))


def _require_each_once(loader: Any) -> None:
    """A sampler that repeats or leaves out rows would be ignored, and is refused instead."""
    loading: Any = sys.modules["torch.utils.data"]
    if isinstance(loader.dataset, loading.IterableDataset):
        return
    sampler, batches = loader.sampler, loader.batch_sampler
    if batches is not None:
        sampler = batches.sampler if type(batches) is loading.BatchSampler else batches
    if type(sampler) is loading.SequentialSampler:
        return
    if (
        type(sampler) is loading.RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(loader.dataset)
    ):
        return
    raise InputError(
        "a DataLoader must draw each row of its dataset once (a torch.utils.data.Subset holds "
        f"fewer), however: its sampler is a {type(sampler).__name__}"
    )


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    if isinstance(batch, Mapping):
        yield from _of_columns(_record(batch, "its batches"))
    elif isinstance(batch, Sequence) and not isinstance(batch, str):
        for item in cast("Sequence[Any]", batch):
            yield _record(item, "its batches' items")
    else:
        raise InputError(_RULE.format(f"its batches are {type(batch).__name__}"))


def _of_columns(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, column in columns.items():
        if not isinstance(column, list | tuple):
            raise InputError(
                "a column of a DataLoader's batch must be a list or a tensor of a value for each "
                f"row, however: {name!r} is {type(column).__name__}"
            )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "the columns of a DataLoader's batch must be equally long, however: "
            f"{', '.join(f'{name} has {length}' for name, length in lengths.items())}"
        )
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


_RULE = (
    "a DataLoader must give records: its dataset's items or its batches' as dicts of fields, or "
    "its batches as dicts of columns, however: {}"
)


def _record(item: Any, what: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise InputError(_RULE.format(f"{what} are {type(item).__name__}"))
    record = flatten(cast("Mapping[str, Any]", item))
    return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    torch: Any = sys.modules["torch"]
    return value.tolist() if isinstance(value, torch.Tensor | np.ndarray) else value
