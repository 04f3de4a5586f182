"""How long does this machine run on, and which sensors say so?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import in_words, silence, unlike
from spt_core.errors import InputError
from spt_core.heads.within import probability_within
from spt_core.judgement import Stretch, Value
from spt_core.signature import Field, SequenceShape
from spt_core.task import IndustryType, Task

HORIZON_CYCLES = 30  # within which a failure is asked for, unless a request says otherwise
CAP_CYCLES = 125.0  # what is farther from failure looks alike: labels say no more
NUM_SENSORS = 5
STOP_FROM, PLAN_FROM = 0.5, 0.1  # probabilities of a failure within the horizon
FIGURES = 4

SENSORS = ("vibration", "bearing_temperature", "motor_current", "oil_pressure", "load")
LIFE_CYCLES = (80, 180)  # of the sample's machines
WEAR_CYCLES = (50, 100)  # before its failure, in which a machine of the sample wears visibly
FIRST_MACHINE = 1


def respond(judgement: Value) -> dict[str, Any]:
    """The task's answer: the life that is left, how surely, which sensors say so, what to do."""
    horizon = _horizon(judgement)
    is_told = horizon < (CAP_CYCLES if judgement.greatest is None else judgement.greatest)
    risk = failure_probability(judgement, horizon) if is_told else None
    return {
        "remaining_useful_life": _rounded(max(judgement.value, 0.0)),
        "interval": {
            "low": _rounded(max(judgement.low, 0.0)),
            "high": _rounded(max(judgement.high, 0.0)),
            "coverage": judgement.policy.coverage,
        },
        "failure_probability": None if risk is None else round(risk, 4),
        "horizon_cycles": horizon,
        "contributing_sensors": [_of_sensor(s) for s in judgement.stretches[:NUM_SENSORS]],
        "recommendation": _recommendation(judgement, risk, horizon),
        "confidence": None if risk is None else round(max(risk, 1.0 - risk), 4),
    }


def failure_probability(judgement: Value, horizon: float) -> float:
    """The probability of a failure within the horizon, as the interval and the value tell it.

    It is a normal curve through the interval, and calibrated only as far as that one's shape is
    right: the report says how it did on the test rows (heads/within.py).
    """
    value, low, high = (np.array([at]) for at in (judgement.value, judgement.low, judgement.high))
    return float(probability_within(value, low, high, judgement.policy.coverage, horizon)[0])


def _horizon(judgement: Value) -> int:
    """Within which a failure is asked for: what the request states, or the usual one.

    InputError where the request states one that no life of training exceeds: labels are often
    capped, and the greatest of them stands for that many or more.
    """
    horizon = judgement.record.get("horizon_cycles")
    if horizon is None:
        return HORIZON_CYCLES
    if horizon != int(horizon):
        raise InputError(f"horizon_cycles must be a whole number, however: {horizon!r}")
    if judgement.greatest is not None and horizon >= judgement.greatest:
        raise InputError(
            f"horizon_cycles must be below {judgement.greatest:g}, the greatest life of the "
            f"training rows, beyond which the model can tell nothing, however: {int(horizon)}"
        )
    return int(horizon)


def _recommendation(judgement: Value, risk: float | None, horizon: int) -> str:
    within = f"within the horizon of {horizon}"
    warning = ""
    if risk is None:
        warning = _not_told(judgement, within)
    elif risk >= STOP_FROM:
        warning = f"Plan a stop now: a failure {within} is more likely than not."
    elif risk >= PLAN_FROM:
        warning = f"Order parts and inspect: a failure {within} cannot be ruled out."
    odd: list[str] = []
    if judgement.silent:
        odd.append(
            f"the window has {silence(judgement.silent)}, and what a lost sensor would say is not "
            "in this answer"
        )
    if judgement.outside:
        odd.append(
            f"{unlike(judgement.outside)}; a changed unit, a broken sensor or a new condition, in "
            "which this answer is a guess"
        )
    if odd:
        names = dict.fromkeys((*(each.channel for each in judgement.silent), *judgement.outside))
        return f"Check {in_words([*names])} first: {'; '.join(odd)}. {warning}".rstrip()
    return warning or f"Run on: a failure {within} is unlikely."


