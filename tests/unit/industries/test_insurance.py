import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from industries.financial_services.adverse_action import REASON_TEXTS
from industries.financial_services.credit_scoring import HIGHEST, LOWEST, points_of
from industries.insurance import claims_fraud
from spt_core.heads.binary import fit_policy
from spt_core.judgement import Decision, FieldEffect
from spt_core.task import all_tasks, find

CLAIMS = find("insurance/claims_fraud")
UPTAKE = find("insurance/policy_uptake")
SCORING = find("financial_services/credit_scoring")


def judged(task, probability, effects):
    policy = fit_policy(
        task.costs, np.empty(0), reason_codes=task.reason_codes, conditions=task.conditions
    )
    reasons = tuple(FieldEffect(name, 1, effect) for name, effect in effects.items())
    confidence = max(probability, 1 - probability)
    record = dict.fromkeys(effects, 1)
    return Decision(record, probability, policy.recommend(probability), confidence, reasons, policy)


def effects_on(labels, **causes):
    model = LogisticRegression(C=1e6, max_iter=2000)
    model.fit(np.column_stack(list(causes.values())), labels)
    return dict(zip(causes, model.coef_[0], strict=True))


def test_a_claim_is_never_refused_by_the_model():
    actions = {CLAIMS.respond(judged(CLAIMS, p, {}))["recommendation"] for p in (0.001, 0.5, 0.999)}
    assert actions == {"settle", "examine", "investigate"}
    assert not {"decline", "refuse", "deny"} & set(CLAIMS.answer["recommendation"]["enum"])


def test_a_handler_is_told_what_to_look_at_by_what_raises_the_suspicion():
    answer = CLAIMS.respond(judged(CLAIMS, 0.6, {"claim_amount": 2.0, "witness": -1.0}))
    assert answer["checks"] == [claims_fraud.CHECKS["AMOUNT"]]
    assert [one["field"] for one in answer["indicators"]] == ["claim_amount", "witness"]
    assert CLAIMS.respond(judged(CLAIMS, 0.001, {"claim_amount": 2.0}))["checks"] == []
    odd = CLAIMS.respond(judged(CLAIMS, 0.001, {})._replace(novel=("cover",)))
    assert odd["warnings"][0].startswith("cover is ")
    assert odd["checks"][0].startswith("cover is of a category that no training row had")


def test_every_field_of_a_claim_points_to_a_check():
    assert set(CLAIMS.reason_codes.values()) == set(claims_fraud.CHECKS)


def test_the_causes_of_fraudulent_claims_are_those_that_the_docstring_names():
    frame = CLAIMS.sample(60_000, 0).to_pandas().dropna()
    tenure = frame["policy_tenure_days"]
    excess = np.log(frame["claim_amount"] / (0.25 * frame["vehicle_value"]))
    effects = effects_on(
        frame["is_fraud"],
        excess=np.maximum(excess, 0),
        new=tenure < 30,
        young=(tenure >= 30) & (tenure < 90),
        late=np.clip(frame["days_to_report"] - 14, 0, 60),
        past=np.minimum(frame["past_claims"], 4),
        collision=frame["cover"] == "collision",
        all_perils=frame["cover"] == "all_perils",
        own_fault=frame["fault"] == "policy_holder",
        police=frame["police_report"],
        witness=frame["witness"],
        agent=frame["sales_channel"] == "agent",
        moved=frame["address_changed"],
        male=frame["holder_sex"] == "male",
        age=frame["holder_age"] / 10,
    )
    documented = {"excess": 1.4, "new": 1.6, "young": 0.8, "late": 0.03, "past": 0.5}
    documented |= {"collision": 1.6, "all_perils": 2.0, "own_fault": 0.9, "police": -0.8}
    documented |= {"witness": -0.6, "agent": 0.7, "moved": 1.2, "male": 0.0, "age": 0.0}
    for name, effect in documented.items():
        assert effects[name] == pytest.approx(effect, abs=0.25), name


