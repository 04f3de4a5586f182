"""A customer's own cases: what agrees with what was expected, and how much that weighs."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from spt_core.benchmark import BenchmarkConfig, BenchmarkTask, BenchmarkType
from spt_core.benchmark.custom import agrees, custom
from spt_core.errors import InputError
from spt_core.judgement import Decision, FieldEffect
from spt_core.policy import Costs, DecisionPolicy
from spt_core.task import IndustryType, find

TASK = find("financial_services/fraud_detection")
POLICY = DecisionPolicy(
    costs=Costs(missed_positive=10.0, false_alarm=1.0, review=0.5),
    review_threshold=0.5,
    decline_threshold=0.9,
)


@dataclasses.dataclass
class Answering:
    """Stands for an opened model that gives each record the same answer and reasons."""

    answer: dict[str, Any]
    names: tuple[str, ...] = ()

    @property
    def task(self):
        return dataclasses.replace(TASK, respond=lambda judgement: self.answer)

    def judge(self, record):
        if not record:
            raise InputError("a record must have a field, however: it has none")
        reasons = tuple(FieldEffect(field=name, value=1.0, effect=1.0) for name in self.names)
        return Decision(record, 0.5, "review", 0.5, reasons, POLICY)


def scored(answering, *expected, weights=(0.6, 0.4), records=None, deletion=None, **criteria):
    criteria |= zip(("accuracy_weight", "reasoning_quality"), weights, strict=False)
    task = BenchmarkTask(
        task_id="own_001",
        name="Own",
        description="own cases",
        industry=IndustryType.FINANCIAL_SERVICES,
        benchmark_type=BenchmarkType.DOMAIN_KNOWLEDGE,
        input_data=records or [{"amount": 1.0}] * len(expected),
        expected_outputs=expected,
        evaluation_criteria=criteria,
    )
    return custom(answering, task, BenchmarkConfig(num_resamples=10), deletion)


@pytest.mark.parametrize(
    ("given", "expected", "is_so"),
    [
        (["CWE-89"], [], False),
        ([], [], True),
        (["CWE-89", "CWE-79"], ["CWE-79"], True),
        ([], ["CWE-79"], False),
        ("a text", ["a"], False),
        ("", [], False),
        ({"result": ["CWE-89"]}, {"result": []}, False),
        ({"result": 1}, {}, False),
        ({}, {}, True),
        (0.52, 0.5, True),
        (True, 1, False),
        (1, True, False),
        (496, np.int64(496), True),
        (0.5, np.float32(0.52), True),
        (True, np.True_, True),
        (1, np.True_, False),
    ],
)
def test_what_is_given_agrees_where_all_that_is_expected_came(given, expected, is_so):
    assert agrees(given, expected, 0.05) is is_so


WRONG = Answering({"vulnerabilities": ["CWE-89"]}, ("memcpy",))
RIGHT = Answering({"vulnerabilities": []}, ("strcpy",))


@pytest.mark.parametrize(
    "expected",
    [
        {"reasons": ["strcpy"]},
        {"vulnerabilities": []},
        {"vulnerabilities": [], "reasons": ["strcpy"]},
    ],
)
def test_a_wholly_wrong_answer_scores_0_and_a_right_one_1(expected):
    assert scored(WRONG, expected, deletion=1.0).score == 0.0
    assert scored(RIGHT, expected, deletion=1.0).score == pytest.approx(1.0)


def test_a_criterion_of_which_nothing_is_expected_counts_for_nothing():
    half = {"reasons": ["strcpy", "gets"]}
    assert scored(RIGHT, half).score == 0.5
    assert scored(RIGHT, half).figures["weights"] == {"reasoning": 1.0}
    unmeasured = scored(RIGHT, half, weights=(1.0,))
    assert unmeasured.score is None
    assert unmeasured.not_measured == "accuracy_weight needs cases that expect a key of the answer"


@pytest.mark.parametrize(("answering", "score"), [(WRONG, 0.0), (RIGHT, 1.0)])
def test_accuracy_alone_is_the_score_where_nothing_tells_of_reasons(answering, score):
    result = scored(answering, {"vulnerabilities": []})
    assert (result.score, result.low, result.high) == (score, score, score)
    assert result.figures == {"accuracy": score, "weights": {"accuracy": 1.0}, "refused": []}
    assert result.note.startswith(f"accuracy {score:.3f}; by accuracy alone, as no case names")


def test_reasons_alone_are_not_measured_where_nothing_tells_of_them():
    criteria = {"weights": (), "records": [{}]}
    result = scored(RIGHT, {"vulnerabilities": []}, reasoning_quality=1.0, **criteria)
    assert result.score is None
    assert result.not_measured.startswith("reasoning_quality needs cases that name `reasons`")
    assert result.figures == {"refused": ["a record must have a field, however: it has none"]}


def test_cases_count_only_where_they_expect_something():
    result = scored(RIGHT, {"reasons": ["strcpy"]}, {"vulnerabilities": ["CWE-89"]})
    assert result.figures["accuracy"] == 0.0  # of the one case that expects a key
    assert result.figures["reasoning"] == 1.0
    assert result.score == pytest.approx(0.4)


def test_no_expected_reason_asks_for_none():
    assert scored(RIGHT, {"reasons": []}).score == 0.0
    assert scored(Answering({}), {"reasons": []}).score == 1.0


@pytest.mark.parametrize(
    ("expected", "name", "is_named"),
    [
        ("amount", "loan_details.amount", True),
        ("Strcpy", "call of strcpy(", True),
        ("age", "mileage", False),
        ("loc", "block", False),
    ],
)
def test_a_reason_is_named_by_whole_words(expected, name, is_named):
    assert scored(Answering({}, (name,)), {"reasons": [expected]}).score == float(is_named)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"input_data": {"amount": 1.0}}, "must have lists of records and of expected outputs"),
        ({"input_data": ["a text"]}, "a record of 'own_001' must be an object"),
        ({"expected_outputs": [{"reasons": "amount"}]}, "must be a list of texts"),
        ({"expected_outputs": [{"reasons": [""]}]}, "must be a list of texts"),
        ({"evaluation_criteria": {"accuracy_weight": "1"}}, "must be a number above 0"),
        ({"evaluation_criteria": [("accuracy_weight", 1.0)]}, "must be an object of weights"),
        ({"tolerance": float("nan")}, "must be a number of at least 0"),
        ({"tolerance": "0.1"}, "must be a number of at least 0"),
    ],
)
def test_cases_that_measure_nothing_are_refused_in_a_sentence(wrong, rule):
    with pytest.raises(InputError, match=rule):
        BenchmarkTask(
            **{
                "task_id": "own_001",
                "name": "Own",
                "description": "own cases",
                "industry": IndustryType.FINANCIAL_SERVICES,
                "benchmark_type": BenchmarkType.DOMAIN_KNOWLEDGE,
                "input_data": [{"amount": 1.0}],
                "expected_outputs": [{"recommendation": "approve"}],
                **wrong,
            }
        )


def test_a_refused_record_is_wrong_in_what_was_expected_of_it():
    result = scored(RIGHT, {"reasons": ["strcpy"]}, records=[{}])
    assert (result.score, result.num_answered) == (0.0, 0)
    assert len(result.figures["refused"]) == 1
