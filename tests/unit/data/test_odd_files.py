"""Folders, files, types and columns as they come: what is read, left out or refused, and told."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.data import sampling
from spt_core.data.corpus import Roles, expand
from spt_core.data.infer import Columns, infer_columns
from spt_core.data.kinds import judged, parse_type
from spt_core.data.sampling import sample
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.protected import attribute_of
from spt_core.signature import Field
from tests.unit.data.examples import TASK, rows

NUM_ROWS = 400


def columns_of_file(path: Path, storage: Path, **roles: Any) -> Columns:
    corpus = open_corpus(TASK, str(path), storage=str(storage), roles=Roles(**roles))
    return infer_columns(corpus, TASK)


def columns_with(tmp_path: Path, values: Any, name: str = "x", **roles: Any) -> Columns:
    """The columns of the toy corpus with one more, in Parquet."""
    column = values if isinstance(values, pa.Array) else pa.array(values)
    pq.write_table(rows(NUM_ROWS).append_column(name, column), tmp_path / "rows.parquet")
    return columns_of_file(tmp_path / "rows.parquet", tmp_path, **roles)


def kind_of(columns: Columns, name: str = "x") -> tuple[str, str | None] | None:
    return next(((f.kind, f.notation) for f in columns.features if f.name == name), None)


def finding_of(columns: Columns, name: str = "x") -> str | None:
    return next((finding.kind for finding in columns.findings if finding.column == name), None)


@pytest.mark.parametrize(
    "hidden", [".ipynb_checkpoints/a-checkpoint.csv", "_temporary/0/a.csv", ".a.csv", "_a.csv"]
)
def test_what_notebooks_and_unfinished_jobs_leave_is_passed_over(tmp_path, hidden):
    (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
    for name in ("a.csv", hidden):
        (tmp_path / name).write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text("")
    uris, _, _ = expand(tmp_path)
    assert [uri.rpartition("/")[2] for uri in uris] == ["a.csv"]


@pytest.mark.parametrize(
    ("log", "name"),
    [
        ("_delta_log/00000000000000000000.json", "Delta Lake"),
        ("metadata/v1.metadata.json", "Apache Iceberg"),
        (".hoodie/hoodie.properties", "Apache Hudi"),
    ],
)
def test_a_table_whose_log_tells_removed_rows_is_refused(tmp_path, log, name):
    pq.write_table(rows(10), tmp_path / "part-0.parquet")
    (tmp_path / log).parent.mkdir()
    (tmp_path / log).write_text("{}")
    with pytest.raises(InputError, match=f"is a table of {name}, .*; export it"):
        expand(tmp_path)


@pytest.mark.parametrize("num_files", [2, 16])
def test_a_column_that_some_files_lack_is_a_column(tmp_path, num_files):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(num_files):
        table = rows(200, seed=number).append_column("mcc", pa.array([5000, 5001] * 100))
        table = table.drop_columns(["mcc"]) if number % 2 == 0 else table
        pq.write_table(table, folder / f"{number:02d}.parquet")
    columns = columns_of_file(folder, tmp_path)
    assert kind_of(columns, "mcc") == ("category", None)
    details = {f.detail for f in columns.findings if f.column == "mcc"}
    assert f"{num_files // 2} of {num_files} files have it: missing in the others" in details
    assert kind_of(columns_of_file(folder, tmp_path, drop=("mcc",)), "mcc") is None


def test_a_column_that_begins_late_is_none_that_is_empty(tmp_path):
    late = pa.array([None] * 45_000 + [1.5, 2.5] * 2500)
    table = rows(50_000).append_column("score", late)
    pq.write_table(table, tmp_path / "rows.parquet")
    columns = columns_of_file(tmp_path / "rows.parquet", tmp_path)
    assert kind_of(columns, "score") == ("number", None)


def test_rows_are_drawn_from_places_all_over_a_corpus_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLE_BYTES", 10_000)
    monkeypatch.setattr(sampling, "PLACE_BYTES", 2_000)
    path = tmp_path / "a.csv"
    path.write_text("n,y\n" + "\n".join(f"{n},{n % 2}" for n in range(20_000)))
    drawn = sample(open_corpus(TASK, str(path), storage=str(tmp_path)), 1000)
    numbers = np.array([int(n) for n in drawn.table["n"].to_pylist()])
    assert not drawn.is_whole
    assert numbers.min() < 1000
    assert numbers.max() > 15_000
    assert len(np.unique(numbers // 2000)) >= 8


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array(["web", "shop"] * 200).cast(pa.string_view()), "category"),
        (pa.array([b"0012", b"0077"] * 200, pa.binary(4)), "category"),
        (pa.array([b"ab", b"cd"] * 200, pa.binary()), "category"),
        (pa.array([n % 70 for n in range(NUM_ROWS)]).cast(pa.duration("s")), "number"),
        (pa.array(["a", "b"] * 200).dictionary_encode(), "category"),
        (pa.array([np.float16(1.5), np.float16(2.5)] * 200, pa.float16()), "number"),
        (pa.array([2**63 + n % 7 * 2**20 for n in range(NUM_ROWS)], pa.uint64()), "number"),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_every_arrow_type_is_read(tmp_path, values, kind):
    columns = columns_with(tmp_path, values)
    field = kind_of(columns)
    assert field is not None, columns.findings
    assert field[0] == kind


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"\xff\xfe", b"\xff\x00"] * 200),
        pa.array([[1], [2]] * 200),
        pa.array([[("a", 1)]] * 400, pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda values: str(values.type),
)
def test_a_type_that_is_no_field_is_told_by_name(tmp_path, values):
    columns = columns_with(tmp_path, values)
    assert finding_of(columns) == "unsupported"


def test_nanoseconds_of_int96_do_not_overflow(tmp_path):
    ends = pa.array([datetime.datetime(9999, 12, 31), datetime.datetime(2024, 5, 5)] * 200)
    table = rows(NUM_ROWS).append_column("valid_to", ends)
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    columns = columns_of_file(tmp_path / "a.parquet", tmp_path)
    assert "valid_to" in {f.name for f in columns.features} | {f.column for f in columns.findings}


@pytest.mark.parametrize(
    ("texts", "kind", "notation"),
    [
        (["1,234.50", "12.00"], "number", None),
        (["1.234,50", "12,00"], "number", "decimal_comma"),
        (["$1,234.50", "-$12.00"], "number", None),
        (["9,44 %", "10,5 %"], "number", "decimal_comma"),
        (["(12.50)", "3.00"], "number", None),
        (["12.50 EUR", "3.00 USD"], "category", None),
        (["00012", "00450"], "category", None),
        (["250.83", "401", "410", "250", "V45", "E850", "7", "8", "9", "11"] * 2, "category", None),
        (["31.12.2024", "01.02.2024"], "time", "day_first"),
        (["12/31/2024", "01/02/2024"], "time", "month_first"),
        (["20241231", "20240201"], "time", "compact"),
        (["2024-03-15 14:30:00 UTC", "2024-03-16 14:30:00 UTC"], "time", None),
        (["J", "N"], "boolean", None),
        (["yes", "no"], "boolean", None),
        (["M", "F"], "category", None),
        (["1.5", "2.5", "<NA>", "n/a", "\\N", "-"], "number", None),
        (["NA", "None", "web"], "category", None),
    ],
    ids=str,
)
def test_texts_are_what_they_say(texts, kind, notation):
    values = pa.array((texts * NUM_ROWS)[:NUM_ROWS], pa.large_string())
    judgement = judged("x", values)
    assert (judgement.kind, judgement.notation) == (kind, notation)


@pytest.mark.parametrize("name", ["mcc", "zip_code", "ShipZip", "icd_9", "branch.code", "PLZ"])
def test_whole_numbers_are_codes_where_the_name_says_so(name):
    values = pa.array([n % 50 + 1000 for n in range(NUM_ROWS)])
    assert judged(name, values).kind == "category"
    assert judged("amount", values).kind == "number"


@pytest.mark.parametrize("name", ["admission_type_id", "sourceId", "REASON_ID"])
def test_the_ids_of_a_few_kinds_are_codes(name):
    few, many = (pa.array([n % size + 1 for n in range(NUM_ROWS)]) for size in (25, 150))
    assert judged(name, few).kind == "category"
    assert judged(name, many).kind == judged("paid", few).kind == "number"


def test_one_decimal_comma_tells_of_all_columns(tmp_path):
    path = tmp_path / "a.csv"
    draw = random.Random(0)
    lines = [
        f"{draw.randrange(100)},5;{draw.randrange(1, 9)}.{draw.randrange(100, 999)};{n % 2}"
        for n in range(100)
    ]
    path.write_text("price;quantity;y\n" + "\n".join(lines))
    columns = columns_of_file(path, tmp_path)
    assert kind_of(columns, "price") == kind_of(columns, "quantity") == ("number", "decimal_comma")


def test_a_time_that_may_be_either_is_asked_for(tmp_path):
    values = [f"{n % 12 + 1:02d}/{n % 11 + 1:02d}/2024" for n in range(NUM_ROWS)]
    columns = columns_with(tmp_path, values, "booked")
    assert finding_of(columns, "booked") == "unsupported"
    with pytest.raises(InputError, match=r"data.types=booked:time\(day_first\)"):
        columns_with(tmp_path, values, "booked", time="booked")
    types = ("booked:time(day_first)",)
    typed = columns_with(tmp_path, values, "booked", time="booked", types=types)
    assert kind_of(typed, "booked") == ("time", "day_first")


def test_days_as_excel_counts_them_are_asked_for(tmp_path):
    values = [45_292.5 + n for n in range(NUM_ROWS)]
    with pytest.raises(InputError, match=r"booked:time\(excel\) or \(epoch\)"):
        columns_with(tmp_path, values, "booked", time="booked")


def test_types_win_and_bad_ones_are_refused(tmp_path):
    codes = [n % 50 for n in range(NUM_ROWS)]
    assert kind_of(columns_with(tmp_path, codes, types=("x:category",))) == ("category", None)
    assert parse_type("a:b:number(decimal_comma)") == Field(
        name="a:b", kind="number", notation="decimal_comma", required=False
    )
    for text, sentence in {
        "x": "reads COLUMN:KIND",
        "x:image": "must be one of number",
        "x:number(day_first)": "may be written as decimal_comma",
    }.items():
        with pytest.raises(InputError, match=sentence):
            parse_type(text)
    with pytest.raises(InputError, match="no column 'z'"):
        columns_with(tmp_path, codes, types=("z:category",))


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_the_order_of_rows_makes_no_identifier(tmp_path, order):
    amounts = list(range(1_000_000_000, 1_000_000_000 + 7_919 * NUM_ROWS, 7_919))
    numbers = list(range(50_000, 50_000 + NUM_ROWS))
    if order == "shuffled":
        random.Random(0).shuffle(amounts)
        random.Random(1).shuffle(numbers)
    assert kind_of(columns_with(tmp_path, amounts, "loan_amount"), "loan_amount") is not None
    assert finding_of(columns_with(tmp_path, numbers, "row"), "row") == "identifier"
    patients = [n // 2 * 31 for n in numbers]
    columns = columns_with(tmp_path, patients, "patient_nbr")
    assert finding_of(columns, "patient_nbr") == "identifier"


def test_the_index_that_pandas_writes_is_no_feature(tmp_path):
    frame = rows(NUM_ROWS).to_pandas().sample(frac=0.5, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv")
    for name, column in (("a.parquet", "__index_level_0__"), ("a.csv", "Unnamed: 0")):
        columns = columns_of_file(tmp_path / name, tmp_path)
        assert finding_of(columns, column) == "index"
        assert kind_of(columns, column) is None


@pytest.mark.parametrize(
    ("column", "attribute"),
    [
        ("applicant_sex", "sex"),
        ("CODE_GENDER", "sex"),
        ("derived_race", "race"),
        ("applicant_ethnicity-1", "race"),
        ("applicant_age", "age"),
        ("DAYS_BIRTH", "age"),
        ("date_of_birth", "age"),
        ("customer.profile.Age", "age"),
        ("MARRIAGE", "marital_status"),
        ("MaritalStatus", "marital_status"),
        ("NAME_FAMILY_STATUS", "marital_status"),
        ("foreign_worker", "nationality"),
        ("Geschlecht", "sex"),
        ("policy_holder_age", "age"),
        ("AgeOfPolicyHolder", "age"),
        ("vehicle_owner_birth_date", "age"),
        ("car_driver_age", "age"),
        ("account_holder_birth_date", "age"),
        ("loan_applicant_age", "age"),
        ("age_of_insured", "age"),
        ("customer_account_age_days", None),
        ("AgeOfVehicle", None),
        ("age_of_customer_account", None),
        ("client_relationship_age", None),
        ("mileage", None),
        ("page", None),
        ("language", None),
        ("vehicle_age", None),
        ("account_age_days", None),
        ("birth_weight", None),
        ("average_balance", None),
        ("trace_id", None),
        ("raceway", None),
    ],
)
def test_attributes_are_told_by_the_words_of_a_name(column, attribute):
    assert attribute_of(column) == attribute


@pytest.mark.parametrize(
    "series",
    [
        pd.cut(pd.Series(range(100)), [-1, 30, 60, 100]),
        pd.Series([10**25 + n for n in range(100)]),
        pd.Series([1j * n for n in range(100)]),
        pd.Series(pd.period_range("2024-01", periods=100, freq="D")),
        pd.Series([datetime.time(n % 24) for n in range(100)]),
        pd.Series([{"a": n} for n in range(100)]),
    ],
    ids=["interval", "big", "complex", "period", "time", "dict"],
)
def test_odd_columns_of_a_frame_are_columns_or_findings(tmp_path, series):
    frame = rows(100).to_pandas().assign(x=series)
    corpus = open_corpus(TASK, frame, storage=str(tmp_path))
    columns = infer_columns(corpus, TASK)
    names = {f.name for f in columns.all} | {f.column for f in columns.findings}
    assert names & {"x", "x.a", "x.left"}
