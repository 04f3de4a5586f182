"""Windows of requests: every bad one gets one sentence, every other one an array."""

import math

import numpy as np
import pytest

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


def test_not_a_number_counts_as_a_gap():
    assert read(readings(speed=math.nan))[:, 0].tolist() == [0, 0, 2, 3]


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


def test_terms_beside_the_readings_are_numbers_in_their_range():
    assert read(readings(), level=0.9).shape == (4, 2)
    assert read(readings(), level=None).shape == (4, 2)


BAD = {
    "too short": (readings(3), "must have 4 readings, however: 'readings' has 3"),
    "empty": ([], "must be a list of readings"),
    "no list": ("many", "must be a list of readings"),
    "a channel missing": ([{"speed": 1.0}] * 4, "'heat' is missing in reading 0"),
    "a channel too many": (readings(spede=1.0), "'spede' is none of them .*nearest is 'speed'"),
    "a text": (readings(speed="fast"), "'speed' of reading 1 is 'fast'"),
    "infinite": (readings(heat=math.inf), "'heat' of reading 1 is inf"),
    "beyond float32": (readings(heat=1e300), "'heat' of reading 1 is 1e"),
    "time going back": (timed(0, 60, 30, 90), r"reading 2 \(30\) is before reading 1 \(60\)"),
    "too short a time": (timed(0, 10, 20, 30), "must cover 4 steps of 60"),
    "no time": (timed(0, 60, "soon", 90), "time of reading 2"),
    "two units": (
        [row | {"unit": f"u{i % 2}"} for i, row in enumerate(readings())],
        "of one unit, however: its readings are of u0, u1",
    ),
    "mostly gaps": (
        [row | {"speed": None, "heat": None} for row in readings(3)] + readings(1),
        "at most 50% of a window's steps may be gaps, however: 3 of 4",
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
