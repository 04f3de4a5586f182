"""How much of this part will be asked for, and when must more be ordered?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import silence, unlike
from spt_core.errors import InputError
from spt_core.heads.totals import total_of
from spt_core.judgement import Forecast, Stretch
from spt_core.signature import STEPS, Field, SequenceShape
from spt_core.task import IndustryType, Task

WINDOW_STEPS = 12
HORIZON_STEPS = 6
USUAL_SERVICE_LEVEL = 0.95
USUAL_LEAD_TIME = 3
MAX_DRIVERS = 5
SHOWN_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
START_MONTH = np.datetime64("2021-01", "M")
SAMPLE_MONTHS = 84


def respond(judgement: Forecast) -> dict[str, Any]:
    """The task's answer: quantiles of each step, and the stock from which on to order."""
    service, lead_time = _terms(judgement)
    point = reorder_point(judgement, service, lead_time)
    return {
        "expected_demand": _rounded(sum(_mean(step) for step in judgement.steps)),
        "quantiles": [
            {
                "step": number,
                **{f"p{100 * level:g}": _rounded(step[level]) for level in SHOWN_LEVELS},
            }
            for number, step in enumerate(judgement.steps, 1)
        ],
        "reorder_point": point,
        "service_level": service,
        "lead_time_steps": lead_time,
        "drivers": [_driver(stretch) for stretch in judgement.stretches[:MAX_DRIVERS]],
        "recommendation": _recommendation(judgement, point, service, lead_time),
    }


def _driver(stretch: Stretch) -> dict[str, Any]:
    """What a part of the request does to the expected demand."""
    first, last = stretch.start + 1, stretch.end
    steps = "to come" if stretch.is_ahead else f"{first} to {last} of the window"
    return {"driver": stretch.channel, "steps": steps, "effect": _rounded(stretch.effect)}


def _terms(judgement: Forecast) -> tuple[float, int]:
    """The service level and the lead time that the request states, or the usual ones."""
    service = judgement.record.get("service_level")
    lead_time = judgement.record.get("lead_time_steps")
    service = USUAL_SERVICE_LEVEL if service is None else service
    lead_time = min(USUAL_LEAD_TIME, len(judgement.steps)) if lead_time is None else lead_time
    if lead_time != int(lead_time):
        raise InputError(f"lead_time_steps must be a whole number, however: {lead_time!r}")
    if lead_time > len(judgement.steps):
        raise InputError(
            f"lead_time_steps must be within the model's horizon of {len(judgement.steps)} steps, "
            f"however: {lead_time!r}"
        )
    return float(service), int(lead_time)


def reorder_point(judgement: Forecast, service: float, lead_time: int) -> float:
    """The stock that the lead time's demand does not exceed with the probability `service`.

    The quantile of the demand over the lead time, a whole number (Silver, Pyke and Thomas,
    "Inventory and Production Management in Supply Chains", 2017): the steps' distributions, as
    their quantiles tell them, convolved as those of independent steps are. Demand that clusters
    needs more.
    """
    total = total_of(judgement.steps[:lead_time])
    return float(math.ceil(round(total.quantile(service), 6)))


def _mean(step: Any) -> float:
    """About the mean of a step: the area under its quantiles, flat beyond the outer ones."""
    levels = sorted(step)
    points = np.array([0.0, *levels, 1.0])
    values = np.array([step[levels[0]], *(step[each] for each in levels), step[levels[-1]]])
    return float(((values[1:] + values[:-1]) / 2.0 * np.diff(points)).sum())


def _recommendation(judgement: Forecast, point: float, service: float, lead_time: int) -> str:
    text = (
        f"Order when the stock, with what is on its way, falls to {point:,.0f}: by this forecast "
        f"{_steps(lead_time)} no more in {100 * service:g} % of cases, if no step's demand hangs "
        "on another's; demand that comes in clusters needs more."
    )
    if judgement.silent:
        text += f" The window has {silence(judgement.silent)}: look at it yourself."
    if judgement.outside:
        text += f" In the request {unlike(judgement.outside)}: look at it yourself."
    return text


def _steps(number: int) -> str:
    return "the next step asks for" if number == 1 else f"the next {number} steps ask for"


