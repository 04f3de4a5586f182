"""Windows of long tables: which steps they take, and where none ends."""

import dataclasses
import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.calendar import phases
from spt_core.data.corpus import EVENTS, FROM, INSTANT, ROW, UNTIL, Corpus
from spt_core.data.hashing import column_hashes
from spt_core.data.infer import columns_of, reading_signature
from spt_core.data.partition import EMBARGO, PARTS, Partition
from spt_core.data.readings import paced
from spt_core.data.sampling import sample_of
from spt_core.data.series import (
    Cutting,
    as_column,
    calendar_of,
    cut,
    pace,
    telling_channels,
    windows_of,
)
from spt_core.data.splits import SplitConfig
from spt_core.errors import InputError
from spt_core.signature import Field, SequenceShape, Signature
from spt_core.task import find
from tests.tiny_models import series_task

SHAPE = SequenceShape(length=3, channels=("x",), time="time", unit="unit")


def table(times, values=None, unit="a", **more):
    values = np.arange(len(times), dtype=np.float64) if values is None else values
    columns = {"unit": [unit] * len(times), "time": np.array(times, np.float64), "x": values}
    return pa.table({**columns, "label": np.arange(len(times)) * 10.0, **more})


def windows(of, head="regression", label="label", stride=1, shape=SHAPE):
    made = cut(of, Cutting(name="w", shape=shape, head=head, label=label, stride=stride))
    return [None if row is None else [step[0] for step in row] for row in made["w"].to_pylist()]


def test_every_reading_with_a_whole_window_before_it_ends_one():
    assert windows(table([1, 2, 3, 4])) == [None, None, [0, 1, 2], [1, 2, 3]]


def test_windows_never_reach_into_another_unit():
    both = pa.concat_tables([table([1, 2, 3]), table([1, 2, 3], unit="b")])
    assert windows(both) == [None, None, [0, 1, 2]] * 2


def test_readings_are_put_in_the_order_of_time_and_keep_their_own_label():
    made = cut(table([3, 1, 2]), Cutting(name="w", shape=SHAPE, head="regression", label="label"))
    assert made["time"].to_pylist() == [1, 2, 3]
    assert made["label"].to_pylist() == [10, 20, 0]
    assert made["w"].to_pylist()[-1] == [[1], [2], [0]]


def test_a_step_without_a_reading_is_a_gap():
    assert windows(table([1, 2, 4, 5])) == [None, None, [1, None, 2], [None, 2, 3]]


def test_a_window_that_is_mostly_gaps_is_none():
    assert windows(table([1, 2, 9, 10])) == [None, None, None, [None, 2, 3]]


def test_readings_at_odd_moments_take_the_step_that_they_are_nearest_to():
    assert windows(table([1.0, 2.2, 2.9])) == [None, None, [0, 1, 2]]


def test_no_step_takes_a_reading_from_after_the_window():
    uneven = table([1.0, 2.3, 3.0, 3.3])
    assert windows(uneven)[2] == [0, 1, 2]


def test_strides_are_counted_back_from_the_last_reading():
    assert windows(table(range(6)), stride=2) == [None, None, None, [1, 2, 3], None, [3, 4, 5]]


def test_a_reading_without_a_label_ends_no_window():
    of = table([1, 2, 3, 4]).set_column(3, "label", pa.array([1.0, 2.0, None, 4.0]))
    assert windows(of) == [None, None, None, [1, 2, 3]]


def test_a_forecast_s_label_is_what_came_and_only_where_all_of_it_did():
    shape = SequenceShape(length=2, channels=("x",), time="time", unit="unit", horizon=2)
    made = cut(table(range(5)), Cutting(name="w", shape=shape, head="forecasts", label="x"))
    known = [json.loads(text) for text in made["x"].to_pylist() if text is not None]
    assert known == [[1, 2], [2, 3], [3, 4]]
    assert [w is not None for w in made["w"].to_pylist()] == [False, True, True, False, False]


