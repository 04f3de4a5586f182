"""Which findings does a medical image show, where, and what should be looked at next?"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import (
    PROBABILITY,
    class_probabilities,
    class_probabilities_schema,
    probability_schema,
)
from spt_core.images import png, resized
from spt_core.judgement import AttentionMap, Labels, LabelScore
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NORMAL = "normal"
NUM_DIFFERENTIAL = 5
NUM_REGIONS = 3
UNSURE = (0.2, 0.8)  # a finding between is neither seen nor excluded
# What is usual next, by finding; of others a person reads the image.
NEXT_STEPS: Mapping[str, str] = {
    "pneumonia": "Correlate with symptoms and inflammatory markers; follow up until it resolves.",
    "effusion": "Confirm the amount by ultrasound before any puncture.",
    "nodule": "Compare with earlier images; consider computed tomography.",
}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer; whatever it says, a physician reads the image.

    `confidence` is the calibrated probability of what is said of the likeliest finding: that it is
    there where it is given, else that it is not.
    """
    given = [score for score in judgement.scores if score.is_given]
    first = judgement.scores[0]
    confidence = first.probability if first.is_given else 1.0 - first.probability
    return {
        "findings": [_finding(score) for score in given],
        "differential_diagnosis": class_probabilities(
            "finding", judgement.scores[:NUM_DIFFERENTIAL]
        ),
        "recommendations": recommendations(given, judgement),
        "attention_map": _map(first),
        "confidence": round(confidence, 6),
    }


def recommendations(given: list[LabelScore], judgement: Labels) -> list[str]:
    """What to do next, the most urgent first."""
    steps: list[str] = []
    if judgement.outside:
        steps.append("The image is like none of training's: disregard the answer and read it.")
    steps += [NEXT_STEPS[_plain(s.label)] for s in given if _plain(s.label) in NEXT_STEPS]
    low, high = UNSURE
    unsure = [score.label for score in judgement.scores if low < score.probability < high]
    if unsure:
        steps.append(f"Neither seen nor excluded: {', '.join(unsure)}; have it read twice.")
    steps.append("A physician reads the image: this is decision support, no diagnosis.")
    return steps


def _finding(score: LabelScore) -> dict[str, Any]:
    regions = [] if score.attention is None else score.attention.regions(NUM_REGIONS)
    return {
        "finding": score.label,
        "probability": round(score.probability, 6),
        "regions": [{**region._asdict(), "effect": round(region.effect, 4)} for region in regions],
    }


def _map(score: LabelScore) -> dict[str, Any]:
    attention = score.attention or AttentionMap((), 0, 0)
    return {
        "finding": score.label,
        "effects": attention.grid(),
        "width_px": attention.width_px,
        "height_px": attention.height_px,
    }


def _plain(label: str) -> str:
    return "_".join(label.lower().split())


