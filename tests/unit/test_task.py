import dataclasses

import pytest

from spt_core.data.splitting import terms_of
from spt_core.errors import InputError, NotFoundError
from spt_core.families.series.reading import WindowReader
from spt_core.families.tabular.reading import Encoder
from spt_core.records import flatten
from spt_core.signature import Field, Signature
from spt_core.task import IndustryType, all_tasks, example_record, find

FRAUD = "financial_services/fraud_detection"


def test_a_task_is_found_by_its_path():
    assert find(FRAUD).path == FRAUD


@pytest.mark.parametrize("name", ["financial_services/fraud_detecton", "fraud_detection", ""])
def test_a_misspelled_task_is_refused_with_what_there_is(name):
    with pytest.raises(NotFoundError, match=FRAUD):
        find(name)


def test_the_nearest_task_is_suggested():
    with pytest.raises(NotFoundError, match=f"the nearest is '{FRAUD}'"):
        find("financial_services/fraud_detecton")


def test_the_industries_are_those_of_the_specification():
    names = {"financial_services", "healthcare", "manufacturing", "technology", "insurance"}
    assert set(IndustryType) == names


@pytest.mark.parametrize("path", sorted(p for p, t in all_tasks().items() if t.family == "tabular"))
def test_the_example_of_a_tabular_task_can_be_encoded(path):
    task = find(path)
    encoded = Encoder(Signature(fields=task.fields)).record(flatten(task.example))
    assert encoded.shape == (1, len(Signature(fields=task.fields).columns))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"label": "amount"}, "label"),
        ({"time": "moment"}, "time"),
        ({"protected": ("amount",)}, "protected"),
        ({"limits": (30.0,)}, "only a task that predicts a number has limits, .* is binary"),
        ({"fields": (Field(name="is_fraud", kind="boolean"),), "time": None}, "label"),
        ({"asides": (Field(name="mood", kind="number"),)}, "none of them is required"),
        ({"rules": {"nothing": lambda table: []}}, "only a task of one class .* has rules"),
    ],
)
def test_a_task_whose_parts_contradict_each_other_is_refused(change, rule):
    with pytest.raises(InputError, match=rule):
        dataclasses.replace(find(FRAUD), **change)


def test_groups_are_compared_by_approvals_only_where_these_are_a_benefit():
    by_approval = {p for p, t in all_tasks().items() if t.compared_rate == "approval_rate"}
    assert by_approval == {
        "financial_services/credit_scoring",
        "financial_services/fraud_detection",
        "financial_services/risk_assessment",
        "insurance/claims_fraud",
    }
    with pytest.raises(InputError, match="only a task with a binary decision approves"):
        dataclasses.replace(find("healthcare/telemedicine_triage"), approval_benefits=True)


@pytest.mark.parametrize("horizon", [2, 12])
def test_a_lead_time_ends_with_the_model_s_own_horizon(horizon):
    task = find("manufacturing/supply_chain")
    shape = dataclasses.replace(task.fields[0].shape, horizon=horizon)
    fields = (dataclasses.replace(task.fields[0], shape=shape), *terms_of(task, shape))
    assert {f.name: f.maximum for f in fields[1:]} == {
        "service_level": 0.99,
        "lead_time_steps": horizon,
    }
    signature = Signature(fields=fields)
    reader, record = WindowReader(signature), dict(example_record(task, signature))
    reader.record(record)
    assert len(reader.record({**record, "lead_time_steps": horizon}).values) == 12 + horizon
    rule = f"'lead_time_steps' must be a number from 1 to {horizon}, however: {horizon + 1}"
    with pytest.raises(InputError, match=rule):
        reader.record({**record, "lead_time_steps": horizon + 1})


def test_what_is_read_beside_a_model_is_what_its_signature_lacks():
    task = find("healthcare/telemedicine_triage")
    own = Field(name="patient.vitals.spo2", kind="category")
    names = [field.name for field in task.beside(Signature(fields=(own,))).fields]
    assert "patient.vitals.respiratory_rate" in names
    assert "patient.vitals.spo2" not in names


def test_a_typical_record_of_a_forecast_says_what_is_known_and_when_readings_were():
    task = find("manufacturing/supply_chain")
    shape = dataclasses.replace(
        task.fields[0].shape,
        channels=("price", "demand"),
        in_advance=("price",),
        horizon=4,
        seen=((1.0, 3.0), (0.0, 10.0)),
    )
    field = dataclasses.replace(task.fields[0], shape=shape)
    signature = Signature(fields=(field, *task.fields[1:]))
    record = example_record(task, signature)
    assert record["known_in_advance"] == {"price": [2.0] * 4}
    assert record["readings"][-1] == {"month": "2023-12-31T00:00:00", "price": 2.1, "demand": 5.5}
    assert record["readings"][-2] == {"month": "2023-11-30T00:00:00", "price": 1.9, "demand": 4.5}
    assert record["readings"][0]["month"] == "2023-01-31T00:00:00"
    assert WindowReader(signature).record(record).values.shape == (16, 4)
    assert example_record(task, Signature(fields=task.fields)) is task.example


def test_an_example_says_when_its_readings_were_where_a_model_learned_the_season():
    task = find("financial_services/market_risk")
    assert "session" not in task.example["readings"][0]
    shape = dataclasses.replace(
        task.fields[0].shape, in_readings=False, step=86_400.0, calendar=("time_of_week",)
    )
    same_steps = dataclasses.replace(task.fields[0].shape, calendar=("time_of_week",))
    for asked in (shape, same_steps):
        field = dataclasses.replace(task.fields[0], shape=asked)
        record = example_record(task, Signature(fields=(field, *task.fields[1:])))
        assert record["readings"][-1]["session"] == "2023-12-31T00:00:00"
