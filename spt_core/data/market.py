"""Market events -> features, one event at a time in bounded memory, for training and for serving.

Quote | Trade | Bar -> MarketFeatures.update -> the fields of a record, None while it warms up

Whoever replays stored events and whoever answers live ones call this class, so that features are
equal to the last digit in both. It is plain Python: for a dozen numbers an array costs more.
"""

from __future__ import annotations

import datetime
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from spt_core.errors import InputError

BASIS_POINTS = 1e4
# Time constants of the averages, in horizons: a sixteenth sees the last ticks alone.
TIME_CONSTANTS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
WARM_HORIZONS = 4.0  # of events, before an average over four horizons says anything
GAP_HORIZONS = 4.0  # without an event, after which what was before says nothing any more
END_S = 4_102_444_800.0  # 2100-01-01: a larger time is in milliseconds, or finer
MAX_JUMP_S = 14 * 86_400.0  # exchanges close for eleven days at most, about the lunar new year
SLICES = 64  # of a horizon, of each of which the ring of past prices keeps the last one
_EPOCH = datetime.datetime(1970, 1, 1)


class Quote(NamedTuple):
    """The best bid and ask of an order book, from now on; time in seconds since 1970 (UTC)."""

    time_s: float
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Trade(NamedTuple):
    """A trade; `is_buy` says that it was the buyer who took what was offered, True or False."""

    time_s: float
    price: float
    size: float
    is_buy: bool


class Bar(NamedTuple):
    """Prices of the interval that ends at `time_s`; `spread` is ask less bid at its end."""

    time_s: float
    open: float
    high: float
    low: float
    close: float
    volume: float
    spread: float


Event = Quote | Trade | Bar


