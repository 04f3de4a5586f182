"""Windows of requests: every bad one gets one sentence, every other one an array."""

import dataclasses
import datetime
import math
import zoneinfo

import numpy as np
import pytest

from spt_core.calendar import phases
from spt_core.errors import InputError
from spt_core.families.series.reading import WindowReader, filled
from spt_core.signature import Field, SequenceShape, Signature

SHAPE = SequenceShape(length=4, channels=("speed", "heat"), step=60.0, time="time", unit="unit")
TERM = Field(name="level", kind="number", minimum=0.5, maximum=0.99, required=False)
READER = WindowReader(
    Signature(fields=(Field(name="readings", kind="sequence", shape=SHAPE), TERM))
)


def readings(size=4, **changes):
    rows = [{"speed": float(i), "heat": 10.0 + i} for i in range(size)]
    for name, value in changes.items():
        rows[1][name] = value
    return rows


def timed(*seconds):
    return [row | {"time": at} for row, at in zip(readings(len(seconds)), seconds, strict=True)]


def read(given, **more):
    return READER.record({"readings": given, **more}).values


def test_all_three_ways_to_write_a_window_are_the_same_window():
    rows = readings()
    lists = [[row["speed"], row["heat"]] for row in rows]
    channels = {name: [row[name] for row in rows] for name in ("speed", "heat")}
    assert np.array_equal(read(rows), read(lists))
    assert np.array_equal(read(rows), read(channels))


def test_of_more_readings_the_last_ones_count():
    assert read(readings(9))[:, 0].tolist() == [5, 6, 7, 8]


def test_a_gap_takes_the_reading_before_it_and_at_the_beginning_the_one_after():
    rows = readings(speed=None)
    rows[0]["heat"] = None
    assert read(rows)[:, 0].tolist() == [0, 0, 2, 3]
    assert read(rows)[:, 1].tolist() == [11, 11, 12, 13]


def test_a_channel_without_a_reading_stays_unknown():
    window = read([row | {"heat": None} for row in readings()])
    assert np.isnan(window[:, 1]).all()
    assert np.isfinite(window[:, 0]).all()


def test_numbers_of_numpy_are_numbers():
    assert read(readings(speed=np.float32(7.0), heat=np.int64(3)))[1].tolist() == [7, 3]


def test_filling_many_windows_is_filling_each():
    draw = np.random.default_rng(0)
    many = draw.normal(size=(6, 5, 3)).astype(np.float32)
    many[draw.random(many.shape) < 0.4] = np.nan
    assert np.array_equal(filled(many), np.stack([filled(w) for w in many]), equal_nan=True)


def test_times_put_readings_on_the_model_s_steps():
    assert read(timed(0, 60, 120, 180, 300))[:, 0].tolist() == [2, 3, 3, 4]  # a gap, filled


def test_iso_times_are_read():
    stamps = [f"2024-05-01T00:0{i}:00" for i in range(4)]
    assert read(timed(*stamps)).shape == (4, 2)


def test_times_of_several_offsets_are_told_by_the_last_one_s():
    stamps = ["02:58:00+02:00", "02:59:00+02:00", "02:00:00+01:00", "02:01:00+01:00"]
    given = timed(*(f"2024-10-27T{stamp}" for stamp in stamps))
    assert read(given)[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="before reading 0"):
        read(timed(*(f"2024-05-01T00:0{i}:00{'Z' if i else '-02:00'}" for i in range(4))))


def test_a_term_without_a_greatest_value_is_told_from_its_least():
    term = Field(name="horizon", kind="number", minimum=1, required=False)
    field = Field(name="readings", kind="sequence", shape=SHAPE)
    reader = WindowReader(Signature(fields=(field, term)))
    with pytest.raises(InputError, match="must be a number from 1 upwards, however: 0"):
        reader.record({"readings": readings(), "horizon": 0})


def moments(given, reader=READER):
    return reader.record({"readings": given}).moments


def test_steps_say_when_they_were_as_the_client_writes_times():
    assert moments(readings()) == ()
    stamps = tuple(f"2024-05-01T00:0{i}:00" for i in range(6))
    assert moments(timed(*stamps)) == stamps[2:]
    columns = {name: [row[name] for row in readings(6)] for name in ("speed", "heat")}
    assert moments({**columns, "time": [*stamps]}) == stamps[2:]


