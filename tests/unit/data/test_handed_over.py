"""What somebody who tried the product for the first time handed over, and how it must be read."""

import datetime
import gzip
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from spt_core.data import formats
from spt_core.data.conform import conform, label_column, time_column, typed_column
from spt_core.data.corpus import Roles, expand
from spt_core.data.formats import Fragment, batches
from spt_core.data.infer import infer_columns
from spt_core.data.kinds import holds, judged, notation_of
from spt_core.data.leakage import refuse_label_like
from spt_core.data.sampling import sample
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.families.tabular.reading import Encoder
from spt_core.notation import moment_of, number_of
from spt_core.signature import Field, Signature
from spt_core.task import find

RISK = find("financial_services/risk_assessment")
PROCESS = find("manufacturing/process_optimization")
DEFECTS = find("manufacturing/quality_control")


def opened(task, folder, lines, *, file="rows.csv", encoding="utf-8", **roles):
    path = folder / file
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return open_corpus(task, str(path), storage=str(folder), roles=Roles(**roles))


def columns(task, folder, lines, **roles):
    return infer_columns(opened(task, folder, lines, **roles), task)


def field_of(columns, name):
    return next(field for field in columns.all if field.name == name)


def details(columns, kind):
    return [finding.detail for finding in columns.findings if finding.kind == kind]


def german(number):
    return str(number).replace(".", ",")


# Labels and weights are written as all else is.


def test_a_number_to_be_predicted_is_read_as_it_is_written(tmp_path):
    lines = ["wasser;festigkeit"]
    lines += [f"{german(100.5 + i)};{german(f'{8 + i / 7:.3f}')}" for i in range(60)]
    found = columns(PROCESS, tmp_path, lines, label="festigkeit")
    assert found.labels.notation == "decimal_comma"
    assert any("'8,000' is read as 8 " in detail for detail in details(found, "notation"))
    table = pa.table({"festigkeit": ["8,476", "48,295"]})
    good, _ = conform(table, [], label="festigkeit", labels=found.labels)
    assert good["festigkeit"].to_pylist() == [8.476, 48.295]


def test_a_number_to_be_predicted_has_its_type_said(tmp_path):
    lines = ["wasser,festigkeit", *(f'{i % 7}.5,"{8 + i},4{i % 10}"' for i in range(60))]
    found = columns(
        PROCESS, tmp_path, lines, label="festigkeit", types=("festigkeit:number(decimal_comma)",)
    )
    assert found.labels.notation == "decimal_comma"
    with pytest.raises(InputError, match="'festigkeit' holds numbers here, however: category"):
        columns(PROCESS, tmp_path, lines, label="festigkeit", types=("festigkeit:category",))


def test_a_decision_has_no_type(tmp_path):
    lines = ["x,default", *(f"{i}.5,{i % 2}" for i in range(60))]
    with pytest.raises(InputError, match="'default' is the label, which is binary"):
        columns(RISK, tmp_path, lines, label="default", types=("default:number",))


def test_a_weight_is_read_as_it_is_written(tmp_path):
    lines = ["x;gewicht;default"]
    lines += [f"{german(i + 0.25)};{'1,500' if i % 2 else '1,000'};{i % 2}" for i in range(60)]
    found = columns(RISK, tmp_path, lines, label="default", weight="gewicht")
    assert field_of(found, "gewicht").notation == "decimal_comma"


# What counts as yes is said, and what counts as no is shown.


def test_labels_that_say_nothing_are_not_negative():
    states = pa.array(["n/a", "bad ", "bad", "good", "Bad", None, "?"])
    typed = label_column(states, "bad")
    assert typed.values.to_pylist() == [None, 1.0, 1.0, 0.0, 0.0, None, None]
    own = label_column(pa.array(["yes", "no", "unknown"]), None, frozenset({"unknown"}))
    assert own.values.to_pylist() == [1.0, 0.0, None]


def test_what_counts_as_no_is_shown(tmp_path):
    lines = ["x,state", *(f"{i}.5,{('bad', 'good', 'Bad', 'good')[i % 4]}" for i in range(80))]
    found = columns(RISK, tmp_path, lines, label="state", positive="bad")
    (detail,) = details(found, "label")
    assert detail == "'bad' counts as 1, all others as 0: 'good' (40), 'Bad' (20), 'bad' (20)"
    with pytest.raises(InputError, match=r"has no 'badd', the nearest is 'bad'; it holds 'good'"):
        columns(RISK, tmp_path, lines, label="state", positive="badd")


