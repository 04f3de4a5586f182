"""Defects of surfaces: severity, what to do, the wording, and the known causes of the sample."""

from __future__ import annotations

import numpy as np
import pytest

from industries.manufacturing.visual_inspection import PICTURES_PER_PLATE, SEVERITY
from spt_core.images import picture_of
from spt_core.judgement import AttentionMap, Labels, LabelScore
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("manufacturing/visual_inspection")
SMALL = AttentionMap(((0.0,) * 4, (0.0, 2.0, 0.0, 0.0), (0.0,) * 4, (0.0,) * 4), 200, 100)
LARGE = AttentionMap(((1.0, 1.0), (1.0, 0.0)), 200, 100)


def answer(
    probabilities: dict[str, float],
    *,
    attention: AttentionMap = SMALL,
    threshold: float = 0.0,
    outside: tuple[str, ...] = (),
) -> dict[str, object]:
    policy = LabelPolicy(thresholds=dict.fromkeys(probabilities, threshold), most_probable=True)
    given = policy.given(probabilities)
    scores = [LabelScore(n, p, n in given, (attention,)) for n, p in probabilities.items()]
    scores.sort(key=lambda score: -score.probability)
    return TASK.respond(Labels({"image": ""}, tuple(scores), policy, outside))


def test_a_sure_defect_is_located_graded_and_sent_where_it_belongs() -> None:
    given = answer({"scratches": 0.97, "no_defect": 0.03})
    assert given["defect"] == "scratches"
    assert given["location"] == {
        "regions": [{"left": 50, "top": 25, "right": 100, "bottom": 50, "effect": 2.0}],
        "effects": [list(line) for line in SMALL.effects],
        "width_px": 200,
        "height_px": 100,
    }
    assert (given["severity"], given["recommendation"]) == ("minor", "rework")
    assert given["warnings"] == []


def test_a_large_defect_is_one_grade_worse() -> None:
    assert answer({"scratches": 0.97, "no_defect": 0.03}, attention=LARGE)["severity"] == "major"
    assert answer({"crazing": 0.97, "no_defect": 0.03}, attention=LARGE)["severity"] == "critical"


@pytest.mark.parametrize("name", SEVERITY)
def test_each_kind_of_neu_has_a_severity_and_is_never_passed(name: str) -> None:
    given = answer({name: 0.999, "no_defect": 0.001})
    assert given["severity"] == SEVERITY[name]
    assert given["recommendation"] in ("rework", "scrap")


def test_a_piece_without_a_defect_passes_only_if_that_is_sure() -> None:
    sure = answer({"no_defect": 0.96, "scratches": 0.04})
    assert (sure["severity"], sure["recommendation"]) == ("none", "pass")
    assert sure["location"]["regions"] == []
    assert answer({"no_defect": 0.9, "crazing": 0.1})["recommendation"] == "inspect_by_hand"


def test_a_person_looks_at_what_is_unsure_unlike_training_s_or_given_nothing() -> None:
    assert answer({"crazing": 0.7, "scratches": 0.3})["recommendation"] == "inspect_by_hand"
    unlike = answer({"no_defect": 0.99, "crazing": 0.01}, outside=("image",))
    assert unlike["recommendation"] == "inspect_by_hand"
    assert "like none of training's" in unlike["warnings"][0]
    nothing = answer({"crazing": 0.95, "scratches": 0.05}, threshold=0.99)
    assert nothing["recommendation"] == "inspect_by_hand"
    assert "No class reaches" in nothing["warnings"][0]


def test_a_kind_that_nobody_named_is_minor_and_a_person_looks_at_it() -> None:
    given = answer({"Dents": 0.99, "no_defect": 0.01})
    assert (given["severity"], given["recommendation"]) == ("minor", "inspect_by_hand")
    assert "how bad 'Dents' is" in given["warnings"][0]


def test_the_sample_s_causes_are_in_its_pictures() -> None:
    table = TASK.sample(300, 5)
    pixels = np.stack([picture_of(v, "image").pixels for v in table["image"].to_pylist()])
    labels = np.array(table["defect"].to_pylist())
    middle = np.median(pixels, (1, 2), keepdims=True)
    brightest = (pixels - middle.astype(float)).max((1, 2))
    darkest = (pixels - middle.astype(float)).min((1, 2))
    assert brightest[labels == "scratches"].mean() > brightest[labels == "no_defect"].mean() + 20
    assert darkest[labels == "pitted_surface"].mean() < darkest[labels == "no_defect"].mean() - 20
    plates = table["plate"].to_pylist()
    assert len(set(plates)) == 300 // PICTURES_PER_PLATE
    assert 0.2 < (labels == "no_defect").mean() < 0.4