def test_steps_of_readings_at_odd_moments_say_when_they_were_and_gaps_when_they_were_due():
    # Due at 120, 180, 240 and 300; nothing lies within half a step of 240.
    assert moments(timed(0, 60, 118, 190, 200, 300)) == (118, 200, 240, 300)
    stamps = [f"2024-05-01T00:0{i}:00" for i in (0, 1, 2, 4)]
    last = "2024-05-01T00:05:10"
    assert moments(timed(*stamps, last)) == (stamps[2], "2024-05-01T00:03:10", stamps[3], last)


def test_steps_of_a_clock_of_another_name_and_of_months_say_when_they_were():
    shape = dataclasses.replace(SHAPE, time="month", step=1.0, in_months=True)
    reader = WindowReader(Signature(fields=(Field(name="readings", kind="sequence", shape=shape),)))
    stamps = ["2023-11-30", "2023-12-31", "2024-02-29"]
    rows = [{"month": at, **row} for at, row in zip(stamps, readings(3), strict=True)]
    assert moments(rows, reader) == ("2023-11-30", "2023-12-31", "2024-01-29T00:00:00", stamps[2])


def test_readings_by_channels_of_one_unit_are_read():
    channels = {"speed": [1.0] * 4, "heat": [2.0] * 4}
    for unit in (["a"] * 4, "a", None):
        assert read({**channels, "unit": unit}).shape == (4, 2)


def test_terms_beside_the_readings_are_numbers_in_their_range():
    assert read(readings(), level=0.9).shape == (4, 2)
    assert read(readings(), level=None).shape == (4, 2)


BAD = {
    "too short": (readings(3), "must have 4 readings, however: 'readings' has 3"),
    "empty": ([], "must be a list of readings, however: it is empty"),
    "no list": ("many", "must be a list of readings"),
    "a channel missing": ([{"speed": 1.0}] * 4, "'heat' is missing in reading 0"),
    "a channel too many": (readings(spede=1.0), "'spede' is none of them .*nearest is 'speed'"),
    "a text": (readings(speed="fast"), "'speed' of reading 1 is 'fast'"),
    "a number as a text": (readings(speed="1.5"), "'speed' of reading 1 is '1.5'"),
    "not a number as a text": (readings(speed="nan"), "'speed' of reading 1 is 'nan'"),
    "not a number": (readings(speed=math.nan), "numbers or null, .* 'speed' of reading 1 is nan"),
    "yes": (readings(heat=True), "'heat' of reading 1 is true"),
    "a list": (readings(heat=[1]), "'heat' of reading 1 is a list"),
    "beyond any float": (readings(heat=10**400), "'heat' of reading 1 is 1000"),
    "too long to write": (readings(heat=10**5000), "'heat' of reading 1 is a whole number of 16"),
    "yes in rows": ([[1.0, 2.0], [True, 2.0]] * 2, "'speed' of reading 1 is true"),
    "a text in channels": (
        {"speed": [1.0, 2.0, "3", 4.0], "heat": [1.0] * 4},
        "'speed' of reading 2 is '3'",
    ),
    "infinite": (readings(heat=math.inf), "'heat' of reading 1 is inf"),
    "beyond float32": (readings(heat=1e300), "'heat' of reading 1 is 1e"),
    "time going back": (timed(0, 60, 30, 90), r"reading 2 \(30\) is before reading 1 \(60\)"),
    "too short a time": (timed(0, 10, 20, 30), "must cover 4 steps of 60"),
    "no time": (timed(0, 60, "soon", 90), "time of reading 2"),
    "two units": (
        [row | {"unit": f"u{i % 2}"} for i, row in enumerate(readings())],
        "of one unit, however: its readings are of u0, u1",
    ),
    "two units by channels": (
        {"speed": [1.0] * 4, "heat": [1.0] * 4, "unit": ["a", "a", None, "b"]},
        "of one unit, however: its readings are of a, b",
    ),
    "time going back from the second on": (
        [*readings(1), *timed(180, 120, 60)],
        "must say when they were, or none, however: 'time' is missing in reading 0",
    ),
    "time in the first alone": (
        [*timed(0), *readings(3)],
        "must say when they were, or none, however: 'time' is missing in reading 1",
    ),
    "a time beyond any float": (
        timed(0, 60, 120, 10**400),
        "'time of reading 3' must be a finite number",
    ),
    "a time that is none": (timed(0, 60, math.nan, 180), "'time of reading 2' must be a finite"),
    "mostly gaps": (
        [row | {"speed": None, "heat": None} for row in readings(3)] + readings(1),
        "at most 50% of a window's steps may be gaps, however: 3 of 4",
    ),
    "times in another unit": (
        timed(0, 60_000, 120_000, 180_000),
        "steps of 60 may be gaps, however: 3 of 4 are, as readings are 60000 apart by their time",
    ),
    "rows of another width": ([[1.0]] * 4, "must be a list of 2 numbers"),
    "mixed rows": ([readings()[0], [1.0, 2.0]] * 2, "must be an object of channels"),
    "channels of other lengths": (
        {"speed": [1.0] * 4, "heat": [1.0] * 3},
        "'heat' is not",
    ),
}


