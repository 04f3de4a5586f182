"""What inputs are worth to a model, and what each part of its data holds: facts for a reader.

Answerer + held-out rows -> importance of each field; Splits -> rows and periods of the parts
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spt_core.answering import Answerer
from spt_core.artifacts import filesystem
from spt_core.data.partition import PARTS, Part
from spt_core.data.splits import Splits, sampled_places
from spt_core.judgement import FieldEffect

EXPLAINED_ROWS = 500


def input_facts(answerer: Answerer, table: pa.Table) -> list[dict[str, Any]]:
    """The fields by their mean absolute effect on answers, and how often each is missing.

    The effect is on the first score, or on that of the likeliest class; none of texts.
    """
    if answerer.task.subject is not None:
        return []
    chosen = sampled_places(table.num_rows, EXPLAINED_ROWS)
    rows = answerer.predictor.encode(table.take(pa.array(chosen)))
    sums: dict[str, float] = {}
    num_rows = 0
    for prediction in answerer.predictor.explain(rows):
        scores = prediction.scores.values[0]
        is_class = bool(answerer.classes) and len(scores) == len(answerer.classes)
        direction = np.eye(len(scores))[int(scores.argmax()) if is_class else 0]
        for reason in prediction.reasons(0, direction):
            assert isinstance(reason, FieldEffect), "a table's reasons are its fields"
            sums[reason.field] = sums.get(reason.field, 0.0) + abs(reason.effect)
        num_rows += 1
    return [
        {
            "field": name,
            "importance": sums[name] / max(num_rows, 1),
            "missing": _missing_share(table, name),
        }
        for name in sorted(sums, key=lambda name: -sums[name])
    ]


def part_facts(splits: Splits) -> list[dict[str, Any]]:
    """Rows, the share whose label says something, and the period of each part."""
    return [
        {
            "part": part,
            "num_rows": splits.num_rows[part],
            "base_rate": splits.num_positives[part] / max(splits.num_rows[part], 1),
            **_period(splits, part),
        }
        for part in PARTS
    ]


def _missing_share(table: pa.Table, name: str) -> float:
    if name not in table.column_names:
        return 1.0
    return table[name].null_count / max(table.num_rows, 1)


def _period(splits: Splits, part: Part) -> dict[str, str]:
    time = splits.corpus.time
    uris = splits.files(part)
    if time is None or not uris:
        return {}
    files, _ = filesystem(uris[0])
    ends: list[Any] = []
    for uri in uris:
        file = pq.ParquetFile(filesystem(uri)[1], filesystem=files)
        if time not in file.schema_arrow.names:
            return {}
        column = file.read(columns=[time])[time]
        ends += [end for end in pc.min_max(column).as_py().values() if end is not None]
    return {"first": _moment(min(ends)), "last": _moment(max(ends))} if ends else {}


def _moment(value: Any) -> str:
    """A time, or the number of a series' reading, as text."""
    return f"{value:g}" if isinstance(value, float) else value.isoformat()
