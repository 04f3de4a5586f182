"""A model of terms and pairs as it is served: exported, opened, asked one by one and in a batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from industries.healthcare.clinical_decision_support import PROFILES, SYMPTOMS
from spt_core.data.conform import conform
from spt_core.data.labels import rule_of
from spt_core.model import open_answerer
from spt_core.policy import LabelPolicy
from spt_core.task import find
from spt_core.terms import ABSENT
from tests.tiny_models import tiny_export

TASK = find("healthcare/clinical_decision_support")
POLICY = LabelPolicy(thresholds={}, most_probable=True, coverage=0.95, set_threshold=0.05)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows():
    """Typed cases of the sample."""
    good, _ = conform(TASK.sample(400, 0), TASK.fields, label=TASK.label, labels=rule_of(TASK))
    return good


@pytest.fixture(scope="module")
def answerer(tmp_path_factory):
    own = dataclasses.replace(TASK, classes=tuple(PROFILES))
    return open_answerer(tiny_export(own, f"file://{tmp_path_factory.mktemp('terms')}"), POLICY)


def test_the_specification_s_case_is_answered_as_it_stands(answerer):
    told = answerer.answer(TASK.example)
    assert list(told)[:4] == [
        "differential_diagnoses",
        "recommended_tests",
        "urgency_level",
        "reasoning",
    ]
    assert told["differential_diagnoses"]
    assert told["coverage"] == 0.95
    assert told["urgency_level"] in ("urgent", "emergency")  # chest pain is a red flag
    assert told["unknown_terms"] == []


def test_symptoms_are_explained_one_by_one(answerer):
    labels = answerer.judge(TASK.example)
    values = {reason.value for reason in labels.scores[0].fields if reason.field == SYMPTOMS}
    assert values == {"chest_pain", "shortness_of_breath", ABSENT}


def test_a_term_that_nobody_knows_is_said(answerer):
    patient = {**TASK.example["patient"], "symptoms": ["Chest pains", "fever"]}
    told, cautions = answerer.answer_with_cautions({"patient": patient})
    assert told["unknown_terms"] == [
        {"field": SYMPTOMS, "term": "chest_pains", "nearest_known": "chest_pain"}
    ]
    assert cautions.unseen == (SYMPTOMS,)


def test_a_batch_says_what_single_cases_are_told(answerer, rows):
    _, answers = answerer.table(rows.slice(0, 20))
    names = [field.name for field in TASK.fields]
    for record, batch in zip(rows.slice(0, 20).select(names).to_pylist(), answers, strict=True):
        alone = answerer.answer(record)
        assert alone["urgency_level"] == batch["urgency_level"]
        first, second = (of["differential_diagnoses"] for of in (alone, batch))
        assert [d["diagnosis"] for d in first] == [d["diagnosis"] for d in second]
        probabilities = [[d["probability"] for d in of] for of in (first, second)]
        np.testing.assert_allclose(*probabilities, atol=1e-4)
        assert sum(probabilities[0]) > 0