@pytest.mark.parametrize(("given", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_window_gets_one_sentence(given, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        read(given)
    assert "\n" not in str(error.value)
    assert ", however: " in str(error.value) or "must be" in str(error.value)


def test_another_field_and_a_missing_window_get_one_sentence():
    with pytest.raises(InputError, match="'reading' is none of them; the nearest is 'readings'"):
        READER.record({"reading": readings()})
    with pytest.raises(InputError, match="'readings' is required, however: it is missing"):
        READER.record({"level": 0.9})
    with pytest.raises(InputError, match=r"'level' must be a number from 0\.5 to 0\.99"):
        read(readings(), level=1.5)


AHEAD = dataclasses.replace(SHAPE, horizon=2, in_advance=("speed",))
AHEAD_READER = WindowReader(
    Signature(fields=(Field(name="readings", kind="sequence", shape=AHEAD), TERM))
)
PLAN = {"speed": [7.0, 8.0]}


def ahead(known, **more):
    record = {"readings": readings(), **more}
    return AHEAD_READER.record(record if known is None else {**record, "known_in_advance": known})


def test_what_is_known_in_advance_stands_behind_the_readings():
    window = ahead(PLAN, level=0.9).values
    assert window[:, 0].tolist() == [0, 1, 2, 3, 7, 8]
    assert window[:, 1].tolist() == [10, 11, 12, 13, 13, 13]
    assert np.array_equal(ahead([{"speed": 7.0}, {"speed": 8.0}]).values, window)


def test_a_window_as_its_corpus_has_it_is_the_same_window():
    stored = [[float(i), 10.0 + i] for i in range(4)] + [[7.0, None], [8.0, None]]
    assert np.array_equal(AHEAD_READER.record({"readings": stored}).values, ahead(PLAN).values)


BAD_PLANS = {
    "none": (None, "however: it is missing"),
    "too short": ({"speed": [7.0]}, "'speed' has 1"),
    "too long": ([{"speed": 7.0}] * 3, "there are 3"),
    "a step without": ([{"speed": 7.0}, {}], "'speed' of step 2 is null"),
    "another channel": ({"speed": [7.0, 8.0], "heat": [1.0, 1.0]}, "'heat' is none of them"),
    "no channel": ({}, "'speed' is missing"),
    "no list": ({"speed": 7.0}, "'speed' is no list"),
    "a gap": ({"speed": [None, 7.0]}, "'speed' of step 1 is null"),
    "not a number": ({"speed": [7.0, math.nan]}, "'speed' of step 2 is nan"),
    "a number": (3, "it is 3"),
    "a list of numbers": ([3, 4], "step 1 is 3"),
}


@pytest.mark.parametrize(("known", "sentence"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_bad_plan_gets_one_sentence(known, sentence):
    with pytest.raises(InputError, match="'known_in_advance' must have speed.*" + sentence):
        ahead(known)


def test_a_plan_is_no_field_of_a_model_that_knows_of_none():
    with pytest.raises(InputError, match="'known_in_advance' is none of them"):
        read(readings(), known_in_advance=PLAN)


def test_a_model_that_knows_the_season_asks_when_readings_were():
    shape = dataclasses.replace(
        SHAPE, horizon=2, step=1.0, in_months=True, calendar=("time_of_year",)
    )
    field = Field(name="readings", kind="sequence", shape=shape)
    reader = WindowReader(Signature(fields=(field,)))
    with pytest.raises(InputError, match="must say when it was.*'time' is missing"):
        reader.record({"readings": readings()})
    stamps = [f"2023-{month:02d}-28" for month in range(9, 13)]
    window = reader.record({"readings": timed(*stamps)}).values
    expected = phases(
        np.array(["2024-01-28", "2024-02-28"], "datetime64[s]").astype(float), ("time_of_year",)
    )
    assert window[4:, 2:] == pytest.approx(expected)
    later = reader.record({"readings": timed(*[s.replace("2023", "2024") for s in stamps])}).values
    assert later[:, 2:] == pytest.approx(window[:, 2:], abs=0.02)


def test_months_of_a_request_are_steps_and_a_missing_one_is_a_gap():
    shape = dataclasses.replace(SHAPE, step=1.0, in_months=True)
    field = Field(name="readings", kind="sequence", shape=shape)
    reader = WindowReader(Signature(fields=(field,)))
    stamps = ["2023-11-30", "2023-12-31", "2024-02-29", "2024-03-31"]
    window = reader.record({"readings": timed("2023-10-31", *stamps)}).values
    assert window[:, 0].tolist() == [2, 2, 3, 4]
    with pytest.raises(InputError, match="must cover 4 steps of 1 month, "):
        reader.record({"readings": timed("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04")})
    summer = [f"2024-{month:02d}-01T00:00+02:00" for month in (8, 9, 10)]
    window = reader.record({"readings": timed(*summer, "2024-11-01T00:00+01:00")}).values
    assert window[:, 0].tolist() == [0, 1, 2, 3]


def test_months_of_a_request_may_be_written_as_in_the_corpus():
    shape = dataclasses.replace(
        SHAPE, time="month", step=1.0, in_months=True, notation="year_month"
    )
    reader = WindowReader(Signature(fields=(Field(name="readings", kind="sequence", shape=shape),)))

    def of(*stamps):
        return [{"month": at, **row} for at, row in zip(stamps, readings(len(stamps)), strict=True)]

    for stamps in ([202311, 202312, 202401, 202402], ["202311", "2023-12", "202401", 202402.0]):
        window = reader.record({"readings": of(*stamps)})
        assert window.values[:, 0].tolist() == [0, 1, 2, 3]
        assert window.moments == tuple(stamps)
    gap = reader.record({"readings": of(202311, 202312, 202402)})
    assert gap.values[:, 0].tolist() == [0, 1, 1, 2]
    assert gap.moments == (202311, 202312, "2024-01-01T00:00:00", 202402)
    for odd in (202313, 7):
        with pytest.raises(InputError, match="month of reading 1' must be a year and month"):
            reader.record({"readings": of(202311, odd, 202401, 202402)})


def test_counted_readings_of_a_request_are_steps_over_a_weekend_and_stay_in_order():
    shape = dataclasses.replace(SHAPE, step=1.0, in_readings=True)
    field = Field(name="readings", kind="sequence", shape=shape)
    reader = WindowReader(Signature(fields=(field,)))
    days = ["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"]
    assert reader.record({"readings": timed(*days)}).values[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="must be in the order of their time"):
        reader.record({"readings": timed(*days[::-1])})


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (["01-04", "01-11", "01-18", "01-25"], "it is 7 times as far, mostly"),
        (["01-05", "01-05", "01-08", "01-09"], r"reading 1 has that of the one before it \("),
    ],
)
def test_counted_readings_of_another_pace_are_no_days(days, words):
    shape = dataclasses.replace(SHAPE, step=1.0, in_readings=True, apart=86_400.0)
    field = Field(name="readings", kind="sequence", shape=shape)
    reader = WindowReader(Signature(fields=(field,)))
    weekdays = ["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"]
    assert reader.record({"readings": timed(*weekdays)}).values[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=words):
        reader.record({"readings": timed(*(f"2024-{day}" for day in days))})


def test_a_time_of_python_keeps_its_offset_where_summer_ends():
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    start = datetime.datetime(2026, 10, 25, 0, 58, tzinfo=datetime.UTC)
    stamps = [(start + datetime.timedelta(minutes=n)).astimezone(zone) for n in range(4)]
    assert stamps[1].replace(tzinfo=None) > stamps[2].replace(tzinfo=None)
    assert read(timed(*stamps))[:, 0].tolist() == [0, 1, 2, 3]
