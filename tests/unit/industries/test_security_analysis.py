"""ATT&CK techniques: the wording, names and links, and the known causes of the sample."""

from __future__ import annotations

import pytest

from industries.technology.security_analysis import DECIDING
from industries.technology.techniques import NAMES, link_to, name_of
from spt_core.judgement import Labels, LabelScore, Phrase
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("technology/security_analysis")
TEXT = TASK.example["text"]


def answer(told: dict[str, float], *, threshold: float = 0.0) -> dict[str, object]:
    policy = LabelPolicy(thresholds=dict.fromkeys(told, threshold), most_probable=True)
    given = policy.given(told)
    reasons = (Phrase(0, 3, "The", -1.0), Phrase(11, 19, "decrypts", 2.0))
    scores = [LabelScore(n, p, n in given, reasons) for n, p in told.items()]
    scores.sort(key=lambda score: -score.probability)
    return TASK.respond(Labels({"text": TEXT}, tuple(scores), policy))


def test_the_technique_is_named_linked_and_explained() -> None:
    found = answer({"T1140": 0.9, "T1055": 0.06, "T1027": 0.03, "T1105": 0.006, "T1082": 0.004})
    assert found["technique_name"] == "Deobfuscate/Decode Files or Information"
    assert found["technique_url"] == "https://attack.mitre.org/techniques/T1140/"
    assert [phrase["text"] for phrase in found["evidence"]] == ["decrypts"]
    assert [a["technique"] for a in found["alternatives"]] == ["T1055", "T1027", "T1105"]
    assert (found["recommendation"], found["confidence"]) == ("accept", 0.9)


def test_a_technique_that_is_not_sure_is_reviewed() -> None:
    assert answer({"T1140": 0.79, "T1055": 0.21})["recommendation"] == "review"


def test_the_most_probable_technique_is_shown_for_review_where_the_policy_gives_none() -> None:
    found = answer({"T1140": 0.85, "T1055": 0.15}, threshold=0.9)
    assert (found["technique"], found["recommendation"]) == ("T1140", "review")


@pytest.mark.parametrize(
    ("technique", "link"),
    [
        ("T1059.003", "https://attack.mitre.org/techniques/T1059/003/"),
        ("phishing", ""),
        ("T1059.003/../x", ""),
    ],
)
def test_only_ids_of_techniques_are_linked(technique: str, link: str) -> None:
    assert link_to(technique) == link


def test_an_unknown_technique_has_no_name() -> None:
    assert name_of("T9999") == ""
    assert all(link_to(technique) for technique in NAMES)


def test_a_sentence_of_the_sample_has_one_deciding_phrase_and_it_is_the_label_s() -> None:
    table = TASK.sample(600, 0)
    for text, label in zip(table["text"].to_pylist(), table["technique"].to_pylist(), strict=True):
        found = [n for n, phrases in DECIDING.items() if any(p in text for p in phrases)]
        assert found == [label], text
    assert set(table["technique"].to_pylist()) == set(DECIDING) <= set(NAMES)
