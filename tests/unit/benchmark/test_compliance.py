import dataclasses
import json
from typing import get_args

import pytest

from spt_core.benchmark.compliance import CHECKS, MEASURED_CHECKS, Measured, compliance, run_checks
from spt_core.heads import HEADS
from spt_core.policy import AlarmPolicy, LabelPolicy, QuantilePolicy, SpanPolicy
from spt_core.signature import Field, Signature
from spt_core.task import ComplianceCheck, RuleTable, all_tasks, find
from tests.tiny_models import FRAUD, RISK

CASES = "healthcare/clinical_decision_support"


@pytest.fixture
def checked(export):
    """The checks of a model whose artifact has these changes."""

    def check(task=FRAUD, *, required=None, **changes):
        config = {**export.artifact.config, "compliance_requirements": required}
        artifact = dataclasses.replace(export.artifact, config=config, **changes)
        exported = dataclasses.replace(export, artifact=artifact)
        policy = HEADS[find(task).head].default_policy(find(task), ())
        return run_checks(find(task), exported, policy)

    return check


def test_every_check_that_a_task_can_declare_exists():
    assert CHECKS.keys() | MEASURED_CHECKS.keys() == set(get_args(ComplianceCheck))
    assert not CHECKS.keys() & MEASURED_CHECKS.keys()


@pytest.mark.parametrize("path", sorted(all_tasks()))
def test_every_industry_s_tasks_check_more_than_a_licence(path):
    task = all_tasks()[path]
    is_asked = task.industry in ("healthcare", "technology") or task.backtest_levels
    assert len(task.compliance_checks) > 1 or not is_asked


def test_a_sound_model_passes_the_checks_of_its_task(checked):
    found = checked()
    assert list(found) == list(find(FRAUD).compliance_checks)
    assert all(check["passed"] for check in found.values())
    assert "sex, race, age" in found["protected_attributes_excluded"]["fact"]
    assert "inputs: none" in found["protected_attributes_excluded"]["fact"]


@pytest.mark.parametrize(
    "name",
    ["Sex", "applicant.sex", "customer.profile.Age", "CODE_GENDER", "DAYS_BIRTH", "MaritalStatus"],
)
def test_a_protected_input_fails_whatever_its_case_and_depth(checked, name):
    signature = Signature(fields=(Field(name=name, kind="category"),))
    found = checked(signature=signature)["protected_attributes_excluded"]
    assert not found["passed"]
    assert name in found["fact"]


def test_the_owner_s_protected_columns_count_too(checked):
    assert not checked(protected=("merchant",))["protected_attributes_excluded"]["passed"]


@pytest.mark.parametrize(
    ("path", "inputs", "protected", "fact"),
    [
        (
            CASES,
            ("patient.age", "patient.gender", "symptoms"),
            ("patient.age", "patient.gender"),
            "public assistance in the names of 3 inputs: none; inputs that the task monitors: "
            "patient.age, patient.gender; what",
        ),
        ("healthcare/readmission", ("age_band", "sex"), ("sex",), "monitors: age_band, sex; what"),
        (
            FRAUD,
            ("amount",),
            ("Branch",),
            "assistance, branch in the names of 1 inputs: none; what",
        ),
    ],
)
def test_what_is_monitored_was_not_looked_for_and_is_told(checked, path, inputs, protected, fact):
    signature = Signature(fields=tuple(Field(name=name, kind="category") for name in inputs))
    found = checked(path, signature=signature, protected=protected)["protected_attributes_excluded"]
    assert found["passed"]
    assert fact in found["fact"]
    assert "patient.age in the names" not in found["fact"]


def test_data_of_unknown_licence_fails(checked):
    assert not checked(licences=())["data_licence_known"]["passed"]


def test_an_input_without_a_reason_code_fails(checked):
    signature = Signature(
        fields=(Field(name="loan_details.term", kind="number"), Field(name="x", kind="number"))
    )
    found = checked(RISK, signature=signature)["adverse_action_reasons"]
    assert found["fact"] == "inputs without a reason code in the policy: x"


@pytest.mark.parametrize("code", ["OTHER", "", " ", "TBD"])
def test_a_code_that_names_no_reason_is_none(export, code):
    field = export.artifact.signature.columns[0].field
    policy = HEADS["binary"].default_policy(find(RISK), ())
    policy = dataclasses.replace(policy, reason_codes={field: code}, version="")
    found = run_checks(find(RISK), export, policy)["adverse_action_reasons"]
    assert field in found["fact"]