def test_a_window_counts_the_anomalous_readings_in_it():
    of = table(range(5)).set_column(3, "label", pa.array([0.0, 1, 0, 0, 0]))
    made = cut(of, Cutting(name="w", shape=SHAPE, head="anomalies", label="label"))
    assert made[EVENTS].to_pylist() == [0, 0, 1, 1, 0]  # no window ends at the first two
    of = of.set_column(3, "label", pa.array([0.0, None, 0, 0, 0]))
    made = cut(of, Cutting(name="w", shape=SHAPE, head="anomalies", label="label"))
    assert made[EVENTS].to_pylist() == [0, 0, 1, 1, 0]


def test_a_window_knows_from_when_and_until_when_it_looks():
    of = table([1, 2, 3]).append_column(INSTANT, pa.array([1_000_000, 2_000_000, 3_000_000]))
    made = cut(of, Cutting(name="w", shape=SHAPE, head="regression", label="label"))
    assert made[FROM].to_pylist()[-1] == 1_000_000
    assert made[UNTIL].to_pylist()[-1] == 3_000_000


def test_the_hour_that_a_wall_clock_has_twice_is_put_in_the_order_of_its_instants():
    shape = dataclasses.replace(SHAPE, step=3600.0)
    walls_s = [3600.0, 7200.0, 7200.0, 10800.0]  # 01:00 and 02:00 of summer, 02:00 of winter, 03:00
    instants = pa.array([int(hour * 3.6e9) for hour in (-1, 0, 1, 2)])
    times = pa.array([int(second * 1e6) for second in walls_s]).cast(pa.timestamp("us"))
    of = table(walls_s).set_column(1, "time", times).append_column(INSTANT, instants)
    expected = [None, None, [0, 1, 2], [1, 2, 3]]
    assert windows(of, shape=shape) == expected
    assert windows(of.take([2, 1, 3, 0]), shape=shape) == expected


def test_windows_come_back_as_they_were_cut_with_gaps_as_nan():
    given = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    given[1, 2, 0] = np.nan
    shape = SequenceShape(length=3, channels=("x", "y"))
    column = pa.chunked_array([as_column(given[:2]), as_column(given[2:])])
    assert np.array_equal(windows_of(column, shape), given, equal_nan=True)


def test_equal_windows_have_equal_hashes_and_others_do_not():
    given = np.zeros((4, 3, 2), np.float32)
    given[1, 0, 0] = given[2, 0, 1] = 1.0
    hashes = column_hashes(as_column(given))
    assert hashes[0] == hashes[3]
    assert len(set(hashes.tolist())) == 3


def test_the_step_is_the_most_frequent_distance_and_the_others_are_told():
    measured = pace(table([0, 60, 120, 180, 300]), "time", "unit")
    assert measured.step == 60
    assert measured.uneven == 0.25
    assert pace(table([5, 5, 5]), "time", "unit") is None
    assert pace(table([0, 60, 60, 120]), "time", "unit").repeated == 0.25


def test_a_channel_that_is_the_label_under_another_name_is_told():
    left = np.maximum(100.0 - np.arange(150), 0.0)
    of = table(range(150), values=left * 2 + 1)
    of = of.set_column(of.column_names.index("label"), "label", pa.array(np.minimum(left, 60.0)))
    cutting = Cutting(name="w", shape=SHAPE, head="regression", label="label")
    rows = cut(of, cutting)
    assert telling_channels(rows.filter(rows["w"].is_valid()), cutting) == ["x"]
    noisy = table(range(150), values=left + np.random.default_rng(0).normal(size=150) * 5)
    noisy = noisy.set_column(3, "label", pa.array(left))
    rows = cut(noisy, cutting)
    assert telling_channels(rows.filter(rows["w"].is_valid()), cutting) == []


def test_times_are_read_in_seconds():
    start = datetime.datetime(2024, 1, 1)
    times = [start + datetime.timedelta(minutes=5 * i) for i in range(4)]
    of = pa.table({"time": pa.array(times, pa.timestamp("us")), "unit": ["a"] * 4})
    assert pace(of, "time", "unit").step == 300


