"""Which defect does a piece have, if any, and what should be done with it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import (
    class_probabilities,
    class_probabilities_schema,
    field_effects,
    field_effects_schema,
    probability_schema,
    warnings,
    warnings_schema,
)
from spt_core.judgement import Labels, LabelScore
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

Disposition = Literal["pass", "rework", "scrap"]
NUM_ALTERNATIVES = 3
NUM_EVIDENCE = 5
# Names by which a class says that there is no defect, in lower case and with underscores.
NO_DEFECT = frozenset({"no_defect", "no_fault", "none", "ok", "good", "pass"})
# A kind that is not named here is looked at: what to do with it is the plant's to say.
DISPOSITIONS: Mapping[str, Disposition] = {
    "scratch": "rework",  # ground out
    "stain": "rework",  # cleaned
    "scale": "rework",  # pickled again
    "roll_mark": "scrap",  # pressed in: ground out, it leaves the plate too thin
    "edge_crack": "scrap",  # it grows
}
# From which probability on a disposition is recommended rather than a look by hand. A defect that
# passes reaches a customer; scrap cannot be taken back; needless rework costs only itself.
SURE_FROM: Mapping[Disposition, float] = {"pass": 0.95, "scrap": 0.9, "rework": 0.8}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the class that the policy gives, else the most probable one."""
    best = judgement.best
    others = [score for score in judgement.scores if score.label != best.label]
    sound = sum(s.probability for s in judgement.scores if _disposition(s.label) == "pass")
    return {
        "defect": best.label,
        "defect_probability": round(min(max(1.0 - sound, 0.0), 1.0), 6),
        "alternatives": class_probabilities("defect", others[:NUM_ALTERNATIVES]),
        "recommendation": recommend(best, judgement),
        "evidence": field_effects(best.fields[:NUM_EVIDENCE]),
        "warnings": _warnings(best, judgement),
        "confidence": round(best.probability, 6),
    }


def recommend(best: LabelScore, judgement: Labels) -> str:
    """What to do with the piece: pass, rework, scrap or inspect_by_hand.

    It is the disposition of the class that is given, if the classes of that disposition together
    reach its probability in SURE_FROM: whether a plate has a scratch or a stain does not matter to
    whether it is reworked. A person looks where they do not, where nothing says what to do with the
    class, where the policy gives none, and where a field lies beyond all training rows.
    """
    disposition = _disposition(best.label)
    if disposition is None or not best.is_given or judgement.outside:
        return "inspect_by_hand"
    alike = sum(s.probability for s in judgement.scores if _disposition(s.label) == disposition)
    return disposition if alike >= SURE_FROM[disposition] else "inspect_by_hand"


def _disposition(label: str) -> Disposition | None:
    name = "_".join(label.lower().replace("-", " ").split())
    return "pass" if name in NO_DEFECT else DISPOSITIONS.get(name)


def _warnings(best: LabelScore, judgement: Labels) -> list[str]:
    unsure = "No class reaches its threshold: the most probable one is shown."
    return warnings(judgement) + ([] if best.is_given else [unsure])


CLASSES = ("no_defect", "scratch", "roll_mark", "scale", "edge_crack", "stain")
GRADES = ("low_carbon", "high_strength", "stainless")
SPOTS_PER_COIL = 25


class Spots(NamedTuple):
    """Spots on plates [N] before any value is lost: the columns, the coils, and the log-odds.

    `log_odds` [N, 6] are those of CLASSES before their sum is taken into account.
    """

    columns: dict[str, NDArray[Any]]
    coil: NDArray[np.int64]
    log_odds: NDArray[np.float64]


