"""Baselines of tables: each is tuned on the validation rows, and ranks rows of its own."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.errors import InputError
from spt_core.families.baseline import BaselineWork
from spt_core.families.tabular import boosters
from spt_core.families.tabular.baselines import tune_baselines
from spt_core.heads import HEADS
from spt_core.heads.metrics import roc_auc
from spt_core.signature import Field, Signature
from spt_core.task import find
from tests.tiny_models import FRAUD, table_task

pytestmark = pytest.mark.slow

NAMES = ["LightGBM", "XGBoost", "logistic regression"]
SIGNATURE = Signature(
    fields=(
        Field(name="number", kind="number", required=False),
        Field(name="empty", kind="number", required=False),
        Field(name="category", kind="category", categories=("a", "b", "c", "d")),
    )
)


def rows(num_rows, seed):
    """A label that a number and a category make; some numbers are missing, and a whole column."""
    draw = np.random.default_rng(seed)
    number, category = draw.normal(size=num_rows), draw.integers(0, 5, num_rows)
    return pa.table(
        {
            "number": pa.array(number, mask=np.arange(num_rows) % 13 == 0),
            "empty": pa.nulls(num_rows, pa.float64()),
            "category": [" abcd"[place].strip() or None for place in category],
            "label": (number + category > 2).astype(int),
        }
    )


def splits(folder, **parts):
    """What baselines ask of Splits."""
    for part, table in parts.items():
        pq.write_table(table, folder / f"{part}.parquet")
    return SimpleNamespace(
        files=lambda part: [(folder / f"{part}.parquet").as_uri()],
        num_rows={part: table.num_rows for part, table in parts.items()},
        label="label",
        classes=(),
        table=lambda part, limit: parts[part],
        corpus=SimpleNamespace(group=None, weight=None),
    )


def test_every_baseline_is_tuned_and_ranks_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(boosters, "MAX_ROUNDS", 60)
    task = dataclasses.replace(find(FRAUD), metric="roc_auc")
    told, test = [], rows(150, 2)
    work = BaselineWork(
        task=task,
        signature=SIGNATURE,
        classes=(),
        splits=splits(tmp_path, train=rows(300, 0), validation=rows(150, 1)),
        policy=HEADS[task.head].default_policy(task, ()),
        num_trials=1,
        max_rows=10_000,
        seed=0,
        on_trial=lambda *trial: told.append(trial),
    )
    found = tune_baselines(work)
    assert [baseline.name for baseline in found.fitted] == NAMES
    assert found.left_out == {}
    assert [trial for _, *trial in told] == [[1, 3], [2, 3], [3, 3]]
    for baseline in found.fitted:
        of = baseline.outcomes(test, "label", None)
        assert roc_auc(of.labels[:, 0], of.probabilities[:, 0]) > 0.85, baseline.name
        inputs = baseline.inputs(test)
        assert len(inputs) == 150
        assert baseline.call(inputs[0]) == pytest.approx(of.probabilities[0])


def test_a_task_s_rule_gives_its_class_with_the_rates_of_training_rows(tmp_path, monkeypatch):
    def refusing(table):
        raise InputError("the rows lack a column")

    def by_number(table):
        return ["risky" if value > 1.0 else "neither" for value in table["speed"].to_pylist()]

    monkeypatch.setattr(boosters, "MAX_ROUNDS", 20)
    rules = {"by number": by_number, "by nothing": refusing}
    task = dataclasses.replace(table_task("single_label"), rules=rules)
    fields = [
        dataclasses.replace(f, categories=("a", "b")) for f in task.fields if f.name == "line"
    ]
    signature = Signature(fields=(Field(name="speed", kind="number"), *fields))
    train, test = task.sample(300, 0), task.sample(150, 2)
    work = BaselineWork(
        task=task,
        signature=signature,
        classes=task.classes,
        splits=splits(tmp_path, train=train, validation=task.sample(150, 1)),
        policy=HEADS[task.head].default_policy(task, task.classes),
        num_trials=1,
        max_rows=10_000,
        seed=0,
    )
    work.splits.classes = task.classes
    tuned = tune_baselines(work)
    assert [baseline.name for baseline in tuned.fitted] == [*NAMES, "by number"]
    assert tuned.left_out == {"by nothing": "the rows lack a column"}
    rule = tuned.fitted[-1]
    of = rule.outcomes(test, "label", None)
    assert [task.classes[k] for k in of.given.argmax(1)] == by_number(test)
    assert of.probabilities.sum(1) == pytest.approx(1.0)
    risky = np.array(by_number(train)) == "risky"
    labels = np.array(train["label"].to_pylist()) == "risky"
    expected = (labels[risky].sum() + labels.mean()) / (risky.sum() + 1)
    row = by_number(test).index("risky")
    assert of.probabilities[row, task.classes.index("risky")] == pytest.approx(expected)
    assert len(rule.call(rule.inputs(test)[0])) == 1
