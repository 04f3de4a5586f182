import re

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from industries.financial_services import TASKS as ALL
from industries.financial_services import fraud_detection, risk_assessment
from jobs.recipes import RECIPES
from spt_core.heads.binary import fit_policy
from spt_core.judgement import Decision, FieldEffect
from spt_core.records import flatten
from spt_core.task import find

FRAUD = find("financial_services/fraud_detection")
RISK = find("financial_services/risk_assessment")
SCORING = find("financial_services/credit_scoring")
TASKS = [task for task in ALL if task.head == "binary"]
each_task = pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])


def judged(task, probability, effects, values=None, codes=None):
    policy = fit_policy(
        task.costs, np.empty(0), reason_codes=codes or task.reason_codes, conditions=task.conditions
    )
    values = values or {}
    reasons = tuple(FieldEffect(name, values.get(name, 1), e) for name, e in effects.items())
    confidence = max(probability, 1 - probability)
    record = dict.fromkeys(effects, 1)
    return Decision(record, probability, policy.recommend(probability), confidence, reasons, policy)


def effects_on(labels, **causes):
    model = LogisticRegression(C=1e6, max_iter=1000)
    model.fit(np.column_stack(list(causes.values())), labels)
    return dict(zip(causes, model.coef_[0], strict=True))


@each_task
def test_a_sample_is_a_function_of_its_seed(task):
    assert task.sample(500, 3).equals(task.sample(500, 3))
    assert not task.sample(500, 3).equals(task.sample(500, 4))


@each_task
def test_a_sample_has_the_task_s_columns_and_both_labels(task):
    table = task.sample(3000, 0)
    assert {field.name for field in task.fields} <= set(table.column_names)
    assert set(task.entities) <= set(table.column_names)
    assert set(table[task.label].to_pylist()) == {0, 1}


@each_task
def test_an_answer_holds_what_the_contract_says(task):
    for probability in (0.0001, 0.1, 0.9999):
        answer = task.respond(judged(task, probability, {task.fields[0].name: 1.0}))
        assert set(answer) == set(task.answer)


def test_the_causes_of_fraud_are_those_that_the_docstring_names():
    table = FRAUD.sample(60_000, 0)
    location, merchant = table["location"].to_numpy(), table["merchant"].to_numpy()
    pattern, hour = table["account_pattern"].to_numpy(), table["time"].to_pandas().dt.hour
    effects = effects_on(
        table["is_fraud"].to_numpy(),
        abroad=location == "different_country",
        night=hour.to_numpy() < 5,
        both=(location == "different_country") & (hour.to_numpy() < 5),
        unknown=merchant == "unknown",
        gambling=merchant == "gambling",
        unusual=pattern == "unusual",
        dormant=pattern == "dormant",
        travel=merchant == "travel",
    )
    assert all(effects[name] > 0.4 for name in effects if name != "travel")
    assert abs(effects["travel"]) < 0.3
    assert effects["dormant"] > effects["unusual"]


@pytest.fixture(scope="module")
def shown():
    """What `make run` is measured on: the last rows' labels, true log-odds and terminals."""
    config = RECIPES["sample"](FRAUD)
    drawn = fraud_detection.drawn(config.data.sample_rows, config.data.sample_seed)
    start = round(config.data.sample_rows * (1 - config.split.test))
    assert drawn.table.equals(FRAUD.sample(config.data.sample_rows, config.data.sample_seed))
    assert (np.diff(drawn.table["time"].to_numpy()) >= np.timedelta64(0)).all()
    labels = drawn.table["is_fraud"].to_numpy()
    return labels[start:], drawn.log_odds[start:], drawn.compromised[start:]


def test_the_test_rows_of_the_sample_recipe_hold_enough_fraud(shown):
    labels, _, _ = shown
    assert labels.sum() >= 300
    assert labels.mean() < 0.1


def test_the_sample_s_own_log_odds_are_as_good_as_the_docstring_says(shown):
    labels, log_odds, compromised = shown
    said = re.search(
        r"precision of (\S+), and of (\S+) for", " ".join(fraud_detection.sample.__doc__.split())
    )
    unaware = log_odds - fraud_detection.COMPROMISED_EFFECT * compromised
    for figure, ranking in zip(said.groups(), (log_odds, unaware), strict=True):
        assert average_precision_score(labels, ranking) == pytest.approx(float(figure), abs=0.006)


