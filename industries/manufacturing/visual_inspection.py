"""Which defect does a picture of a surface show, where, and what should be done with the piece?"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import probability_schema
from spt_core.images import png
from spt_core.judgement import AttentionMap, Labels, LabelScore, Region
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

Severity = Literal["none", "minor", "major", "critical"]
SEVERITIES: tuple[Severity, ...] = ("none", "minor", "major", "critical")
RECOMMENDATIONS = ("pass", "rework", "scrap", "inspect_by_hand")
NUM_REGIONS = 3
# Names by which a class says that there is no defect.
NO_DEFECT = frozenset({"no_defect", "none", "ok", "good", "normal"})
# Of a kind that covers a small part of the picture. A kind that is not named here is shown as minor
# and looked at: how bad it is, is the plant's to say.
SEVERITY: Mapping[str, Severity] = {
    "scratches": "minor",  # on the surface, ground out
    "patches": "minor",
    "rolled-in_scale": "major",  # pressed in: ground out, it leaves the plate too thin
    "pitted_surface": "major",
    "inclusion": "major",  # foreign matter inside the steel
    "crazing": "critical",  # cracks grow
}
LARGE = 0.25  # of the picture: a defect that covers as much is one grade worse
DISPOSITIONS: Mapping[Severity, str] = {
    "none": "pass",
    "minor": "rework",
    "major": "scrap",
    "critical": "scrap",
}
# From which probability on a disposition is recommended rather than a look by hand. A defect that
# passes reaches a customer; scrap cannot be taken back; needless rework costs only itself.
SURE_FROM: Mapping[str, float] = {"pass": 0.95, "scrap": 0.9, "rework": 0.8}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the class that the policy gives, else the most probable one."""
    best = judgement.best
    is_defect = _plain(best.label) not in NO_DEFECT
    attention = best.attention if is_defect else None
    regions = [] if attention is None else attention.regions(NUM_REGIONS)
    severity = severity_of(best, attention, regions) if is_defect else "none"
    return {
        "defect": best.label,
        "location": {
            "regions": [
                {**region._asdict(), "effect": round(region.effect, 4)} for region in regions
            ],
            "effects": [] if attention is None else attention.grid(),
            "width_px": 0 if attention is None else attention.width_px,
            "height_px": 0 if attention is None else attention.height_px,
        },
        "severity": severity,
        "recommendation": recommend(best, severity, judgement),
        "warnings": _warnings(best, judgement),
        "confidence": round(best.probability, 6),
    }


def severity_of(
    best: LabelScore, attention: AttentionMap | None, regions: list[Region]
) -> Severity:
    """How bad a defect is: by its kind, and one grade worse where it covers LARGE of the picture.

    What it covers are the places that speak for it: a coarse measure, no contour.
    """
    severity = SEVERITY.get(_plain(best.label), "minor")
    if attention is None:
        return severity
    area = sum((r.right - r.left) * (r.bottom - r.top) for r in regions)
    is_large = area >= LARGE * attention.width_px * attention.height_px
    place = SEVERITIES.index(severity) + int(is_large)
    return SEVERITIES[min(place, len(SEVERITIES) - 1)]


def recommend(best: LabelScore, severity: Severity, judgement: Labels) -> str:
    """What to do with the piece: pass, rework, scrap or inspect_by_hand.

    A person looks where the class is not probable enough (SURE_FROM), where the policy gives none,
    at a kind whose severity nobody has named, and at a picture that is like none of training's.
    """
    disposition = DISPOSITIONS[severity]
    is_sure = best.is_given and best.probability >= SURE_FROM[disposition]
    if not is_sure or judgement.outside or not _is_graded(best.label):
        return "inspect_by_hand"
    return disposition


def _is_graded(label: str) -> bool:
    name = _plain(label)
    return name in NO_DEFECT or name in SEVERITY


def _warnings(best: LabelScore, judgement: Labels) -> list[str]:
    warnings = ["The picture is like none of training's: the answer is a guess."]
    warnings = warnings if judgement.outside else []
    if not best.is_given:
        warnings.append("No class reaches its threshold: the most probable one is shown.")
    if not _is_graded(best.label):
        warnings.append(f"Nothing says how bad {best.label!r} is: it is shown by its size alone.")
    return warnings


def _plain(label: str) -> str:
    return "_".join(label.lower().split())


