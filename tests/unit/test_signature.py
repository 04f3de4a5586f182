import dataclasses
import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from spt_core.data.conform import typed_column
from spt_core.errors import InputError
from spt_core.families.tabular.reading import Encoder
from spt_core.records import flatten, parse_moment, parse_time
from spt_core.signature import Field, Signature, Window, parse_window, signature_from_json
from spt_core.task import find

CATEGORIES = ("a", "b", "c")
SIGNATURE = Signature(
    fields=(
        Field(name="who.amount", kind="number", minimum=-5.0, maximum=5.0, required=False),
        Field(name="kind", kind="category", categories=CATEGORIES, required=False),
        Field(name="when", kind="time", required=False),
        Field(name="flag", kind="boolean", required=False),
        Field(name="card", kind="entity", required=False),
        Field(name="other", kind="number", required=False),
    )
)


def number(**changes):
    return Signature(fields=(Field(name="amount", kind="number", **changes),))


def random_table(seed, num_rows=300):
    draw = np.random.default_rng(seed)

    def some(values, kind):
        return pa.array(values, kind, mask=draw.random(num_rows) < 0.2)

    moments = draw.integers(0, 2_000_000_000 * 10**6, num_rows)
    return pa.table(
        {
            "who.amount": some(draw.uniform(-5, 5, num_rows), pa.float64()),
            "kind": some(draw.choice(["a", "b", "c", "never seen"], num_rows), pa.string()),
            "when": some(moments, pa.timestamp("us")),
            "flag": some(draw.random(num_rows) < 0.5, pa.bool_()),
            "other": some(draw.integers(-1000, 1000, num_rows), pa.int64()),
        }
    )


def as_request(row):
    when = row["when"]
    return {**row, "when": when.isoformat() if when is not None else None}


@pytest.mark.parametrize("seed", range(5))
def test_a_record_is_encoded_exactly_like_its_row_of_a_table(seed):
    table, encoder = random_table(seed), Encoder(SIGNATURE)
    records = [encoder.record(as_request(row)) for row in table.to_pylist()]
    np.testing.assert_array_equal(np.concatenate(records), encoder.table(table))


def test_numbers_come_first_then_categories():
    encoded = Encoder(SIGNATURE).record(
        flatten({"who": {"amount": 1.5}, "kind": "b", "when": "2026-11-24T06:30", "flag": True})
    )
    np.testing.assert_array_equal(encoded, [[1.5, 6.5, 1.0, 1.0, math.nan, 2.0]])


def test_an_unseen_category_and_a_missing_one_are_index_zero():
    encoder = Encoder(SIGNATURE)
    assert encoder.record({"kind": "never seen"})[0, -1] == 0
    assert encoder.record({"kind": None})[0, -1] == 0


def test_a_column_that_is_absent_counts_as_missing():
    encoded = Encoder(SIGNATURE).table(pa.table({"flag": [True, False]}))
    assert encoded.shape == (2, len(SIGNATURE.columns))
    assert np.isnan(encoded[:, :3]).all()
    np.testing.assert_array_equal(encoded[:, 5], 0)


@pytest.mark.parametrize(("value", "text"), [(2, "2"), (2.0, "2"), (True, "true"), (2.5, "2.5")])
def test_a_category_may_be_written_as_a_number(value, text):
    signature = Signature(fields=(Field(name="kind", kind="category", categories=(text,)),))
    assert Encoder(signature).record({"kind": value})[0, 0] == 1


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({}, "must hold one of the model's fields, however: it is empty"),
        ({"kind": None}, "'amount' is required, however: it is missing"),
        ({"amount": None}, "'amount' is required, however: it is null"),
        ({"amont": 1.0}, "'amont' is not a field"),
        ({"amount": "9,500.00 or so"}, "must be a number"),
        ({"amount": True}, "must be a number"),
        ({"amount": -1}, "must be at least 0"),
        ({"amount": 11}, "must be at most 10"),
        ({"amount": math.nan}, "NaN"),
        ({"amount": math.inf}, "must be at most 10"),
        ({"amount": 10**400}, "must be at most 10"),
        ({"amount": 1, "amount2": 2}, "the nearest is 'amount'"),
    ],
)
def test_a_bad_record_is_refused_in_one_sentence(record, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        Encoder(number(minimum=0.0, maximum=10.0)).record(record)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [-99_000_000_000, -9.9e13, -9.9e16, "-99000000000", 1e300])
def test_a_time_before_year_1_or_beyond_all_calendars_is_refused_in_one_sentence(value):
    signature = Signature(fields=(Field(name="when", kind="time"),))
    with pytest.raises(InputError, match="'when' must be"):
        Encoder(signature).record({"when": value})


@pytest.mark.parametrize("value", [2, "maybe", 0.5, [], {}])
def test_a_boolean_is_yes_or_no_only(value):
    signature = Signature(fields=(Field(name="flag", kind="boolean"),))
    with pytest.raises(InputError, match="true or false"):
        Encoder(signature).record({"flag": value})


@pytest.mark.parametrize("value", [1, "true", 1.0, "Yes", " J ", "1"])
def test_yes_and_no_are_read_as_in_a_file(value):
    signature = Signature(fields=(Field(name="flag", kind="boolean"),))
    assert Encoder(signature).record({"flag": value})[0, 0] == 1.0


def test_the_tabular_encoder_refuses_an_image():
    with pytest.raises(InputError, match="scan"):
        Encoder(Signature(fields=(Field(name="scan", kind="image"),)))