def test_classes_that_differ_by_their_case_are_told(tmp_path):
    names = ("scratch", "Scratch", "bump", "stain")
    lines = ["x,defect", *(f"{i}.5,{names[i % 4]}" for i in range(80))]
    found = columns(DEFECTS, tmp_path, lines, label="defect")
    (detail,) = details(found, "label")
    assert detail.startswith("'Scratch' and 'scratch' are different classes")


# What stands for no value is taken out before a column is judged.


def test_a_gap_does_not_make_numbers_names(tmp_path):
    lines = ["ltv,x,default"]
    lines += [f"{'Exempt' if i % 5 == 0 else f'{20 + i}.5'},{i}.25,{i % 2}" for i in range(60)]
    plain = columns(RISK, tmp_path, lines, label="default")
    assert field_of(plain, "ltv").kind == "category"
    assert any("others such as 'Exempt'" in detail for detail in details(plain, "code"))
    for types in ((), ("ltv:number",)):
        found = columns(RISK, tmp_path, lines, label="default", gaps=("Exempt",), types=types)
        assert field_of(found, "ltv").kind == "number"


@pytest.mark.parametrize(
    "values",
    [[365243, -5, 7], [365243.0, -5.0, None], ["365243.0", "-5", ""], ["365243", "-5.0", "7"]],
)
def test_a_gap_is_a_number_in_a_column_of_numbers(values):
    gaps = frozenset({"365243"})
    typed = typed_column(pa.array(values), Field(name="days", kind="number"), gaps)
    assert typed.values[0].as_py() is None
    assert typed.values[1].as_py() == -5.0
    assert typed.bad is None or not typed.bad.any()


def test_a_gap_is_one_in_a_request_too():
    days = Field(name="days", kind="number", required=False, maximum=9000.0)
    encoder = Encoder(Signature(fields=(days,), gaps=("365243",)))
    assert np.isnan(encoder.record({"days": 365243})[0, 0])
    assert np.isnan(encoder.record({"days": "365243"})[0, 0])
    assert encoder.record({"days": -5})[0, 0] == -5.0


def test_a_gap_among_codes_is_one_in_whole_numbers_too():
    field = Field(name="code", kind="category")
    typed = typed_column(pa.array([999, 12]), field, frozenset({"999"}))
    assert typed.values.to_pylist() == [None, "12"]


def test_a_gap_that_nothing_holds_is_told(tmp_path):
    lines = ["x,default", *(f"{i}.5,{i % 2}" for i in range(60))]
    found = columns(RISK, tmp_path, lines, label="default", gaps=("Exempt", "7.5"))
    assert details(found, "unused") == ["data.gaps names 'Exempt', which no sampled cell holds"]
    lines = ["x,z,default", *(f"{i % 9}.0,{i}.5,{i % 2}" for i in range(60))]
    assert not details(columns(RISK, tmp_path, lines, label="default", gaps=("7",)), "unused")


# Groups of digits.


@pytest.mark.parametrize(
    ("text", "notation", "value"),
    [
        ("0,952", None, None),
        ("0,952", "decimal_comma", 0.952),
        ("0.714", "decimal_comma", None),
        ("1,952", None, 1952.0),
        ("030 361 220", None, None),
        ("30 361 220", None, 30_361_220.0),
        ("12.5", "decimal_point", 12.5),
    ],
)
def test_groups_of_digits_begin_with_none_that_is_zero(text, notation, value):
    assert number_of(text, notation) == value


def test_one_fraction_shows_that_a_comma_is_no_group():
    judgement = judged("ratio", pa.array(["1,645", "1,952", "0,952"] * 20))
    assert judgement.notation == "decimal_comma"


def test_one_fraction_shows_that_a_point_is_no_group(tmp_path):
    lines = ["betrag;kurs;default"]
    rates = ("1.234", "0.714", "1.005")
    lines += [f"{german(40.5 + i)};{rates[i % 3]};{i % 2}" for i in range(60)]
    found = columns(RISK, tmp_path, lines, label="default")
    assert field_of(found, "kurs").notation is None
    assert field_of(found, "betrag").notation == "decimal_comma"


def test_thousands_without_any_decimal_are_asked_for(tmp_path):
    values = [f"{16 + i}.081" if i % 2 else f"{700 + i}" for i in range(80)]
    lines = ["kredit;laufzeit;default", *(f"{v};{i % 40};{i % 2}" for i, v in enumerate(values))]
    found = columns(RISK, tmp_path, lines, label="default")
    assert "kredit" not in [field.name for field in found.features]
    (detail,) = details(found, "unsupported")
    assert "'17.081' beside '700' may be 17081, or have three decimals: say which" in detail
    for notation, read in (("decimal_comma", "decimal_comma"), ("decimal_point", "decimal_point")):
        types = (f"kredit:number({notation})",)
        said = columns(RISK, tmp_path, lines, label="default", types=types)
        assert field_of(said, "kredit").notation == read


