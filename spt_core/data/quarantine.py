"""Bad rows of a split in one file, counted by reason; and that no row of a corpus is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow.parquet as pq

from spt_core.artifacts import filesystem, parquet_files, remove
from spt_core.data.conform import BAD_SCHEMA
from spt_core.data.corpus import Corpus
from spt_core.data.partition import Written
from spt_core.data.read import count_rows
from spt_core.errors import InputError


def collected(folder: str) -> dict[str, int]:
    """Joins what the workers refused into quarantine.parquet; counts by reason."""
    counts: Counter[str] = Counter()
    files, path = filesystem(folder)
    files.create_dir(path, recursive=True)
    with pq.ParquetWriter(f"{path}/quarantine.parquet", BAD_SCHEMA, filesystem=files) as writer:
        for uri in parquet_files(f"{folder}/.quarantine"):
            for batch in pq.ParquetFile(filesystem(uri)[1], filesystem=files).iter_batches():
                writer.write_batch(batch)
                counts.update(batch.column("reason").to_pylist())
    remove(f"{folder}/.quarantine")
    return dict(counts)


def accounted(corpus: Corpus, written: Written, quarantine: Mapping[str, int]) -> int:
    """The rows of the corpus, which must all be in a part, left out, or in quarantine."""
    num_good, num_bad = sum(written.num_rows.values()), sum(quarantine.values())
    num_left_out = sum(written.left_out.values())
    total, num_rows = num_good + num_left_out + num_bad, count_rows(corpus)
    if num_rows is not None and total != num_rows:
        raise InputError(
            f"every row of a corpus must be accounted for, however: {corpus.name} has {num_rows:,}"
            f" rows, {num_good:,} of them good, {num_left_out:,} left out and {num_bad:,} bad; did "
            "its files change meanwhile?"
        )
    return total
