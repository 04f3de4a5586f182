"""CSV in the dialects that programs write: what was written is read, and no line is lost."""

from __future__ import annotations

import csv
import gzip
import io
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spt_core.data import formats
from spt_core.data.formats import Fragment, Raw, batches, header
from tests.examples import examples

# (delimiter, line end, quoting, encoding, escape, how the file begins)
DIALECTS = [
    (",", "\n", csv.QUOTE_MINIMAL, "utf-8", False, ""),
    (",", "\r\n", csv.QUOTE_ALL, "utf-8-sig", False, ""),
    (";", "\r\n", csv.QUOTE_MINIMAL, "utf-8", False, "sep=;\r\n"),
    (";", "\n", csv.QUOTE_NONNUMERIC, "cp1252", False, ""),
    ("\t", "\n", csv.QUOTE_MINIMAL, "utf-8", False, ""),
    ("|", "\r\n", csv.QUOTE_ALL, "utf-8", False, ""),
    (",", "\n", csv.QUOTE_ALL, "utf-8", True, ""),
    (";", "\n", csv.QUOTE_ALL, "utf-16", False, ""),
    (",", "\r\n", csv.QUOTE_MINIMAL, "utf-16-le", False, ""),
    ("\t", "\r\n", csv.QUOTE_ALL, "utf-16", False, ""),
    ("|", "\n", csv.QUOTE_MINIMAL, "utf-8", False, "\n\n"),
    (",", "\r\n", csv.QUOTE_ALL, "utf-8", True, "sep=,\r\n"),
]
NAMES = ["id", "amount (EUR)", "note", "who"]
# Letters, the marks that dialects are made of, and line breaks in quoted cells.
CELL = st.text('abc \u00e9,;|\t"\n', max_size=8).filter(lambda text: text.strip() == text)


def written(rows: list[list[str]], dialect: tuple) -> bytes:
    delimiter, line_end, quoting, encoding, has_backslashes, begin = dialect
    output = io.StringIO(newline="")
    writer = csv.writer(
        output,
        delimiter=delimiter,
        lineterminator=line_end,
        quoting=quoting,
        doublequote=not has_backslashes,
        escapechar="\\" if has_backslashes else None,
    )
    writer.writerow(NAMES)
    writer.writerows(rows)
    return (begin + output.getvalue()).encode(encoding)


def read(path: Path) -> tuple[list[list[str | None]], list[Raw]]:
    raws = list(batches(Fragment(uri=path.as_uri()), "csv"))
    table = pa.concat_tables([raw.table for raw in raws])
    return [list(row.values())[:-1] for row in table.to_pylist()], raws


@pytest.mark.parametrize("end", [b"caf\xe9\n", b"\xe9", b'"\xe9"\n', b"\xe9\xe8\n"])
def test_windows_text_is_told_by_its_last_letter(tmp_path, end):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,name\n1,Ann\n2," + end)
    cells, raws = read(path)
    assert cells[1] == ["2", end.decode("cp1252").strip('\n"')]
    assert not any(raw.refused for raw in raws)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@examples(25)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=5, max_size=30))
def test_what_a_program_wrote_is_read(tmp_path, dialect, rows):
    table = [[str(number), f"{number * 1.5:.2f}", *row] for number, row in enumerate(rows)]
    path = tmp_path / "a.csv"
    path.write_bytes(written(table, dialect))
    assert header(path.as_uri(), "csv") == NAMES
    cells, raws = read(path)
    assert cells == [[cell or None for cell in row] for row in table]
    assert not any(raw.refused for raw in raws)


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (r'"\"",",;"', ['"', ",;"]),  # else two cells too, of which one holds a stray quote
        (r'"C:\dir\","x"', ["C:\\dir\\", "x"]),
        (r'"say \"hi\", twice","x"', ['say "hi", twice', "x"]),
        (r'"say \"hi\", twice",5" pipe', ['say "hi", twice', '5" pipe']),
    ],
)
def test_a_backslash_escapes_where_fewer_quotes_are_stray_then(tmp_path, line, cells):
    path = tmp_path / "a.csv"
    path.write_text("id,name,note\n" + "".join(f"{number},{line}\n" for number in range(6)))
    assert read(path)[0] == [[str(number), *cells] for number in range(6)]