def corpus(of, **roles):
    usual = {"label": "label", "time": "time", "group": "unit"}
    return Corpus(
        uris=("file:///readings.parquet",),
        format="parquet",
        name="readings",
        identity="",
        columns={name: 1 for name in of.column_names},
        **{**usual, **roles},
    )


def judged(of, **roles):
    return columns_of(sample_of(of), corpus(of, **roles), series_task("regression"))


def test_numbers_that_vary_are_channels_and_others_are_named():
    of = table(range(30), still=[5.0] * 30, dead=pa.nulls(30, pa.float64()), note=["ok"] * 30)
    columns = judged(of)
    (field,) = columns.features
    assert field.shape.channels == ("x",)
    told = {finding.column: finding.kind for finding in columns.findings}
    assert told == {"still": "constant", "dead": "constant", "note": "constant"}


def test_texts_are_no_channels():
    columns = judged(table(range(30), mode=["a", "b", "c"] * 10))
    assert [(f.column, f.kind) for f in columns.findings] == [("mode", "unused")]


def test_readings_without_a_clock_are_refused():
    with pytest.raises(InputError, match="need a column that says when they were"):
        judged(table(range(9)), time=None)


def test_readings_without_a_number_are_refused():
    of = table(range(9)).drop_columns(["x"])
    with pytest.raises(InputError, match="must have a channel of numbers that vary"):
        judged(of)


def test_a_window_that_lies_in_two_parts_is_in_none():
    partition = Partition(
        folder="",
        label="label",
        identity=("w",),
        content=("w",),
        categories=(),
        shares=(0.25,) * 4,
        seed=0,
        max_categories=1,
        time=INSTANT,
        cuts_us=(10, 20, 30),
        window="w",
    )
    moments = [5, 11, 19, 15, 25]
    of = pa.table(
        {
            INSTANT: moments,
            FROM: [1, 8, 12, 11, 21],
            UNTIL: [5, 11, 22, 15, 25],
            "w": as_column(np.zeros((5, 2, 1), np.float32), np.array([1, 1, 1, 0, 1], bool)),
            "label": [0.0] * 5,
            ROW: np.arange(5),
        }
    )
    parts = partition.assign(of, np.zeros(5, np.uint64)).tolist()
    assert parts == [PARTS.index("train"), -4, -4, -3, PARTS.index("calibration")]
    assert "embargo" in EMBARGO


AHEAD = SequenceShape(
    length=2, channels=("x", "promo"), time="time", unit="unit", horizon=2, in_advance=("promo",)
)


def promoted(times, values, promo):
    columns = {"unit": ["a"] * len(times), "time": np.array(times, np.float64)}
    return pa.table({**columns, "x": pa.array(values), "promo": pa.array(promo)})


def test_a_window_goes_on_over_the_horizon_with_what_is_known_of_it():
    of = promoted(range(5), [0.0, 1, 2, 3, 4], [0.0, 1, 0, 1, 1])
    made = cut(of, Cutting(name="w", shape=AHEAD, head="forecasts", label="x"))
    known = [w for w in made["w"].to_pylist() if w is not None]
    assert known == [
        [[0, 0], [1, 1], [None, 0], [None, 1]],
        [[1, 1], [2, 0], [None, 1], [None, 1]],
    ]


def test_steps_to_come_that_have_nothing_but_what_is_known_end_no_window():
    of = promoted(range(5), [0.0, 1, 2, None, None], [0.0, 1, 0, 1, 1])
    made = cut(of, Cutting(name="w", shape=AHEAD, head="forecasts"))
    ends = [w is not None for w in made["w"].to_pylist()]
    assert ends == [False, True, True, False, False]


def test_a_horizon_of_which_something_is_unknown_has_no_window():
    of = promoted(range(5), [0.0, 1, 2, 3, 4], [0.0, 1, 0, None, 1])
    made = cut(of, Cutting(name="w", shape=AHEAD, head="forecasts"))
    assert not any(w is not None for w in made["w"].to_pylist())


