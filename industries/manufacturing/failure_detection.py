"""Is this machine failing, as its readings are now, and should it be stopped?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import (
    CONFIDENCE,
    checks,
    field_effects,
    field_effects_schema,
    probability_schema,
)
from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NUM_READINGS = 5
RECOMMENDATIONS = {"approve": "keep_running", "review": "inspect", "decline": "stop"}
# What a reading can point to -> what to look at first, on the machine.
CHECKS: Mapping[str, str] = {
    "TOOL": "look at the tool's edge, and change it if it is worn or chipped",
    "LOAD": "compare torque and speed with the limits of the program and the material",
    "HEAT": "see that heat is carried off: chips, filters, fans, the temperature of the hall",
    "COOLANT": "see that coolant flows: level, pump, nozzles",
    "VIBRATION": "look for play in spindle bearings, clamping and tool holder",
    "SERVICE": "bring the due service forward",
    "PRODUCT": "see that the program suits the variant that is made",
}


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: what to do, the readings behind it, and what to look at first."""
    return {
        "failure_probability": round(judgement.probability, 6),
        "recommendation": RECOMMENDATIONS[judgement.action],
        "contributing_readings": field_effects(judgement.fields[:NUM_READINGS]),
        "checks": checks(judgement),
        "confidence": round(judgement.confidence, 6),
    }


VARIANTS = ("light", "standard", "heavy")
READINGS_PER_MACHINE = 20
READING_STEP_MIN = 5
TOOL_LIFE_MIN = 240


class Drawn(NamedTuple):
    """Readings [N] before any is lost: the columns, the machines, and the log-odds of failure."""

    columns: dict[str, NDArray[Any]]
    machine: NDArray[np.int64]
    log_odds: NDArray[np.float64]


def drawn(num_rows: int, draw: np.random.Generator) -> Drawn:
    """Readings of machines, with the causes that `sample` states."""
    num_machines = num_rows // READINGS_PER_MACHINE + 1
    row = np.arange(num_rows)
    machine = row // READINGS_PER_MACHINE
    variant = draw.choice(3, num_machines, p=[0.5, 0.3, 0.2])[machine]
    age = draw.integers(TOOL_LIFE_MIN, size=num_machines)[machine]
    wear = (age + row % READINGS_PER_MACHINE * READING_STEP_MIN) % TOOL_LIFE_MIN
    serviced = draw.uniform(0.0, 2000.0, num_machines)[machine]
    hours = (serviced + row % READINGS_PER_MACHINE * READING_STEP_MIN / 60.0).round(1)
    air = (draw.normal(299.0, 2.0, num_machines)[machine] + draw.normal(0.0, 0.3, num_rows)).round(
        1
    )
    process = (air + draw.normal(10.5, 1.2, num_rows)).round(1)
    torque = np.clip(draw.normal(np.array([36.0, 40.0, 46.0])[variant], 9.0), 4.0, 90.0).round(1)
    speed = np.clip(1550.0 - 9.0 * (torque - 40.0) + draw.normal(0.0, 130.0, num_rows), 600, 3000)
    speed = speed.round()
    vibration = (draw.lognormal(0.6, 0.45, num_rows) + 0.004 * wear).round(2)
    coolant = np.clip(draw.normal(12.0, 2.0, num_rows), 0.0, 30.0).round(1)
    power = torque * speed * (2.0 * np.pi / 60_000.0)  # kW
    log_odds = (
        -6.0
        + 0.07 * np.maximum(wear - 190.0, 0.0)
        + 2.5 * np.maximum(power - 7.5, 0.0)
        + 2.0 * np.maximum(9.0 - (process - air), 0.0)
        + 1.5 * np.maximum(vibration - 4.0, 0.0)
        + 1.2 * np.maximum(9.0 - coolant, 0.0)
        + 0.7 * hours / 1000.0
    )
    columns: dict[str, NDArray[Any]] = {
        "variant": np.array(VARIANTS)[variant],
        "air_temperature": air,
        "process_temperature": process,
        "rotational_speed": speed,
        "torque": torque,
        "tool_wear": wear,
        "vibration": vibration,
        "coolant_flow": coolant,
        "service_hours": hours,
    }
    return Drawn(columns, machine, log_odds)


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of machine tools, read every 5 minutes, whose causes are known.

    The log-odds of a failure are -6, plus 0.07 per minute of tool wear above 190, plus 2.5 per kW
    of mechanical power (torque times speed) above 7.5, plus 2 per kelvin that the process is less
    than 9 K above the air, plus 1.5 per mm/s of vibration above 4, plus 1.2 per l/min of coolant
    below 9, plus 0.7 per 1,000 hours since the service. The variant matters by its torque alone,
    and vibration rises with wear. A machine has 20 readings in a row; it has no effect of its own,
    and a failure leaves no trace in the readings after it. 5 % of vibrations and 4 % of coolant
    flows are missing at random.

    About 5 % of readings fail, more than real machines do, so that a small sample holds enough
    failures to tell models apart. On 20,000 rows (seed 0) those log-odds themselves, by the values
    before any is lost, have an average precision of 0.57.
    """
    draw = np.random.default_rng(seed)
    columns, machine, log_odds = drawn(num_rows, draw)
    is_failure = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    missing = {"vibration": 0.05, "coolant_flow": 0.04}
    return pa.table(
        {
            "machine": pa.array(np.char.add("m", machine.astype("U7"))),
            **{
                name: pa.array(values, mask=draw.random(num_rows) < missing[name])
                if name in missing
                else pa.array(values)
                for name, values in columns.items()
            },
            "is_failure": is_failure.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single readings [N] of a sample's rows add to the log-odds; NaN where one is missing.

    Torque and speed, and the two temperatures, act together and are not among them.
    """
    wear, vibration, coolant, hours = (
        np.array(table[name].to_pylist(), np.float64)
        for name in ("tool_wear", "vibration", "coolant_flow", "service_hours")
    )
    return {
        "tool_wear": 0.07 * np.maximum(wear - 190.0, 0.0),
        "vibration": 1.5 * np.maximum(vibration - 4.0, 0.0),
        "coolant_flow": 1.2 * np.maximum(9.0 - coolant, 0.0),
        "service_hours": 0.7 * hours / 1000.0,
        "variant": np.zeros(table.num_rows),
    }