def test_the_claims_own_log_odds_are_as_good_as_the_docstring_says():
    drawn = claims_fraud.drawn(20_000, 0)
    said = " ".join(claims_fraud.sample.__doc__.split())
    labels = drawn.table["is_fraud"].to_numpy()
    (precision,) = re.findall(r"precision of (\d\.\d+)", said)
    (share,) = re.findall(r"About (\d+) % are fraud", said)
    assert average_precision_score(labels, drawn.log_odds) == pytest.approx(
        float(precision), abs=0.006
    )
    assert labels.mean() == pytest.approx(int(share) / 100, abs=0.01)


def test_the_causes_of_uptake_are_those_that_the_docstring_names():
    frame = UPTAKE.sample(60_000, 0).to_pandas().dropna()
    effects = effects_on(
        frame["took_policy"],
        income=np.log(frame["household_income"] / 40_000),
        car=frame["car_policy"],
        home=frame["home_policy"],
        others=np.minimum(frame["other_policies"], 4),
        years=np.minimum(frame["years_as_customer"], 15),
        suburb=frame["region"] == "suburb",
        country=frame["region"] == "country",
        claims=np.minimum(frame["claims_3_years"], 3),
        agent=frame["sales_channel"] == "agent",
        male=frame["sex"] == "male",
    )
    documented = {"income": 0.7, "car": 1.5, "home": 0.5, "others": 0.25, "years": 0.06}
    documented |= {"suburb": 0.4, "country": 0.9, "claims": -0.5, "agent": 0.5, "male": 0.0}
    for name, effect in documented.items():
        assert effects[name] == pytest.approx(effect, abs=0.15), name


def test_the_causes_of_default_are_those_that_the_docstring_names():
    frame = SCORING.sample(60_000, 0).to_pandas().dropna()
    effects = effects_on(
        frame["default"],
        negative=frame["checking_account"] == "negative",
        high=frame["checking_account"] == "high",
        low=frame["checking_account"] == "low",
        rich=frame["savings"] == "high",
        late=frame["credit_history"] == "late_before",
        paid=frame["credit_history"] == "all_paid",
        others=frame["credit_history"] == "other_credits",
        months=np.maximum(frame["duration_months"] - 18, 0),
        amount=np.log(frame["credit_amount"] / 3000),
        share=np.maximum(frame["instalment_percent"] - 20, 0),
        employed=np.minimum(frame["years_employed"], 10),
        rent=frame["housing"] == "rent",
        male=frame["sex"] == "male",
        age=frame["age"] / 10,
    )
    documented = {"negative": 0.5, "high": -1.2, "low": -0.1, "late": 1.0, "paid": -0.4}
    documented |= {"others": 0.4, "months": 0.03, "amount": 0.5, "share": 0.04}
    documented |= {"employed": -0.09, "rent": 0.3, "male": 0.0, "age": 0.0}
    for name, effect in documented.items():
        assert effects[name] == pytest.approx(effect, abs=0.2), name


@pytest.mark.parametrize(
    ("probability", "points"), [(1 / 31, 600), (1 / 61, 620), (1 / 16, 580), (0.0, HIGHEST)]
)
def test_twenty_points_double_the_odds(probability, points):
    assert points_of(probability) == points


def test_points_stay_within_the_scale_and_say_their_band():
    assert LOWEST <= points_of(1.0) < 560
    answer = SCORING.respond(judged(SCORING, 0.9, {"credit_history": 1.0, "savings": -0.5}))
    assert (answer["band"], answer["recommendation"]) == ("poor", "decline")
    assert [reason["code"] for reason in answer["reasoning"]] == ["OWN-CREDIT-HISTORY"]


def test_an_applicant_is_told_what_was_judged_not_the_closest_statement_of_the_form():
    told = {field.name: REASON_TEXTS[SCORING.reason_codes[field.name]] for field in SCORING.fields}
    assert told["savings"] == "Amount of savings"
    assert told["checking_account"] == "Balance of the checking account"
    assert len(set(told.values())) == len(told)


def test_a_task_starts_from_one_that_there_is_and_of_its_own_family():
    named = {task.path: task.transfer_from for task in all_tasks().values() if task.transfer_from}
    assert named["insurance/claims_fraud"] == "financial_services/fraud_detection"
    assert named["insurance/policy_uptake"] == "financial_services/risk_assessment"
    assert named["financial_services/credit_scoring"] == "financial_services/risk_assessment"
    for path, source in named.items():
        assert find(source).family == find(path).family
