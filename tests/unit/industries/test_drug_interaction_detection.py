"""Drug interactions: the wording, the severity rule, and the known pairs of the sample."""

from __future__ import annotations

import json

import pytest

from industries.healthcare.drug_interaction_detection import DRUGS, STATING, severity_of
from spt_core.judgement import LabelScore, Pairs, PairScores, Phrase, Span
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("healthcare/drug_interaction_detection")
POLICY = LabelPolicy(thresholds={}, most_probable=True, fallback="none")
TEXT = (
    "Aspirin is well tolerated. Avoid warfarin with aspirin, as bleeding was seen. Take digoxin "
    "with food."
)
DRUG_SPANS = tuple(
    Span(TEXT.index(name), TEXT.index(name) + len(name), name)
    for name in ("Aspirin", "warfarin", "aspirin", "digoxin")
)


def scores(kind: str, probability: float) -> tuple[LabelScore, ...]:
    rest = (1 - probability) / 2
    reasons = (Phrase(27, 32, "Avoid", 3.0),)
    told = {kind: probability} | {n: rest for n in ("none", "int", "effect") if n != kind}
    given = POLICY.given(told)
    found = [LabelScore(n, p, n in given, reasons) for n, p in told.items()]
    return tuple(sorted(found, key=lambda score: -score.probability))


def answer(*pairs: PairScores, spans: tuple[Span, ...] = DRUG_SPANS) -> dict[str, object]:
    return TASK.respond(Pairs({"text": TEXT}, spans, pairs, POLICY))


def test_interactions_are_named_with_type_severity_and_evidence() -> None:
    found = answer(
        PairScores(DRUG_SPANS[1], DRUG_SPANS[2], scores("effect", 0.9)),
        PairScores(DRUG_SPANS[2], DRUG_SPANS[3], scores("none", 0.7)),
    )
    (interaction,) = found["interactions"]
    assert interaction["drug_a"] == "warfarin"
    assert interaction["drug_b"] == "aspirin"
    assert (interaction["type"], interaction["severity"]) == ("effect", "major")
    assert interaction["evidence"][0]["text"] == "Avoid"
    assert found["recommendation"] == "avoid_or_monitor_closely"
    assert found["confidence"] == 0.7
    assert [drug["name"] for drug in found["drugs_found"]] == [s.text for s in DRUG_SPANS]


def test_the_severity_is_that_of_the_sentences_that_name_the_drugs() -> None:
    apart = answer(PairScores(DRUG_SPANS[0], DRUG_SPANS[0], scores("int", 0.9)))
    assert apart["interactions"][0]["severity"] == "unspecified"
    assert apart["recommendation"] == "ask_a_pharmacist"


def test_the_most_severe_interaction_comes_first_and_decides() -> None:
    found = answer(
        PairScores(DRUG_SPANS[0], DRUG_SPANS[0], scores("int", 0.99)),
        PairScores(DRUG_SPANS[1], DRUG_SPANS[2], scores("effect", 0.6)),
    )
    assert [i["severity"] for i in found["interactions"]] == ["major", "unspecified"]
    assert found["recommendation"] == "avoid_or_monitor_closely"


@pytest.mark.parametrize(
    ("num_drugs", "recommendation"),
    [(0, "no_known_drug"), (1, "only_one_drug")],
)
def test_a_text_without_two_drugs_says_that_nothing_was_judged(
    num_drugs: int, recommendation: str
) -> None:
    found = answer(spans=DRUG_SPANS[:num_drugs])
    assert found["recommendation"] == recommendation
    assert found["interactions"] == []
    assert found["confidence"] == 0.0


def test_unrelated_drugs_are_not_called_safe() -> None:
    found = answer(PairScores(*DRUG_SPANS[:2], scores("none", 0.95)), spans=DRUG_SPANS[:2])
    assert found["recommendation"] == "no_interaction_stated"
    assert found["pairs_not_judged"] == 0


@pytest.mark.parametrize(
    ("text", "kind", "recommendation"),
    [
        (TEXT, "none", "not_all_pairs_judged"),
        ("Aspirin had no clinically relevant effect.", "effect", "not_all_pairs_judged"),
        ("Aspirin has an effect.", "effect", "monitor"),
    ],
)
def test_there_is_no_all_clear_while_a_pair_is_not_judged(
    text: str, kind: str, recommendation: str
) -> None:
    pair = PairScores(DRUG_SPANS[0], DRUG_SPANS[0], scores(kind, 0.9))
    found = TASK.respond(Pairs({"text": text}, DRUG_SPANS[:3], (pair,), POLICY))
    assert found["recommendation"] == recommendation
    assert found["pairs_not_judged"] == 2
    assert found["recommendation"] in TASK.answer["recommendation"]["enum"]