def test_a_window_without_a_reading_of_what_is_foretold_is_left_out():
    of = promoted(range(7), [None, None, 1.0, 2, 3, 4, 5], [0.0, 1, 0, 1, 1, 0, 0])
    made = cut(of, Cutting(name="w", shape=AHEAD, head="forecasts", label="x"))
    assert [w is not None for w in made["w"].to_pylist()] == [False] * 2 + [True] * 3 + [False] * 2
    of = promoted(range(7), [None, None, None, 2.0, 3, 4, 5], [0.0, 1, 0, 1, 1, 0, 0])
    shape = dataclasses.replace(AHEAD, channels=("x", "promo", "y"), in_advance=("promo",))
    of = of.append_column("y", pa.array([1.0] * 7))
    made = cut(of, Cutting(name="w", shape=shape, head="forecasts", label="x"))
    assert [w is not None for w in made["w"].to_pylist()] == [False] * 3 + [True] * 2 + [False] * 2


def monthly(num_months, start="2019-01"):
    stamps = (np.datetime64(start, "M") + np.arange(num_months)).astype("datetime64[us]")
    return pa.table(
        {
            "unit": ["a"] * num_months,
            "time": pa.array(stamps),
            "x": np.arange(num_months, dtype=np.float64),
            "label": np.arange(num_months, dtype=np.float64),
        }
    )


def test_months_are_a_step_though_they_are_not_equally_long():
    measured = pace(monthly(30), "time", "unit")
    assert (measured.step, measured.in_months, measured.uneven) == (1.0, True, 0.0)
    quarters = monthly(30).take(pa.array(range(0, 30, 3)))
    assert (pace(quarters, "time", "unit").step, pace(quarters, "time", "unit").in_months) == (
        3.0,
        True,
    )


def test_weeks_are_no_months():
    stamps = np.datetime64("2024-01-01", "us") + np.arange(30) * np.timedelta64(28, "D")
    of = pa.table({"time": pa.array(stamps), "unit": ["a"] * 30})
    assert not pace(of, "time", "unit").in_months
    weeks = np.datetime64("2024-01-01", "us") + np.arange(30) * np.timedelta64(7, "D")
    of = pa.table({"time": pa.array(weeks), "unit": ["a"] * 30})
    assert pace(of, "time", "unit").step == 7 * 86_400


def test_a_window_of_four_years_of_months_has_no_gap():
    shape = dataclasses.replace(SHAPE, length=48, in_months=True)
    whole = windows(monthly(48), shape=shape)[-1]
    assert whole == list(range(48))


def test_a_month_takes_its_last_reading():
    stamps = ["2024-01-31", "2024-02-10", "2024-02-20", "2024-03-01"]
    of = pa.table(
        {
            "unit": ["a"] * 4,
            "time": pa.array(np.array(stamps, "datetime64[us]")),
            "x": [0.0, 1.0, 2.0, 3.0],
            "label": [0.0] * 4,
        }
    )
    assert windows(of, shape=dataclasses.replace(SHAPE, in_months=True))[-1] == [0, 2, 3]


def trading_days(num_days):
    """Weekdays from a Monday on, of two units whose last rows lie far apart."""
    days = np.busday_offset("2024-01-01", np.arange(num_days)).astype("datetime64[us]")
    own = table(np.arange(num_days)).set_column(1, "time", pa.array(days))
    instants = pa.array(days.astype(np.int64))
    later = own.set_column(0, "unit", pa.array(["b"] * num_days))
    return pa.concat_tables([of.append_column(INSTANT, instants) for of in (own, later)])


def test_counted_readings_have_no_gap_at_weekends():
    of, counted = trading_days(12), dataclasses.replace(SHAPE, length=6, in_readings=True)
    assert windows(of, shape=counted)[5:12] == [list(range(n, n + 6)) for n in range(7)]
    timed = dataclasses.replace(counted, step=86_400.0, in_readings=False)
    assert None in {cell for window in windows(of, shape=timed) if window for cell in window}
    assert calendar_of(counted, 900 * 86_400.0) == ()