def test_three_decimals_everywhere_are_decimals_and_told():
    judgement = judged("kg", pa.array([f"{12 + i}.{500 + i}" for i in range(40)]))
    assert (judgement.kind, judgement.notation, judgement.is_open) == ("number", None, False)
    assert "read with three decimals" in judgement.detail
    usual = judged("kg", pa.array([f"{12 + i}.{i}" for i in range(40)]))
    assert not usual.detail


def test_numbers_are_shown_in_full():
    judgement = judged("amount", pa.array(["113.594,54 \u20ac", "7,5 \u20ac"] * 20))
    assert "is read as 113594.54 " in judgement.detail


def test_percent_and_permille_are_two_units():
    judgement = judged("rate", pa.array(["76\u2030", "4.8%"] * 20))
    assert judgement.kind == "category"
    assert "several units" in judgement.detail


def test_numbers_of_several_units_have_no_meaning_that_can_be_asked_for(tmp_path):
    lines = ["x,strength", *(f"{i % 7}.5,{8 + i} {('EUR', 'USD')[i % 2]}" for i in range(60))]
    with pytest.raises(InputError, match="'strength' must have one meaning.*several units: EUR"):
        columns(PROCESS, tmp_path, lines, label="strength")


@pytest.mark.parametrize("unit", [" EUR", "%", " \u20ac"])
def test_thousands_with_a_unit_are_asked_for_too(unit):
    values = [f"{16 + i}.081{unit}" if i % 2 else f"{700 + i}{unit}" for i in range(80)]
    judgement = judged("population", pa.array(values))
    assert judgement.is_open
    everywhere = judged("population", pa.array([f"{16 + i}.{200 + i}{unit}" for i in range(40)]))
    assert "read with three decimals" in everywhere.detail


@pytest.mark.parametrize("text", ["6.15.102", "192.168.59.110"])
def test_versions_and_addresses_are_no_numbers(text):
    assert number_of(text, "decimal_comma") is None
    assert number_of("1.234.567", "decimal_comma") == 1_234_567
    assert number_of("12,34,567") == 1_234_567  # as India parts them


def test_points_alone_do_not_make_a_file_one_of_decimal_commas(tmp_path):
    lines = ["kernel;sens;default"]
    lines += [f"6.{100 + i}.{200 + i};{20 + i % 60}.{160 + i};{i % 2}" for i in range(60)]
    found = columns(RISK, tmp_path, lines, label="default")
    assert field_of(found, "sens").notation is None


def test_a_positive_whole_number_may_have_decimals(tmp_path):
    lines = ["x,state", *(f"{i}.5,{1 + i % 2}.0" for i in range(60))]
    for positive in (2, "2", "2.0"):
        found = columns(RISK, tmp_path, lines, label="state", positive=positive)
        assert details(found, "label") == ["'2' counts as 1, all others as 0: '1' (30), '2' (30)"]
        assert label_column(pa.array(["2.0", "1.0"]), positive).values.to_pylist() == [1.0, 0.0]


def test_labels_that_are_missing_are_of_no_other_kind(tmp_path):
    lines = ["x,strength", *(f"{i % 7}.5,{'' if i % 3 == 0 else 8.5 + i}" for i in range(60))]
    assert columns(PROCESS, tmp_path, lines, label="strength").features


# Times.


def test_a_column_of_epochs_has_one_unit():
    days = np.arange(-20, 7000, 70) * 86_400_000
    judgement = notation_of(Field(name="born", kind="time"), pa.array(days))
    assert judgement.notation == "epoch_ms"
    times = time_column(pa.array([7_344_000_000, -86_400_000]), "epoch_ms").values
    assert [t.as_py().isoformat()[:10] for t in times] == ["1970-03-27", "1969-12-31"]
    assert moment_of(7_344_000_000, "epoch_ms").wall.isoformat() == "1970-03-27T00:00:00"
    asked = notation_of(Field(name="born", kind="time", notation="epoch"), pa.array(days))
    assert asked.notation == "epoch_ms"
    texts = notation_of(Field(name="born", kind="time"), pa.array([str(day) for day in days]))
    assert texts.notation == "epoch_ms"


def test_a_few_moments_of_another_unit_do_not_decide():
    seconds = [1_602_345_678 + i for i in range(95)]
    end = [253_402_300_799] * 5
    assert notation_of(Field(name="t", kind="time"), pa.array(seconds + end)).notation == "epoch_s"
    halves = pa.array([*seconds, *(1000 * second for second in seconds)])
    judgement = notation_of(Field(name="t", kind="time"), halves)
    assert judgement.is_open
    assert "but for 50% that by their size are of another unit" in judgement.detail


