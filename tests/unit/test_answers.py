"""Parts that answers of several tasks share, and their schemas."""

import jsonschema
import pytest

from spt_core.answers import (
    NUM_CHECKS,
    checks,
    class_probabilities,
    class_probabilities_schema,
    field_effects,
    field_effects_schema,
    phrases_schema,
    warnings,
)
from spt_core.heads.binary import fit_policy
from spt_core.judgement import Decision, FieldEffect, Labels, LabelScore, Phrase
from spt_core.policy import Costs, LabelPolicy

COSTS = Costs(missed_positive=10.0, false_alarm=5.0, review=1.0)
CODES = {"amount": "SIZE", "total": "SIZE", "hour": "TIME"}


def decision(action="review", outside=(), **effects):
    policy = fit_policy(COSTS, [], reason_codes=CODES, conditions={"SIZE": "count", "TIME": "ask"})
    reasons = tuple(FieldEffect(name, None, effect) for name, effect in effects.items())
    return Decision({}, 0.5, action, 0.5, reasons, policy, outside)


def test_a_check_is_named_once_by_the_fields_that_raise_the_risk():
    judgement = decision(amount=2.0, total=1.0, hour=-1.0, branch=0.5)
    assert checks(judgement) == ["count", "see why branch is missing"]


def test_what_is_approved_is_checked_only_where_it_is_unlike_training():
    (only,) = checks(decision("approve", outside=("hour",), amount=2.0))
    assert only.startswith("hour lies beyond all training rows")


@pytest.mark.parametrize(
    ("outside", "novel", "sentences"),
    [
        ((), (), []),
        (("age",), (), ["age is 130, beyond all training rows: the answer is a guess."]),
        ((), ("sex",), ["sex is 'Male', which no training row had: it counts as missing."]),
        (("age",), ("sex",), ["age is 130, beyond", "sex is 'Male', which no"]),
    ],
)
def test_warnings_name_what_no_training_row_had(outside, novel, sentences):
    judgement = decision(outside=outside)._replace(record={"age": 130, "sex": "Male"}, novel=novel)
    told = warnings(judgement)
    assert len(told) == len(sentences)
    assert all(map(str.startswith, told, sentences))


def test_a_category_that_no_training_row_had_is_checked_even_where_all_is_well():
    (only,) = checks(decision("approve")._replace(novel=("cover",)))
    assert only.startswith("cover is of a category that no training row had")


def test_checks_are_few():
    many = {f"field_{number}": 1.0 for number in range(9)}
    assert len(checks(decision(**many))) == NUM_CHECKS


@pytest.mark.parametrize(
    ("part", "schema"),
    [
        (field_effects([FieldEffect("a", 1, 0.12345)]), field_effects_schema("d")),
        (
            class_probabilities("kind", [LabelScore("x", 0.5, True)]),
            class_probabilities_schema("kind", "d"),
        ),
        (LabelScore("x", 0.5, True, (Phrase(0, 1, "a", 0.5),)).phrases(), phrases_schema("d")),
    ],
)
def test_a_part_is_as_its_schema_says_and_the_schema_names_all_of_it(part, schema):
    jsonschema.validate(part, schema)
    assert set(part[0]) == set(schema["items"]["properties"])


@pytest.mark.parametrize(("given", "best"), [("b", "b"), (None, "a")])
def test_the_best_class_is_the_one_that_the_policy_gives_else_the_most_probable(given, best):
    scores = tuple(LabelScore(n, p, n == given) for n, p in (("a", 0.6), ("b", 0.4)))
    policy = LabelPolicy(thresholds={"a": 0.7, "b": 0.1}, most_probable=True)
    assert Labels({}, scores, policy).best.label == best