def test_a_counted_window_lies_between_the_days_of_its_own_readings():
    of, shape = trading_days(12), dataclasses.replace(SHAPE, length=6, in_readings=True, horizon=2)
    made = cut(of, Cutting(name="w", shape=shape, head="regression", label="label"))
    moments, ends = made[INSTANT].to_pylist(), made[UNTIL].to_pylist()
    assert made[FROM].to_pylist()[5:8] == moments[:3]
    assert ends[5:8] == moments[7:10]
    assert ends[10:12] == [moments[11]] * 2  # and not of the other unit


def test_the_season_of_each_step_is_in_the_window():
    shape = dataclasses.replace(
        SHAPE, in_months=True, horizon=2, calendar=("time_of_year",), channels=("x",)
    )
    made = cut(monthly(20), Cutting(name="w", shape=shape, head="forecasts", label="x"))
    cells = windows_of(made["w"].filter(made["w"].is_valid()), shape)
    assert cells.shape[1:] == (5, 3)
    assert np.isnan(cells[:, 3:, 0]).all()
    january = phases(np.array(["2020-01-01"], "datetime64[s]").astype(float), ("time_of_year",))
    assert cells[12 - 2, 2, 1:] == pytest.approx(january[0])  # its last reading is of January


def test_the_calendar_is_used_where_two_of_its_cycles_are_covered():
    shape = SequenceShape(length=12, in_months=True)
    year = 365.25 * 86_400.0
    assert calendar_of(shape, 3.5 * year) == ("time_of_year",)
    assert calendar_of(shape, 2.5 * year) == ()
    hourly = SequenceShape(length=24, step=3600.0)
    assert calendar_of(hourly, 30 * 86_400.0) == ("time_of_week", "time_of_day")


def test_what_is_known_in_advance_must_be_a_channel():
    of = table(range(30), promo=[0.0, 1.0] * 15, note=["ok"] * 30)
    task = series_task("forecasts")

    def shape_of(**roles):
        own = corpus(of, label="x", **roles)
        return columns_of(sample_of(of), own, task).features[0].shape

    assert shape_of(known_in_advance=("promo",)).in_advance == ("promo",)
    assert shape_of().in_advance == ()
    with pytest.raises(InputError, match="must be a channel of numbers that vary.*'note'.*'ok'"):
        shape_of(known_in_advance=("note",))


def yyyymm(start, num_months, step=1):
    months = np.datetime64(start, "M") + step * np.arange(num_months)
    return [int(str(month).replace("-", "")) for month in months]


def clock_of(codes, task=None, **roles):
    """The clock of readings of 3 units at these times, the findings of it, and the windows."""
    of = pa.concat_tables([table(range(len(codes)), unit=unit) for unit in "abc"])
    of = of.set_column(1, "time", pa.array(codes * 3))
    own, rows = corpus(of, label="x", **roles), sample_of(of)
    task = task or series_task("forecasts")
    columns = paced(task, columns_of(rows, own, task), rows, own, SplitConfig())
    told = [finding.detail for finding in columns.findings if finding.kind == "notation"]
    return columns.carried[0], told, columns.features[0].shape


@pytest.mark.parametrize("write", [int, str, float])
@pytest.mark.parametrize(
    ("codes", "step"), [(yyyymm("2018-01", 60), 1), (yyyymm("2018-03", 20, 3), 3)]
)
def test_months_without_a_mark_are_months(codes, step, write):
    clock, told, shape = clock_of([write(code) for code in codes])
    assert (clock.kind, clock.notation) == ("time", "year_month")
    assert told == [f"{codes[0]} is read as a date"]
    assert (shape.step, shape.in_months, shape.notation) == (step, True, "year_month")


@pytest.mark.parametrize(
    "codes",
    [
        list(range(201801, 201861)),  # counts on behind 201812
        list(range(201801, 201813)),  # of one year alone
        list(range(200001, 206001, 100)),  # counts in hundreds
        [*yyyymm("2018-01", 60)[:-1], 202213],
        [code + 0.5 for code in yyyymm("2018-01", 60)],
        list(range(1, 61)),
    ],
)
def test_a_counter_that_looks_like_months_stays_one(codes):
    clock, told, shape = clock_of(codes)
    assert (clock.kind, clock.notation, shape.in_months) == ("number", None, False)
    assert told == []