def test_gaps_are_gaps_among_times_that_are_numbers():
    field = Field(name="d", kind="time", notation="compact")
    typed = typed_column(pa.array([20240714, 99999999]), field, frozenset({"99999999"}))
    assert typed.bad is None
    assert typed.values[1].as_py() is None


def test_a_column_is_judged_by_all_its_rows():
    numbers = [f"{i}.34" for i in range(1, 220)] + ["unknown"] * 60
    assert judged("a", pa.array(numbers)).kind == "category"
    dates = ["2024-03-14"] * 220 + ["open"] * 60
    assert judged("a", pa.array(dates)).kind == "category"
    signed = ["-5", *(str(i) for i in range(250)), *["unknown"] * 60]
    assert judged("a", pa.array(signed)).kind == "category"


@pytest.mark.parametrize("code", ["4711-03", "10-4500", "10/5000"])
def test_codes_are_no_months(code):
    assert moment_of(code) is None


def test_months_and_years_of_two_digits_are_told():
    months = judged("m", pa.array(["7/2018", "10/2016"] * 20))
    assert (months.kind, months.detail) == ("time", "months such as '7/2018', as their first day")
    named = judged("b", pa.array(["15-Mar-49", "16-Apr-51"] * 20))
    assert "years of two digits are of 1950 to 2049, '15-Mar-49' is 2049-03-15" in named.detail


def test_decimal_gaps_are_no_unused_ones():
    column = pa.array([Decimal("999.00"), Decimal("1.50")], pa.decimal128(9, 2))
    assert holds(column, "999")
    assert not holds(column, "998")


@pytest.mark.parametrize("years", [(1, 1), (1650, 2300)])
def test_times_far_away_are_held_against_the_label_too(years):
    times = [datetime.datetime(year, 1, 1, i % 24) for i in range(60) for year in years]
    table = pa.table({"t": times, "y": [i // 2 % 2 for i in range(120)]})
    assert refuse_label_like(table, "y", [Field(name="t", kind="time")]) == []


def test_offsets_behind_fractions_and_halves_of_the_day_count():
    texts = ["2024-01-01 12:00:00,123+12", "2024-01-01 10:00:00 PM +09", "2024-01-01 00:00:00+00"]
    table = pa.table({"ts": texts})
    good, _ = conform(table, [Field(name="ts", kind="time")], time="ts")
    seconds = [value / 1e6 for value in good["__instant"].to_pylist()]
    assert seconds == [1_704_067_200.123, 1_704_114_000, 1_704_067_200]


def test_offsets_of_whole_hours_count():
    table = pa.table({"ts": ["2023-12-31 16:00:00-08", "2024-01-01 12:00:00.5+09", "2024-01-01"]})
    good, _ = conform(table, [Field(name="ts", kind="time")], time="ts")
    seconds = [value / 1e6 for value in good["__instant"].to_pylist()]
    assert seconds == [1_704_067_200, 1_704_078_000.5, 1_704_067_200]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("27.02.64", "1964-02-27"),
        ("27.02.49", "2049-02-27"),
        ("Dec-2015", "2015-12-01"),
        ("2015-12", "2015-12-01"),
        ("12/2015", "2015-12-01"),
        ("13/2015", None),
        ("Foo-2015", None),
    ],
)
def test_years_of_two_digits_and_months_of_years(text, date):
    moment = moment_of(text, "day_first")
    assert (None if moment is None else moment.wall.date().isoformat()) == date


def test_how_years_of_two_digits_are_read_is_shown(tmp_path):
    lines = ["geburtsdatum,x,default"]
    lines += [f"{13 + i % 15}.0{1 + i % 9}.{40 + i % 50},{i}.5,{i % 2}" for i in range(60)]
    found = columns(RISK, tmp_path, lines, label="default")
    (detail,) = details(found, "protected")
    assert "years of two digits are of 1950 to 2049" in detail


# Files.


def test_rows_that_end_in_one_delimiter_more_than_the_header(tmp_path):
    lines = ["nr;x;note;default", *(f"{i};{i}.5;ok;{i % 2};{' ' * (i % 2)}" for i in range(60))]
    corpus = opened(RISK, tmp_path, lines, label="default")
    assert sample(corpus, 100).table.num_rows == 60
    assert not sample(corpus, 100).refused


def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path):
    lines = ["x,y,default", *(f"{i},1,2,3,4" for i in range(30))]
    fact = "none of .* can be read: of 30 sampled, a line must have 3 columns"
    with pytest.raises(InputError, match=fact):
        opened(RISK, tmp_path, lines, label="default")


