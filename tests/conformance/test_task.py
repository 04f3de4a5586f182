import dataclasses
import json

import numpy as np
import pytest

from spt_core.encoder import Encoder, flatten
from spt_core.model import default_policy
from spt_core.signature import FIELD_KINDS, Field, Signature
from spt_core.task import Judgement, Reason, all_tasks, example_record

TASKS = all_tasks()
pytestmark = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def signature(task):
    """What a model of the task takes, if its data has the canonical columns alone."""
    windows = tuple(window.as_field() for window in task.windows)
    return Signature(fields=(*task.fields, *windows), windows=task.windows)


def answers(task):
    """An answer for each action, with every field among the reasons."""
    policy, example = default_policy(task), flatten(task.example)
    names = [field.name for field in task.fields]
    for probability in (0.0, policy.review_threshold, policy.decline_threshold, 1.0):
        for sign in (1, -1):
            reasons = [Reason(n, example.get(n), sign / (i + 1)) for i, n in enumerate(names)]
            action, confidence = policy.recommend(probability), max(probability, 1 - probability)
            yield task.respond(Judgement(probability, action, confidence, tuple(reasons), policy))


def test_the_sample_has_every_column_and_both_classes(task):
    table = task.sample(3000, 0)
    named = {task.label, *task.entities, *(field.name for field in task.fields)}
    assert named <= set(table.column_names)
    assert table.num_rows == 3000
    assert set(table[task.label].to_pylist()) == {0, 1}


def test_the_sample_follows_its_seed(task):
    assert task.sample(300, 1).equals(task.sample(300, 1))
    assert not task.sample(300, 1).equals(task.sample(300, 2))


def test_the_sample_stays_in_the_ranges_of_the_fields(task):
    table = task.sample(3000, 0)
    for field in task.fields:
        if field.kind == "number":
            values = table[field.name].drop_null().to_numpy()
            assert field.minimum is None or values.min() >= field.minimum
            assert field.maximum is None or values.max() <= field.maximum


def test_a_model_of_the_canonical_columns_is_asked_the_task_s_example(task):
    assert example_record(task, signature(task)) == task.example


def test_a_customer_s_model_is_asked_what_it_takes(task):
    own = (
        dataclasses.replace(task.fields[0], kind="category", categories=("a", "b")),
        *task.fields[1:],
        Field(name="branch", kind="category", categories=("north",)),
        Field(name="limit", kind="number", minimum=5.0),
    )
    for fields in (own, own[-2:]):
        signed = Signature(fields=fields)
        record = example_record(task, signed)
        assert record["branch"] == "north"
        assert np.isfinite(Encoder(signed).record(record)).any()


def test_the_example_is_a_valid_record(task):
    signed = signature(task)
    row = Encoder(signed).record(task.example)
    assert row.shape == (1, len(signed.columns))
    assert np.isfinite(row).any()


def test_the_example_is_json(task):
    assert json.loads(json.dumps(task.example)) == task.example


def test_an_answer_has_the_keys_of_its_contract_and_is_json(task):
    for answer in answers(task):
        assert list(answer) == list(task.answer)
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_an_answer_keeps_the_types_and_choices_of_its_contract(task):
    kinds = {"string": str, "number": float, "integer": int, "array": list, "object": dict}
    for answer in answers(task):
        for name, schema in task.answer.items():
            assert isinstance(answer[name], kinds[schema["type"]]), name
            assert answer[name] in schema.get("enum", [answer[name]])


def test_every_input_that_can_be_a_reason_has_a_code(task):
    if "adverse_action_reasons" in task.compliance_checks:
        assert {field.name for field in task.fields} <= set(task.reason_codes)
    assert set(task.reason_codes) <= {field.name for field in task.fields}


def test_a_protected_attribute_is_not_an_input(task):
    names = {field.name.rpartition(".")[2].lower() for field in task.fields}
    assert not names & {name.lower() for name in task.protected}


def test_the_verb_is_a_method_name_and_the_kinds_exist(task):
    assert task.verb.isidentifier()
    assert {field.kind for field in task.fields} <= set(FIELD_KINDS)


def test_the_path_finds_the_task(task):
    assert TASKS[f"{task.industry}/{task.name}"] is task
