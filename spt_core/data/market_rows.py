"""Stored market events -> labelled rows: the features of each moment, and what came of it.

events -> MarketFeatures -> rows, directions by the move over the horizon
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.market import BASIS_POINTS, Bar, Event, MarketFeatures, Quote
from spt_core.errors import InputError

DIRECTION = "direction"
MOVE = "realized_move_bps"  # what came, by which a report says what decisions earn; no feature
DIRECTIONS = ("down", "flat", "up")
QUIET = 0.5  # in volatilities: a smaller move is flat


class MarketRows(NamedTuple):
    """N labelled moments, the moves [N] of the price that labels come from, and what is in none.

    `refused` counts the events that no book or bar can be, by the sentence about the first of each
    kind; `num_unlabelled` the moments whose horizon ends after the events, or in a gap.
    """

    table: pa.Table
    moves_bps: NDArray[np.float64]
    refused: Mapping[str, int]
    num_unlabelled: int


def threshold_bps(volatility_bps: float, spread_bps: float) -> float:
    """How far a price moves, either way, before it is called a direction.

    Half of the usual move over the horizon, and the spread at least: who trades on less pays more
    for coming and going than the move is worth, without any fee.
    """
    return max(QUIET * volatility_bps, spread_bps)


def mean_move_bps(volatility_bps: float, spread_bps: float) -> float:
    """How far a move goes that passes its threshold, on the average.

    Of a normal distribution with that volatility, whose mean beyond k is its density at k over the
    probability beyond k (the inverse of Mills' ratio). The threshold itself where it is so many
    volatilities away that nothing lies beyond.
    """
    threshold = threshold_bps(volatility_bps, spread_bps)
    if volatility_bps <= 0.0:
        return threshold
    k = threshold / volatility_bps
    beyond = 0.5 * math.erfc(k / math.sqrt(2.0))
    if beyond <= 0.0:
        return threshold
    return volatility_bps * math.exp(-0.5 * k * k) / math.sqrt(2.0 * math.pi) / beyond


def market_rows(
    events: Iterable[Event], *, horizon_s: float, fee_bps: float, step_s: float
) -> MarketRows:
    """The labelled rows of one instrument's events, at most one in every `step_s`.

    A row is labelled by the price that holds a horizon later, `up` or `down` where it lies farther
    than the row's `threshold_bps` from the present one, else `flat`. That price must be younger
    than half a horizon then: a label is not made across a gap. Rows overlap where a step is shorter
    than the horizon, so that parts of a split must lie a horizon apart. InputError if there is no
    row.
    """
    features = MarketFeatures(horizon_s=horizon_s, fee_bps=fee_bps)
    rows: list[dict[str, Any]] = []
    seconds: list[float] = []
    places: list[int] = []
    times: list[float] = []
    prices: list[float] = []
    refused: Counter[str] = Counter()
    step = -1
    for event in events:
        try:
            row = features.update(event)
        except InputError as error:
            refused[str(error).partition(", however")[0]] += 1
            continue
        if isinstance(event, Quote | Bar):
            times.append(event.time_s)
            prices.append(_price(event))
        if row is not None and int(event.time_s / step_s) > step:
            step = int(event.time_s / step_s)
            rows.append(row)
            seconds.append(event.time_s)
            places.append(len(prices) - 1)
    if not rows:
        raise InputError(
            f"events must last longer than four horizons of {horizon_s:g} s, however: there are "
            f"{len(times)} prices, and {sum(refused.values())} events were refused"
        )
    then = np.array(seconds) + horizon_s
    moves = _moves(np.array(places), then, np.array(times), np.array(prices), horizon_s / 2.0)
    is_labelled = ~np.isnan(moves)
    table = pa.Table.from_pylist(rows, schema=_schema(rows)).filter(pa.array(is_labelled))
    moves = moves[is_labelled]
    limits = [
        threshold_bps(volatility, spread)
        for volatility, spread in zip(
            table["volatility_bps"].to_pylist(), table["spread_bps"].to_pylist(), strict=True
        )
    ]
    signs = (moves > limits).astype(int) - (moves < np.negative(limits)).astype(int)
    labels = np.array(DIRECTIONS)[1 + signs]
    table = table.append_column(MOVE, pa.array(moves))
    return MarketRows(
        table.append_column(DIRECTION, pa.array(labels)),
        moves,
        dict(refused),
        int((~is_labelled).sum()),
    )


def _price(event: Quote | Bar) -> float:
    return (event.bid + event.ask) / 2.0 if isinstance(event, Quote) else event.close


def _moves(
    places: NDArray[np.int64],
    then_s: NDArray[np.float64],
    times_s: NDArray[np.float64],
    prices: NDArray[np.float64],
    oldest_s: float,
) -> NDArray[np.float64]:
    """Moves [N] in basis points from prices at `places` to those that hold at times `then_s`.

    NaN where that is after the last price, or where the one that holds is older than `oldest_s`.
    """
    later = np.searchsorted(times_s, then_s, side="right") - 1
    moves = BASIS_POINTS * (np.log(prices[later]) - np.log(prices[places]))
    is_covered = (then_s <= times_s[-1]) & (times_s[later] >= then_s - oldest_s)
    return np.where(is_covered, moves, np.nan)


def _schema(rows: list[dict[str, Any]]) -> pa.Schema:
    """The columns that any row has a value of."""
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return pa.schema(
        [(name, pa.timestamp("us") if name == "time" else pa.float64()) for name in names]
    )
