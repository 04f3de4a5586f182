"""What will this process yield as it runs now, and which settings would do better?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import novelties
from spt_core.judgement import FieldEffect, Settings, Value
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NUM_EFFECTS = 5
FIGURES = 6  # significant ones: more would be noise of float32, whatever the label's unit
NO_SEARCH = "No settings were searched for."
ASSOCIATIONS = (
    "The recommended settings are associations of past rows, not causes: change one at a time, "
    "within the limits of the plant, and watch the outcome."
)
SAMPLE_START_S = 1_767_225_600  # 2026-01-01T00:00:00
SAMPLE_STEP_S = 900
ROWS_PER_SETTING = 8  # two hours
SCREW_LIFE_H = 1000
MATERIALS = ("virgin", "regrind_20", "regrind_40")
MATERIAL_EFFECTS = np.array([0.0, 6.0, 14.0])
SAMPLE_DRIFT = 4.0
SAMPLE_NOISE = 7.0
Columns = Mapping[str, NDArray[Any]]


def respond(judgement: Value) -> dict[str, Any]:
    """The task's answer: the outcome, its interval, better settings, and why in sentences."""
    settings = judgement.settings
    recommended = {} if settings is None else dict(settings.fields)
    return {
        "predicted_outcome": _rounded(judgement.value),
        "interval": {
            "low": _rounded(judgement.low),
            "high": _rounded(judgement.high),
            "coverage": judgement.policy.coverage,
        },
        "recommended_settings": recommended,
        "expected_improvement": _improvement(judgement.value, settings),
        "reasoning": [
            *map(_of_field, judgement.fields[:NUM_EFFECTS]),
            *({"text": text} for text in _remarks(judgement)),
        ],
    }


def _improvement(value: float, settings: Settings | None) -> float:
    """What the recommended settings gain in the direction of the goal; 0 if there are none."""
    if settings is None or not settings.fields:
        return 0.0
    gain = value - settings.value if settings.goal == "lower" else settings.value - value
    return _rounded(max(gain, 0.0))


def _of_field(reason: FieldEffect) -> dict[str, Any]:
    held = "is missing" if reason.value is None else f"is {reason.value}"
    verb = "raises" if reason.effect > 0 else "lowers"
    effect = _rounded(reason.effect)
    return {
        "text": f"{reason.field} {held}: it {verb} the outcome by {abs(effect):g}.",
        "field": reason.field,
        "value": reason.value,
        "effect": effect,
    }


def _remarks(judgement: Value) -> list[str]:
    record, settings = judgement.record, judgement.settings
    remarks = [
        f"{name} is {record.get(name)}, beyond all training rows: the outcome is a guess there."
        for name in judgement.outside
    ]
    remarks += novelties(judgement)
    if settings is None:
        return [*remarks, NO_SEARCH]
    if settings.fields:
        value, low, high = map(_rounded, (settings.value, settings.low, settings.high))
        remarks.append(
            f"With the recommended settings, {value:g} is expected ({low:g} to {high:g}) instead "
            f"of {_rounded(judgement.value):g}."
        )
        remarks.append(ASSOCIATIONS)
    return [*remarks, *([settings.note] if settings.note else [])]


def _rounded(value: float) -> float:
    return float(f"{value:.{FIGURES}g}")


