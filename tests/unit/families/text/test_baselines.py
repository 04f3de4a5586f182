"""Baselines of texts: what they learn, what tunes them, and what they cannot be fitted on."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from spt_core.families.baseline import BaselineWork
from spt_core.families.text.baselines import blinded, tune_text_baselines
from spt_core.heads import HEADS
from spt_core.heads.metrics import accuracy, class_figures, micro_f1
from spt_core.signature import Signature
from spt_core.task import find
from tests.tiny_models import COMPLIANCE, DRUGS, text_task

CLASSES = ("neither", "safe", "risky")
TEXT = "aspirin and warfarin and ibuprofen"
SPANS = json.dumps([{"start": 0, "end": 7}, {"start": 12, "end": 20}, {"start": 25, "end": 34}])


def tuned(task, classes, train, validation, *, num_trials=1, on_trial=None):
    """The baselines of these rows, as a benchmark asks for them."""
    parts = {"train": train, "validation": validation}
    splits = SimpleNamespace(table=lambda part, limit=None: parts[part][:limit], label=task.label)
    return tune_text_baselines(
        BaselineWork(
            task=task,
            signature=Signature(fields=task.fields),
            classes=classes,
            splits=splits,
            policy=HEADS[task.head].default_policy(task, classes),
            num_trials=num_trials,
            max_rows=10_000,
            seed=0,
            on_trial=on_trial,
        )
    )


def test_a_pair_is_blinded():
    spans = json.loads(SPANS)
    assert blinded(TEXT, spans, (0, 2)).split() == [
        "firstmention", "and", "othermention", "and", "secondmention",
    ]  # fmt: skip


@pytest.mark.parametrize("path", [COMPLIANCE, DRUGS])
def test_tuned_baselines_learn_the_bundled_samples(path):
    task = find(path)
    train, validation, test = (
        task.sample(rows, seed) for rows, seed in ((600, 0), (150, 1), (150, 2))
    )
    classes = task.classes or tuple(
        sorted({name for value in train[task.label].to_pylist() for name in json.loads(value)})
    )
    if task.negative_class and task.negative_class not in classes:
        classes = (task.negative_class, *classes)
    told = []
    found = tuned(
        task, classes, train, validation, num_trials=2, on_trial=lambda *t: told.append(t)
    ).fitted
    names = ["TF-IDF + logistic regression"]
    assert [b.name for b in found] == names + ["keyword rule"] * (task.head == "multi_label")
    assert told == [(names[0], 1, 2), (names[0], 2, 2)]
    for baseline in found:
        assert micro_f1(baseline.outcomes(test, task.label, None)) > 0.6, baseline.name
        assert len(baseline.call("a text that none has seen")) == 1
        assert baseline.inputs(test) == test[task.text_field.name].to_pylist()


def test_a_baseline_is_as_sure_as_it_is_right_where_thresholds_rest_on_that():
    task = find(COMPLIANCE)
    train, validation, test = (
        task.sample(rows, seed) for rows, seed in ((600, 0), (300, 1), (600, 2))
    )
    classes = sorted({name for of in train[task.label].to_pylist() for name in json.loads(of)})
    found = tuned(task, classes, train, validation)
    of = found.fitted[0].outcomes(test, task.label, None)
    assert of.probabilities.mean() == pytest.approx(of.labels.mean(), rel=0.1)


def test_the_keyword_rule_finds_labels_that_words_were_made_by():
    draw = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "loss", "gain"]
    texts = [" ".join(draw.choice(words, 4)) for _ in range(200)]
    labels = [json.dumps([n for n in ("alpha", "beta") if n in text]) for text in texts]
    table = pa.table({"text": texts, "label": labels})
    _, rule = tuned(text_task("multi_label"), ("alpha", "beta"), table, table).fitted
    assert accuracy(rule.outcomes(table, "label", None)) == 1.0
    assert rule.parameters == {"alpha": "alpha", "beta": "beta"}


@pytest.mark.parametrize("head", ["single_label", "ordinal", "regression", "span"])
def test_every_head_has_a_baseline(head):
    draw = np.random.default_rng(0)
    words = np.array(["calm", "risk", "storm"])
    ranks = draw.integers(0, 3, 90)
    texts = [f"it is {words[rank]} today" for rank in ranks]
    spans = [json.dumps([{"start": 6, "end": 6 + len(words[r]), "label": "risky"}]) for r in ranks]
    labels = {"regression": ranks.astype(float), "span": spans}.get(
        head, [CLASSES[rank] for rank in ranks]
    )
    table = pa.table({"text": texts, "label": labels})
    task = text_task(head)
    (found,) = tuned(task, CLASSES, table, table).fitted
    of = found.outcomes(table, "label", None)
    if head == "regression":
        assert np.abs(of.labels - of.probabilities).mean() < 0.2
    else:
        assert micro_f1(of) == 1.0
        assert len(class_figures(of)) == 3


ONE_CLASS = json.dumps([[0, 1, "risky"], [0, 2, "risky"], [1, 2, "risky"]])


@pytest.mark.parametrize(
    ("head", "columns", "reason"),
    [
        ("multi_label", {"text": ["😀", "🎉"] * 5, "label": ['["safe"]', "[]"] * 5}, "share none"),
        ("regression", {"text": ["😀", "🎉"] * 5, "label": [1.0, 2.0] * 5}, "share none"),
        (
            "pair",
            {"text": [TEXT] * 5, "mentions": [SPANS] * 5, "label": [ONE_CLASS] * 5},
            "two classes, however: the training items are of 1",
        ),
    ],
)
def test_a_baseline_that_cannot_be_fitted_is_left_out_with_the_reason(head, columns, reason):
    table = pa.table(columns)
    found = tuned(text_task(head), CLASSES, table, table)
    assert found.fitted == []
    assert len(found.left_out) == 1 + (head == "multi_label")
    assert all(reason in why for why in found.left_out.values())


def test_a_keyword_rule_without_words_leaves_the_other_baseline():
    table = pa.table({"text": ["alpha", "beta"] * 2, "label": ['["safe"]', "[]"] * 2})
    (found,), left_out = tuned(text_task("multi_label"), CLASSES, table, table)
    assert found.name == "TF-IDF + logistic regression"
    why = "keyword rule must find words that 3 training texts share"
    assert left_out["keyword rule"].startswith(why)


def test_code_has_n_grams_of_characters_beside_words():
    task = find("technology/code_analysis")
    train, validation, test = (
        task.sample(rows, seed) for rows, seed in ((600, 0), (150, 1), (150, 2))
    )
    classes = sorted({name for of in train[task.label].to_pylist() for name in json.loads(of)})
    fitted = {b.name: b for b in tuned(task, classes, train, validation).fitted}
    of_characters = fitted["n-grams of characters + logistic regression"]
    assert micro_f1(of_characters.outcomes(test, task.label, None)) > 0.6
    upper, lower = (of_characters.call(code) for code in ("OS.SYSTEM(A)", "os.system(a)"))
    assert not np.array_equal(upper, lower)  # words, lowercased, cannot tell them apart


def test_patterns_without_a_model_stand_beside_a_model_of_spans():
    task = find("healthcare/hipaa_compliance")
    train, test = task.sample(100, 0), task.sample(100, 1)
    fitted = {b.name: b for b in tuned(task, task.classes, train, train).fitted}
    of = fitted["patterns alone"].outcomes(test, task.label, None)
    recalls = {row["label"]: row["recall"] for row in class_figures(of)}
    assert recalls["ssn"] == 1.0
    assert recalls["name"] == 0.0
    assert fitted["patterns alone"].parameters == {"version": task.patterns.version}
