"""Raw rows of each format: numbers, refused lines, and errors that name the file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.data import formats
from spt_core.data.corpus import expand
from spt_core.data.formats import Fragment, batches, header, num_rows
from spt_core.errors import InputError


def raw(path: Path, kind: formats.Format, first_row: int = 0) -> list[formats.Raw]:
    return list(batches(Fragment(uri=path.as_uri(), first_row=first_row), kind))


def test_malformed_csv_lines_are_refused_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,x\n2\n\n3,"two\nlines"\n4,y,z\n5,NA\n')
    (found,) = raw(path, "csv", first_row=10)
    assert found.table["a"].to_pylist() == ["1", "3", "5"]
    assert found.table["__row"].to_pylist() == [10, 12, 14]
    assert [(refused.row, refused.record) for refused in found.refused] == [
        (11, "2"),
        (13, "4,y,z"),
    ]
    assert num_rows(path.as_uri(), "csv") == 5


def test_csv_row_numbers_hold_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "TEXT_BLOCK_BYTES", 200)
    path = tmp_path / "a.csv"
    lines = [f"{i}" if i % 17 == 3 else f"{i},x" for i in range(300)]
    path.write_text("\n".join(["a,b", *lines]))
    found = raw(path, "csv")
    assert len(found) > 3
    for block in found:
        assert block.table["a"].to_pylist() == [str(n) for n in block.table["__row"].to_pylist()]
    refused = [entry for block in found for entry in block.refused]
    assert [str(entry.row) for entry in refused] == [entry.record for entry in refused]
    assert len(refused) == 18


def test_a_csv_line_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,\xc3\xa9\n2,\xff\xfe\n3,y\n")
    (found,) = raw(path, "csv")
    assert found.table["__row"].to_pylist() == [0, 2]
    assert found.refused[0].reason == "a line must be UTF-8 text"


def test_semicolons_and_gzip_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a;b\n1;2\n"))
    assert header(path.as_uri(), "csv") == ["a", "b"]
    assert raw(path, "csv")[0].table["b"].to_pylist() == ["2"]


def test_broken_json_lines_are_refused_and_nested_objects_flattened(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": {"b": 1}}\n{"a": \n\n[1]\n{"a": {"b": "x"}}\n')
    (found,) = raw(path, "jsonl")
    assert found.table["a.b"].to_pylist() == ["1", "x"]
    assert found.table["__row"].to_pylist() == [0, 3]
    assert [refused.row for refused in found.refused] == [1, 2]
    assert num_rows(path.as_uri(), "jsonl") == 4


def test_the_fast_json_parser_gives_what_the_slow_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "FIRST_LINES", 10)
    path = tmp_path / "a.jsonl"
    records = [{"t": "2024-01-01", "n": i, "s": f"v{i}", "o": None} for i in range(40)]
    path.write_text("\n".join(json.dumps(record) for record in records))
    found = raw(path, "jsonl")
    assert [row["n"] for block in found for row in block.table.to_pylist()] == list(range(40))
    assert {str(block.table.schema.field("t").type) for block in found} == {"large_string"}


def test_parquet_structs_and_dictionaries_become_plain_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    code = pa.array(["x", "y"]).dictionary_encode()
    pq.write_table(pa.table({"s": [{"a": 1}, {"a": 2}], "code": code}), path)
    assert header(path.as_uri(), "parquet") == ["s.a", "code"]
    assert raw(path, "parquet")[0].table.select(["s.a", "code"]).to_pylist() == [
        {"s.a": 1, "code": "x"},
        {"s.a": 2, "code": "y"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 not really PAR1", "readable, however: file://.*a.parquet"),
        ("a.csv.gz", b"not gzip", "readable, however: file://.*a.csv.gz"),
        ("a.csv", b"a,a\n1,2\n", "a.csv has 'a' twice"),
        ("a.jsonl", b"[1, 2]", "one object per line, however: .*a.jsonl is a list"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    _, kind, _ = expand(path)
    with pytest.raises(InputError, match=message):
        header(path.as_uri(), kind)


@pytest.mark.parametrize("pattern", ["", "/*.csv", "/part-?.csv"])
def test_folders_and_globs_expand_to_sorted_files(tmp_path: Path, pattern: str) -> None:
    for name in ("part-2.csv", "part-1.csv", "_SUCCESS", ".hidden.csv"):
        (tmp_path / name).write_text("a\n1\n")
    uris, kind, _ = expand(f"{tmp_path}{pattern}")
    assert [uri.rsplit("/", 1)[-1] for uri in uris] == ["part-1.csv", "part-2.csv"]
    assert kind == "csv"


def test_the_identity_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    before = expand(path)[2]
    assert expand(path)[2] == before
    path.write_text("a\n12\n")
    assert expand(path)[2] != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "there is no file or folder"),
        ("empty.csv", "is empty"),
        ("a.xls", "export it as CSV"),
    ],
)
def test_a_source_without_rows_is_refused(tmp_path: Path, name: str, message: str) -> None:
    if name != "none.csv":
        (tmp_path / name).write_text("" if name == "empty.csv" else "x")
    with pytest.raises(InputError, match=message):
        expand(tmp_path / name)


def test_jsonl_lines_that_are_no_unicode_are_refused_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [b'{"a": "x"}', rb'{"a": "\ud83d"}', b'{"a": "\xff"}', rb'{"a": "\ud83d\ude00"}']
    path.write_bytes(b"\n".join(lines))
    (found,) = raw(path, "jsonl")
    assert found.table["a"].to_pylist() == ["x", "\U0001f600"]
    assert [(refused.row, refused.reason) for refused in found.refused] == [
        (1, "a line must be Unicode text"),
        (2, "a line must be Unicode text"),
    ]


def test_jsonl_lists_are_columns_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": ["x"], "b": [[0, 1, "y"]]}\n{"a": [], "b": []}\n')
    (found,) = raw(path, "jsonl")
    assert found.table["a"].to_pylist() == [["x"], []]
    assert [json.loads(cell) for cell in found.table["b"].to_pylist()] == [[[0, 1, "y"]], []]
