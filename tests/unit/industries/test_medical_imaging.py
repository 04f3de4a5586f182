"""Findings of medical images: the wording, what comes next, and that a physician always reads."""

from __future__ import annotations

import json

from spt_core.data.labels import Context, read_label, rule_of
from spt_core.judgement import AttentionMap, Labels, LabelScore
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("healthcare/medical_imaging")
SEEN = AttentionMap(((0.0, 0.25), (0.0, 1.5)), 60, 40)


def answer(probabilities: dict[str, float], outside: tuple[str, ...] = ()) -> dict[str, object]:
    policy = LabelPolicy(thresholds=dict.fromkeys(probabilities, 0.5), most_probable=False)
    given = policy.given(probabilities)
    scores = [LabelScore(n, p, n in given, (SEEN,)) for n, p in probabilities.items()]
    scores.sort(key=lambda score: -score.probability)
    return TASK.respond(Labels({"image": ""}, tuple(scores), policy, outside))


def test_the_answer_is_the_specification_s() -> None:
    given = answer({"pneumonia": 0.93, "effusion": 0.6, "nodule": 0.01})
    assert list(given) == [
        "findings",
        "differential_diagnosis",
        "recommendations",
        "attention_map",
        "confidence",
    ]
    assert TASK.verb == "analyze_image"
    assert [finding["finding"] for finding in given["findings"]] == ["pneumonia", "effusion"]
    assert given["findings"][0]["regions"] == [
        {"left": 30, "top": 20, "right": 60, "bottom": 40, "effect": 1.5}
    ]
    assert given["attention_map"] == {
        "finding": "pneumonia",
        "effects": [[0.0, 0.25], [0.0, 1.5]],
        "width_px": 60,
        "height_px": 40,
    }
    assert given["confidence"] == 0.93


def test_without_a_finding_it_is_how_sure_there_is_none() -> None:
    given = answer({"pneumonia": 0.04, "nodule": 0.01})
    assert given["findings"] == []
    assert given["confidence"] == 0.96


def test_what_is_neither_seen_nor_excluded_is_read_twice() -> None:
    steps = answer({"pneumonia": 0.93, "nodule": 0.4})["recommendations"]
    assert steps[0].startswith("Correlate with symptoms")
    assert "nodule; have it read twice" in steps[1]
    assert "A physician reads the image" in steps[-1]


def test_an_image_unlike_training_s_is_to_be_disregarded_first_of_all() -> None:
    steps = answer({"pneumonia": 0.93}, outside=("image",))["recommendations"]
    assert "disregard the answer" in steps[0]


def test_a_folder_named_normal_has_no_finding() -> None:
    rule = rule_of(TASK)
    nothing = Context(None, None)
    assert read_label("normal", rule, nothing) == "[]"
    assert json.loads(read_label("pneumonia", rule, nothing)) == ["pneumonia"]
    assert json.loads(read_label("nodule|effusion", rule, nothing)) == ["effusion", "nodule"]


def test_sex_is_kept_for_figures_and_is_no_input() -> None:
    assert TASK.protects("sex")
    assert TASK.protects("patient.age")
    assert TASK.protects("view")
