"""The specification's JSON of a model, from its held-out rows to a page and a comparison."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite, BenchmarkTask, BenchmarkType
from spt_core.benchmark.comprehensive import grid_of, page, side_by_side
from spt_core.benchmark.custom import custom as benchmarked
from spt_core.errors import InputError
from spt_core.model import SpecializedModel, default_policy
from spt_core.policy import DecisionPolicy
from spt_core.task import IndustryType, find
from tests.held_out import held_out
from tests.tiny_models import RISK, tiny_table_artifact

pytestmark = pytest.mark.slow  # torch
TASK, BANK = find(RISK), IndustryType.FINANCIAL_SERVICES
CONFIG = BenchmarkConfig(num_resamples=20, num_calls=100, reasoning_rows=150, altered_rows=100)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpecializedModel:
    folder = tmp_path_factory.mktemp("model")
    artifact, rows = tiny_table_artifact(TASK, as_uri(folder)), TASK.sample(600, 3)
    policy = default_policy(artifact)
    assert isinstance(policy, DecisionPolicy)
    median = float(np.median(SpecializedModel(artifact).score(rows)))
    half = dataclasses.replace(policy, review_threshold=median, decline_threshold=0.9)
    return held_out(artifact, rows, folder, policy=half, protected=("sex", "age"))


@pytest.fixture(scope="module")
def result(model: SpecializedModel) -> dict[str, Any]:
    return BenchmarkSuite(CONFIG).run_comprehensive_benchmark(
        model=model, model_name="financial_risk_model", industries=[BANK]
    )


def by_id(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["task_id"]: one for one in result["benchmarks"]}


def test_keys_and_nesting_are_the_specification_s(result: dict[str, Any]) -> None:
    assert result["model_name"] == "financial_risk_model"
    assert list(result["overall_summary"]) == [
        "overall_accuracy",
        "total_benchmarks",
        "industries_tested",
        "performance_by_industry",
        "performance_by_type",
    ]
    assert {"domain_knowledge", "compliance", "reasoning"} <= set(
        result["overall_summary"]["performance_by_type"]
    )
    assert list(result["industry_summaries"]) == ["financial_services"]
    assert list(result["industry_summaries"]["financial_services"]) == [
        "num_benchmarks",
        "avg_accuracy",
        "avg_latency_ms",
        "success_rate",
    ]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_overall_figure_is_the_mean_of_the_types(result: dict[str, Any]) -> None:
    of_types = result["overall_summary"]["performance_by_type"].values()
    assert result["overall_summary"]["overall_accuracy"] == pytest.approx(
        sum(of_types) / len(of_types)
    )


def test_accuracy_is_the_task_s_metric_beside_the_others(result: dict[str, Any]) -> None:
    own = by_id(result)["accuracy"]
    assert own["score"] == own["figures"]["average_precision"]["value"]
    assert own["low"] <= own["score"] <= own["high"]
    assert {"precision_of_flagged", "recall_of_flagged", "accuracy"} <= set(own["figures"])


def test_what_reasons_name_moves_answers_further_than_other_fields(result: dict[str, Any]) -> None:
    own = by_id(result)["reasoning_deletion"]
    assert own["low"] > 0.5
    assert own["figures"]["mean_move"] > own["figures"]["random_mean_move"] > 0


def test_effects_are_held_against_the_causes_of_the_sample(result: dict[str, Any]) -> None:
    own = by_id(result)["reasoning_causes"]
    assert own["figures"]["fields"] == [
        "customer_profile.credit_score",
        "customer_profile.debt_to_income",
        "customer_profile.employment_history",
        "loan_details.purpose",
        "loan_details.term",
    ]
    assert own["low"] <= own["score"] <= own["high"]


def test_groups_have_intervals_and_the_rows_that_would_tell_them(result: dict[str, Any]) -> None:
    own = by_id(result)["safety_sex"]
    groups = own["figures"]["groups"]
    assert {row["group"] for row in groups} == {"female", "male"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in groups)
    assert own["low"] <= own["score"] <= own["high"] <= 1.0
    least, largest = sorted(row["value"] for row in groups)
    is_beyond = own["high"] < 1.0
    assert own["score"] == pytest.approx(least / largest if is_beyond else 1.0)
    assert bool(own["figures"]["beyond_chance"]) is is_beyond
    assert own["figures"]["smallest_group_rows"] >= 50


def test_gaps_and_typos_are_measured_and_months_that_are_not_there_are_not(
    result: dict[str, Any],
) -> None:
    assert 0 <= by_id(result)["robustness_missing"]["score"] <= 1
    assert by_id(result)["robustness_typos"]["figures"]["before"] > 0
    months = by_id(result)["robustness_months"]
    assert months["score"] is None
    assert result["not_measured"]["robustness_months"] == (
        "the held-out rows do not say when they were"
    )


def test_efficiency_has_figures_and_no_score(result: dict[str, Any]) -> None:
    own = by_id(result)["efficiency"]
    assert own["score"] is None
    assert "efficiency" not in result["overall_summary"]["performance_by_type"]
    assert own["figures"]["latency_ms"]["p50"] > 0
    assert own["figures"]["memory_mb"] is None  # of a checkpoint, which nobody serves
    assert result["industry_summaries"]["financial_services"]["success_rate"] == 1.0


def test_a_model_without_held_out_rows_gets_reasons_instead_of_numbers(tmp_path: Path) -> None:
    model = SpecializedModel(tiny_table_artifact(TASK, as_uri(tmp_path)))
    result = BenchmarkSuite(CONFIG).run_comprehensive_benchmark(
        model=model, model_name="loose", industries=[BANK]
    )
    assert set(result["overall_summary"]["performance_by_type"]) == {"compliance"}
    assert "does not name the rows" in result["not_measured"]["domain_knowledge"]
    assert result["industry_summaries"]["financial_services"]["avg_latency_ms"] is None
    assert "not measured" in page([result])


def custom(**changes: Any) -> BenchmarkTask:
    values: dict[str, Any] = {
        "task_id": "custom_risk_001",
        "name": "Custom Risk Assessment",
        "description": "Industry-specific risk evaluation",
        "industry": BANK,
        "benchmark_type": BenchmarkType.DOMAIN_KNOWLEDGE,
        "input_data": [TASK.example, {"customer_profile": {"credit_score": "many"}}],
        "expected_outputs": [{"recommendation": "approve"}, {"recommendation": "decline"}],
        "evaluation_criteria": {"accuracy_weight": 0.6, "reasoning_quality": 0.4},
    }
    return BenchmarkTask(**{**values, **changes})


def test_a_custom_benchmark_weighs_answers_and_reasons(model: SpecializedModel) -> None:
    suite = BenchmarkSuite(CONFIG)
    suite.add_custom_benchmark(BANK, custom())
    result = suite.run_comprehensive_benchmark(model=model, model_name="m", industries=[BANK])
    own, deletion = by_id(result)["custom_risk_001"], by_id(result)["reasoning_deletion"]["score"]
    said = model.answer(TASK.example)["recommendation"] == "approve"
    assert own["score"] == pytest.approx(0.6 * said / 2 + 0.4 * deletion * said / 2)
    assert (own["num_cases"], own["num_answered"]) == (2, 1)
    assert "must be a number" in own["figures"]["refused"][0]
    assert result["industry_summaries"]["financial_services"]["success_rate"] < 1


def test_expected_reasons_are_looked_for_among_the_first(model: SpecializedModel) -> None:
    named = [reason["field"] for reason in model.answer(TASK.example)["reasoning"]]
    task = custom(
        input_data=[TASK.example],
        expected_outputs=[{"reasons": [named[0], "no such field"]}],
        evaluation_criteria={"reasoning_quality": 1.0},
    )
    suite = BenchmarkSuite(CONFIG)
    suite.add_custom_benchmark(BANK, task)
    result = suite.run_comprehensive_benchmark(model=model, model_name="m", industries=[BANK])
    assert by_id(result)["custom_risk_001"]["score"] == 0.5


@pytest.mark.parametrize("reasons", [None, "the first"], ids=["by deletion", "named"])
def test_reasons_count_as_far_as_the_answer_is_right(
    model: SpecializedModel, reasons: str | None
) -> None:
    answer = model.answer(TASK.example)
    named = {} if reasons is None else {"reasons": [answer["reasoning"][0]["field"]]}
    right = {key: answer[key] for key in ("recommendation", "risk_level")}
    half, wrong = right | {"risk_level": "none such"}, dict.fromkeys(right, "none such")
    scores = [
        benchmarked(
            model.open(),
            custom(input_data=[TASK.example], expected_outputs=[expected | named]),
            CONFIG,
            1.0,
        ).score
        for expected in (right, half, wrong)
    ]
    assert scores == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"evaluation_criteria": {"accuracy_weight": 0.6}}, "must add up to 1, however: they are"),
        ({"evaluation_criteria": {"acuracy_weight": 1.0}}, "nearest is 'accuracy_weight'"),
        ({"evaluation_criteria": {"accuracy_weight": 0.5, "accuracy": 0.5}}, "weighted once"),
        ({"expected_outputs": [{"recommendation": "approve"}]}, "2 records and 1 outputs"),
        ({"benchmark_type": "wisdom"}, "benchmark_type must be one of domain_knowledge"),
    ],
)
def test_cases_and_weights_that_measure_nothing_are_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        custom(**changes)


def test_a_misspelt_key_of_the_answer_is_refused(model: SpecializedModel) -> None:
    suite = BenchmarkSuite(CONFIG)
    suite.add_custom_benchmark(BANK, custom(expected_outputs=[{"recomendation": "approve"}] * 2))
    with pytest.raises(InputError, match="nearest is 'recommendation'"):
        suite.run_comprehensive_benchmark(model=model, model_name="m", industries=[BANK])


def test_an_industry_without_benchmarks_of_the_model_is_refused(model: SpecializedModel) -> None:
    with pytest.raises(InputError, match="and healthcare has none"):
        BenchmarkSuite(CONFIG).run_comprehensive_benchmark(
            model=model, model_name="m", industries=[IndustryType.HEALTHCARE]
        )
    with pytest.raises(InputError, match="added to its own industry"):
        BenchmarkSuite().add_custom_benchmark(IndustryType.HEALTHCARE, custom())


@pytest.mark.parametrize("industries", [BANK, BANK.value, [BANK.value]])
def test_one_industry_needs_no_list(
    model: SpecializedModel, result: dict[str, Any], industries: Any
) -> None:
    other = BenchmarkSuite(CONFIG).run_comprehensive_benchmark(
        model=model, model_name="m", industries=industries
    )
    assert other["industry_summaries"].keys() == result["industry_summaries"].keys()


@pytest.mark.parametrize("industries", ["bank", ["bank"], [None]])
def test_an_industry_that_does_not_exist_is_refused(
    model: SpecializedModel, industries: Any
) -> None:
    with pytest.raises(InputError, match="industries: each of them must be one that exists, howev"):
        BenchmarkSuite(CONFIG).run_comprehensive_benchmark(
            model=model, model_name="m", industries=industries
        )
    with pytest.raises(InputError, match="an industry must be one that exists, however: 'bank'"):
        BenchmarkSuite().add_custom_benchmark("bank", custom())  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="industry of 'custom_risk_001' must be one that exists"):
        custom(industry="bank")


def test_results_stand_side_by_side_only_where_they_are_alike(result: dict[str, Any]) -> None:
    other = copy.deepcopy(result) | {"model_name": "another"}
    grid = side_by_side([result, other])
    assert grid.header == ["benchmark", "financial_risk_model", "another"]
    assert grid.rows[0][1] == grid.rows[0][2]
    other["protocol"]["evaluation_fingerprint"] = "others"
    with pytest.raises(InputError, match="differ in evaluation fingerprint"):
        side_by_side([result, other])


def test_a_result_is_a_table_and_a_page_that_needs_nothing_else(result: dict[str, Any]) -> None:
    grid = grid_of(result)
    assert "SYNTHETIC" in grid.title
    assert len(grid.rows) == len(result["benchmarks"])
    text = page([result, result | {"model_name": "<b>"}])
    assert "side by side" in text
    assert "&lt;b&gt;" in text
    assert "http" not in text
