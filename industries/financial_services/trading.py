"""Which way does a price move next, and is that worth its costs? One record, one decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from industries.financial_services.trading_costs import takings
from spt_core.answers import PROBABILITY, probability_schema
from spt_core.data.market import BASIS_POINTS, Event, Quote, Trade
from spt_core.data.market_rows import (
    DIRECTION,
    DIRECTIONS,
    MOVE,
    QUIET,
    market_rows,
    mean_move_bps,
)
from spt_core.errors import InputError
from spt_core.judgement import Labels
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

Action = Literal["buy", "sell", "hold"]
# What a decision is priced by; a model may do without them, a decision may not.
PRICED_BY = ("volatility_bps", "spread_bps", "fee_bps")
# Beyond their training values the model's answer is as good as within: the fee is no cause of a
# move, and a year goes on.
ANY_VALUE = frozenset({"time", "fee_bps"})
TWICE = 1.0 / 3.0  # the imbalance of a book with twice as much on one side


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the direction that the policy gives, and what to do about it."""
    probabilities = {score.label: score.probability for score in judgement.scores}
    best = judgement.best
    return answer(judgement.record, probabilities, best.label, lambda: judgement.outside)


def answer(
    record: Mapping[str, Any],
    probabilities: Mapping[str, float],
    direction: str,
    outside: Callable[[], Sequence[str]],
) -> dict[str, Any]:
    """What is said of a record with these probabilities of directions, of which one is given.

    `outside` names the fields that lie beyond all training rows; it is asked where it matters.
    """
    volatility, spread, fee = (_priced_by(record, name) for name in PRICED_BY)
    tilt = probabilities.get("up", 0.0) - probabilities.get("down", 0.0)
    expected_bps = tilt * mean_move_bps(volatility, spread)
    action = decide(expected_bps, round_trip_bps(spread, fee))
    if action != "hold" and not ANY_VALUE.issuperset(outside()):
        action = "hold"
    return {
        "direction": direction,
        "probabilities": {name: round(probabilities.get(name, 0.0), 6) for name in DIRECTIONS},
        "expected_return": round(expected_bps / BASIS_POINTS, 10),
        "action": action,
        "abstained": action == "hold",
        "confidence": round(probabilities[direction], 6),
    }


def round_trip_bps(spread_bps: float, fee_bps: float) -> float:
    """What it costs to come and go, in basis points: half the spread and the fee, both twice."""
    return spread_bps + 2.0 * fee_bps


def decide(expected_bps: float, cost_bps: float) -> Action:
    """Buy or sell where the expected move is larger than what it costs, else hold."""
    if abs(expected_bps) <= cost_bps:
        return "hold"
    return "buy" if expected_bps > 0.0 else "sell"


def last_direction(table: pa.Table) -> list[str]:
    """What says that a move goes on: the direction of the last one, by the bounds of the next."""
    names = ("last_move_bps", "volatility_bps", "spread_bps")
    absent = [name for name in names if name not in table.column_names]
    if absent:
        raise InputError(
            f"the last direction is told by the columns {', '.join(names)}, however: the rows have "
            f"no {', '.join(absent)}"
        )
    last, volatility, spread = (
        np.asarray(table[name].combine_chunks().fill_null(0.0), np.float64) for name in names
    )
    limits = np.maximum(QUIET * volatility, spread)
    places = 1 + (last > limits).astype(int) - (last < -limits).astype(int)
    return np.array(DIRECTIONS)[places].tolist()


def last_imbalance(table: pa.Table) -> list[str]:
    """What says that a price goes where less is offered: up where bids are twice the asks."""
    if "quote_imbalance" not in table.column_names:
        raise InputError(
            "the last imbalance is told by the column quote_imbalance, however: the rows have none"
        )
    imbalance = np.asarray(table["quote_imbalance"].combine_chunks().fill_null(0.0), np.float64)
    places = 1 + (imbalance > TWICE).astype(int) - (imbalance < -TWICE).astype(int)
    return np.array(DIRECTIONS)[places].tolist()


def no_move(table: pa.Table) -> list[str]:
    """What says that nothing happens."""
    return ["flat"] * table.num_rows