FAILURE_DETECTION = Task(
    industry=IndustryType.MANUFACTURING,
    name="failure_detection",
    title="Failure detection",
    description=(
        "The probability that a machine is failing, by its readings of one moment, why, and "
        "whether to stop it."
    ),
    verb="detect_failure",
    label="is_failure",
    group="machine",
    fields=(
        Field(name="variant", kind="category", description="which variant of the product is made"),
        Field(
            name="air_temperature",
            kind="number",
            unit="K",
            minimum=200,
            maximum=350,
            description="of the air around the machine",
        ),
        Field(
            name="process_temperature",
            kind="number",
            unit="K",
            minimum=200,
            maximum=500,
            description="at the cutting zone",
        ),
        Field(
            name="rotational_speed",
            kind="number",
            unit="rpm",
            minimum=0,
            maximum=60_000,
            description="of the spindle",
        ),
        Field(
            name="torque",
            kind="number",
            unit="Nm",
            minimum=0,
            maximum=1000,
            description="at the spindle",
        ),
        Field(
            name="tool_wear",
            kind="number",
            unit="min",
            minimum=0,
            description="minutes that the tool has cut since it was changed",
        ),
        Field(
            name="vibration",
            kind="number",
            unit="mm/s",
            minimum=0,
            required=False,
            description="velocity of vibration at the spindle bearing, root mean square",
        ),
        Field(
            name="coolant_flow",
            kind="number",
            unit="l/min",
            minimum=0,
            required=False,
            description="of coolant to the tool",
        ),
        Field(
            name="service_hours",
            kind="number",
            unit="h",
            minimum=0,
            description="running hours since the last service",
        ),
    ),
    answer={
        "failure_probability": probability_schema(
            "calibrated probability that readings such as these are of a failure; "
            "it says nothing of when"
        ),
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS.values()),
            "description": "the cheapest by the policy's costs of a missed failure, a needless "
            "stop and an inspection",
        },
        "contributing_readings": field_effects_schema(
            "strongest effects on the log-odds, signed: positive raises the risk"
        ),
        "checks": {
            "type": "array",
            "description": "what to look at first, by the readings that raise the risk (none "
            "where the machine is kept running), after what no training row had",
            "items": {"type": "string"},
        },
        "confidence": CONFIDENCE,
    },
    respond=respond,
    example={
        "variant": "heavy",
        "air_temperature": 301.2,
        "process_temperature": 309.4,
        "rotational_speed": 1380,
        "torque": 58.5,
        "tool_wear": 215,
        "vibration": 4.8,
        "coolant_flow": 8.5,
        "service_hours": 1450,
    },
    sample=sample,
    causes=causes,
    costs=Costs(missed_positive=2500.0, false_alarm=400.0, review=60.0),
    daily_review_capacity=60,
    daily_volume=1000,
    reason_codes={
        "variant": "PRODUCT",
        "air_temperature": "HEAT",
        "process_temperature": "HEAT",
        "rotational_speed": "LOAD",
        "torque": "LOAD",
        "tool_wear": "TOOL",
        "vibration": "VIBRATION",
        "coolant_flow": "COOLANT",
        "service_hours": "SERVICE",
    },
    conditions=CHECKS,
    compliance_checks=("data_licence_known",),
)