def _rounded(value: float) -> float:
    return round(float(value), 3)


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of spare parts' monthly demand, much of it intermittent.

    Every part has 84 months. In a month it is asked for with a probability between 0.1 and 0.9,
    then for 1 plus a Poisson number with a mean between 0.2 and 4; both are the part's own. A third
    of the parts have twice the probability in winter (November to February), a tenth fall out of
    use, with a probability that falls to nothing over the 84 months. `promotion` is 1 in 5 % of
    months, known in advance, and doubles the size. `warehouse_code` never changes.
    """
    draw = np.random.default_rng(seed)
    num_parts = -(-num_rows // SAMPLE_MONTHS)
    months = START_MONTH + np.arange(SAMPLE_MONTHS)
    is_winter = np.isin(months.astype(int) % 12, (10, 11, 0, 1))
    columns: dict[str, list[Any]] = {"part": [], "month": [], "promotion": [], "demand": []}
    for part in range(num_parts):
        probability = np.full(SAMPLE_MONTHS, draw.uniform(0.1, 0.9))
        kind = draw.random()
        if kind < 1 / 3:
            probability = np.where(is_winter, np.minimum(2.0 * probability, 1.0), probability)
        elif kind > 0.9:
            probability = probability * np.linspace(1.0, 0.0, SAMPLE_MONTHS)
        promotion = draw.random(SAMPLE_MONTHS) < 0.05
        size = 1 + draw.poisson(draw.uniform(0.2, 4.0), SAMPLE_MONTHS)
        demand = np.where(draw.random(SAMPLE_MONTHS) < probability, size, 0)
        columns["part"].append(np.full(SAMPLE_MONTHS, f"P{part:05d}"))
        columns["month"].append(months.astype("datetime64[D]").astype("datetime64[us]"))
        columns["promotion"].append(promotion.astype(np.float64))
        columns["demand"].append(np.where(promotion, 2 * demand, demand).astype(np.float64))
    table = {name: np.concatenate(parts)[:num_rows] for name, parts in columns.items()}
    return pa.table({**table, "warehouse_code": np.full(num_rows, 11)})


def _example() -> dict[str, Any]:
    demand = [0, 2, 0, 1, 0, 0, 3, 0, 1, 0, 2, 1]
    months = np.datetime_as_string(np.datetime64("2024-01", "M") + np.arange(WINDOW_STEPS))
    readings = [
        {"month": f"{month}-01", "promotion": 0.0, "demand": float(value)}
        for month, value in zip(months.tolist(), demand, strict=True)
    ]
    return {
        "readings": readings,
        "known_in_advance": {"promotion": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]},
        "service_level": 0.95,
        "lead_time_steps": 3,
    }


SUPPLY_CHAIN = Task(
    industry=IndustryType.MANUFACTURING,
    name="supply_chain",
    title="Supply chain",
    description=(
        f"What a part's demand will be in each of the next {HORIZON_STEPS} steps, as quantiles, "
        "from its last ones, and the stock at which to order for a service level and a lead time. "
        "Intermittent demand is its usual case."
    ),
    verb="forecast_demand",
    family="series",
    head="forecasts",
    metric="scaled_quantile_loss",
    label="demand",
    time="month",
    group="part",
    fields=(
        Field(
            name="readings",
            kind="sequence",
            description="the part's last steps, oldest first, one a month; what is planned for "
            "the next ones is known in advance",
            shape=SequenceShape(
                length=WINDOW_STEPS,
                channels=("promotion", "demand"),
                in_months=True,
                time="month",
                unit="part",
                horizon=HORIZON_STEPS,
                in_advance=("promotion",),
                calendar=("time_of_year",),
            ),
        ),
        Field(
            name="service_level",
            kind="number",
            minimum=0.5,
            maximum=0.99,
            required=False,
            description="the share of lead times whose demand the stock is to hold; 0.95 where it "
            "is left out",
        ),
        Field(
            name="lead_time_steps",
            kind="number",
            unit=STEPS,
            minimum=1,
            maximum=HORIZON_STEPS,
            required=False,
            description="from an order to its arrival; where it is left out 3, or the horizon if "
            "that is shorter",
        ),
    ),
    answer={
        "expected_demand": {
            "type": "number",
            "minimum": 0,
            "description": "of the whole horizon",
        },
        "quantiles": {
            "type": "array",
            "description": "of each step: p95 is not exceeded in 95 % of cases, while demand stays "
            "as it was when that was measured",
            "items": {"type": "object", "additionalProperties": {"type": "number"}},
        },
        "reorder_point": {
            "type": "number",
            "minimum": 0,
            "description": "the stock, with what is on its way, at which to order: the quantile "
            "of the lead time's demand at the service level, estimated from those of its steps as "
            "if these were independent",
        },
        "service_level": {"type": "number"},
        "lead_time_steps": {"type": "integer"},
        "drivers": {
            "type": "array",
            "description": "what the expected demand would fall by, were these steps of a channel "
            "as usual: of what is asked for as the window's other steps are, of all else as in "
            "training",
            "items": {
                "type": "object",
                "properties": {
                    "driver": {"type": "string"},
                    "steps": {"type": "string"},
                    "effect": {"type": "number"},
                },
            },
        },
        "recommendation": {"type": "string", "description": "what to do, in a sentence"},
    },
    respond=respond,
    example=_example(),
    sample=sample,
    compliance_checks=("data_licence_known",),
    latency_target_ms=5.0,
)