def _priced_by(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if value is None:
        raise InputError(
            f"a decision is priced by the fields {', '.join(PRICED_BY)}, however: {name!r} is "
            "missing"
        )
    return float(value)


SAMPLE_START_S = 1_767_571_200.0  # Monday, 2026-01-05T00:00:00
SAMPLE_QUOTE_S = 10.0
SAMPLE_STEP_S = 20.0
SAMPLE_HORIZON_S = 300.0
SAMPLE_FEE_BPS = 0.5
PULL = 0.2  # of the pressure on a price, in its volatilities of one quote
PRESSURE_QUOTES = 20.0  # time constants, in quotes
VOLATILITY_QUOTES = 600.0


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of moments of one order book, sorted by time, whose causes are known.

    Every 10 s there is a quote, and 5 s later, in six of ten cases, a trade. A hidden pressure, of
    mean 0 and variance 1, forgets itself with a time constant of 20 quotes. From a quote to the
    next the logarithm of the price moves by v (0.2 pressure + noise), with noise of variance 1 and
    a volatility v of 0.8 basis points times exp(0.4 w), w wandering in the same way with a time
    constant of 600 quotes. Of the pressure the events tell this: sizes at bid and ask are lognormal
    (0.8) times exp(0.5 pressure) and exp(-0.5 pressure), a trade is a buy with the log-odds 1.2
    pressure. The spread is 1 basis point times exp(0.3 w), with 20 % of noise of its own. Nothing
    else matters; past moves tell the pressure too.

    Rows are those of `market_rows`: one every 20 s, with the direction 300 s later. A fee of 0.5
    basis points a side is stated in all of them. Prices are in no ticks, and nobody reacts to
    trades: the sample shows that the machinery works, not that anything can be earned.
    """
    num_quotes = 2 * num_rows + round(6 * SAMPLE_HORIZON_S / SAMPLE_QUOTE_S)
    rows = market_rows(
        sample_events(num_quotes, seed),
        horizon_s=SAMPLE_HORIZON_S,
        fee_bps=SAMPLE_FEE_BPS,
        step_s=SAMPLE_STEP_S,
    )
    return rows.table.slice(0, num_rows)


def sample_events(num_quotes: int, seed: int) -> Iterator[Event]:
    """The quotes and trades of the sample."""
    draw = np.random.default_rng(seed)
    pressure = _wandering(draw, num_quotes, PRESSURE_QUOTES)
    mood = _wandering(draw, num_quotes, VOLATILITY_QUOTES)
    volatility = 0.8 / BASIS_POINTS * np.exp(0.4 * mood)
    noise = draw.normal(size=num_quotes)
    prices = 100.0 * np.exp(np.cumsum(volatility * (PULL * pressure + noise)))
    spreads = prices / BASIS_POINTS * np.exp(0.3 * mood + 0.2 * draw.normal(size=num_quotes))
    sizes = draw.lognormal(1.0, 0.8, (2, num_quotes)) * np.exp(np.outer([0.5, -0.5], pressure))
    is_trade = draw.random(num_quotes) < 0.6
    is_buy = draw.random(num_quotes) < 1.0 / (1.0 + np.exp(-1.2 * pressure))
    traded = draw.lognormal(0.0, 1.0, num_quotes)
    columns = (prices, spreads, *sizes, traded, is_trade, is_buy)
    for number, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        price, spread, bid_size, ask_size, size, has_trade, buys = row
        time_s = SAMPLE_START_S + number * SAMPLE_QUOTE_S
        bid, ask = price - spread / 2.0, price + spread / 2.0
        yield Quote(time_s, bid, bid_size, ask, ask_size)
        if has_trade:
            yield Trade(time_s + SAMPLE_QUOTE_S / 2.0, ask if buys else bid, size, buys)


def _wandering(draw: np.random.Generator, length: int, constant: float) -> NDArray[np.float64]:
    """A stationary process [length] of variance 1 that forgets itself with a time constant."""
    keep = np.exp(-1.0 / constant)
    shocks = draw.normal(size=length) * np.sqrt(1.0 - keep**2)
    values = np.empty(length)
    value = draw.normal()
    for place, shock in enumerate(shocks):
        value = keep * value + shock
        values[place] = value
    return values


def _signed_share(name: str, description: str) -> Field:
    return Field(
        name=name,
        kind="number",
        minimum=-1.0,
        maximum=1.0,
        required=False,
        description=description,
    )


TRADING = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="trading",
    title="Trading",
    description="The direction of a price over a horizon, and whether the move that is expected "
    "pays for spread and fees. Whoever acts on it answers for it: it knows no position, no limit "
    "and no other market.",
    verb="decide",
    head="single_label",
    classes=DIRECTIONS,
    metric="log_loss",
    label=DIRECTION,
    time="time",
    fields=(
        Field(name="time", kind="time", in_utc=True, description="of the moment, UTC"),
        Field(
            name="horizon_s",
            kind="number",
            unit="s",
            minimum=0.0,
            description="how far ahead; a model knows the one that it was trained for",
        ),
        Field(
            name="fee_bps",
            kind="number",
            unit="basis points of the value",
            minimum=0.0,
            description="of a trade, on either side; prices the action, not the direction",
        ),
        Field(
            name="spread_bps",
            kind="number",
            unit="basis points of the price",
            minimum=0.0,
            description="best ask less best bid; a crossed book has none",
        ),
        Field(
            name="volatility_bps",
            kind="number",
            unit="basis points of the price",
            minimum=0.0,
            description="usual move over the horizon, by an average over four horizons",
        ),
        Field(
            name="volatility_ratio",
            kind="number",
            minimum=0.0,
            required=False,
            description="volatility by an average over one horizon, over that of sixteen",
        ),
        Field(
            name="last_move_bps",
            kind="number",
            unit="basis points of the price",
            required=False,
            description="move over the last horizon",
        ),
        *(
            Field(
                name=f"trend_{name}",
                kind="number",
                unit="volatilities",
                required=False,
                description=f"price above its average over {what}",
            )
            for name, what in (
                ("sixteenth", "a sixteenth of the horizon"),
                ("quarter", "a quarter of the horizon"),
                ("one", "one horizon"),
                ("four", "four horizons"),
            )
        ),
        _signed_share(
            "order_flow",
            "volume bought less volume sold by those who took what was offered, as a "
            "share of both, over one horizon",
        ),
        Field(
            name="activity",
            kind="number",
            minimum=0.0,
            required=False,
            description="volume in a second over one horizon, over that of sixteen",
        ),
        _signed_share(
            "quote_imbalance",
            "size at the best bid less that at the best ask, as a share of both",
        ),
        _signed_share(
            "quote_flow",
            "size that came to the best bid or left the best ask less the reverse, as "
            "a share of all changes, over a quarter of the horizon",
        ),
    ),
    answer={
        "direction": {
            "type": "string",
            "enum": list(DIRECTIONS),
            "description": "most probable: up or down is a move of at least half of the usual one "
            "(volatility_bps) and of at least the spread, over the horizon",
        },
        "probabilities": {
            "type": "object",
            "description": "calibrated, of each direction",
            "properties": {name: PROBABILITY for name in DIRECTIONS},
        },
        "expected_return": {
            "type": "number",
            "description": "move of the middle price over the horizon that is expected, as a share "
            "of the price, before costs: probability of up less that of down, times the mean of a "
            "normal distribution of that volatility beyond the bound of a direction",
        },
        "action": {
            "type": "string",
            "enum": ["buy", "sell", "hold"],
            "description": "buy or sell where the expected return is larger than what it costs to "
            "come and go, the spread and two fees",
        },
        "abstained": {
            "type": "boolean",
            "description": "true where the action is hold: the costs are not paid for, or a field "
            "but the time and the fee lies beyond all training rows",
        },
        "confidence": probability_schema("calibrated probability of the direction"),
    },
    respond=respond,
    example={
        "time": "2026-01-07T14:30:00",
        "horizon_s": 300,
        "fee_bps": 0.5,
        "spread_bps": 1.1,
        "volatility_bps": 5.2,
        "volatility_ratio": 1.1,
        "last_move_bps": 4.8,
        "trend_sixteenth": 0.2,
        "trend_quarter": 0.4,
        "trend_one": 0.7,
        "trend_four": 1.1,
        "order_flow": 0.42,
        "activity": 1.2,
        "quote_imbalance": 0.55,
        "quote_flow": 0.31,
    },
    sample=sample,
    compliance_checks=("data_licence_known",),
    latency_target_ms=1.0,
    rules={
        "last direction": last_direction,
        "last imbalance": last_imbalance,
        "no move": no_move,
    },
    realized=(MOVE,),
    takings=takings,
)