def spots(num_rows: int, draw: np.random.Generator) -> Spots:
    """Spots that a camera reports, with the causes that `sample` states."""
    coils = num_rows // SPOTS_PER_COIL + 1
    coil = np.arange(num_rows) // SPOTS_PER_COIL
    grade = draw.choice(3, coils, p=[0.55, 0.3, 0.15])[coil]
    thickness = np.clip(draw.lognormal(0.8, 0.4, coils), 0.5, 8.0).round(2)[coil]
    temperature = (draw.normal(880.0, 25.0, coils)[coil] + draw.normal(0.0, 8.0, num_rows)).round()
    rolled = draw.uniform(0.0, 80.0, coils)[coil].round(1)
    speed = np.clip(draw.normal(9.0, 2.0, coils)[coil], 3.0, 16.0).round(1)
    stretch = draw.normal(0.5, 0.9, num_rows)
    area = draw.lognormal(3.2, 1.2, num_rows)
    length = np.maximum(np.sqrt(area * np.exp(stretch)), 0.5).round(1)
    width = np.maximum(np.sqrt(area * np.exp(-stretch)), 0.5).round(1)
    brightness = np.clip(draw.normal(-0.1, 0.3, num_rows), -1.0, 1.0).round(3)
    edge = np.where(
        draw.random(num_rows) < 0.2,
        draw.uniform(0.0, 40.0, num_rows),
        draw.uniform(0, 600, num_rows),
    ).round(1)
    longer = np.log(length / width)
    size = np.log(length * width) - 3.2
    hot = (temperature - 880.0) / 25.0
    worn = (rolled - 40.0) / 20.0
    log_odds = np.column_stack(
        [
            1.8 - 1.5 * size - 9.0 * brightness**2,
            -0.8 + 2.6 * longer + 0.5 * (speed - 9.0),
            0.2 + 2.4 * worn - 2.2 * np.abs(longer - 0.3) + 3.0 * brightness,
            -0.6 + 2.0 * hot - 4.5 * brightness + 1.0 * (grade == 0),
            -1.6 + 5.0 * (edge < 30.0) + 1.8 * (grade == 1) - 1.5 * np.log(thickness / 2.2),
            -1.2 + 1.6 * size - 1.2 * hot - 1.5 * brightness - 1.0 * np.abs(longer),
        ]
    )
    columns: dict[str, NDArray[Any]] = {
        "spot_length": length,
        "spot_width": width,
        "brightness": brightness,
        "edge_distance": edge,
        "thickness": thickness,
        "rolling_temperature": temperature,
        "rolling_speed": speed,
        "roll_distance": rolled,
        "steel_grade": np.array(GRADES)[grade],
    }
    return Spots(columns, coil, log_odds)


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of spots that a camera saw on rolled plates, whose causes are known.

    A spot is of the class c with the probability exp(s_c) over the sum of all six. Let `longer` be
    log(length / width), `size` the log of length times width less 3.2, `hot` the rolling
    temperature above 880 in steps of 25 °C, `worn` the distance rolled above 40 in steps of 20 km:

    - no_defect 1.8 - 1.5 size - 9 brightness squared: small and hardly to be told from its plate
    - scratch -0.8 + 2.6 longer + 0.5 per m/s of speed above 9
    - roll_mark 0.2 + 2.4 worn - 2.2 |longer - 0.3| + 3 brightness
    - scale -0.6 + 2 hot - 4.5 brightness + 1 on low-carbon steel
    - edge_crack -1.6 + 5 within 30 mm of the edge + 1.8 on high-strength steel
      - 1.5 log(thickness / 2.2)
    - stain -1.2 + 1.6 size - 1.2 hot - 1.5 brightness - 1 |longer|

    A coil has 25 spots in a row, which share its grade, thickness, speed and rolls, and nearly its
    temperature; it has no effect of its own. 5 % of temperatures and 3 % of brightnesses are
    missing at random. On 20,000 spots the generator's own most probable class, by the values before
    any is lost, has macro-F1 0.71.
    """
    draw = np.random.default_rng(seed)
    columns, coil, log_odds = spots(num_rows, draw)
    drawn = (log_odds + draw.gumbel(size=log_odds.shape)).argmax(1)
    missing = {"rolling_temperature": 0.05, "brightness": 0.03}
    return pa.table(
        {
            "coil": pa.array(np.char.add("c", coil.astype("U7"))),
            **{
                name: pa.array(values, mask=draw.random(num_rows) < missing[name])
                if name in missing
                else pa.array(values)
                for name, values in columns.items()
            },
            "defect": pa.array(np.array(CLASSES)[drawn]),
        }
    )


QUALITY_CONTROL = Task(
    industry=IndustryType.MANUFACTURING,
    name="quality_control",
    title="Quality control",
    description="The defect that a piece has, if any, why, and what to do with the piece.",
    verb="inspect",
    head="single_label",
    metric="macro_f1",
    label="defect",
    group="coil",
    fields=(
        Field(
            name="spot_length",
            kind="number",
            unit="mm",
            minimum=0,
            description="of the spot that the camera saw, along the rolling direction",
        ),
        Field(
            name="spot_width",
            kind="number",
            unit="mm",
            minimum=0,
            description="of the spot, across the rolling direction",
        ),
        Field(
            name="brightness",
            kind="number",
            unit="share of full scale",
            minimum=-1,
            maximum=1,
            required=False,
            description="of the spot less that of the plate around it",
        ),
        Field(
            name="edge_distance",
            kind="number",
            unit="mm",
            minimum=0,
            description="from the spot to the nearer edge of the plate",
        ),
        Field(
            name="thickness",
            kind="number",
            unit="mm",
            minimum=0.1,
            maximum=50,
            description="of the plate after the last pass",
        ),
        Field(
            name="rolling_temperature",
            kind="number",
            unit="°C",
            minimum=0,
            maximum=1400,
            required=False,
            description="of the plate behind the last pass",
        ),
        Field(
            name="rolling_speed",
            kind="number",
            unit="m/s",
            minimum=0,
            maximum=40,
            description="of the plate in the last pass",
        ),
        Field(
            name="roll_distance",
            kind="number",
            unit="km",
            minimum=0,
            description="rolled since the work rolls were ground",
        ),
        Field(name="steel_grade", kind="category", description="kind of steel"),
    ),
    answer={
        "defect": {
            "type": "string",
            "description": "the class of the piece, as training rows name it: a kind of defect, "
            "or the class that means none",
        },
        "defect_probability": probability_schema(
            "that the piece has any defect; 1 where no class means none"
        ),
        "alternatives": class_probabilities_schema("defect", "the next most probable classes"),
        "recommendation": {
            "type": "string",
            "enum": ["pass", "rework", "scrap", "inspect_by_hand"],
            "description": "what is usual for the defect, where its classes together are probable "
            "enough (" + ", ".join(f"{name} {sure}" for name, sure in SURE_FROM.items()) + "); "
            "else, and with a warning, inspect_by_hand",
        },
        "evidence": field_effects_schema(
            "strongest effects on the log-odds of the defect, signed: positive speaks for it"
        ),
        "warnings": warnings_schema(),
        "confidence": probability_schema("calibrated probability of the defect"),
    },
    respond=respond,
    example={
        "spot_length": 14.5,
        "spot_width": 2.2,
        "brightness": -0.12,
        "edge_distance": 210,
        "thickness": 2.1,
        "rolling_temperature": 872,
        "rolling_speed": 9.4,
        "roll_distance": 33.5,
        "steel_grade": "low_carbon",
    },
    sample=sample,
    compliance_checks=("data_licence_known",),
)