@pytest.mark.parametrize(
    ("kind", "text", "recommendation"),
    [
        (
            "advise",
            "Sildenafil should not be administered to patients who take nitroglycerin.",
            "do_not_combine",
        ),
        ("advise", "Patients on phenelzine should not take meperidine.", "do_not_combine"),
        (
            "mechanism",
            "No dose adjustment of rifampin is needed, although rifampin lowers the dolutegravir "
            "level by 54 percent.",
            "monitor",
        ),
        (
            "effect",
            "Fluconazole is not contraindicated with warfarin, but it doubles the INR.",
            "monitor",
        ),
    ],
)
def test_what_to_do_follows_from_what_the_sentence_says(
    kind: str, text: str, recommendation: str
) -> None:
    spans = (Span(0, 3, text[:3]), Span(len(text) - 4, len(text) - 1, text[-4:-1]))
    pair = PairScores(*spans, scores(kind, 0.9))
    assert TASK.respond(Pairs({"text": text}, spans, (pair,), POLICY))["recommendation"] == (
        recommendation
    )


@pytest.mark.parametrize(
    ("kind", "text", "severity"),
    [
        ("advise", "A is contraindicated with B.", "contraindicated"),
        ("advise", "A should not be co-administered with B.", "contraindicated"),
        ("advise", "A should not be administered to patients who take B.", "contraindicated"),
        ("advise", "Patients on A should not take B.", "contraindicated"),
        ("advise", "Patients on A must not receive B.", "contraindicated"),
        ("advise", "A cannot be used with B.", "contraindicated"),
        ("advise", "A must never be combined with B.", "contraindicated"),
        ("advise", "A should not be routinely prescribed with B.", "contraindicated"),
        ("advise", "A is not to be given with B.", "contraindicated"),
        ("advise", "Use of A with B is prohibited.", "contraindicated"),
        ("advise", "A must not be given within 14 days of B.", "contraindicated"),
        ("advise", "A should not be taken within 4 hours of B.", "moderate"),
        ("advise", "Do not take A within 2-3 h of B.", "moderate"),
        ("advise", "Do not take A within two hours of B; avoid C.", "major"),
        ("advise", "The dose of A should not exceed 20 mg with B.", "moderate"),
        ("effect", "A cannot be recommended with B.", "major"),
        ("effect", "A with B has caused rhabdomyolysis.", "major"),
        ("effect", "Cardiac arrest was seen under A with B.", "major"),
        ("effect", "A with B may lead to respiratory depression and coma.", "major"),
        ("effect", "The patient on A and B died.", "major"),
        ("advise", "Avoid A with B.", "major"),
        ("effect", "A with B led to fatal arrhythmia.", "major"),
        ("advise", "Caution is advised with A and B.", "moderate"),
        ("mechanism", "A had no clinically significant effect on B.", "minor"),
        ("effect", "A is not contraindicated with B.", "moderate"),
        ("mechanism", "A is not contraindicated with B, but it doubles the INR.", "moderate"),
        ("advise", "There are no contraindications to A with B.", "moderate"),
        (
            "mechanism",
            "No dose adjustment of A is needed, although A lowers the B level by 54 percent.",
            "moderate",
        ),
        (
            "mechanism",
            "A had no clinically relevant effect on pulse, but doubled the level of B.",
            "moderate",
        ),
        (
            "mechanism",
            "A raised the level of B by 4 percent, but that is not clinically relevant.",
            "minor",
        ),
        ("effect", "A with B caused no clinically significant bleeding.", "minor"),
        (
            "advise",
            "A is contraindicated with B, but C needs no dose adjustment.",
            "contraindicated",
        ),
        (
            "advise",
            "A is not contraindicated with B but must not be given with C.",
            "contraindicated",
        ),
        ("advise", "Avoid A with B; no clinically significant effect was seen with C.", "major"),
        ("effect", "Fatal bleeding occurred, although no dosage adjustment was made.", "major"),
        ("advise", "No dose adjustment of A is needed; monitor B closely.", "moderate"),
        ("mechanism", "A did not increase the risk of bleeding with B.", "moderate"),
        ("mechanism", "A with B was not associated with a higher rate of deaths.", "moderate"),
        ("effect", "No deaths or severe bleeding occurred under A and B.", "moderate"),
        ("effect", "A with B did not cause severe hypotension.", "moderate"),
        ("effect", "A did not increase the risk of bleeding; deaths rose with B.", "major"),
        ("effect", "A did not raise bleeding and deaths rose with B.", "major"),
        ("effect", "A does not only increase the risk of bleeding with B.", "major"),
        ("effect", "Whether A does not increase the risk of bleeding is unknown.", "major"),
        ("effect", "It is not established that A with B does not cause bleeding.", "major"),
        ("effect", "A did not cause bleeding but is contraindicated with B.", "contraindicated"),
        (
            "effect",
            "A should not, under any circumstances, be combined with B.",
            "contraindicated",
        ),
        ("effect", "Under no circumstances may A be combined with B.", "contraindicated"),
        ("advise", "A should not, if possible, be taken within 2 hours of B.", "moderate"),
        ("effect", "A is contra indicated with B.", "contraindicated"),
        ("effect", "A is not contra indicated with B.", "moderate"),
        ("effect", "Concomitant use of A and B is not permitted.", "contraindicated"),
        ("effect", "The combination of A and B is unsafe.", "major"),
        ("effect", "The combination of A and B is not considered safe.", "major"),
        ("effect", "The combination of A and B is not dangerous.", "moderate"),
        ("effect", "A with B can be life threatening.", "major"),
        ("effect", "A with B has resulted in hyperkalemia and QT prolongation.", "major"),
        ("effect", "A prolongs the QT interval under B.", "major"),
        ("effect", "A did not significantly prolong the QT interval under B.", "moderate"),
        ("effect", "There was no hyperkalemia or QT prolongation under A with B.", "moderate"),
        ("advise", "A should be stopped immediately if B is started.", "major"),
        ("advise", "A need not be stopped when B is started.", "moderate"),
        ("advise", "A need not be avoided with B.", "moderate"),
        ("int", "A does not need to be avoided with B.", "unspecified"),
        ("int", "A interacts with B, but no special monitoring is needed.", "unspecified"),
        ("mechanism", "No monitoring is needed of A with B.", "moderate"),
        ("int", "There is no need to avoid A with B.", "unspecified"),
        ("int", "A and B need to be closely monitored.", "moderate"),
        ("int", "A and B need be monitored.", "moderate"),
        ("advise", "A need not be avoided, but must not be given with C.", "contraindicated"),
        ("mechanism", "A raises the level of B.", "moderate"),
        ("int", "A interacts with B.", "unspecified"),
        ("of a customer", "A interacts with B.", "unspecified"),
    ],
)
def test_the_severity_rule(kind: str, text: str, severity: str) -> None:
    assert severity_of(kind, text) == severity