SIDE_PX = 64
IMAGES_PER_PATIENT = 2
SHARES: Mapping[str, float] = {"pneumonia": 0.3, "effusion": 0.2, "nodule": 0.2}


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of gray images that are laid out as chest films, two of each patient.

    64 x 64 px as PNG: two dark lungs on a bright body, ribs across, haze, noise; a patient has a
    size, a position and an exposure. Findings are drawn apart from each other and may come
    together: pneumonia is a cloud in one lung, effusion a bright base of one lung with a level that
    rises to the side, a nodule a small disc. They show nothing of medicine: the corpus is there so
    that the machinery can be tried.
    """
    draw = np.random.default_rng(seed)
    images: list[bytes] = []
    labels: list[str] = []
    for row in range(num_rows):
        patient = np.random.default_rng([seed, row // IMAGES_PER_PATIENT])
        film = _Film(patient, draw)
        names = [name for name, share in SHARES.items() if draw.random() < share]
        for name in names:
            DRAWN[name](film, draw)
        images.append(png(np.clip(film.levels, 0, 255).astype(np.uint8)))
        labels.append(json.dumps(names))
    numbers = [row // IMAGES_PER_PATIENT for row in range(num_rows)]
    return pa.table(
        {
            "image": pa.array(images, pa.large_binary()),
            "patient": [f"patient-{number:05d}" for number in numbers],
            "sex": [("female", "male")[number % 2] for number in numbers],
            "findings": labels,
        }
    )


_DOWN, _ACROSS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float64)


class _Film:
    """A film without findings: `levels` [S, S], and the middle and reach of either lung."""

    def __init__(self, patient: np.random.Generator, draw: np.random.Generator) -> None:
        across, down = patient.normal(0, 2, 2) + SIDE_PX / 2
        self.reach = np.array([patient.uniform(17, 21), patient.uniform(9, 11.5)])
        self.middles = [(down, across - 14), (down, across + 14)]
        body = patient.uniform(150, 190) - 0.04 * np.square(_ACROSS - across)
        haze = resized(patient.normal(0, 14, (4, 4)).astype(np.float32), SIDE_PX, SIDE_PX)
        levels = body + haze + 8 * np.sin(_DOWN / 2.6 + 0.004 * np.square(_ACROSS - across))
        for middle in self.middles:
            levels = levels - patient.uniform(75, 95) * self._inside(middle)
        self.levels: NDArray[np.float64] = levels + draw.normal(0, 5, levels.shape)

    def _inside(self, middle: tuple[float, float]) -> NDArray[np.float64]:
        away = np.square((_DOWN - middle[0]) / self.reach[0])
        away += np.square((_ACROSS - middle[1]) / self.reach[1])
        return 1.0 / (1.0 + np.exp(8.0 * (away - 1.0)))

    def lung(self, draw: np.random.Generator) -> tuple[tuple[float, float], NDArray[np.float64]]:
        """The middle of one lung, and how far each pixel lies inside it."""
        middle = self.middles[int(draw.integers(2))]
        return middle, self._inside(middle)


def _pneumonia(film: _Film, draw: np.random.Generator) -> None:
    middle, inside = film.lung(draw)
    row, column = middle[0] + draw.normal(2, 6), middle[1] + draw.normal(0, 3)
    away = np.square((_DOWN - row) / draw.uniform(6, 9)) + np.square((_ACROSS - column) / 6)
    cloud = np.exp(-away) * (1 + 0.3 * np.sin(_DOWN * 1.1) * np.cos(_ACROSS * 1.3))
    film.levels = film.levels + draw.uniform(30, 60) * cloud * inside


def _effusion(film: _Film, draw: np.random.Generator) -> None:
    middle, inside = film.lung(draw)
    level = middle[0] + film.reach[0] * draw.uniform(0.3, 0.7)
    rim = 0.25 * np.abs(_ACROSS - SIDE_PX / 2)
    below = 1.0 / (1.0 + np.exp(level - rim / 2 + 3 - _DOWN))
    film.levels = film.levels + draw.uniform(50, 80) * below * inside


def _nodule(film: _Film, draw: np.random.Generator) -> None:
    middle, inside = film.lung(draw)
    row, column = middle[0] + draw.uniform(-10, 10), middle[1] + draw.uniform(-4, 4)
    away = np.sqrt(np.square(_DOWN - row) + np.square(_ACROSS - column))
    disc = 1.0 / (1.0 + np.exp(2.0 * (away - draw.uniform(2.2, 3.5))))
    film.levels = film.levels + draw.uniform(45, 80) * disc * inside


DRAWN: Mapping[str, Callable[[_Film, np.random.Generator], None]] = {
    "pneumonia": _pneumonia,
    "effusion": _effusion,
    "nodule": _nodule,
}
# A row of `sample`, in a file so that people can look at it.
EXAMPLE = Path(__file__).with_name("medical_imaging_example.png")


MEDICAL_IMAGING = Task(
    industry=IndustryType.HEALTHCARE,
    name="medical_imaging",
    title="Medical imaging: findings and where they are seen",
    description=(
        "The findings of an image (radiology; pathology on another corpus), each with its "
        "calibrated probability and the places that speak for it. Decision support: a physician "
        "reads every image."
    ),
    verb="analyze_image",
    family="image",
    head="multi_label",
    label="findings",
    group="patient",
    negative_class=NORMAL,
    fields=(
        Field(
            name="image",
            kind="image",
            description="one frame: PNG (8 or 16 bits), JPEG, TIFF or BMP",
        ),
    ),
    answer={
        "findings": {
            "type": "array",
            "description": "findings that reach their threshold, most probable first",
            "items": {
                "type": "object",
                "properties": {
                    "finding": {"type": "string"},
                    "probability": PROBABILITY,
                    "regions": {
                        "type": "array",
                        "description": "boxes in pixels of the image as it was sent, right and "
                        "bottom exclusive, that speak for the finding; strongest first",
                        "items": {
                            "type": "object",
                            "properties": {
                                "left": {"type": "integer"},
                                "top": {"type": "integer"},
                                "right": {"type": "integer"},
                                "bottom": {"type": "integer"},
                                "effect": {"type": "number"},
                            },
                        },
                    },
                },
            },
        },
        "differential_diagnosis": class_probabilities_schema(
            "finding", "the most probable findings, given or not"
        ),
        "recommendations": {
            "type": "array",
            "description": "what to do next, and what limits the answer",
            "items": {"type": "string"},
        },
        "attention_map": {
            "type": "object",
            "description": "what each place of a grid over the image adds to the log-odds of the "
            "most probable finding, signed",
            "properties": {
                "finding": {"type": "string"},
                "effects": {"type": "array", "items": {"type": "array"}},
                "width_px": {"type": "integer"},
                "height_px": {"type": "integer"},
            },
        },
        "confidence": probability_schema(
            "calibrated probability of what is said of the likeliest finding: that "
            "it is there, or that it is not"
        ),
    },
    respond=respond,
    example={"image": base64.b64encode(EXAMPLE.read_bytes()).decode()},
    sample=sample,
    metric="macro_f1",
    protected=("sex", "age", "view"),
    compliance_checks=("data_licence_known", "groups_measured"),
    latency_target_ms=30.0,
    size_target_mb=10.0,
    high_risk=True,
)
