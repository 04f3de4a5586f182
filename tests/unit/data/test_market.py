"""Features of market events: equal wherever they are computed, and events that are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from industries.financial_services.trading import sample_events
from spt_core.artifacts import as_uri
from spt_core.data.catalog.market import (
    binance_events,
    binance_rows,
    btc_rows,
    gbpusd_rows,
)
from spt_core.data.market import Bar, Event, MarketFeatures, Quote, Trade
from spt_core.data.market_rows import MOVE, market_rows, mean_move_bps, threshold_bps
from spt_core.errors import InputError

HORIZON_S = 300.0
QUOTE = Quote(1000.0, 99.9, 5.0, 100.1, 3.0)
BAR = Bar(1000.0, 100.0, 101.0, 99.0, 100.5, 7.0, 0.1)


def features() -> MarketFeatures:
    return MarketFeatures(horizon_s=HORIZON_S, fee_bps=0.5)


def replayed(events: Sequence[Event]) -> list[dict[str, Any] | None]:
    each = features()
    return [each.update(event) for event in events]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(sample_events(1200, 0))


def test_stored_rows_hold_the_features_of_live_events_to_the_last_digit(
    events: list[Event],
) -> None:
    stored = market_rows(events, horizon_s=HORIZON_S, fee_bps=0.5, step_s=20.0).table
    live = {row["time"]: row for row in reversed(replayed(events)) if row is not None}
    rows = stored.drop(["direction", MOVE]).to_pylist()
    assert len(rows) > 500
    for row in rows:
        assert row == live[row["time"]]


def test_who_goes_on_from_a_stored_state_has_the_same_features(events: list[Event]) -> None:
    whole = replayed(events)
    for cut in (1, 57, 700):
        first = features()
        for event in events[:cut]:
            first.update(event)
        second = MarketFeatures.restored(json.loads(json.dumps(first.state(), allow_nan=False)))
        assert [second.update(event) for event in events[cut:]] == whole[cut:]


def test_a_refused_event_changes_nothing(events: list[Event]) -> None:
    each = features()
    for event in events[:300]:
        each.update(event)
    before = each.state()
    later = events[299].time_s + 1.0
    for bad in (QUOTE, Quote(later, 101.0, 1.0, 100.0, 1.0), Bar(later, 5, 4, 3, 9, 1, 0)):
        with pytest.raises(InputError):
            each.update(bad)
    assert each.state() == before


def test_memory_is_bounded() -> None:
    each, sizes = features(), set[int]()
    for number, event in enumerate(sample_events(6000, 1)):
        each.update(event)
        if number % 100 == 0:
            sizes.add(len(each.state()["ring"]))
    assert max(sizes) <= 66


def test_a_price_that_falls_and_rises_again_is_told_by_hand() -> None:
    each = MarketFeatures(horizon_s=10.0, fee_bps=2.0)
    row = None
    for second in range(101):
        price = 100.0 if second < 95 else 101.0
        row = each.update(Quote(float(1000 + second), price - 0.05, 3.0, price + 0.05, 1.0))
        if second == 50:
            assert row is None  # a price that never moved has no volatility
    assert row is not None
    assert row["quote_imbalance"] == 0.5
    assert row["spread_bps"] == pytest.approx(10.0 / 1.01)
    assert row["last_move_bps"] == pytest.approx(1e4 * math.log(1.01))
    assert row["order_flow"] is None
    assert row["trend_sixteenth"] < row["trend_quarter"] < row["trend_one"] < row["trend_four"]
    # One squared move, five seconds old, of an average with a time constant of 40 s.
    decayed = math.log(1.01) ** 2 * math.exp(-5.0 / 40.0)
    rate = decayed / (40.0 * (1.0 - math.exp(-100.0 / 40.0)))
    assert row["volatility_bps"] == pytest.approx(1e4 * math.sqrt(10.0 * rate))


def test_what_was_taken_from_either_side_is_the_flow() -> None:
    each = MarketFeatures(horizon_s=10.0, fee_bps=0.0)
    row = None
    for second in range(60):
        price = 100.0 + second % 2
        each.update(Quote(float(1000 + second), price, 1.0, price + 1.0, 1.0))
        row = each.update(Trade(1000.5 + second, price, 2.0, second % 4 != 0))
    assert row is not None
    assert 0.4 < row["order_flow"] < 0.6  # three of four are bought


def test_a_gap_begins_anew(events: list[Event]) -> None:
    shifted = [event._replace(time_s=event.time_s + 1e6) for event in events]
    assert replayed([*events[:500], *shifted])[500:] == replayed(shifted)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (QUOTE._replace(bid=100.2), "bid below its ask, however: it is crossed or locked"),
        (QUOTE._replace(bid=100.1), "bid below its ask, however: it is crossed or locked"),
        (QUOTE._replace(ask=None), "a quote must have a positive number as ask, however: None"),
        (QUOTE._replace(bid=0.0), "a quote must have a positive number as bid, however: 0.0"),
        (QUOTE._replace(bid_size=0.0), "a positive number as bid_size, however: 0.0"),
        (QUOTE._replace(ask_size=math.nan), "a positive number as ask_size, however: nan"),
        (QUOTE._replace(bid="99.9"), "a positive number as bid, however: '99.9'"),
        (QUOTE._replace(time_s=math.inf), "a positive number as time_s, however: inf"),
        (Trade(1000.0, -1.0, 1.0, True), "a trade must have a positive number as price"),
        (Trade(1000.0, 1.0, None, True), "a trade must have a positive number as size"),  # type: ignore[arg-type]
        (Trade(1000.0, 1.0, 1.0, None), "a trade must have true or false as is_buy, however: None"),  # type: ignore[arg-type]
        (Trade(1000.0, 1.0, 1.0, math.nan), "true or false as is_buy, however: nan"),  # type: ignore[arg-type]
        (Trade(1000.0, 1.0, 1.0, "buy"), "true or false as is_buy, however: 'buy'"),  # type: ignore[arg-type]
        (QUOTE._replace(time_s=1.7e12), "seconds since 1970 and before the year 2100, .* 17000000"),
        (BAR._replace(high=100.2), "a bar must have its open and close between low and high"),
        (BAR._replace(volume=-1.0), "a volume and a spread of at least 0"),
        (BAR._replace(spread=-0.1), "a volume and a spread of at least 0"),
        (BAR._replace(spread=math.nan), "a volume and a spread of at least 0"),
        (BAR._replace(low=0.0), "a bar must have a positive number as low, however: 0.0"),
    ],
)
def test_an_event_that_cannot_be_is_refused_in_one_sentence(event: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        features().update(event)
    assert "\n" not in str(caught.value)


def test_time_does_not_go_back() -> None:
    each = features()
    each.update(QUOTE)
    each.update(QUOTE)  # two events of one moment are
    with pytest.raises(InputError, match="in the order of their times, however: 999.0 comes after"):
        each.update(QUOTE._replace(time_s=999.0))


def test_a_trade_s_side_may_be_of_numpy() -> None:
    each = features()
    each.update(QUOTE)
    each.update(Trade(1001.0, 100.0, 2.0, np.bool_(False)))
    each.update(Trade(1002.0, 100.0, 5.0, np.bool_(True)))
    assert each.state()["signed_volume"] == pytest.approx(3.0, rel=0.01)


def test_an_event_far_ahead_stops_nothing(events: list[Event]) -> None:
    each, clean = features(), features()
    for event in events[:300]:
        each.update(event)
        clean.update(event)
    last = events[299]
    for far_s in (1000.0 * last.time_s, last.time_s + 40 * 86_400.0):
        with pytest.raises(InputError):
            each.update(last._replace(time_s=far_s))
        assert each.update(events[300]) == clean.update(events[300])
    assert [each.update(event) for event in events[301:]] == [
        clean.update(event) for event in events[301:]
    ]
    assert each.state() == clean.state()


def test_after_a_long_pause_the_second_event_in_a_row_is_taken(events: list[Event]) -> None:
    each, shifted = features(), [e._replace(time_s=e.time_s + 1e7) for e in events]
    each.update(events[0])
    with pytest.raises(InputError, match="within 14 days of the last one, or be the second"):
        each.update(shifted[0])
    each = MarketFeatures.restored(json.loads(json.dumps(each.state(), allow_nan=False)))
    assert [each.update(event) for event in shifted[1:]] == replayed(shifted[1:])
    rows = market_rows([*events, *shifted], horizon_s=HORIZON_S, fee_bps=0.5, step_s=20.0)
    assert list(rows.refused.values()) == [1]
    assert rows.table["time"].to_pylist()[-1].timestamp() > events[-1].time_s + 1e6


def test_a_state_of_before_goes_on() -> None:
    each = features()
    each.update(QUOTE)
    state = {name: value for name, value in each.state().items() if name != "far_s"}
    assert MarketFeatures.restored(state).state() == each.state()


@pytest.mark.parametrize(("horizon_s", "fee_bps"), [(0.0, 1.0), (math.nan, 1.0), (10.0, -1.0)])
def test_a_horizon_and_a_fee_that_cannot_be_are_refused(horizon_s: float, fee_bps: float) -> None:
    with pytest.raises(InputError, match="a horizon above 0 s and a fee of at least 0 bps"):
        MarketFeatures(horizon_s=horizon_s, fee_bps=fee_bps)


def test_a_direction_is_a_move_over_the_horizon_beyond_half_a_volatility_and_the_spread() -> None:
    prices = [100.0 * (1.001 if minute % 2 else 1.0) for minute in range(60)] + [103.0] * 11
    bars = [
        Bar(60.0 * (minute + 1), price, price, price, price, 1.0, 0.01)
        for minute, price in enumerate(prices)
    ]
    rows = market_rows(bars, horizon_s=600.0, fee_bps=1.0, step_s=60.0)
    labels = dict(
        zip((rows.table["time"].cast(pa.int64()).to_numpy() // 60_000_000).tolist(),
            rows.table["direction"].to_pylist(), strict=True)
    )  # fmt: skip
    assert max(labels) == 61  # whose horizon ends with the last bar
    assert {labels[minute] for minute in range(45, 51)} == {"flat"}
    assert {labels[minute] for minute in range(51, 61)} == {"up"}
    assert rows.num_unlabelled == 10
    for volatility, spread in ((4.0, 1.0), (1.0, 4.0), (0.0, 0.5)):
        assert threshold_bps(volatility, spread) == max(volatility / 2, spread)


def test_the_mean_move_is_that_of_a_normal_distribution_beyond_the_threshold() -> None:
    draws = np.abs(np.random.default_rng(0).normal(0.0, 5.0, 400_000))
    for spread in (1.0, 6.0):
        beyond = draws[draws > threshold_bps(5.0, spread)]
        assert mean_move_bps(5.0, spread) == pytest.approx(beyond.mean(), rel=0.01)
    assert mean_move_bps(0.0, 2.0) == 2.0
    assert mean_move_bps(1.0, 60.0) == 60.0


def test_refused_events_are_counted_by_their_sentence(events: list[Event]) -> None:
    crossed = [Quote(event.time_s, 2.0, 1.0, 1.0, 1.0) for event in events[:3]]
    mixed = sorted([*events, *crossed], key=lambda event: event.time_s)
    rows = market_rows(mixed, horizon_s=HORIZON_S, fee_bps=0.5, step_s=20.0)
    clean = market_rows(events, horizon_s=HORIZON_S, fee_bps=0.5, step_s=20.0)
    assert rows.refused == {"an order book must have its bid below its ask": 3}
    assert rows.table.equals(clean.table)


def test_too_few_events_make_no_rows(events: list[Event]) -> None:
    with pytest.raises(InputError, match="last longer than four horizons of 300 s, however"):
        market_rows(events[:20], horizon_s=HORIZON_S, fee_bps=0.5, step_s=20.0)


def test_no_label_is_made_across_a_gap(events: list[Event]) -> None:
    end = events[-1].time_s
    shifted = [event._replace(time_s=event.time_s + 1e6) for event in events]
    rows = market_rows([*events, *shifted], horizon_s=HORIZON_S, fee_bps=0.5, step_s=20.0)
    seconds = rows.table["time"].cast(pa.int64()).to_numpy() / 1e6
    last = seconds[seconds <= end].max()
    assert end - HORIZON_S - 20.0 <= last <= end - HORIZON_S / 2.0


def test_a_book_s_stream_has_equal_features_stored_and_live(data_home: str) -> None:
    folder = f"{as_uri(data_home)}/financial_services/trading-binance-lob"
    stored = binance_rows(folder, "btcusdt")
    live = MarketFeatures(horizon_s=2.0, fee_bps=10.0)
    rows: dict[Any, list[Any]] = {}
    for event in binance_events(folder, "btcusdt"):
        row = live.update(event)
        if row is not None:  # events can share a microsecond
            rows.setdefault(row["time"], []).append(row)
    assert (stored.table.num_rows, stored.refused, stored.num_unlabelled) == (2815, {}, 20)
    features = stored.table.drop(["direction", MOVE]).to_pylist()
    assert all(row in rows[row["time"]] for row in features)


def test_bars_say_what_their_notes_do(data_home: str) -> None:
    folder = f"{as_uri(data_home)}/financial_services/trading-ohlcv"
    btc, pound = btc_rows(folder), gbpusd_rows(folder)
    last = np.asarray(btc.table["last_move_bps"])
    moved = (last != 0) & (btc.moves_bps != 0)
    assert btc.table.num_rows == 8992
    assert np.mean(np.sign(last)[moved] == np.sign(btc.moves_bps)[moved]) == pytest.approx(
        0.471, abs=5e-4
    )
    assert not {"quote_imbalance", "quote_flow"} & set(btc.table.column_names)
    assert list(pound.refused.values()) == [347]
    assert "order_flow" not in pound.table.column_names
