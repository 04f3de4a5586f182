"""Rows of later parts that a training row is identical to: they would be known by heart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import filesystem, parquet_files
from spt_core.data.corpus import HASH, Finding
from spt_core.data.hashing import Hashes
from spt_core.data.leakage import is_among, ranges
from spt_core.data.partition import PARTS, Part, Partition, Written
from spt_core.data.splits import table_of

MIN_DISTINCT = 0.5


def remove_duplicates(written: Written, partition: Partition) -> tuple[int, list[Finding]]:
    """Takes rows out of the later parts that a training row is identical to; how many there were.

    Reads the written hashes once per range of hash values that fits in memory. Where training rows
    themselves mostly coincide, as rows of few coarse columns do, being identical means nothing.
    """
    if partition.time is None and partition.group is None:
        return 0, []  # dealt by this very hash
    if partition.window is not None:
        return 0, []  # a month without demand, or a machine at rest, is like many others
    removed = 0
    train = parquet_files(f"{partition.folder}/train")
    for low, high in ranges(written.num_rows["train"]):
        hashes = _hashes(train, low, high)
        distinct_hashes = np.unique(hashes)
        if len(distinct_hashes) < MIN_DISTINCT * len(hashes):
            detail = (
                f"{len(distinct_hashes)} of {len(hashes)} training rows differ: twins were not "
                "removed"
            )
            return removed, [Finding(kind="duplicates", column="", detail=detail)]
        for part in PARTS[1:]:
            for uri in parquet_files(f"{partition.folder}/{part}"):
                removed += _remove_twins(uri, part, distinct_hashes, written, partition)
    if not removed:
        return 0, []
    detail = f"{removed} rows of later parts were identical to a training row: left out"
    return removed, [Finding(kind="duplicates", column="", detail=detail)]


def _remove_twins(
    uri: str, part: Part, training_hashes: Hashes, written: Written, partition: Partition
) -> int:
    twin = is_among(_hashes([uri], np.uint64(0), np.uint64(2**64 - 1)), training_hashes)
    if twin.any():
        rows = table_of([uri])
        written.remove(part, rows.filter(pa.array(twin)), partition)
        files, path = filesystem(uri)
        pq.write_table(rows.filter(pa.array(~twin)), path, filesystem=files)
    return int(twin.sum())


def _hashes(uris: Sequence[str], low: np.uint64, high: np.uint64) -> Hashes:
    arrays = [np.empty(0, np.uint64)]
    for uri in uris:
        files, path = filesystem(uri)
        values = np.asarray(pq.read_table(path, filesystem=files, columns=[HASH])[HASH])
        arrays.append(values[(values >= low) & (values <= high)])
    return np.concatenate(arrays)