@pytest.mark.parametrize(
    ("subgroups", "passed", "fact"),
    [
        ({"sex": [{"group": "f"}, {"group": "m"}]}, True, "by group of sex (2 groups) are in"),
        ({"sex": []}, False, "no two groups have held-out rows enough to be compared: sex"),
        ({}, False, "the data tell no group"),
    ],
)
def test_a_model_of_images_passes_where_groups_were_measured(export, subgroups, passed, fact):
    policy = LabelPolicy(thresholds={}, most_probable=False)
    task = find("healthcare/medical_imaging")
    check = run_checks(task, export, policy, measured(subgroups=subgroups))["groups_measured"]
    assert check["passed"] is passed
    assert fact in check["fact"]


def test_a_check_says_whether_promotion_requires_it(checked):
    found = checked(required=["data_licence_known"])
    assert found["data_licence_known"]["required"]
    assert not found["protected_attributes_excluded"]["required"]


@pytest.mark.parametrize(
    ("policy", "passed", "fact"),
    [
        ({}, False, "states no coverage"),
        ({"coverage": 0.9, "set_threshold": 0.1}, False, "sets cover 90%, the task asks for 95%"),
        ({"coverage": 0.99, "set_threshold": 0.1}, True, "sets cover 99%"),
        ({"coverage": 0.99}, False, "no rows measured from which probability on sets cover 99%"),
    ],
)
def test_sets_of_classes_state_the_coverage_that_their_task_asks_for(export, policy, passed, fact):
    policy = LabelPolicy(thresholds={}, most_probable=True, **policy)
    check = run_checks(find(CASES), export, policy)["set_coverage_stated"]
    assert check["passed"] is passed
    assert fact in check["fact"]


@pytest.mark.parametrize(
    ("classes", "passed"),
    [(("Migraine", "urinary tract infection"), True), (("migraine", "a new disease"), False)],
)
def test_advice_for_a_class_without_a_source_fails(export, classes, passed):
    artifact = dataclasses.replace(export.artifact, classes=classes)
    exported = dataclasses.replace(export, artifact=artifact)
    check = run_checks(find(CASES), exported, LabelPolicy(thresholds={}, most_probable=True))
    assert check["advice_sourced"]["passed"] is passed
    assert passed or "a new disease" in check["advice_sourced"]["fact"]


CLAIMS = "insurance/claims_fraud"


@pytest.mark.parametrize(
    ("name", "check"), [("holder_sex", "sex_excluded"), ("age_of_driver", "age_excluded")]
)
def test_an_insurer_s_model_fails_where_it_reads_sex_or_age(checked, name, check):
    signature = Signature(fields=(Field(name=name, kind="category"),))
    found = checked(CLAIMS, signature=signature)
    assert not found[check]["passed"]
    assert name in found[check]["fact"]


def test_an_insurer_s_checks_say_by_which_columns_groups_are_measured(checked):
    signature = Signature(fields=(Field(name="vehicle_age_years", kind="number"),))
    found = checked(CLAIMS, signature=signature, protected=("holder_sex",))
    assert found["sex_excluded"]["passed"]
    assert "2004/113/EC" in found["sex_excluded"]["fact"]
    assert "holder_sex is carried beside them" in found["sex_excluded"]["fact"]
    assert found["age_excluded"]["passed"]
    assert "no figures by group" in found["age_excluded"]["fact"]


LABELS = LabelPolicy(thresholds={}, most_probable=True)
NOTES = "healthcare/hipaa_compliance"


def test_a_table_that_no_clinician_has_reviewed_fails_and_does_not_stand_in_the_way(export):
    check = run_checks(find(CASES), export, LABELS)["tables_reviewed"]
    assert not check["passed"]
    assert not check["required"]
    assert "tables that nobody has reviewed: clinical knowledge" in check["fact"]
    table = RuleTable("clinical knowledge", "2", "guidelines", "Dr. A. Lee")
    reviewed = dataclasses.replace(find(CASES), tables=(table,))
    check = run_checks(reviewed, export, LABELS)["tables_reviewed"]
    assert check["passed"]
    assert "clinical knowledge 2 by Dr. A. Lee" in check["fact"]


@pytest.mark.parametrize(
    ("table", "passed", "fact"),
    [
        (RuleTable("weaknesses", "1", "MITRE"), True, "weaknesses 1 (MITRE)"),
        (RuleTable("weaknesses", "", "MITRE"), False, "without a version and a source: weaknesses"),
    ],
)
def test_a_table_says_its_version_and_whose_its_rows_are(export, table, passed, fact):
    task = dataclasses.replace(find("technology/code_analysis"), tables=(table,))
    check = run_checks(task, export, LABELS)["tables_versioned"]
    assert check["passed"] is passed
    assert fact in check["fact"]