def test_flatten_joins_nested_names_with_dots():
    assert flatten({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}


def test_a_signature_survives_json():
    signature = dataclasses.replace(SIGNATURE, windows=(parse_window("count(card, 7d)"),))
    assert signature_from_json(signature.to_json()) == signature


def test_field_names_are_unique():
    with pytest.raises(InputError, match="unique"):
        Signature(fields=(Field(name="a", kind="number"), Field(name="a", kind="time")))


def test_a_field_kind_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="'colour'"):
        Field(name="a", kind="colour")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("path", ["fraud_detection", "risk_assessment"])
def test_the_json_schema_takes_the_example_of_the_task(path):
    task = find(f"financial_services/{path}")
    validator = Draft202012Validator(Signature(fields=task.fields).json_schema())
    validator.validate(dict(task.example))


def test_the_json_schema_refuses_what_the_encoder_refuses():
    schema = Signature(
        fields=(
            Field(name="who.amount", kind="number", minimum=0.0),
            Field(name="flag", kind="boolean", required=False),
        )
    ).json_schema()
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"who": {"amount": 1.0}, "flag": None})
    for bad in ({}, {"who": {}}, {"who": {"amount": -1}}, {"who": {"amount": 1}, "x": 1}):
        assert not validator.is_valid(bad)


def test_a_window_stays_flat_in_the_json_schema():
    window = Window(entity="card", function="count", span_days=7)
    schema = Signature(fields=(window.as_field(),), windows=(window,)).json_schema()
    assert list(schema["properties"]) == ["card.count_7d"]


def test_clients_of_the_same_or_a_narrower_signature_are_served():
    assert number(minimum=0.0).problems_for(number(minimum=0.0)) == []
    assert number(required=False).problems_for(number(minimum=0.0, maximum=1.0)) == []


@pytest.mark.parametrize(
    ("new", "old", "problem"),
    [
        (Signature(fields=()), number(), "is gone"),
        (number(), Signature(fields=()), "new and required"),
        (number(), number(required=False), "may no longer be missing"),
        (number(minimum=1.0), number(minimum=0.0), "higher minimum"),
        (number(minimum=1.0), number(), "higher minimum"),
        (number(maximum=1.0), number(maximum=2.0), "lower maximum"),
        (number(), Signature(fields=(Field(name="amount", kind="category"),)), "was category"),
    ],
)
def test_what_clients_of_the_old_signature_could_not_send_is_a_problem(new, old, problem):
    assert any(problem in found for found in new.problems_for(old))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("count(card, 7d)", "card.count_7d"),
        ("mean(card, amount, 30d)", "card.amount_mean_30d"),
        ("sum(card,amount,1d)", "card.amount_sum_1d"),
        ("label_rate(shop, 30d, after 7d)", "shop.label_rate_30d_after_7d"),
    ],
)
def test_a_window_is_named_for_what_it_holds(text, name):
    assert parse_window(text).name == name


@pytest.mark.parametrize(
    "text",
    ["", "count(card)", "count(card, 7)", "median(card, 7d)", "count(card, 0d)", "mean(card, 7d)"],
)
def test_a_window_that_could_not_be_computed_is_refused(text):
    with pytest.raises(InputError, match="window"):
        parse_window(text)


@pytest.mark.parametrize(
    ("value", "hour", "weekday"),
    [
        ("2026-11-23T12:30:00", 12.5, 0.0),
        ("2026-11-23T12:30:00+05:00", 12.5, 0.0),
        ("2026-11-22", 0.0, 6.0),
        (datetime.datetime(2026, 11, 23, 12, 30), 12.5, 0.0),
        (datetime.datetime(2026, 11, 23, 12, 30, tzinfo=datetime.UTC), 12.5, 0.0),
        (1_767_225_600, 0.0, 3.0),
        (1_767_225_600_000, 0.0, 3.0),
        (1_767_225_600_000_000, 0.0, 3.0),
        (1_767_225_600_000_000_000, 0.0, 3.0),
    ],
)
def test_a_time_becomes_hour_and_weekday_as_written(value, hour, weekday):
    assert parse_time(value, "when") == (hour, weekday)


ZONED = datetime.datetime(
    2026, 11, 23, 1, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=5))
)


@pytest.mark.parametrize(
    ("value", "hour", "weekday"),
    [
        ("2026-11-23T01:30:00+05:00", 20.5, 6.0),
        ("2026-11-23 01:30 +0500", 20.5, 6.0),
        (ZONED, 20.5, 6.0),
        ("2026-11-23T01:30:00Z", 1.5, 0.0),
        ("2026-11-23T01:30:00", 1.5, 0.0),
    ],
)
def test_a_time_of_utc_follows_from_its_offset_in_a_request_as_in_a_file(value, hour, weekday):
    assert parse_time(value, "when", in_utc=True) == (hour, weekday)
    field = Field(name="when", kind="time", in_utc=True)
    typed = typed_column(pa.array([value]), field).values[0].as_py()
    assert (typed.hour + typed.minute / 60, typed.weekday()) == (hour, weekday)


@pytest.mark.parametrize("value", ["03:00", "03:00_local", "03:00:00"])
def test_a_time_of_day_has_no_weekday(value):
    hour, weekday = parse_time(value, "when")
    assert hour == 3.0
    assert math.isnan(weekday)


@pytest.mark.parametrize("value", ["noon", "25:00", "", True, None, 1e300, math.nan, [1]])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(InputError, match="'when'"):
        parse_time(value, "when")


def test_a_moment_keeps_its_date():
    assert parse_moment("2026-11-23T01:02:03", "when") == datetime.datetime(2026, 11, 23, 1, 2, 3)
