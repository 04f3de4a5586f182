"""More texts for a student: read and checked like training texts, without labels.

Corpus -> texts that no held-out part holds -> token ids, for the teacher to answer
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.artifacts import parquet_files, remove
from spt_core.data.corpus import Corpus
from spt_core.data.hashing import Hashes, column_hashes
from spt_core.data.partition import PARTS
from spt_core.data.read import Dataset, plain_errors, read
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits, table_of
from spt_core.data.tokenizing import tokenize_batch
from spt_core.errors import InputError
from spt_core.task import Task
from spt_core.training.texts import Vocabulary


def unlabelled_corpus(source: str, task: Task, storage: str) -> Corpus:
    """The files behind a path or URI; a label that they may have is not read."""
    return open_corpus(task, source, storage=storage, require_label=False)


def unlabelled_tokens(
    corpus: Corpus,
    splits: Splits,
    task: Task,
    words: Vocabulary,
    facts: Mapping[str, Any],
    quarantine: str,
) -> Dataset:
    """The corpus' texts as rows of `token_dataset` whose targets nobody knows.

    What a held-out part says already is left out: a student that had the teacher's answer for it
    would be measured on what it has seen. Bad rows go to the folder `quarantine`.
    """
    spans, text = task.spans_field, task.text_field.name
    remove(quarantine)  # a run that resumes reads everything again
    with plain_errors():
        rows = read(corpus, splits.signature.fields, quarantine=quarantine, with_label=False)
        kept = rows.map_batches(
            _without,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
            batch_format="pyarrow",
            fn_kwargs={"text": text, "held_out": _held_out(splits, text)},
        )
        tokens = kept.map_batches(
            tokenize_batch,  # pyright: ignore[reportArgumentType]
            batch_format="pyarrow",
            fn_kwargs={
                "tokenizer": words.tokenizer,
                "sizes": (words.max_tokens, words.overlap),
                "facts": json.dumps(facts),
                "text": text,
                "spans": None if spans is None else spans.name,
                "label": None,
                "class_weights": {},
            },
        ).materialize()
    if not tokens.count():
        raise InputError(
            "unlabelled must name texts of which some are not held out, however: "
            f"{corpus.name} has none"
        )
    return tokens


def num_refused(quarantine: str) -> int:
    """The bad rows in the folder."""
    return sum(table_of([uri]).num_rows for uri in parquet_files(quarantine))


def _held_out(splits: Splits, text: str) -> Hashes:
    parts = [splits.table(part)[text] for part in PARTS if part != "train"]
    return np.unique(np.concatenate([column_hashes(column) for column in parts]))


def _without(table: pa.Table, *, text: str, held_out: Hashes) -> pa.Table:
    return table.filter(pa.array(~np.isin(column_hashes(table[text]), held_out)))
