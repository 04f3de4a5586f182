"""The wording of market and operational risk, of patients' risks, and of code's metrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.forecasts import LEVELS
from spt_core.judgement import Decision, FieldEffect, Forecast, Labels, LabelScore, Phrase
from spt_core.policy import LabelPolicy, QuantilePolicy
from spt_core.task import find

PLAIN = LabelPolicy(thresholds={}, most_probable=True)
SETS = LabelPolicy(thresholds={}, most_probable=True, coverage=0.9, set_threshold=0.2)


def labels(path, probabilities, policy=PLAIN, record=None, reasons=()):
    scores = tuple(
        LabelScore(name, p, i == 0, reasons) for i, (name, p) in enumerate(probabilities.items())
    )
    return find(path).respond(Labels(record or {}, scores, policy))


def forecast(**record):
    quantiles = dict(zip(LEVELS, (-np.log(1 - np.array(LEVELS))).tolist(), strict=True))
    policy = QuantilePolicy(levels=LEVELS, shifts=(0.0,) * len(LEVELS))
    judgement = Forecast(record, (quantiles,), (), policy)
    return find("financial_services/market_risk").respond(judgement)


def decision(path, action, reasons):
    task = find(path)
    policy = HEADS["binary"].default_policy(task, ())
    return task.respond(Decision({}, 0.4, action, 0.6, reasons, policy))


def test_value_at_risk_is_of_the_position_and_the_level_that_are_asked_for():
    usual, own = forecast(), forecast(confidence_level=0.975, position_value=2000)
    assert usual["value_at_risk_pct"] == pytest.approx(-np.log(0.01), abs=1e-5)
    assert usual["expected_shortfall_pct"] == pytest.approx(1 - np.log(0.01), abs=1e-5)
    assert usual["value_at_risk"] == pytest.approx(-np.log(0.01), abs=0.01)
    assert own["value_at_risk"] == pytest.approx(20 * -np.log(0.025), abs=0.01)
    assert own["expected_shortfall"] > own["value_at_risk"]


def test_a_small_position_s_loss_is_no_zero_and_days_are_told_as_the_level_says():
    assert forecast(position_value=0.05)["value_at_risk"] == pytest.approx(0.0023, abs=1e-5)
    for level, days in ((0.99, "on 1 % of"), (0.975, "on 2.5 % of"), (0.995, "on 0.5 % of")):
        assert days in forecast(confidence_level=level)["recommendation"]


def test_losses_that_contradict_their_returns_are_told_in_both_forms():
    gains = [1.2, -0.5, 0.0, None, -2.0]
    for losses, num_wrong in (
        ([0.0, 0.5, 0.0, 0.0, 2.02], 0),
        ([0.0, 0.005, 0.0, 0.0, 0.02], 2),  # fractions
        ([1.2, 0.0, 0.0, 3.0, None], 2),
    ):
        rows = [{"return_pct": g, "loss_pct": v} for g, v in zip(gains, losses, strict=True)]
        for readings in (rows, {"return_pct": gains, "loss_pct": losses}):
            advice = forecast(readings=readings)["recommendation"]
            assert (f"On {num_wrong} of the days" in advice) == (num_wrong > 0)
    assert "of the days that were sent" not in forecast(readings=[[1.0, 5.0]])["recommendation"]


@pytest.mark.parametrize(
    ("day", "words"),
    [
        ({"return_pct": -150.0, "loss_pct": 100.0}, "return_pct of reading 1 is -150"),
        ({"return_pct": -1.0, "loss_pct": 150.0}, "loss_pct of reading 1 is 150"),
        ({"return_pct": 1.0, "loss_pct": -1.0}, "loss_pct of reading 1 is -1"),
    ],
)
def test_a_position_loses_all_of_it_at_most(day, words):
    usual = {"return_pct": 1.0, "loss_pct": 0.0}
    for readings in ([usual, day], {name: [usual[name], day[name]] for name in usual}):
        with pytest.raises(InputError, match=words):
            forecast(readings=readings)


def test_no_more_than_all_is_at_risk():
    policy = QuantilePolicy(levels=LEVELS, shifts=(0.0,) * len(LEVELS))
    steep = Forecast({}, ({level: 300.0 * level for level in LEVELS},), (), policy)
    answer = find("financial_services/market_risk").respond(steep)
    assert answer["value_at_risk_pct"] == answer["expected_shortfall_pct"] == 100.0
    assert answer["quantiles"] == dict.fromkeys(("p90", "p95", "p99"), 100.0)


def test_returns_that_look_like_fractions_are_told():
    rows = [{"return_pct": g, "loss_pct": max(-g, 0.0)} for g in (0.012, -0.02, 0.004)]
    assert "not fractions" in forecast(readings=rows)["recommendation"]
    rows.append({"return_pct": -1.1, "loss_pct": 1.1})
    assert "not fractions" not in forecast(readings=rows)["recommendation"]


def test_a_level_that_the_tail_does_not_reach_is_refused():
    with pytest.raises(InputError, match="a level must be from 0.95"):
        forecast(confidence_level=0.9)


def test_an_event_that_may_be_of_two_types_is_reviewed():
    path = "financial_services/operational_risk"
    sure = labels(path, {"external_fraud": 0.9, "internal_fraud": 0.1}, SETS)
    unsure = labels(path, {"external_fraud": 0.7, "internal_fraud": 0.3}, SETS)
    assert (sure["recommendation"], sure["alternatives"]) == ("record", [])
    assert unsure["recommendation"] == "review"
    assert unsure["alternatives"] == [{"event_type": "internal_fraud", "probability": 0.3}]
    assert unsure["notify"] == "the fraud desk"


def test_what_to_arrange_follows_from_what_raises_the_risk():
    reasons = (
        FieldEffect("inpatient_stays_1y", 3, 1.2),
        FieldEffect("insulin", "steady_or_none", -0.4),
        FieldEffect("discharge_to", "nursing_facility", 0.3),
        FieldEffect("sex", "female", 0.1),
    )
    review = decision("healthcare/readmission", "review", reasons)
    assert review["recommendation"] == "call_after_discharge"
    assert [action.split()[0] for action in review["actions"]] == ["agree", "hand"]
    assert decision("healthcare/readmission", "approve", reasons)["actions"] == []


def test_a_test_of_the_heart_is_worth_its_risk_or_is_not():
    told = decision("healthcare/heart_disease", "decline", (FieldEffect("age", 70, 0.5),))
    assert told["recommendation"] == "refer_for_angiography"
    assert "no diagnosis" in told["notice"]


@pytest.mark.parametrize(
    ("probabilities", "smell", "recommendation"),
    [
        ({"major": 0.6, "none": 0.4}, "blob", "Extract Class along the fields that are used"),
        ({"none": 0.9, "minor": 0.1}, "blob", "leave_as_it_is"),
        ({"none": 0.55, "minor": 0.45}, "blob", "have a developer look at it"),
        ({"major": 0.6, "none": 0.4}, "of my own", "have a developer look at it"),
    ],
)
def test_a_smell_is_refactored_looked_at_or_left(probabilities, smell, recommendation):
    told = labels("technology/code_smells", probabilities, record={"smell": smell})
    assert told["recommendation"].startswith(recommendation)


def test_debt_is_any_kind_but_none():
    reasons = (Phrase(0, 4, "hack", 1.0),)
    debt = labels("technology/technical_debt", {"design": 0.8, "none": 0.2}, reasons=reasons)
    plain = labels("technology/technical_debt", {"none": 0.9, "test": 0.1}, reasons=reasons)
    assert debt["is_debt"] is True
    assert debt["debt_probability"] == pytest.approx(0.8)
    assert debt["evidence"][0]["text"] == "hack"
    assert (plain["is_debt"], plain["evidence"]) == (False, [])


def test_a_pattern_that_is_not_sure_is_confirmed_by_an_architect():
    path = "technology/architecture_analysis"
    assert labels(path, {"Singleton": 0.9, "None": 0.1})["recommendation"].startswith("see whether")
    told = labels(path, {"Singleton": 0.6, "None": 0.4})
    assert told["recommendation"].startswith("have an architect confirm it")
    assert told["alternatives"] == [{"pattern": "None", "probability": 0.4}]


def test_a_pattern_of_one_s_own_is_an_architect_s_not_none():
    told = labels("technology/architecture_analysis", {"Strategy": 0.95, "None": 0.05})
    assert told["recommendation"].endswith("the table says nothing of Strategy")
    for none in ("None", "none"):
        answer = labels("technology/architecture_analysis", {none: 0.95, "Strategy": 0.05})
        assert answer["recommendation"] == "no pattern to look after"


def test_debt_that_is_not_ruled_out_is_looked_at():
    path = "technology/technical_debt"
    assert labels(path, {"none": 0.95, "test": 0.05})["recommendation"] == "nothing to do"
    assert "not ruled out" in labels(path, {"none": 0.6, "test": 0.4})["recommendation"]
    assert labels(path, {"test": 0.6, "none": 0.4})["recommendation"].startswith(
        "look first: write"
    )
    assert labels(path, {"security": 0.9, "none": 0.1})["recommendation"] == "have it looked at"


def sampled(path):
    return find(path).sample(20_000, 0).to_pandas()


def test_a_third_of_the_patients_have_two_stays():
    stays = sampled("healthcare/readmission").groupby("patient").size()
    assert stays.max() == 2
    assert (stays == 2).mean() == pytest.approx(1 / 3, abs=0.01)


def test_data_classes_are_as_severe_as_their_accessors_say():
    rows = sampled("technology/code_smells")
    rows = rows[rows["smell"] == "data class"]
    score = 6 * np.maximum(rows["share_of_accessors"] - 0.3, 0)
    score -= 0.06 * np.maximum(rows["wmc"] / rows["methods"] - 1, 0)
    for low, high in ((-1, 0), (0.5, 1), (1.5, 2)):
        within = rows[(low <= score) & (score < high)]
        expected = norm.cdf((1.0 - score[within.index]) / 0.8).mean()
        assert (within["severity"] == "none").mean() == pytest.approx(expected, abs=0.03)