class MarketFeatures:
    """The features of one instrument's events; not thread-safe, its size is bounded.

    `horizon_s` is how far ahead a move is judged, `fee_bps` what a trade costs on either side, in
    basis points (1e-4) of its value. Averages decay exponentially in time, with the time constants
    TIME_CONSTANTS * horizon_s, a price holding until the next one (Eckner, "Algorithms for Unevenly
    Spaced Time Series: Moving Averages and Other Rolling Operators", 2012). Order flow at the best
    quotes is that of Cont, Kukanov and Stoikov, "The Price Impact of Order Book Events", 2014; a
    bar's volume is split by where it closes between its low and its high.

    After more than GAP_HORIZONS without an event it begins anew. A refused event changes nothing,
    but that one more than MAX_JUMP_S ahead of the last is remembered: a second one in a row, within
    MAX_JUMP_S of the first, is taken, so that a wrong time stops nothing and a long pause ends.
    """

    def __init__(self, *, horizon_s: float, fee_bps: float) -> None:
        if not 0.0 < horizon_s < math.inf or not 0.0 <= fee_bps < math.inf:
            raise InputError(
                "features need a horizon above 0 s and a fee of at least 0 bps, however: "
                f"{horizon_s=}, {fee_bps=}"
            )
        self.horizon_s, self.fee_bps = float(horizon_s), float(fee_bps)
        self._slice_s = self.horizon_s / SLICES
        self._time_constants_s = [part * self.horizon_s for part in TIME_CONSTANTS]
        self._time_s: float | None = None
        self._far_s: float | None = None
        self._begin(0.0)

    def update(self, event: Event) -> dict[str, Any] | None:
        """The features after an event; None before a price, a move of it, and WARM_HORIZONS.

        InputError, one sentence, for a book that is crossed or lacks a side, for a price, size or
        time that is no positive number, for a time after the year 2100 (it is not in seconds), for
        a trade of neither side, for a bar whose prices contradict each other, and for a time before
        that of the last event or, the first time, more than MAX_JUMP_S after it.
        """
        _check(event)
        time_s, last_s = event.time_s, self._time_s
        if last_s is not None and time_s - last_s > MAX_JUMP_S:
            self._confirm(time_s, last_s)
        if last_s is None or time_s - last_s > GAP_HORIZONS * self.horizon_s:
            self._begin(time_s)
        elif time_s < last_s:
            raise InputError(
                "events must come in the order of their times, however: "
                f"{time_s!r} comes after {last_s!r}"
            )
        elif time_s > last_s:
            self._elapse(time_s - last_s)
        self._time_s, self._far_s = time_s, None
        if isinstance(event, Quote):
            self._quote(event)
        elif isinstance(event, Trade):
            self._flow(event.size if event.is_buy else -event.size, event.size)
        else:
            self._bar(event)
        if time_s - self._start_s < WARM_HORIZONS * self.horizon_s or self._squares[1] <= 0.0:
            return None
        return self._features(time_s)

    def _confirm(self, time_s: float, last_s: float) -> None:
        """Refuse a jump ahead unless the event before this one, which was refused, was there."""
        far_s = self._far_s
        if far_s is None or not far_s <= time_s <= far_s + MAX_JUMP_S:
            self._far_s = time_s
            raise InputError(
                f"an event must come within {MAX_JUMP_S / 86_400:g} days of the last one, or be "
                f"the second in a row that does not, however: {time_s!r} comes after {last_s!r}"
            )

    def state(self) -> dict[str, Any]:
        """All that it remembers, as JSON; `restored` goes on from it to the last digit."""
        return {
            "horizon_s": self.horizon_s,
            "fee_bps": self.fee_bps,
            "time_s": self._time_s,
            "far_s": self._far_s,
            "start_s": self._start_s,
            "log_price": self._log_price,
            "spread_bps": self._spread_bps,
            "averages": list(self._averages),
            "squares": list(self._squares),
            "durations": list(self._durations),
            "volumes": list(self._volumes),
            "signed_volume": self._signed_volume,
            "pressure": list(self._pressure),
            "book": self._book,
            "ring": [list(entry) for entry in self._ring],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> MarketFeatures:
        """The features whose `state` it was."""
        features = cls(horizon_s=state["horizon_s"], fee_bps=state["fee_bps"])
        features._time_s, features._start_s = state["time_s"], state["start_s"]
        features._far_s = state.get("far_s")  # younger than some states
        features._log_price, features._spread_bps = state["log_price"], state["spread_bps"]
        features._averages, features._squares = list(state["averages"]), list(state["squares"])
        features._durations, features._volumes = list(state["durations"]), list(state["volumes"])
        features._signed_volume = state["signed_volume"]
        features._pressure = list(state["pressure"])
        features._book = None if state["book"] is None else list(state["book"])
        features._ring.extend((number, time_s, price) for number, time_s, price in state["ring"])
        return features

    def _begin(self, time_s: float) -> None:
        """Forget all events."""
        self._start_s = time_s
        self._log_price: float | None = None
        self._spread_bps = 0.0
        self._averages = [0.0] * 4  # of the logarithm of the price, by the first four constants
        self._squares = [0.0] * 3  # decayed sums of squared moves, by the last three
        self._durations = [0.0] * 3  # decayed sums of seconds
        self._volumes = [0.0] * 3  # decayed sums of volume
        self._signed_volume = 0.0  # of which bought less sold, by the third constant
        self._pressure = [0.0, 0.0]  # signed and absolute flow at the quotes, by the second
        self._book: list[float] | None = None  # bid, its size, ask, its size
        self._ring: deque[tuple[int, float, float]] = deque()  # slice, time, logarithm of price

    def _elapse(self, seconds: float) -> None:
        """Let all averages decay, the price having held."""
        decays = [math.exp(-seconds / constant) for constant in self._time_constants_s]
        price = self._log_price
        if price is not None:
            averages = self._averages
            for i in range(4):
                averages[i] = price + (averages[i] - price) * decays[i]
        squares, durations, volumes = self._squares, self._durations, self._volumes
        for i in range(3):
            decay = decays[i + 2]
            squares[i] *= decay
            volumes[i] *= decay
            durations[i] = durations[i] * decay + self._time_constants_s[i + 2] * (1.0 - decay)
        self._signed_volume *= decays[2]
        self._pressure[0] *= decays[1]
        self._pressure[1] *= decays[1]

    def _quote(self, quote: Quote) -> None:
        _, bid, bid_size, ask, ask_size = quote
        if self._book is not None:
            old_bid, old_bid_size, old_ask, old_ask_size = self._book
            bought = bid_size if bid >= old_bid else 0.0
            bought -= old_bid_size if bid <= old_bid else 0.0
            sold = ask_size if ask <= old_ask else 0.0
            sold -= old_ask_size if ask >= old_ask else 0.0
            self._pressure[0] += bought - sold
            self._pressure[1] += abs(bought) + abs(sold)
        self._book = [bid, bid_size, ask, ask_size]
        self._move((bid + ask) / 2.0, ask - bid)

    def _bar(self, bar: Bar) -> None:
        width = bar.high - bar.low
        place = (2.0 * bar.close - bar.high - bar.low) / width if width > 0.0 else 0.0
        self._flow(place * bar.volume, bar.volume)
        self._move(bar.close, bar.spread)

    def _flow(self, signed_volume: float, volume: float) -> None:
        self._signed_volume += signed_volume
        volumes = self._volumes
        for i in range(3):
            volumes[i] += volume

    def _move(self, price: float, spread: float) -> None:
        """Take a new price."""
        log_price, ring = math.log(price), self._ring
        self._spread_bps = BASIS_POINTS * spread / price
        if self._log_price is None:
            self._averages = [log_price] * 4
        elif log_price != self._log_price:
            square, squares = (log_price - self._log_price) ** 2, self._squares
            for i in range(3):
                squares[i] += square
        self._log_price = log_price
        time_s = self._time_s
        assert time_s is not None, "events set the time first"
        number = int(time_s / self._slice_s)
        if ring and ring[-1][0] == number:
            ring[-1] = (number, time_s, log_price)
        else:
            ring.append((number, time_s, log_price))
        self._forget(time_s)

    def _forget(self, time_s: float) -> None:
        """Keep of the ring the last price that is a horizon old, and those after it."""
        ring, since = self._ring, time_s - self.horizon_s
        while len(ring) > 1 and ring[1][1] <= since:
            ring.popleft()

    def _features(self, time_s: float) -> dict[str, Any] | None:
        price = self._log_price
        if price is None:
            return None
        self._forget(time_s)
        rates = [s / d for s, d in zip(self._squares, self._durations, strict=True)]
        volatility = math.sqrt(rates[1] * self.horizon_s)
        trends = [(price - average) / volatility for average in self._averages]
        volumes, book = self._volumes, self._book
        slow_rate = volumes[2] / self._durations[2]
        return {
            "time": _EPOCH + datetime.timedelta(seconds=time_s),
            "horizon_s": self.horizon_s,
            "fee_bps": self.fee_bps,
            "spread_bps": self._spread_bps,
            "volatility_bps": BASIS_POINTS * volatility,
            "volatility_ratio": math.sqrt(rates[0] / rates[2]),
            "last_move_bps": BASIS_POINTS * (price - self._ring[0][2]),
            "trend_sixteenth": trends[0],
            "trend_quarter": trends[1],
            "trend_one": trends[2],
            "trend_four": trends[3],
            "order_flow": _share(self._signed_volume, volumes[0]),
            "activity": volumes[0] / self._durations[0] / slow_rate if slow_rate > 0.0 else None,
            "quote_imbalance": None if book is None else (book[1] - book[3]) / (book[1] + book[3]),
            "quote_flow": _share(*self._pressure),
        }


def _share(signed: float, absolute: float) -> float | None:
    """A signed sum as a share of the absolute one, in [-1, 1] whatever was rounded on the way."""
    return min(max(signed / absolute, -1.0), 1.0) if absolute > 0.0 else None


def _check(event: Event) -> None:
    """Refuse an event that cannot be one."""
    try:
        if isinstance(event, Quote):
            time_s, bid, bid_size, ask, ask_size = event
            is_sound = 0.0 < bid < ask < math.inf
            is_sound = is_sound and 0.0 < bid_size < math.inf and 0.0 < ask_size < math.inf
        elif isinstance(event, Trade):
            time_s, price, size, is_buy = event
            is_sound = 0.0 < price < math.inf and 0.0 < size < math.inf
            is_sound = is_sound and is_buy in (True, False)
        else:
            time_s, opened, high, low, close, volume, spread = event
            is_sound = 0.0 < low <= min(opened, close) and max(opened, close) <= high < math.inf
            is_sound = is_sound and 0.0 <= volume < math.inf and 0.0 <= spread < close
        is_sound = is_sound and 0.0 < time_s < END_S
    except TypeError:  # a side is None, or a text
        is_sound = False
    if not is_sound:
        raise InputError(_why(event))


def _why(event: Event) -> str:
    """The sentence about an event that was refused."""
    values = event._asdict()
    signs = ("volume", "spread", "is_buy")
    for name, value in values.items():
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if name not in signs and not (is_number and value > 0.0):
            return (
                f"a {type(event).__name__.lower()} must have a positive number as {name}, however: "
                f"{value!r}"
            )
    if event.time_s >= END_S:
        return (
            "a time must be in seconds since 1970 and before the year 2100, however: "
            f"{event.time_s!r}"
        )
    if isinstance(event, Trade):
        return f"a trade must have true or false as is_buy, however: {event.is_buy!r}"
    if isinstance(event, Quote):
        return (
            "an order book must have its bid below its ask, however: it is crossed or locked, bid "
            f"{event.bid!r} and ask {event.ask!r}"
        )
    return (
        "a bar must have its open and close between low and high, and a volume and a spread of at "
        f"least 0, however: {values}"
    )