SIDE_PX = 64
PICTURES_PER_PLATE = 5


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of gray pictures of steel, 64 x 64 px as PNG, five of each plate.

    A plate has a brightness, a grain along the rolling direction and light that falls off to one
    side; of its pictures three in ten are without a defect. A scratch is one or two thin bright
    lines, a pitted surface a few dozen dark dots, a patch one to three pale blots with soft edges,
    an inclusion one to three short dark streaks along the rolling direction. All are weak in some
    pictures.
    """
    draw = np.random.default_rng(seed)
    names = list(DRAWN)
    labels = draw.choice(names, num_rows, p=[0.3, *[0.7 / (len(names) - 1)] * (len(names) - 1)])
    images: list[bytes] = []
    for row, label in enumerate(labels.tolist()):
        plate = np.random.default_rng([seed, row // PICTURES_PER_PLATE])
        surface = _surface(plate, draw)
        DRAWN[label](surface, draw)
        images.append(png(np.clip(surface, 0, 255).astype(np.uint8)))
    plates = [f"plate-{row // PICTURES_PER_PLATE:05d}" for row in range(num_rows)]
    return pa.table(
        {
            "image": pa.array(images, pa.large_binary()),
            "plate": plates,
            "defect": labels.tolist(),
        }
    )


Surface = NDArray[np.float64]
_DOWN, _ACROSS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float64)


def _surface(plate: np.random.Generator, draw: np.random.Generator) -> Surface:
    grain = draw.normal(0, 6, (SIDE_PX, SIDE_PX))
    grain = (grain + np.roll(grain, 1, 0) + np.roll(grain, 2, 0)) / 1.7
    light = plate.normal(0, 0.35, 2)
    slope = light[0] * (_DOWN - SIDE_PX / 2) + light[1] * (_ACROSS - SIDE_PX / 2)
    return plate.uniform(90, 160) + grain + slope


def _unmarked(surface: Surface, draw: np.random.Generator) -> None:
    del surface, draw


def _scratch(surface: Surface, draw: np.random.Generator) -> None:
    for _ in range(int(draw.integers(1, 3))):
        angle, offset = draw.uniform(0, np.pi), draw.normal(0, SIDE_PX / 6)
        across = (_ACROSS - SIDE_PX / 2) * np.cos(angle) + (_DOWN - SIDE_PX / 2) * np.sin(angle)
        along = (_DOWN - SIDE_PX / 2) * np.cos(angle) - (_ACROSS - SIDE_PX / 2) * np.sin(angle)
        line = np.exp(-np.square((across - offset) / draw.uniform(0.7, 1.3)))
        line *= np.abs(along - draw.normal(0, 8)) < draw.uniform(12, 30)
        surface += draw.uniform(25, 80) * line


def _pits(surface: Surface, draw: np.random.Generator) -> None:
    _blots(surface, draw, int(draw.integers(20, 50)), size=(0.8, 1.8), depth=(-70, -25))


def _patch(surface: Surface, draw: np.random.Generator) -> None:
    _blots(surface, draw, int(draw.integers(1, 4)), size=(6, 12), depth=(22, 55))


def _inclusion(surface: Surface, draw: np.random.Generator) -> None:
    for _ in range(int(draw.integers(1, 4))):
        row, column = draw.uniform(8, SIDE_PX - 8, 2)
        length, width = draw.uniform(5, 12), draw.uniform(1.0, 2.2)
        streak = np.square((_DOWN - row) / length) + np.square((_ACROSS - column) / width)
        surface -= draw.uniform(30, 80) * np.exp(-streak)


def _blots(
    surface: Surface,
    draw: np.random.Generator,
    num_blots: int,
    *,
    size: tuple[float, float],
    depth: tuple[float, float],
) -> None:
    """Round blots with soft edges; each is what it is down times what it is across."""
    middles = draw.uniform(4, SIDE_PX - 4, (2, num_blots, 1))
    sizes, depths = draw.uniform(*size, (num_blots, 1)), draw.uniform(*depth, num_blots)
    down, across = np.exp(-np.square((np.arange(SIDE_PX) - middles) / sizes))
    surface += (down.T * depths) @ across


DRAWN: Mapping[str, Callable[[Surface, np.random.Generator], None]] = {
    "no_defect": _unmarked,
    "scratches": _scratch,
    "pitted_surface": _pits,
    "patches": _patch,
    "inclusion": _inclusion,
}
# A row of `sample`, in a file so that people can look at it.
EXAMPLE = Path(__file__).with_name("visual_inspection_example.png")

_REGION: Mapping[str, Any] = {
    "type": "object",
    "description": "a box in pixels of the image as it was sent, right and bottom exclusive; "
    "effect is what it adds to the log-odds of the defect",
    "properties": {
        "left": {"type": "integer"},
        "top": {"type": "integer"},
        "right": {"type": "integer"},
        "bottom": {"type": "integer"},
        "effect": {"type": "number"},
    },
}

VISUAL_INSPECTION = Task(
    industry=IndustryType.MANUFACTURING,
    name="visual_inspection",
    title="Visual inspection: defects of surfaces",
    description=(
        "The defect that a picture of a surface shows, the places that speak for it, how bad it is "
        "and what is usual for the piece. The places are where the model looks, not a contour."
    ),
    verb="inspect_image",
    family="image",
    head="single_label",
    label="defect",
    group="plate",
    fields=(
        Field(
            name="image",
            kind="image",
            description="a picture of the surface: PNG, JPEG, TIFF or BMP, gray or in color",
        ),
    ),
    answer={
        "defect": {
            "type": "string",
            "description": "the class of the picture, as training rows name it: a kind of defect, "
            "or the class that means none",
        },
        "location": {
            "type": "object",
            "description": "where the model sees the defect, strongest first; no regions where "
            "there is none",
            "properties": {
                "regions": {"type": "array", "items": _REGION},
                "effects": {
                    "type": "array",
                    "description": "what each place of a grid over the picture adds to the "
                    "log-odds of the defect, signed",
                    "items": {"type": "array"},
                },
                "width_px": {"type": "integer"},
                "height_px": {"type": "integer"},
            },
        },
        "severity": {
            "type": "string",
            "enum": list(SEVERITIES),
            "description": "by the kind of defect, one grade worse where it covers a quarter of "
            "the picture",
        },
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS),
            "description": "what is usual for the severity, where the class is probable enough ("
            + ", ".join(f"{name} {sure}" for name, sure in SURE_FROM.items())
            + "); else, of a kind without one, and of a picture like none, inspect_by_hand",
        },
        "warnings": {
            "type": "array",
            "description": "why the answer may be a guess",
            "items": {"type": "string"},
        },
        "confidence": probability_schema("calibrated probability of the class"),
    },
    respond=respond,
    example={"image": base64.b64encode(EXAMPLE.read_bytes()).decode()},
    sample=sample,
    metric="macro_f1",
    compliance_checks=("data_licence_known",),
    latency_target_ms=30.0,
    size_target_mb=10.0,
    symmetries=("left_right", "top_bottom", "quarter_turn"),
)