def test_the_spans_of_the_sample_are_drugs_and_its_pairs_are_stated() -> None:
    table = TASK.sample(600, 0)
    columns = ("text", "spans", "interactions")
    for text, spans, label in zip(*(table[c].to_pylist() for c in columns), strict=True):
        names = [text[s["start"] : s["end"]] for s in json.loads(spans)]
        assert {name.lower() for name in names} <= set(DRUGS)
        assert len(set(names)) == len(names) >= 2
        for i, j, kind in json.loads(label):
            ordered = (names[i], names[j]), (names[j], names[i])
            stated = [s.split("{n}") for s in STATING[kind]]
            assert any(
                all(part.format(a=a, b=b).lower() in text.lower() for part in parts)
                for a, b in ordered
                for parts in stated
            ), text


def test_every_type_and_unrelated_third_drugs_are_in_the_sample() -> None:
    table = TASK.sample(600, 0)
    labels = [json.loads(label) for label in table["interactions"].to_pylist()]
    sizes = [len(json.loads(spans)) for spans in table["spans"].to_pylist()]
    assert {kind for label in labels for _, _, kind in label} == set(STATING)
    assert 0.5 < sum(map(bool, labels)) / 600 < 0.7
    assert 0.25 < sum(size == 3 for size in sizes) / 600 < 0.55