def test_months_that_somebody_calls_numbers_are_numbers():
    clock, _, shape = clock_of(yyyymm("2018-01", 60), types=("time:number",))
    assert (clock.kind, shape.in_months) == ("number", False)


def scored_clock(times, shape, tmp_path):
    """The clock of a corpus that a model of such windows scores."""
    of = table(range(len(times))).set_column(1, "time", pa.array(times))
    pq.write_table(of, tmp_path / "readings.parquet")
    own = dataclasses.replace(corpus(of), uris=(f"file://{tmp_path}/readings.parquet",))
    signature = Signature(fields=(Field(name="readings", kind="sequence", shape=shape),))
    return next(f for f in reading_signature(signature, own).fields if f.name == "time")


@pytest.mark.parametrize("write", [int, str])
def test_months_of_one_year_are_scored_as_the_model_learned_them(write, tmp_path):
    _, _, shape = clock_of(yyyymm("2018-01", 60))
    clock = scored_clock([write(code) for code in yyyymm("2024-01", 12)], shape, tmp_path)
    assert (clock.kind, clock.notation) == ("time", "year_month")


def test_a_counter_is_not_scored_by_a_model_of_months(tmp_path):
    _, _, shape = clock_of(yyyymm("2018-01", 60))
    with pytest.raises(InputError, match="must hold times, however: in readings it holds numbers"):
        scored_clock(list(range(12)), shape, tmp_path)


def test_the_season_of_a_task_s_own_windows_is_not_taken_for_that_of_a_corpus():
    task = find("manufacturing/supply_chain")
    of = task.sample(500, 0)
    own = corpus(of, label="demand", time="month", group="part")
    shape = columns_of(sample_of(of), own, task).features[0].shape
    assert (shape.calendar, shape.in_advance) == ((), ("promotion",))


@pytest.mark.parametrize("share", [0.3, 0.1, 0.03])
def test_the_step_of_a_corpus_is_seen_in_a_sample_of_it(share):
    draw = np.random.default_rng(0)

    def sampled(stamps, num_units):
        kept = draw.random((num_units, len(stamps))) < share
        units, places = np.nonzero(kept)
        columns = {"unit": [f"u{unit}" for unit in units], "time": pa.array(stamps[places])}
        return pace(pa.table(columns), "time", "unit", share=share)

    months = (np.datetime64("1998-01", "M") + np.arange(51)).astype("datetime64[us]")
    monthly = sampled(months, 3000)
    assert (monthly.step, monthly.in_months) == (1.0, True)
    weeks = np.datetime64("2024-01-01", "us") + np.arange(200) * np.timedelta64(28, "D")
    assert (sampled(weeks, 500).step, sampled(weeks, 500).in_months) == (28 * 86_400.0, False)
    minutes = np.datetime64("2024-01-01", "us") + np.arange(30_000) * np.timedelta64(60, "s")
    assert sampled(minutes, 5).step == 60.0


def test_of_two_readings_at_one_moment_the_last_one_counts_everywhere():
    times = [0.0, 1, 2, 3, 3, 4, 5]
    of = table(times, [0.0, 1, 2, 30, 31, 4, 5])
    shape = dataclasses.replace(SHAPE, length=2, horizon=2)
    rows = cut(of, Cutting(name="w", shape=shape, head="forecasts", label="x"))
    labels = [None if text is None else json.loads(text) for text in rows["x"].to_pylist()]
    assert labels[1] == [2, 31]
    assert labels[2] == [31, 4]
    rows = cut(of, Cutting(name="w", shape=shape, head="forecasts"))
    assert rows["w"].to_pylist()[5] == [[31], [4]]  # the window that ends at 4
    assert rows["w"].to_pylist()[3] == [[2], [30]]  # what was known at the first reading at 3