def test_the_causes_of_default_have_the_effects_that_the_docstring_names():
    frame = RISK.sample(60_000, 0).to_pandas().dropna()
    history = frame["customer_profile.employment_history"].str.split(" ", n=1, expand=True)
    income, loan = frame["customer_profile.annual_income"], frame["loan_details.amount"]
    effects = effects_on(
        frame["default"],
        score=(frame["customer_profile.credit_score"] - 680) / 100,
        debt=np.maximum(frame["customer_profile.debt_to_income"] - 0.3, 0),
        leverage=np.maximum(np.log(loan / income) - 1, 0),
        years=np.minimum(history[0].astype(int), 10),
        unstable=history[1] == "years unstable",
        home=frame["loan_details.purpose"] == "home_purchase",
        education=frame["loan_details.purpose"] == "education",
        consolidation=frame["loan_details.purpose"] == "debt_consolidation",
        business=frame["loan_details.purpose"] == "business",
        male=frame["sex"] == "male",
        age=frame["age"] / 10,
    )
    documented = {"score": -1.1, "debt": 3.0, "leverage": 0.5, "years": -0.08, "unstable": 0.6}
    documented |= {"home": -0.3, "education": 0.1, "consolidation": 0.4, "business": 0.5}
    for name, effect in (documented | {"male": 0.0, "age": 0.0}).items():
        assert effects[name] == pytest.approx(effect, abs=0.3), name


@pytest.mark.slow
def test_the_bank_s_own_cases_expect_what_the_generator_and_the_costs_say():
    from industries.financial_services.example import _own_cases  # brings torch

    cases = _own_cases()
    policy = fit_policy(RISK.costs, np.empty(0))
    for record, expected, stated in zip(
        cases.input_data, cases.expected_outputs, (4.0, -4.4), strict=True
    ):
        flat = flatten(record)
        loan = flat["loan_details.amount"] / flat["customer_profile.annual_income"]
        parts = RISK.causes(pa.table({name: [value] for name, value in flat.items()}))
        log_odds = -2.0 + sum(parts.values())[0] + 0.5 * max(np.log(loan) - 1, 0)
        assert log_odds == pytest.approx(stated, abs=0.05)
        action = policy.recommend(1 / (1 + np.exp(-log_odds)))
        assert expected == {
            "recommendation": action, "risk_level": risk_assessment.RISK_LEVELS[action],
        }  # fmt: skip


def test_fraud_names_its_strongest_signed_effects():
    effects = {
        "amount": 2.0,
        "time": -1.5,
        "merchant": 1.0,
        "location": 0.5,
        "account_pattern": 0.1,
    }
    answer = FRAUD.respond(judged(FRAUD, 0.3, effects))
    assert [factor["field"] for factor in answer["risk_factors"]] == list(effects)[:4]
    assert answer["risk_factors"][1]["effect"] == -1.5
    assert answer["recommendation"] == "review"


def test_a_declined_loan_states_only_what_raised_its_risk():
    effects = {"customer_profile.credit_score": 2.0, "loan_details.term": -1.0}
    answer = RISK.respond(judged(RISK, 0.95, effects))
    assert answer["risk_level"] == "high"
    assert [reason["code"] for reason in answer["reasoning"]] == ["OWN-SCORE"]
    assert answer["conditions"] == []


def test_a_loan_under_review_says_what_to_ask_for():
    effects = {"customer_profile.annual_income": 1.0, "loan_details.amount": 0.5}
    answer = RISK.respond(judged(RISK, 0.3, effects))
    assert answer["recommendation"] == "review"
    assert answer["conditions"] == [
        "verify income with two recent statements",
        "offer a lower amount",
    ]


def test_an_applicant_is_accused_of_no_delinquency_that_is_not_on_file():
    effects = {"credit_history": 0.4}
    other, late = (
        SCORING.respond(judged(SCORING, 0.9, effects, {"credit_history": value}))["reasoning"][0]
        for value in ("other_credits", "late_before")
    )
    assert (other["code"], other["reason"]) == ("OWN-CREDIT-HISTORY", "Credit history")
    assert late["reason"] == "Delinquent past or present credit obligations with others"


def test_an_applicant_is_told_each_reason_once():
    codes = {f"PAY_{month}": "C1-CREDIT-HISTORY" for month in range(4)} | {"limit": "OWN-AMOUNT"}
    effects = {name: 1.0 - place / 10 for place, name in enumerate(codes)}
    reasons = RISK.respond(judged(RISK, 0.95, effects, codes=codes))["reasoning"]
    assert [reason["field"] for reason in reasons] == ["PAY_0", "limit"]


def test_who_is_declined_is_told_why_though_nothing_raised_the_risk():
    effects = {"loan_details.term": -1.0, "customer_profile.credit_score": -0.1}
    reasons = RISK.respond(judged(RISK, 0.95, effects))["reasoning"]
    assert [reason["code"] for reason in reasons] == ["OWN-SCORE", "OWN-TERM"]
