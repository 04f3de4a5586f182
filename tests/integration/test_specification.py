"""The specification's snippets and configurations, as they stand.

Where a network would be fitted on Ray Train, Fits stands; tests/slow trains by the same snippets.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite
from spt_core.continuous import ContinuousTrainingPipeline
from spt_core.continuous.gate import gate_config, judge
from spt_core.continuous.ledger import Ledger, fence_of
from spt_core.continuous.live_rules import LiveRules, ProbeAnswer, decide, live_rules
from spt_core.continuous.options import WatchOptions
from spt_core.continuous.registration import register
from spt_core.continuous.sources import from_monitoring_config
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.data.splits import Splits
from spt_core.distillation.targets import deployment_targets
from spt_core.model import SpecializedModel
from spt_core.optimization import OptimizationConfig, OptimizationTechnique, OptimizationType
from spt_core.registry import Registry
from spt_core.task import IndustryType, find
from spt_core.training import TrainingConfig
from tests.held_out import held_out
from tests.publications import BUCKET, MODEL, begun, item, trained, version
from tests.specification import NAMES, SNIPPETS, run
from tests.table_transfers import table_splits, table_teacher
from tests.tiny_models import RISK, tiny_image_artifact, tiny_table_artifact
from tests.unit.continuous.test_gate import evaluation, figures

pytestmark = pytest.mark.slow  # torch
FINANCE = "financial_services.regulatory_compliance"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/spt.db")


def test_every_snippet_is_run_by_a_test_as_it_stands() -> None:
    files = Path(__file__).parents[1].rglob("test_*.py")
    tests = "".join(file.read_text() for file in files)
    used = re.findall(r"""\brun\(\s*"(\w+)"|SNIPPETS\["(\w+)"\]""", tests)
    varied = " ".join(
        re.findall(r"""parametrize\([^\[]*"snippet"[^\[]*\[(.*?)\]""", tests, re.DOTALL)
    )
    names = {name for pair in used for name in pair} | set(re.findall(r'"(\w+)"', varied))
    assert set(SNIPPETS) - names == set()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_where_readme_says(name: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert hasattr(importlib.import_module(NAMES[name]), name)
    assert f"`{name}`" in readme
    assert f"`{NAMES[name]}`" in readme


def test_a_risk_assessment_has_the_specification_s_parts(tmp_path: Path) -> None:
    model = SpecializedModel(tiny_table_artifact(find(RISK), as_uri(tmp_path)))
    space = run("risk", model=model)
    assert list(space["risk_assessment"]) == [
        "risk_level", "recommendation", "conditions", "reasoning", "warnings",
    ]  # fmt: skip


def test_a_fraud_result_has_the_specification_s_parts(tmp_path: Path) -> None:
    task = find("financial_services/fraud_detection")
    model = SpecializedModel(tiny_table_artifact(task, as_uri(tmp_path)))
    space = run("fraud", model=model)
    assert list(space["fraud_result"]) == [
        "fraud_probability", "risk_factors", "recommendation", "warnings", "confidence",
    ]  # fmt: skip


def test_a_diagnosis_has_the_specification_s_parts(tmp_path: Path) -> None:
    task = find("healthcare/clinical_decision_support")
    diseases = sorted(set(task.sample(400, 0)[task.label].to_pylist()))
    named = dataclasses.replace(task, classes=tuple(diseases))
    model = SpecializedModel(tiny_table_artifact(named, as_uri(tmp_path)))
    space = run("case", model=model)
    assert {
        "differential_diagnoses", "recommended_tests", "urgency_level", "reasoning",
    } <= set(space["diagnosis"])  # fmt: skip


def test_an_image_analysis_has_the_specification_s_parts(tmp_path: Path) -> None:
    task = find("healthcare/medical_imaging")
    model = SpecializedModel(tiny_image_artifact(task, as_uri(tmp_path)))
    space = run("imaging", model=model, chest_xray_image=task.example["image"])
    assert {
        "findings", "differential_diagnosis", "recommendations", "attention_map", "confidence",
    } <= set(space["image_analysis"])  # fmt: skip


def test_a_pipeline_watches_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPT_STORAGE", str(tmp_path))
    monkeypatch.delenv("SPT_DATABASE_URL", raising=False)
    begun_: list[ContinuousTrainingPipeline] = []

    def stop_soon(self: ContinuousTrainingPipeline, source: Any) -> Any:
        begun_.append(self)
        return added(self, source)

    def stop() -> None:
        while not (begun_ and begun_[0].status()["phase"].startswith("leads")):
            time.sleep(0.05)
        begun_[0].stop()

    added = ContinuousTrainingPipeline.add_monitoring_source
    monkeypatch.setattr(ContinuousTrainingPipeline, "add_monitoring_source", stop_soon)
    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    space = run("watch", IndustryType=IndustryType)
    assert [source.id for source in space["pipeline"].sources] == ["sec_updates"]
    assert space["pipeline"].status()["phase"] == "stopped"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpecializedModel:
    folder = tmp_path_factory.mktemp("model")
    artifact = tiny_table_artifact(find(RISK), as_uri(folder))
    return held_out(artifact, find(RISK).sample(300, 3), folder, protected=("sex",))


def kinds(content: Any, like: Any) -> Any:
    """Of JSON the keys that `like` has, all the way down, and which are numbers and texts."""
    if isinstance(content, dict) and isinstance(like, dict):
        return {key: kinds(content[key], like[key]) for key in like if key in content}
    return "number" if isinstance(content, int | float) else type(content).__name__


def test_a_benchmark_and_a_custom_one_give_the_specification_s_result(
    model: SpecializedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = BenchmarkConfig(num_resamples=10, num_calls=100, reasoning_rows=20, altered_rows=50)
    monkeypatch.setattr("spt_core.benchmark.suite.BenchmarkConfig", lambda: quick)
    names = {"IndustryType": IndustryType, "your_model": model}
    space = run("benchmark", **names)
    overall = space["results"]["overall_summary"]
    assert capsys.readouterr().out == f"Overall accuracy: {overall['overall_accuracy']}\n"
    wanted = json.loads(SNIPPETS["benchmark_output"])
    assert kinds(space["results"], wanted) == kinds(wanted, wanted)
    assert overall["industries_tested"] == 1
    assert isinstance(space["benchmark_suite"], BenchmarkSuite)

    cases = [find(RISK).example]
    custom = run(
        "custom_benchmark",
        **names,
        benchmark_suite=space["benchmark_suite"],
        custom_test_cases=cases,
        expected_results=[{"risk_level": model.answer(cases[0])["risk_level"]}],
    )
    results = custom["benchmark_suite"].run_comprehensive_benchmark(
        model=model, model_name="m", industries=[IndustryType.FINANCIAL_SERVICES]
    )
    own = {one["task_id"]: one for one in results["benchmarks"]}["custom_risk_001"]
    assert own["figures"]["accuracy"] == 1.0
    assert own["figures"]["weights"] == {"accuracy": 0.6, "reasoning": 0.4}
    assert results["overall_summary"]["total_benchmarks"] == overall["total_benchmarks"] + 1


@pytest.mark.parametrize(
    ("snippet", "ours"),
    [("training_config", TrainingConfig), ("optimization_config", OptimizationConfig)],
)
def test_a_configuration_has_every_field_of_the_specification_s(snippet: str, ours: Any) -> None:
    names = {
        "dataclass": dataclass,
        "List": list,
        "Optional": Optional,
        "IndustryType": IndustryType,
        "OptimizationType": OptimizationType,
        "OptimizationTechnique": OptimizationTechnique,
    }
    wanted = dataclasses.fields(run(snippet, **names)[ours.__name__])
    own = {field.name: field for field in dataclasses.fields(ours)}
    assert [field.name for field in wanted] == list(own)[: len(wanted)]
    for field in wanted:
        if field.default is not dataclasses.MISSING:
            assert own[field.name].default == field.default, field.name


def test_the_deployment_pipeline_is_read() -> None:
    targets = run("deployment")["deployment_pipeline"]
    read = deployment_targets(targets, find("technology/security_analysis"))
    assert [target.place for target in read] == ["mobile", "edge", "cloud"]


class Fits:
    """Stands where networks are fitted on Ray Train: each plan is kept, random weights come out."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.plans, self.configs = folder, list[Any](), list[TrainingConfig]()

    def __call__(self, plan: Any, splits: Splits, config: TrainingConfig, **_: Any) -> Any:
        self.plans.append(plan)
        self.configs.append(config)
        folder = self.folder / str(len(self.plans))
        student = tiny_table_artifact(find(splits.task), as_uri(folder))  # which needs no forests
        teacher = table_teacher(splits, folder)
        return dataclasses.replace(student, parents=(teacher.uri,)), False


@pytest.fixture
def fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fits:
    fits = Fits(tmp_path)
    monkeypatch.chdir(tmp_path)
    for module in ("training", "transfer"):
        monkeypatch.setattr(f"spt_core.{module}.trainer.fit_model", fits)
    monkeypatch.setattr("spt_core.transfer.guard.NUM_RESAMPLES", 10)
    return fits


def test_the_trainer_of_snippet_1_trains_and_transfers_with_the_strategy(
    fits: Fits, tmp_path: Path
) -> None:
    rows = table_splits(find(RISK), tmp_path)
    space = run("train", train_dataloader=rows, eval_dataloader=None, IndustryType=IndustryType)
    assert set(space["model"].assess_risk(find(RISK).example)) == set(find(RISK).answer)
    target = table_splits(find("financial_services/credit_scoring"), tmp_path)
    space |= {"source_model": space.pop("model"), "target_data": target}
    kept = run("transfer_strategy", **space)["transferred_model"]
    why, saved = kept.artifact.notes[-2:]
    assert why.startswith("the model from scratch is kept")
    assert saved == "labels saved: none, as the model from scratch is kept"
    of_risk, *of_credit = fits.configs
    own = dataclasses.asdict(space["config"])
    assert {k: v for k, v in dataclasses.asdict(of_risk).items() if v != own[k]}.keys() == {
        "task",
        "network",
    }
    assert [config.task for config in of_credit] == [target.task, target.task]
    assert [config.num_epochs for config in of_credit] == [10, 10]
    _, _, strategy = fits.plans[1].identity[-1]
    assert strategy["freeze_layers"] == ("embedding", "encoder.0", "encoder.1")
    assert strategy["unfreeze_schedule"] == {
        "epoch_2": ("encoder.2",),
        "epoch_4": ("encoder.1",),
        "epoch_6": ("encoder.0",),
        "epoch_8": ("embedding",),
    }


def test_snippet_2_goes_from_a_lender_s_model_to_an_insurer_s_task(
    fits: Fits, tmp_path: Path
) -> None:
    source = table_teacher(table_splits(find(RISK), tmp_path), tmp_path)
    rows = table_splits(find("insurance/policy_uptake"), tmp_path)
    names = {"financial_model": SpecializedModel(source), "insurance_dataloader": rows}
    model = run("transfer", IndustryType=IndustryType, **names)["transferred_model"]
    assert model.task.path == "insurance/policy_uptake"
    transferred, scratch = (plan.identity[-1] for plan in fits.plans)
    assert transferred[0] == source.uri
    assert source.uri not in json.dumps(scratch)


def test_monitoring_and_delivery_are_in_force_once_a_watcher_leads(
    ledger: Ledger, tmp_path: Path
) -> None:
    monitoring, cicd = run("monitoring")["monitoring_config"], run("cicd")["cicd_config"]
    pipeline = ContinuousTrainingPipeline(
        monitoring, cicd_config=cicd, options=WatchOptions(storage=str(tmp_path))
    )
    assert [source.id for source in pipeline.sources] == ["sec", "finra", "basel"]
    file = dataclasses.replace(from_monitoring_config(monitoring), delivery=pipeline.delivery)
    register(ledger, file, actor="olga")
    configuration = ledger.configuration(FINANCE)
    assert configuration["monitoring"]["trigger_threshold"] == 10
    gate = gate_config(configuration["gate"])
    assert (gate.max_regression, gate.compliance_required) == (0.05, True)
    assert judge(evaluation(figures(0.8, 0.75)), gate).state == "REJECTED"
    assert judge(evaluation(), gate).state == "PROMOTED"
    (watched,) = pipeline.monitoring  # validation_required: every change is one of high risk
    assert judge(evaluation(), gate, risk_tier=watched.risk_tier).state == "NEEDS_REVIEW"
    failed = {"data_licence_known": {"passed": False, "required": False, "fact": "none"}}
    assert judge(evaluation(compliance=failed), gate).state == "REJECTED"
    rules = live_rules(configuration["live_rules"], LiveRules())
    (finding,) = decide([], [], [ProbeAnswer(("a",), ("b",), 0.99)], rules)
    assert finding.is_bad, "a bad version is taken back automatically"
    assert configuration["retraining"]["trackers"] == ["wandb"]
    register(ledger, file, actor="olga")  # nothing changes, and the log says nothing
    assert sum(entry.event == "bucket.configured" for entry in ledger.audit()) == 1


def test_a_candidate_is_judged_under_the_specification_s_delivery(
    ledger: Ledger, tmp_path: Path
) -> None:
    registry = Registry(f"sqlite:///{tmp_path}/spt.db")
    for seed in (1, 2):
        version(registry, seed)
    registry.set_alias(MODEL, "champion", 1, expected=None, actor="olga")
    pipeline = ContinuousTrainingPipeline({}, cicd_config=run("cicd")["cicd_config"])
    assert pipeline.delivery is not None
    ledger.configured(BUCKET, pipeline.delivery.configured({}), actor="olga")
    with ledger.lead("leader:1:1", ttl_s=1e9) as lease:
        fence = fence_of(lease)
        made = begun(ledger, fence, item("1", "a"))
        candidate = registry.get(f"{MODEL}@2")
        made = trained(ledger, fence, made, tmp_path, candidate, value=0.5)
        drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    assert ledger.retrain(made.retrain_id).state == "REJECTED"
