"""A training file's own rows, sent as requests, are read as they were in training."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.conform import conform
from spt_core.data.corpus import ROW, Corpus
from spt_core.data.formats import Fragment, batches
from spt_core.data.infer import Columns, columns_of
from spt_core.data.raw import plain_integers
from spt_core.data.sampling import sample, sample_of
from spt_core.data.series import Cutting, cut, pace, windows_of
from spt_core.families.series.reading import WindowReader, filled, readings_of
from spt_core.families.tabular.reading import Encoder
from spt_core.families.text.reading import checked_text
from spt_core.images import decoded, picture_of
from spt_core.records import flatten
from spt_core.signature import Signature
from spt_core.task import find
from tests.examples import examples
from tests.unit.data.examples import TASK

NUM_ROWS = 200
DATA_HOME = os.environ.get("SPT_DATA_HOME")
needs_data = pytest.mark.skipif(
    DATA_HOME is None, reason="SPT_DATA_HOME does not name the folder of public data sets"
)


def signature_of(table: pa.Table, fields) -> Signature:
    """The signature that splits of these typed rows would have."""
    return Signature(
        fields=tuple(
            dataclasses.replace(
                field,
                categories=tuple(sorted(set(table[field.name].drop_null().to_pylist())))
                if field.kind == "category"
                else (),
            )
            for field in fields
        )
    )


def assert_read_alike(raw: pa.Table, fields, *, is_untyped: bool) -> int:
    """Rows through the request reader and through the file reader; how many there were."""
    texts = [field.name for field in fields if field.kind == "category"] if is_untyped else []
    table = plain_integers(raw, [name for name in texts if name in raw.column_names])
    typed, bad = conform(table, fields)
    encoder = Encoder(signature_of(typed, fields))
    by_file = encoder.table(typed)
    names = [field.name for field in fields if field.name in table.column_names]
    refused = set(bad[ROW].to_pylist())
    good = [
        record
        for number, record in zip(
            raw[ROW].to_pylist(), table.select(names).to_pylist(), strict=True
        )
        if number not in refused
    ]
    for row, record in enumerate(good):
        sent = json.loads(json.dumps(record, default=str))
        by_request = encoder.record(flatten(sent))
        np.testing.assert_array_equal(by_request[0], by_file[row], err_msg=str(sent))
    return len(good)


def assert_windows_read_alike(raw: pa.Table, columns: Columns) -> None:
    """Windows cut of a corpus, and the same sent by a client, are equal to the last digit."""
    (field,) = columns.features
    assert field.shape is not None
    typed, bad = conform(raw, columns.as_read)
    assert bad.num_rows == 0
    paced = pace(typed, field.shape.time, field.shape.unit)
    assert paced is not None
    step = 1.0 if field.shape.in_readings else paced.step
    shape = dataclasses.replace(field.shape, step=step)
    rows = cut(typed, Cutting(name=field.name, shape=shape, head="regression"))
    rows = rows.filter(rows[field.name].is_valid()).slice(0, NUM_ROWS)
    reader = WindowReader(Signature(fields=(dataclasses.replace(field, shape=shape),)))
    windows = windows_of(rows[field.name], shape)
    assert len(windows)
    for window, expected in zip(windows, filled(windows), strict=True):
        record = json.loads(json.dumps({field.name: readings_of(window, shape)}))
        np.testing.assert_array_equal(reader.record(record).values, expected)


@needs_data
@pytest.mark.parametrize("name", sorted(DATASETS))
def test_rows_of_a_public_data_set_are_answered(name: str, tmp_path: Path) -> None:
    assert DATA_HOME is not None
    corpus = open_dataset(name, data_home=DATA_HOME, storage=str(tmp_path))
    task = find(DATASETS[name].task)
    columns = columns_of(sample(corpus, 20_000), corpus, task)
    raw = next(batches(Fragment(uri=corpus.uris[0]), corpus.format))
    rows = raw.table.slice(0, NUM_ROWS)
    if task.family == "series":
        assert_windows_read_alike(raw.table.slice(0, 2000), columns)
        return
    if task.family == "image":
        for content in rows[task.subject.name].to_pylist():
            sent = picture_of(base64.b64encode(content).decode(), task.subject.name)
            np.testing.assert_array_equal(sent.pixels, decoded(content, "an image must").pixels)
        return
    if task.subject is not None:
        for text in rows[task.subject.name].to_pylist():
            checked_text(text, task.subject.name)
        return
    fields = [field for field in columns.features if field.name in rows.column_names]
    num_read = assert_read_alike(rows, fields, is_untyped=raw.untyped)
    assert num_read == rows.num_rows


NUMBERS = st.floats(-1e6, 1e6, width=32).map(lambda number: f"{number:,.2f}")
GAP = st.sampled_from(["", "n/a", "NA", "-", "\\N", "<NA>"])


@st.composite
def columns_in_a_notation(draw):
    """Texts of one column as some program writes them, gaps among them."""
    size = 40
    kind = draw(st.sampled_from(["point", "comma", "euro", "day", "month", "yes", "code", "word"]))
    numbers = draw(st.lists(NUMBERS, min_size=size, max_size=size))
    if kind == "point":
        values = numbers
    elif kind in ("comma", "euro"):
        values = [text.translate(str.maketrans(",.", ".,")) for text in numbers]
        values = [f"{text} \u20ac" for text in values] if kind == "euro" else values
    elif kind in ("day", "month"):
        dates = st.dates(datetime.date(1901, 1, 1), datetime.date(2100, 1, 1))
        days = draw(st.lists(dates, min_size=size, max_size=size))
        pattern = "%d.%m.%Y" if kind == "day" else "%m/%d/%Y %H:%M"
        values = [day.strftime(pattern) for day in days]
    else:
        words = {"yes": ["J", "N"], "code": ["007", "012", "9"], "word": ["NA", "None", "web", "x"]}
        values = draw(st.lists(st.sampled_from(words[kind]), min_size=size, max_size=size))
    holes = draw(st.lists(st.one_of(st.none(), st.none(), GAP), min_size=size, max_size=size))
    return [hole if hole is not None else v for hole, v in zip(holes, values, strict=False)]


@examples(300)
@given(columns_in_a_notation())
def test_rows_in_any_notation_are_read_alike(values):
    corpus = Corpus(uris=("memory",), format="csv", name="toy", identity="0", label="y")
    size = len(values)
    raw = pa.table(
        {
            "x": pa.array(values, pa.large_string()),
            "amount": [str(n) for n in range(size)],
            "y": ["0", "1"] * (size // 2) + ["0"] * (size % 2),
        }
    )
    columns = columns_of(sample_of(raw), dataclasses.replace(corpus, format="jsonl"), TASK)
    assert_read_alike(
        raw.append_column(ROW, pa.array(np.arange(size))), columns.features, is_untyped=True
    )