@pytest.mark.parametrize("path", ["technology/code_analysis", "technology/security_analysis"])
def test_what_is_said_of_the_sample_s_classes_names_its_source(export, path):
    task = find(path)
    labels = task.sample(2000, 0)[task.label].to_pylist()
    is_list = task.head == "multi_label"
    classes = {n for label in labels for n in (json.loads(label) if is_list else [label])}
    artifact = dataclasses.replace(export.artifact, classes=tuple(sorted(classes)))
    exported = dataclasses.replace(export, artifact=artifact)
    assert run_checks(task, exported, LABELS)["advice_sourced"]["passed"]
    artifact = dataclasses.replace(artifact, classes=("CWE-0", "T0000"))
    exported = dataclasses.replace(export, artifact=artifact)
    assert "CWE-0, T0000" in run_checks(task, exported, LABELS)["advice_sourced"]["fact"]


@pytest.mark.parametrize(
    ("counts", "passed", "fact"),
    [
        ({"name": 40, "date": 12}, True, "recall on held-out spans: name 0.50, date 0.50; nothing"),
        ({"name": 40, "date": 9}, False, "types with fewer than 10 held-out spans: date (9)"),
        ({}, False, "types with fewer than 10 held-out spans: all"),
    ],
)
def test_the_recall_of_every_type_that_rows_have_was_measured(export, counts, passed, fact):
    recalled = {name: count // 2 for name, count in counts.items()}
    policy = SpanPolicy(support=counts, recalled=recalled)
    check = run_checks(find(NOTES), export, policy)["recall_measured"]
    assert check["passed"] is passed
    assert fact in check["fact"]
    assert "biometric" in check["fact"]  # which no row has


def measured(**changes):
    return Measured(**{"num_rows": 100, "num_positives": 40, "quality": {}, **changes})


@pytest.mark.parametrize(
    ("changes", "passed", "fact"),
    [
        ({}, True, "each of 2 classes has 40 held-out items"),
        ({"num_positives": 4}, False, "classes with fewer than 10 held-out items: yes (4)"),
        ({"classes": [{"label": "int", "support": 3}]}, False, "items: int (3)"),
        ({"classes": [{"label": "int", "support": 30}]}, True, "each of 1 classes has 30"),
    ],
)
def test_every_class_has_items_enough_to_be_measured(export, changes, passed, fact):
    task = find("healthcare/drug_interaction_detection")
    check = run_checks(task, export, LABELS, measured(**changes))["classes_measured"]
    assert check["passed"] is passed
    assert fact in check["fact"]


LEVEL = {
    "level": 0.99,
    "num_days": 250,
    "exceedances": 4,
    "expected": 2.5,
    "kupiec_p": 0.06,
    "independence_p": 0.06,
    "num_judged": 1,
    "num_series": 1,
    "zone": "yellow",
}


@pytest.mark.parametrize(
    ("changes", "passed", "fact"),
    [
        ([{}], True, "no test refuses the model: 4 of 250 days beyond 99%"),
        ([{"zone": "green", "independence_p": None}], True, "independence not judged"),
        ([{}, {"kupiec_p": 0.049}], False, "refused by Kupiec's test at 99%"),
        ([{"independence_p": 3e-19}], False, "Christoffersen's test of independence at 99%"),
        ([{"zone": "red"}], False, "refused by Basel's red zone at 99%"),
        ([], False, "nothing was backtested"),
    ],
)
def test_a_backtest_holds_where_no_test_refuses_a_level(export, changes, passed, fact):
    rows = [{**LEVEL, **own} for own in changes]
    policy = QuantilePolicy(levels=(0.5,), shifts=(0.0,))
    task = find("financial_services/market_risk")
    check = run_checks(task, export, policy, measured(backtest=rows))["backtest_held"]
    assert check["passed"] is passed
    assert fact in check["fact"]


@pytest.mark.parametrize(("low", "passed"), [(0.8, True), (1.2, False)])
def test_false_alarms_keep_the_budget_of_the_policy(export, low, passed):
    quality = {"false_alarms_per_day": {"value": 1.5, "low": low, "high": 2.0}}
    task = find("technology/performance_monitoring")
    policy = AlarmPolicy(threshold=1.0, alarms_per_day=1.0)
    check = run_checks(task, export, policy, measured(quality=quality))["alarm_budget_kept"]
    assert check["passed"] is passed
    assert "of a budget of 1" in check["fact"]


def test_a_check_that_reads_a_report_is_left_out_and_told_where_there_is_none(export):
    task = find("technology/defect_prediction")
    assert "classes_measured" not in run_checks(task, export, LABELS)

    class Model:
        source, policy = export, LABELS

    Model.task = task
    results = {result.task_id: result for result in compliance(Model)}
    assert "there is none" in results["compliance_classes_measured"].not_measured
    results = {result.task_id: result for result in compliance(Model, measured())}
    assert results["compliance_classes_measured"].score == 1.0
