"""More texts for a student: read and checked like training texts, without labels.

Corpus -> texts that no held-out part holds -> token ids, for the teacher to answer
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.artifacts import parquet_files, remove
from spt_core.data.corpus import Corpus
from spt_core.data.formats import header
from spt_core.data.hashing import Hashes, column_hashes
from spt_core.data.partition import PARTS
from spt_core.data.read import Dataset, plain_errors, read
from spt_core.data.splits import Splits, table_of
from spt_core.data.texts import canonical
from spt_core.errors import InputError
from spt_core.families.text.encoding import tokenize_batch
from spt_core.families.text.reading import Lexicon
from spt_core.families.text.rows import Vocabulary, kept_in_order
from spt_core.task import Task


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
    would be measured on what it has seen. Bad rows go to the folder `quarantine`. Mentions of a
    pair task are found by its lexicon where a row does not give them, as in serving.
    """
    spans, text = task.spans_field, task.text_field.name
    columns = header(corpus.uris[0], corpus.format)
    fields = [field for field in splits.signature.fields if field.required or field.name in columns]
    remove(quarantine)  # a run that resumes reads everything again
    with plain_errors():
        rows = read(corpus, fields, quarantine=quarantine, with_label=False)
        kept = rows.map_batches(
            _without,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
            batch_format="pyarrow",
            fn_kwargs={"text": text, "held_out": _held_out(splits, text)},
        )
        if spans is not None:
            kept = kept.map_batches(
                with_mentions,  # pyright: ignore[reportArgumentType]
                batch_format="pyarrow",
                fn_kwargs={"text": text, "spans": spans.name, "names": facts["lexicon"]},
            )
        tokens = kept_in_order(
            kept.map_batches(
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
            )
        )
    if not tokens.count():
        raise InputError(
            "unlabelled must name texts of which some are not held out, however: "
            f"{corpus.name} has none"
        )
    return tokens


def with_mentions(table: pa.Table, *, text: str, spans: str, names: Sequence[str]) -> pa.Table:
    """Typed rows whose spans are those of the names in the text where they were absent or null."""
    lexicon = Lexicon(names)
    given: list[str | None] = [None] * table.num_rows
    if spans in table.column_names:
        given = table[spans].to_pylist()
        table = table.drop_columns([spans])
    values = [
        canonical([mention._asdict() for mention in lexicon.find(words)])
        if value is None
        else value
        for words, value in zip(table[text].to_pylist(), given, strict=True)
    ]
    return table.append_column(spans, pa.array(values, pa.large_string()))


def num_refused(quarantine: str) -> int:
    """The bad rows in the folder."""
    return sum(table_of([uri]).num_rows for uri in parquet_files(quarantine))


def _held_out(splits: Splits, text: str) -> Hashes:
    parts = [splits.table(part)[text] for part in PARTS if part != "train"]
    return np.unique(np.concatenate([column_hashes(column) for column in parts]))


def _without(table: pa.Table, *, text: str, held_out: Hashes) -> pa.Table:
    return table.filter(pa.array(~np.isin(column_hashes(table[text]), held_out)))
