"""Images of later parts that look like one of an earlier part are left out: parts -> parts.

The same picture in another file (smaller, another format, another quality) is no new row: a model
that trained on it would be judged by what it has seen.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import filesystem, parquet_files
from spt_core.data.corpus import LOOK, Finding
from spt_core.data.partition import PARTS, Part, Partition, Written
from spt_core.data.splits import table_of
from spt_core.images import looks_of

LEAST_CORRELATION = 0.995  # of two looks of one picture
MAX_SHARE = 0.5  # of a part's rows: where more look alike, the looks say nothing
CHUNK_ROWS = 4096
REASON = "looks like an image of an earlier part"


def remove_alike(written: Written, partition: Partition) -> tuple[int, list[Finding]]:
    """Takes rows out of parts that an image of an earlier one looks like; how many there were."""
    earlier = _looks(partition.folder, PARTS[0])
    removed, findings = 0, list[Finding]()
    for part in PARTS[1:]:
        own = _looks(partition.folder, part)
        alike = _is_alike(own, earlier)
        if alike.mean() > MAX_SHARE:
            detail = f"{alike.sum():,} of {len(own):,} images of {part} look like earlier ones: "
            detail += "none was left out, and figures may flatter"
            findings.append(Finding(kind="duplicates", column="", detail=detail))
        elif alike.any():
            removed += int(alike.sum())
            _remove(partition.folder, part, alike, written, partition)
        earlier = np.concatenate([earlier, own])
    if removed:
        detail = f"{removed:,} images look like one of an earlier part: left out"
        findings.append(Finding(kind="duplicates", column="", detail=detail))
    return removed, findings


def _looks(folder: str, part: Part) -> NDArray[np.float32]:
    """The looks [N, 256] of a part, in the order of its files."""
    looks: list[bytes] = []
    for uri in parquet_files(f"{folder}/{part}"):
        files, path = filesystem(uri)
        looks += pq.read_table(path, filesystem=files, columns=[LOOK])[LOOK].to_pylist()
    return looks_of(looks)


def _is_alike(own: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which looks [N] correlate with any of the others."""
    alike = np.zeros(len(own), np.bool_)
    for start in range(0, len(others), CHUNK_ROWS):
        chunk = others[start : start + CHUNK_ROWS].T
        for first in range(0, len(own), CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            alike[rows] |= (own[rows] @ chunk).max(1) >= LEAST_CORRELATION
    return alike


def _remove(
    folder: str, part: Part, alike: NDArray[np.bool_], written: Written, partition: Partition
) -> None:
    start = 0
    for uri in parquet_files(f"{folder}/{part}"):
        rows = table_of([uri])
        own = alike[start : start + rows.num_rows]
        start += rows.num_rows
        if own.any():
            written.remove(part, rows.filter(pa.array(own)), partition)
            files, path = filesystem(uri)
            pq.write_table(rows.filter(pa.array(~own)), path, filesystem=files)
