"""Splits with a share of their training rows: what a model is worth that has fewer labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import filesystem, has_manifest, remove, write_manifest
from spt_core.data.corpus import ROW
from spt_core.data.labels import num_saying
from spt_core.data.partition import PARTS
from spt_core.data.splits import Splits, load_splits

_HASH, _RANGE = 2_654_435_761, 2**32  # Knuth's multiplicative hash of a row's number


def with_share(splits: Splits, share: float) -> Splits:
    """The splits with a share of the training rows, in a folder of their own.

    In time the last ones, else those whose number has the lowest hash: smaller shares lie within
    larger ones. The training rows must fit in memory.
    """
    uri = f"{splits.uri}-share-{share:g}"
    if has_manifest(uri):
        return load_splits(uri)
    remove(uri)
    table = splits.table("train").sort_by(ROW)
    size = max(round(share * table.num_rows), 1)
    if splits.kind == "time":
        kept = table.slice(table.num_rows - size)
    else:
        places = (np.asarray(table[ROW], np.uint64) * np.uint64(_HASH)) % np.uint64(_RANGE)
        kept = table.take(pa.array(np.sort(np.argsort(places, kind="stable")[:size])))
    files, path = filesystem(uri)
    for part in PARTS:
        files.create_dir(f"{path}/{part}", recursive=True)
        if part != "train":
            for source in splits.files(part):
                _, place = filesystem(source)
                files.copy_file(place, f"{path}/{part}/{place.rsplit('/', 1)[-1]}")
    pq.write_table(kept, f"{path}/train/rows.parquet", filesystem=files)
    num_positives = num_saying(kept[splits.label], splits.labels)
    fewer = dataclasses.replace(
        splits,
        uri=uri,
        num_rows={**splits.num_rows, "train": kept.num_rows},
        num_positives={**splits.num_positives, "train": num_positives},
        fingerprints={
            **splits.fingerprints,
            "train": f"{splits.fingerprints['train']}-share-{share:g}",
        },
        reused=False,
    )
    write_manifest(uri, fewer.to_json())
    return fewer
