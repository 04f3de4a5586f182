import dataclasses

import pytest

from spt_core.errors import InputError, NotFoundError
from spt_core.families.tabular.reading import Encoder
from spt_core.records import flatten
from spt_core.signature import Field, Signature
from spt_core.task import IndustryType, all_tasks, find

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
        ({"fields": (Field(name="is_fraud", kind="boolean"),), "time": None}, "label"),
        ({"rules": {"nothing": lambda table: []}}, "only a task of one class .* has rules"),
    ],
)
def test_a_task_whose_parts_contradict_each_other_is_refused(change, rule):
    with pytest.raises(InputError, match=rule):
        dataclasses.replace(find(FRAUD), **change)
