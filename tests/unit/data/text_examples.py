"""Tiny tasks on text of every head, and corpora for them."""

from __future__ import annotations

import pyarrow as pa

from spt_core.data.corpus import Corpus
from spt_core.signature import Field
from spt_core.task import Head, IndustryType, Task

TEXT = Field(name="text", kind="text")
SPANS = Field(name="spans", kind="spans", required=False)
CORPUS = Corpus(uris=("memory",), format="parquet", name="toy", identity="0", label="y")


def task(head: Head, **changes: object) -> Task:
    """A task on text with this head; `changes` are further fields of it."""
    if head == "pair":
        changes = {"fields": (TEXT, SPANS), "negative_class": "none", **changes}
    told = {
        "industry": IndustryType.TECHNOLOGY,
        "name": "toy",
        "title": "Toy",
        "description": "A toy.",
        "verb": "toy",
        "label": "y",
        "family": "text",
        "head": head,
        "fields": (TEXT,),
        "answer": {},
        "respond": lambda _: {},
        "example": {},
        "sample": lambda num_rows, seed: topics(num_rows),
        "group": "document",
        **changes,
    }
    return Task(**told)


def topics(num_rows: int) -> pa.Table:
    """Distinct texts in documents of ten, every third of them with one topic or two."""
    labels = [
        ('["b","a"]', "c", "[]")[0 if i % 5 == 0 else 1 if i % 7 == 0 else 2]
        for i in range(num_rows)
    ]
    return pa.table(
        {
            "text": [f"This is text number {i}." for i in range(num_rows)],
            "document": [f"d{i // 10}" for i in range(num_rows)],
            "y": labels,
        }
    )