def plain_lines(num_lines: int, stray: dict[int, str]) -> list[str]:
    """Rows with quoted cells, some over two lines; `stray` are names at some rows."""
    lines = []
    for number in range(num_lines):
        name = stray.get(number, '"Smith, John"' if number % 3 == 0 else "Ann")
        note = '"two\nlines"' if number % 50 == 0 else "ok"
        lines.append(f"{number},{name},{number * 1.5:.2f},{note}")
    return lines


@pytest.mark.parametrize(
    "stray",
    [
        {700: '"5 inch pipe'},
        {700: '"5 inch pipe', 1400: '"a'},
        {701: '"x', 702: '"y', 703: 'z"'},
        {1999: '"the last'},
        {0: '"'},
        {10: '5" pipe', 11: '"6', 12: 'the "best" one'},
    ],
    ids=str,
)
@pytest.mark.parametrize("block_bytes", [1 << 20, 700])
def test_a_quote_that_nothing_closes_takes_no_line(tmp_path, monkeypatch, stray, block_bytes):
    monkeypatch.setattr(formats, "TEXT_BLOCK_BYTES", block_bytes)
    path = tmp_path / "a.csv"
    path.write_text("id,name,amount,note\n" + "\n".join(plain_lines(2000, stray)) + "\n")
    cells, raws = read(path)
    assert [row[0] for row in cells] == [str(number) for number in range(2000)]
    assert {number: cells[number][1] for number in stray} == stray
    assert cells[50][1:] == ["Ann", "75.00", "two\nlines"]
    assert sum(raw.num_mended for raw in raws) == sum(
        name.startswith('"') for name in stray.values()
    )


def test_texts_over_many_lines_are_no_rows(tmp_path):
    path = tmp_path / "a.csv"
    letters = ["Dear Sir, thanks.\nYours, Ann\nP.S.: no, really", "one, two\nthree, four", "x"]
    table = [[str(n), letter] for n, letter in enumerate(letters * 30)]
    output = io.StringIO(newline="")
    csv.writer(output, lineterminator="\n").writerows([["label", "text"], *table])
    path.write_text(output.getvalue())
    cells, raws = read(path)
    assert cells == table
    assert not any(raw.num_mended for raw in raws)


@pytest.mark.slow
def test_random_strays_lose_no_line(tmp_path):
    draw = random.Random(0)
    for trial in range(200):
        places = draw.sample(range(300), draw.randint(1, 6))
        stray = {p: draw.choice(['"x', 'x"y', '"x"y', '""', 'x"', '"']) for p in places}
        path = tmp_path / f"{trial}.csv"
        path.write_text("id,name,amount,note\n" + "\n".join(plain_lines(300, stray)) + "\n")
        cells, raws = read(path)
        refused = sum(len(raw.refused) for raw in raws)
        ids = [row[0] for row in cells]
        assert len(ids) + refused >= 300, stray
        assert ids == sorted(ids, key=int)
        assert refused <= 2 * len(stray)


def test_a_header_over_two_lines_and_a_nameless_column_have_names(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b',"amount\n(EUR)", card \n0,1.5,c1\n1,2.5,c2\n'))
    assert header(path.as_uri(), "csv") == ["Unnamed: 0", "amount (EUR)", "card"]
    assert read(path)[0] == [["0", "1.5", "c1"], ["1", "2.5", "c2"]]


def test_a_trailing_summary_goes_to_the_quarantine(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id;amount;card\n1;2,5;a\n2;3,5;b\nTotal;6,0\n")
    cells, raws = read(path)
    assert len(cells) == 2
    assert [(entry.row, entry.record) for raw in raws for entry in raw.refused] == [
        (2, "Total;6,0")
    ]


def test_folders_named_as_hive_does_are_columns(tmp_path):
    for region in ("north", "__HIVE_DEFAULT_PARTITION__"):
        folder = tmp_path / f"region={region}"
        folder.mkdir()
        (folder / "part-0.csv").write_text("a,b\n1,2\n")
    uris = [path.as_uri() for path in sorted(tmp_path.glob("*/*.csv"))]
    assert formats.columns(uris, "csv") == {"a": 2, "b": 2, "region": 2}
    regions = [
        raw.table["region"].to_pylist() for u in uris for raw in batches(Fragment(uri=u), "csv")
    ]
    assert regions == [[None], ["north"]]
