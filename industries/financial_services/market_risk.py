"""How much may a position lose by tomorrow's close, and how much if it is worse than that?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from spt_core.answers import silence, unlike
from spt_core.errors import InputError
from spt_core.heads.backtest import expected_shortfall, value_at_risk
from spt_core.judgement import Forecast
from spt_core.signature import Field, SequenceShape
from spt_core.task import IndustryType, Task

WINDOW_DAYS = 250  # a year: what Basel asks for at least, and historical simulation uses
USUAL_LEVEL = 0.99
RETURN_AND_LOSS = ("return_pct", "loss_pct")
ALL_OF_IT = 100.0  # percent: a long position loses no more
FRACTIONAL = 0.2  # percent: below it all days of a year are only of a peg, or of fractions
ROUNDING = 0.05  # points, and the share of a return, by which a loss may differ from it
SHOWN_LEVELS = (0.9, 0.95, 0.99)
BACKTEST_LEVELS = (0.95, 0.99)
SAMPLE_DAYS = 600  # of one instrument
USUAL_POSITION = 100.0  # of which a loss is as large as in percent
START = np.datetime64("2022-01-01", "D")


class Day(NamedTuple):
    """What a request says of a trading day, in percent; None is a gap."""

    gain: float | None
    loss: float | None


def respond(judgement: Forecast) -> dict[str, Any]:
    """The task's answer: value at risk and expected shortfall, in percent and of the position."""
    record, step = judgement.record, judgement.steps[0]
    given, position = record.get("confidence_level"), record.get("position_value")
    level = USUAL_LEVEL if given is None else float(given)
    days = _days(record.get("readings"))
    _require_possible(days)
    at_risk = min(value_at_risk(step, level), ALL_OF_IT)
    shortfall = min(expected_shortfall(step, level), ALL_OF_IT)
    return {
        "value_at_risk_pct": round(at_risk, 6),
        "expected_shortfall_pct": round(shortfall, 6),
        "value_at_risk": _of_position(at_risk, position),
        "expected_shortfall": _of_position(shortfall, position),
        "confidence_level": level,
        "quantiles": {
            f"p{100 * q:g}": round(min(float(step[q]), ALL_OF_IT), 6) for q in SHOWN_LEVELS
        },
        "recommendation": _recommendation(judgement, days, at_risk, level),
    }


def _of_position(loss_pct: float, position: Any) -> float:
    """In the position's currency, to the cent or three digits; untold it is USUAL_POSITION."""
    value = USUAL_POSITION if position is None else float(position)
    loss = value * loss_pct / 100.0
    return round(loss, 2) if loss >= 1.0 else float(f"{loss:.3g}")


def _recommendation(judgement: Forecast, days: Sequence[Day], at_risk: float, level: float) -> str:
    text = (
        f"Hold against a loss of {at_risk:.2f} % by the next close; on "
        f"{100.0 - 100.0 * level:.3g} % of days it is worse. See the backtest in the model's "
        "report."
    )
    moves = [abs(day.gain) for day in days if day.gain is not None]
    if moves and max(moves) < FRACTIONAL:
        text += (
            f" No day that was sent moved by more than {max(moves):.2g} %: returns are percent, "
            "not fractions; check units first."
        )
    num_wrong = _num_contradictions(days)
    if num_wrong:
        text += (
            f" On {num_wrong} of the days that were sent loss_pct is not -return_pct, or 0 where "
            "it gained: check units and signs first."
        )
    if judgement.silent:
        text += f" The window has {silence(judgement.silent)}: stress it by hand."
    if judgement.outside:
        text += f" In the request {unlike(judgement.outside)}: stress it by hand."
    return text


def _days(readings: Any) -> list[Day]:
    """The days of a request that names its channels, in either form."""
    pairs: list[Any] = []
    if isinstance(readings, Mapping):
        given = cast(Mapping[str, Any], readings)
        pairs += zip(*(given.get(name) or () for name in RETURN_AND_LOSS), strict=False)
    elif isinstance(readings, list):
        rows = (row for row in cast(list[Any], readings) if isinstance(row, Mapping))
        pairs += ([row.get(name) for name in RETURN_AND_LOSS] for row in rows)
    return [Day(*pair) for pair in pairs]


def _require_possible(days: Sequence[Day]) -> None:
    """InputError where a day lost more than all, or a negative amount."""
    for number, day in enumerate(days):
        if day.gain is not None and day.gain < -ALL_OF_IT:
            raise InputError(
                "a return must be of a position, which loses 100 % at most, however: return_pct "
                f"of reading {number} is {day.gain:g}"
            )
        if day.loss is not None and not 0 <= day.loss <= ALL_OF_IT:
            raise InputError(
                f"a loss must be from 0 to 100 %, however: loss_pct of reading {number} is "
                f"{day.loss:g}"
            )