def energy_of(columns: Columns) -> NDArray[np.float64]:
    """The energy per good tonne that rows of the sample's fields have but for drift and noise.

    Settings that a model recommends on the sample can be tried in it.
    """
    temperature, speed = columns["barrel_temperature"], columns["screw_speed"]
    feed, cooling = columns["feed_rate"], columns["cooling_water_flow"]
    moisture, ambient = columns["moisture"], columns["ambient_temperature"]
    best_temperature = 205.0 + 4.0 * (6.0 - columns["melt_flow_index"])
    best_cooling = 45.0 + 0.8 * ambient
    material = np.array([MATERIALS.index(name) for name in columns["material"]], np.int64)
    return (
        250.0
        + 0.03 * (temperature - best_temperature) ** 2
        + 260.0 * (feed / (5.0 * speed) - 1.0) ** 2
        + 20_000.0 / feed
        + 0.01 * np.maximum(speed - 110.0, 0.0) ** 2
        + 0.012 * (cooling - best_cooling) ** 2
        + 45.0 * moisture
        - 0.4 * ambient
        + 0.02 * columns["screw_hours"]
        + MATERIAL_EFFECTS[material]
    )


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of an extrusion line, every 15 minutes, whose causes are known.

    The energy per good tonne is `energy_of` of the fields: 250 kWh/t, plus 0.03 per squared degree
    that the barrel is off its best temperature (205 °C at a melt flow index of 6, 4 °C hotter per
    index below it), plus 260 per squared share that the feed is off 5 kg/h for each rpm, plus
    20,000 kWh/t over the feed in kg/h, plus 0.01 per squared rpm above 110, plus 0.012 per squared
    l/min that the cooling is off 45 + 0.8 per °C outside, plus 45 per percent of moisture, minus
    0.4 per °C outside, plus 0.02 per hour of the screw, which is changed after 1,000, plus 6 and 14
    for 20 and 40 % regrind. On top come a drift of 4 kWh/t from the first row to the last, which no
    field tells, and normal noise of 7. Nothing else matters, the hour and the day only by the
    temperature outside. Four settings are set anew every two hours, whatever the material. 5 % of
    moistures and 3 % of melt flow indices are missing at random.

    On 20,000 rows the outcome without noise has R2 0.90, which the missing values and the drift
    keep a little out of reach.
    """
    draw = np.random.default_rng(seed)
    row = np.arange(num_rows)
    hours = row * (SAMPLE_STEP_S / 3600.0)
    blocks = num_rows // ROWS_PER_SETTING + 1
    block = row // ROWS_PER_SETTING
    speed = np.clip(draw.normal(92.0, 17.0, blocks), 40.0, 160.0).round()
    fill = np.clip(draw.normal(4.8, 0.7, blocks), 2.8, 7.0)
    temperature = np.clip(draw.normal(208.0, 11.0, blocks), 170.0, 250.0).round()
    cooling = np.clip(draw.normal(54.0, 13.0, blocks), 20.0, 100.0).round()
    season = 11.0 - 9.0 * np.cos(2 * np.pi * hours / (365.0 * 24.0))
    daily = -5.0 * np.cos(2 * np.pi * (hours - 3.0) / 24.0)
    columns: dict[str, NDArray[Any]] = {
        "barrel_temperature": temperature[block],
        "screw_speed": speed[block],
        "feed_rate": (fill * speed).round(-1)[block],
        "cooling_water_flow": cooling[block],
        "melt_flow_index": np.clip(draw.normal(6.0, 1.6, blocks), 1.0, 12.0).round(1)[block],
        "moisture": np.clip(draw.gamma(3.0, 0.07, num_rows), 0.0, 2.0).round(3),
        "ambient_temperature": np.clip(
            season + daily + draw.normal(0.0, 2.0, num_rows), -20.0, 45.0
        ).round(1),
        "screw_hours": ((hours + draw.integers(SCREW_LIFE_H)) % SCREW_LIFE_H).round(1),
        "material": np.array(MATERIALS)[draw.choice(3, blocks, p=[0.55, 0.3, 0.15])[block]],
    }
    drift = SAMPLE_DRIFT * row / max(num_rows - 1, 1)
    energy = energy_of(columns) + drift + draw.normal(0.0, SAMPLE_NOISE, num_rows)
    missing = {"moisture": 0.05, "melt_flow_index": 0.03}
    return pa.table(
        {
            "time": pa.array(
                (SAMPLE_START_S + row * SAMPLE_STEP_S) * 1_000_000, pa.timestamp("us")
            ),
            **{
                name: pa.array(values, mask=draw.random(num_rows) < missing[name])
                if name in missing
                else pa.array(values)
                for name, values in columns.items()
            },
            "energy_per_tonne": energy.round(2),
        }
    )


PROCESS_OPTIMIZATION = Task(
    industry=IndustryType.MANUFACTURING,
    name="process_optimization",
    title="Process optimization",
    description=(
        "The outcome of a process as it runs now, with an interval, and the settings with which "
        "past rows let expect a lower one: where higher is better, data.goal says so."
    ),
    verb="optimize_process",
    head="regression",
    goal="lower",  # as energy, emissions, scrap and costs; a corpus may say otherwise
    metric="rmse",
    label="energy_per_tonne",
    time="time",
    fields=(
        Field(
            name="barrel_temperature",
            kind="number",
            unit="°C",
            minimum=150,
            maximum=280,
            controllable=True,
            description="set temperature of the barrel",
        ),
        Field(
            name="screw_speed",
            kind="number",
            unit="rpm",
            minimum=20,
            maximum=200,
            controllable=True,
            description="set speed of the screw",
        ),
        Field(
            name="feed_rate",
            kind="number",
            unit="kg/h",
            minimum=50,
            maximum=1500,
            controllable=True,
            description="set rate at which material is fed",
        ),
        Field(
            name="cooling_water_flow",
            kind="number",
            unit="l/min",
            minimum=0,
            maximum=120,
            controllable=True,
            description="set flow of cooling water",
        ),
        # What follows from the settings, such as the pressure at the die, is no field: it would
        # hold still while a recommendation moves them.
        Field(
            name="melt_flow_index",
            kind="number",
            unit="g/10 min",
            minimum=0,
            maximum=50,
            required=False,
            description="how easily the material flows, by the laboratory",
        ),
        Field(
            name="moisture",
            kind="number",
            unit="%",
            minimum=0,
            maximum=5,
            required=False,
            description="water in the material as it is fed",
        ),
        Field(
            name="ambient_temperature",
            kind="number",
            unit="°C",
            minimum=-40,
            maximum=60,
            description="temperature outside",
        ),
        Field(
            name="screw_hours",
            kind="number",
            unit="h",
            minimum=0,
            description="running hours since the screw was changed",
        ),
        Field(name="material", kind="category", description="which material is fed"),
        Field(
            name="time",
            kind="time",
            required=False,
            description="local time: ISO 8601, or a time of day",
        ),
    ),
    answer={
        "predicted_outcome": {
            "type": "number",
            "description": "the outcome with the fields as they are, in the label's unit",
        },
        "interval": {
            "type": "object",
            "description": "holds the outcome in the share `coverage` of cases; it does so only "
            "while the process stays as it was when the interval was measured",
            "properties": {
                "low": {"type": "number"},
                "high": {"type": "number"},
                "coverage": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            },
        },
        "recommended_settings": {
            "type": "object",
            "description": "new values of the controllable fields that should change; empty where "
            "none are better or none can be set, which `reasoning` says. Associations of past "
            "rows, not causes",
            "additionalProperties": True,
        },
        "expected_improvement": {
            "type": "number",
            "minimum": 0,
            "description": "how much lower the recommended settings let expect the outcome, in the "
            "label's unit; 0 where none are recommended",
        },
        "reasoning": {
            "type": "array",
            "description": "the strongest fields, then remarks on fields beyond all training rows "
            "and on the settings; an effect is in the label's unit, positive raises the outcome",
            "items": {
                "type": "object",
                "required": ["text"],
                "properties": {
                    "text": {"type": "string", "description": "a sentence"},
                    "field": {"type": "string"},
                    "value": {"description": "the value seen, null if it was missing"},
                    "effect": {"type": "number"},
                },
            },
        },
    },
    respond=respond,
    example={
        "barrel_temperature": 225,
        "screw_speed": 95,
        "feed_rate": 380,
        "cooling_water_flow": 40,
        "melt_flow_index": 6.5,
        "moisture": 0.35,
        "ambient_temperature": 18.5,
        "screw_hours": 420,
        "material": "regrind_20",
        "time": "2026-03-02T14:30:00",
    },
    sample=sample,
    compliance_checks=("data_licence_known",),
    latency_target_ms=50.0,  # the search for settings scores many rows for each answer
)