def test_backslashes_escape_quotes_and_themselves(tmp_path):
    lines = ["nr,path,default"]
    lines += [r'1,"he said \"hi, there\" ok",0', r'2,"C:\\",1', r'3,"C:\\a\\",0'] * 20
    corpus = opened(RISK, tmp_path, lines, label="default")
    raws = list(batches(Fragment(uri=corpus.uris[0]), "csv"))
    assert not any(raw.refused for raw in raws)
    assert raws[0].table["path"].to_pylist()[:3] == ['he said "hi, there" ok', "C:\\", "C:\\a\\"]


@pytest.mark.parametrize("block_bytes", [1 << 10, 1 << 24])
def test_an_escape_at_the_end_of_a_block_is_one(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(formats, "TEXT_BLOCK_BYTES", block_bytes)
    lines = ["nr,path,default"]
    lines += [rf'{i},"{"a" * (i % 7)} \"b\" C:\\",{i % 2}' for i in range(500)]
    corpus = opened(RISK, tmp_path, lines, label="default")
    raws = list(batches(Fragment(uri=corpus.uris[0]), "csv"))
    paths = [path for raw in raws for path in raw.table["path"].to_pylist()]
    assert paths == [f'{"a" * (i % 7)} "b" C:\\' for i in range(500)]


@pytest.mark.parametrize("name", ["S\u00f6hne", "Sohne"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_an_encoding_that_shows_itself_late(tmp_path, name, encoding):
    lines = ["name,x,default", *(f"{'a' * 60},{i}.5,{i % 2}" for i in range(20_000)), f"{name},1,1"]
    corpus = opened(RISK, tmp_path, lines, label="default", encoding=encoding)
    raws = list(batches(Fragment(uri=corpus.uris[0]), "csv"))
    assert raws[-1].table["name"].to_pylist()[-1] == name
    assert not any(raw.refused for raw in raws)


def test_keys_that_appear_late_can_be_named(tmp_path):
    rows = [{"x": i + 0.5, "default": i % 2} for i in range(1500)]
    for number, row in enumerate(rows[1200:]):
        row["late"] = number
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    roles = Roles(label="default", drop=("late",))
    corpus = open_corpus(RISK, str(path), storage=str(tmp_path), roles=roles)
    assert "late" in corpus.columns
    assert "late" not in [field.name for field in infer_columns(corpus, RISK).features]


def test_texts_are_csv_where_there_is_nothing_else(tmp_path):
    (tmp_path / "notes.txt").write_text("a\tb\n1\t2\n")
    assert expand(tmp_path / "notes.txt")[1] == "csv"
    (tmp_path / "rows.tsv.gz").write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    uris, kind, _ = expand(tmp_path)
    assert (len(uris), kind) == (1, "csv")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    uris, kind, _ = expand(tmp_path)
    assert (len(uris), kind) == (1, "jsonl")


def test_a_file_without_a_header_is_told(tmp_path):
    with pytest.raises(InputError, match="begin with a line of column names, .*values, such as 0"):
        opened(RISK, tmp_path, [f"{i},0,0,1" for i in range(30)], label="default")


def test_all_columns_that_give_the_label_away_are_named_at_once():
    labels = np.arange(200) % 2
    table = pa.table({"y": labels, "a": labels * 2.0, "b": labels * 3.0, "c": np.arange(200) * 1.0})
    fields = [Field(name=name, kind="number") for name in "abc"]
    with pytest.raises(InputError, match=r"--set data.drop=a,b, or accept it with data.keep=a,b"):
        refuse_label_like(table, "y", fields)
    odd = table.rename_columns(["y", "a, first", "b", "c"])
    fields[0] = Field(name="a, first", kind="number")
    with pytest.raises(InputError, match=r"""data.drop='\["a, first", "b"\]', or"""):
        refuse_label_like(odd, "y", fields)


def test_what_was_read_right_before_still_is(tmp_path):
    lines = ["amount,ratio,code,booked,default"]
    for i in range(60):
        booked = f"2024-01-{1 + i % 28:02d}"
        lines.append(f"{100 + i * i},{i / 7:.2f},0{i % 10}1,{booked},{i % 2}")
    found = columns(RISK, tmp_path, lines, label="default", time="booked")
    kinds = {field.name: (field.kind, field.notation) for field in found.all}
    assert kinds["amount"] == kinds["ratio"] == ("number", None)
    assert kinds["code"] == ("category", None)
    assert kinds["booked"] == ("time", None)