def _num_contradictions(days: Sequence[Day]) -> int:
    """On how many days the loss is not what the return says."""
    return sum(
        abs(day.loss - max(-day.gain, 0.0)) > ROUNDING + ROUNDING * abs(day.gain)
        for day in days
        if day.gain is not None and day.loss is not None
    )


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of daily returns of instruments, 600 trading days (weekdays) each.

    A day's variance is 0.02 of the long-run one, 0.88 of yesterday's, and 0.08 of the square of
    yesterday's return (0.12 after a fall): a GJR-GARCH(1,1). Returns are that spread times
    Student's t of 6 degrees, of variance 1, and a drift of 0.02 %. An instrument's long-run spread
    is between 0.6 and 2 % a day. Who knew all of it would know each day's spread, and no return.
    """
    draw = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("instrument", "session", "return_pct", "loss_pct")
    }
    for number in range(-(-num_rows // SAMPLE_DAYS)):
        long_run = draw.uniform(0.6, 2.0) ** 2
        shocks = draw.standard_t(6.0, SAMPLE_DAYS) * np.sqrt(4.0 / 6.0)
        returns, variance, before = np.empty(SAMPLE_DAYS), long_run, 0.0
        for day in range(SAMPLE_DAYS):
            weight = 0.08 * (1.5 if before < 0 else 1.0)
            variance = 0.02 * long_run + 0.88 * variance + weight * before**2
            returns[day] = 0.02 + np.sqrt(variance) * shocks[day]
            before = returns[day]
        columns["instrument"].append(np.full(SAMPLE_DAYS, f"I{number:03d}"))
        days = np.busday_offset(START, np.arange(SAMPLE_DAYS), roll="forward")
        columns["session"].append(days.astype("datetime64[us]"))
        columns["return_pct"].append(returns)
        columns["loss_pct"].append(np.maximum(-returns, 0.0))
    return pa.table({name: np.concatenate(parts)[:num_rows] for name, parts in columns.items()})


def _example() -> dict[str, Any]:
    rows = sample(SAMPLE_DAYS, 3).slice(SAMPLE_DAYS - WINDOW_DAYS)
    readings = [
        {name: round(row[name], 3) for name in ("return_pct", "loss_pct")}
        for row in rows.to_pylist()
    ]
    return {"readings": readings, "position_value": 1_000_000, "confidence_level": 0.99}


_LOSS: Mapping[str, Any] = {"type": "number", "minimum": 0}
_LOSS_PCT = {**_LOSS, "maximum": ALL_OF_IT}

MARKET_RISK = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="market_risk",
    title="Market risk: value at risk and expected shortfall",
    description=(
        "The loss by the next close that is not exceeded with a stated probability, and the mean "
        "loss beyond it, from a year of daily returns. Its report is backtested by Kupiec and "
        "Christoffersen."
    ),
    verb="assess_market_risk",
    family="series",
    head="forecasts",
    metric="quantile_loss",
    label="loss_pct",
    time="session",
    group="instrument",
    fields=(
        Field(
            name="readings",
            kind="sequence",
            description="the instrument's last trading days, oldest first; days on which the "
            "market was closed are none; loss_pct is -return_pct, or 0 where it gained",
            shape=SequenceShape(
                length=WINDOW_DAYS,
                channels=("return_pct", "loss_pct"),
                in_readings=True,
                time="session",
                unit="instrument",
                horizon=1,
            ),
        ),
        Field(
            name="position_value",
            kind="number",
            minimum=0,
            required=False,
            description="what is held, in its currency; 100 where it is left out. A long position: "
            "a short one loses where it gains",
        ),
        Field(
            name="confidence_level",
            kind="number",
            minimum=0.95,
            maximum=0.995,
            required=False,
            description="with which the loss is not exceeded; 0.99 where it is left out",
        ),
    ),
    answer={
        "value_at_risk_pct": {
            **_LOSS_PCT,
            "description": "the loss, in percent of the position, that is not exceeded with the "
            "confidence level by the next close",
        },
        "expected_shortfall_pct": {
            **_LOSS_PCT,
            "description": "the mean loss where it is exceeded, the tail beyond the 95 % quantile "
            "taken for exponential: heavier tails lose more",
        },
        "value_at_risk": {**_LOSS, "description": "in the position's currency; of 100 without one"},
        "expected_shortfall": {**_LOSS, "description": "in the position's currency"},
        "confidence_level": {"type": "number"},
        "quantiles": {
            "type": "object",
            "description": "of the loss in percent",
            "additionalProperties": {"type": "number"},
        },
        "recommendation": {"type": "string", "description": "what to do, in a sentence"},
    },
    respond=respond,
    example=_example(),
    sample=sample,
    compliance_checks=("data_licence_known", "backtest_held"),
    latency_target_ms=5.0,
    backtest_levels=BACKTEST_LEVELS,
)
