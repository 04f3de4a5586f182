import dataclasses
from typing import get_args

import pytest

from spt_core.benchmark.compliance import CHECKS, run_checks
from spt_core.heads import HEADS
from spt_core.policy import LabelPolicy
from spt_core.signature import Field, Signature
from spt_core.task import ComplianceCheck, find
from tests.tiny_models import FRAUD, RISK


@pytest.fixture
def checked(export):
    """The checks of a model whose artifact has these changes."""

    def check(task=FRAUD, *, required=None, **changes):
        config = {**export.artifact.config, "compliance_requirements": required}
        artifact = dataclasses.replace(export.artifact, config=config, **changes)
        exported = dataclasses.replace(export, artifact=artifact)
        policy = HEADS["binary"].default_policy(find(task), ())
        return run_checks(find(task), exported, policy)

    return check


def test_every_check_that_a_task_can_declare_exists():
    assert set(CHECKS) == set(get_args(ComplianceCheck))


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


def test_data_of_unknown_licence_fails(checked):
    assert not checked(licences=())["data_licence_known"]["passed"]


def test_an_input_without_a_reason_code_fails(checked):
    signature = Signature(
        fields=(Field(name="loan_details.term", kind="number"), Field(name="x", kind="number"))
    )
    found = checked(RISK, signature=signature)["adverse_action_reasons"]
    assert found["fact"] == "inputs without a reason code in the policy: x"


def test_a_code_that_names_no_reason_is_none(export):
    field = export.artifact.signature.columns[0].field
    policy = HEADS["binary"].default_policy(find(RISK), ())
    policy = dataclasses.replace(policy, reason_codes={field: "OTHER"}, version="")
    found = run_checks(find(RISK), export, policy)["adverse_action_reasons"]
    assert field in found["fact"]


@pytest.mark.parametrize(
    ("protected", "fact"),
    [(("sex",), "figures by group of sex are in the report"), ((), "the data tell no group")],
)
def test_a_model_of_images_passes_where_groups_can_be_measured(export, protected, fact):
    artifact = dataclasses.replace(export.artifact, protected=protected)
    exported = dataclasses.replace(export, artifact=artifact)
    policy = LabelPolicy(thresholds={}, most_probable=False)
    check = run_checks(find("healthcare/medical_imaging"), exported, policy)["groups_measured"]
    assert check["passed"] is bool(protected)
    assert fact in check["fact"]


def test_a_check_says_whether_promotion_requires_it(checked):
    found = checked(required=["data_licence_known"])
    assert found["data_licence_known"]["required"]
    assert not found["protected_attributes_excluded"]["required"]


CASES = "healthcare/clinical_decision_support"


@pytest.mark.parametrize(
    ("policy", "passed", "fact"),
    [
        ({}, False, "states no coverage"),
        ({"coverage": 0.9, "set_threshold": 0.1}, False, "sets cover 90%, the task asks for 95%"),
        ({"coverage": 0.99, "set_threshold": 0.1}, True, "sets cover 99%"),
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
    assert "by group of holder_sex" in found["sex_excluded"]["fact"]
    assert found["age_excluded"]["passed"]
    assert "no figures by group" in found["age_excluded"]["fact"]