def _not_told(judgement: Value, within: str) -> str:
    """What is said of a horizon that the labels may not reach over."""
    if judgement.greatest is None:
        why = (
            f"it does not know the greatest life of its training, often capped at {CAP_CYCLES:g}; "
            "train it again, or ask for a shorter horizon"
        )
    else:
        why = (
            f"no life of its training was longer than {judgement.greatest:g}; ask for a shorter "
            "horizon"
        )
    return f"Whether a failure comes {within} this model cannot tell: {why}."


def _of_sensor(stretch: Stretch) -> dict[str, Any]:
    return {
        "sensor": stretch.channel,
        "effect": _rounded(stretch.effect),
        "last_reading": stretch.value,
        "first_step": stretch.start,
        "last_step": stretch.end - 1,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{FIGURES}g}")


def readings(num_cycles: int, draw: np.random.Generator) -> Mapping[str, NDArray[np.float64]]:
    """What the sensors of one of the sample's machines read from its first cycle to its failure."""
    left = np.arange(num_cycles - 1, -1, -1.0)
    wear = np.clip(1.0 - left / draw.integers(*WEAR_CYCLES), 0.0, 1.0) ** 2
    load = 1.0 + 0.15 * np.sin(np.arange(num_cycles) / draw.uniform(4.0, 9.0) + draw.uniform(0, 6))
    load += draw.normal(0.0, 0.05, num_cycles)

    def noise(size: float) -> NDArray[np.float64]:
        return draw.normal(0.0, size, num_cycles)

    start = {name: draw.normal(0.0, 1.0) for name in SENSORS}
    return {
        "vibration": 2.0 + 0.2 * start["vibration"] + 2.5 * wear * load + noise(0.25),
        "bearing_temperature": 60.0
        + 1.5 * start["bearing_temperature"]
        + 8.0 * load
        + 14.0 * wear
        + noise(1.5),
        "motor_current": 20.0 + 0.5 * start["motor_current"] + 6.0 * load + 1.5 * wear + noise(0.6),
        "oil_pressure": 4.0 + 0.1 * start["oil_pressure"] - 0.9 * wear + noise(0.12),
        "load": load,
        "hall_humidity": 45.0 + noise(4.0),
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of machines that run to failure, one reading a cycle.

    A machine lives 80 to 180 cycles. In its last 50 to 100 wear rises with the square of the time
    that has passed of them, from 0 to 1: vibration rises by 2.5 mm/s times wear times load, the
    bearing's temperature by 14 °C, the motor's current by 1.5 A, oil pressure falls by 0.9 bar.
    Load, the share of the rated one, swings slowly about 1 and moves temperature and current too.
    Machines differ in their levels, and every sensor has normal noise. Humidity of the hall says
    nothing, and `line_voltage` never changes. 1 % of the readings of vibration are missing. The
    label is the number of cycles left, at most 125; before wear begins nothing tells it, so that no
    model can do better there than guess.
    """
    draw = np.random.default_rng(seed)
    columns: dict[str, list[NDArray[Any]]] = {}
    total, machine = 0, FIRST_MACHINE
    while total < num_rows:
        num_cycles = int(draw.integers(*LIFE_CYCLES))
        own = dict(readings(num_cycles, draw))
        cycles = np.arange(1, num_cycles + 1)
        left = np.minimum(num_cycles - cycles, CAP_CYCLES)
        own["vibration"][draw.random(num_cycles) < 0.01] = np.nan
        parts = {
            "machine": np.full(num_cycles, f"M{machine:03d}"),
            "cycle": cycles,
            **{name: values.round(4) for name, values in own.items()},
            "line_voltage": np.full(num_cycles, 400.0),
            "remaining_useful_life": left.astype(np.float64),
        }
        for name, values in parts.items():
            columns.setdefault(name, []).append(values)
        total, machine = total + num_cycles, machine + 1
    table = {name: np.concatenate(parts)[:num_rows] for name, parts in columns.items()}
    vibration = table["vibration"]
    return pa.table(
        {
            name: pa.array(values, mask=np.isnan(vibration)) if name == "vibration" else values
            for name, values in table.items()
        }
    )


EXAMPLE_STEPS = 30


def _example() -> list[dict[str, float]]:
    """The last readings of a machine that fails ten cycles later, as the sample makes them."""
    own = readings(150, np.random.default_rng(7))
    rows = range(140 - EXAMPLE_STEPS, 140)
    return [
        {"cycle": row + 1, **{name: round(float(v[row]), 4) for name, v in own.items()}}
        for row in rows
    ]


PREDICTIVE_MAINTENANCE = Task(
    industry=IndustryType.MANUFACTURING,
    name="predictive_maintenance",
    title="Predictive maintenance",
    description=(
        "How many cycles a machine runs on, with an interval, the probability of a failure within "
        "a horizon, and the sensors that say so, from a window of its last readings."
    ),
    verb="predict_failure",
    family="series",
    head="regression",
    metric="rmse",
    label="remaining_useful_life",
    time="cycle",
    group="machine",
    fields=(
        Field(
            name="readings",
            kind="sequence",
            description="the machine's last readings, oldest first, one a cycle",
            shape=SequenceShape(
                length=EXAMPLE_STEPS,
                channels=(*SENSORS, "hall_humidity"),
                time="cycle",
                unit="machine",
            ),
        ),
        Field(
            name="horizon_cycles",
            kind="number",
            minimum=1,
            required=False,
            description="within which a failure is asked for, in the label's unit: cycles, or "
            f"hours where lives are told in hours; {HORIZON_CYCLES} where it is left out; below "
            "the greatest life of the training rows",
        ),
    ),
    answer={
        "remaining_useful_life": {
            "type": "number",
            "minimum": 0,
            "description": "cycles until the failure, or in another unit if the labels are; where "
            "labels were capped, as those of the sample and of C-MAPSS are at "
            f"{CAP_CYCLES:g}, the cap stands for that many or more",
        },
        "interval": {
            "type": "object",
            "description": "holds it in the share `coverage` of cases, while machines wear as they "
            "did when the interval was measured",
            "properties": {
                "low": {"type": "number"},
                "high": {"type": "number"},
                "coverage": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            },
        },
        "failure_probability": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "of a failure within `horizon_cycles`: a normal curve through the "
            "interval, which the model's report holds against what came within "
            f"{HORIZON_CYCLES} on the test rows; null where the horizon is not below the greatest "
            "life of the training rows, so that the model cannot tell",
        },
        "horizon_cycles": {
            "type": "integer",
            "description": "as the request states it, in the label's unit",
        },
        "contributing_sensors": {
            "type": "array",
            "description": "the strongest first; an effect is in cycles, against typical readings, "
            "and negative shortens the life; most of it lies in the steps from `first_step` to "
            "`last_step` of the window, counted from 0",
            "items": {
                "type": "object",
                "properties": {
                    "sensor": {"type": "string"},
                    "effect": {"type": "number"},
                    "last_reading": {"type": ["number", "null"]},
                    "first_step": {"type": "integer"},
                    "last_step": {"type": "integer"},
                },
            },
        },
        "recommendation": {
            "type": "string",
            "description": "what to do, in a sentence; of sensors that have stopped reading, or "
            "read beyond all of training, it says so first",
        },
        "confidence": {
            "type": ["number", "null"],
            "minimum": 0.5,
            "maximum": 1,
            "description": "the probability of the likelier of failing and not failing within the "
            "horizon; null where the model cannot tell",
        },
    },
    respond=respond,
    example={"readings": _example()},
    sample=sample,
    compliance_checks=("data_licence_known",),
    latency_target_ms=5.0,
    limits=(float(HORIZON_CYCLES),),
)
