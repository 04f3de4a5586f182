"""What is true of texts, beside what a model and the baselines say."""

import json

import numpy as np
import pyarrow as pa
import pytest

from spt_core.families.text.baselines import blinded, tune_text_baselines
from spt_core.heads.metrics import accuracy, class_figures, micro_f1
from spt_core.heads.outcomes import outcomes_of, span_outcomes, true_labels
from spt_core.judgement import Span
from spt_core.task import find
from tests.tiny_models import COMPLIANCE, DRUGS, text_task
from tests.unit.families.text.test_serving import opened

CLASSES = ("neither", "safe", "risky")
TEXT = "aspirin and warfarin and ibuprofen"
SPANS = json.dumps([{"start": 0, "end": 7}, {"start": 12, "end": 20}, {"start": 25, "end": 34}])
PAIR_ROWS = pa.table(
    {
        "text": [TEXT, TEXT + " of another day", "no drug"],
        "mentions": [SPANS, SPANS, "[]"],
        "document": ["a", "a", "b"],
        "label": ['[[0, 1, "risky"], [1, 2, "unheard"]]', "[]", "[]"],
    }
)


def test_the_items_of_pairs_are_all_pairs_of_a_row_s_mentions():
    of = outcomes_of(opened("pair"), PAIR_ROWS, "label")
    assert of.labels.shape == of.probabilities.shape == (6, 3)
    assert of.labels.argmax(1).tolist() == [2, 0, 0, 0, 0, 0]
    assert of.labels.sum(1).tolist() == [1, 1, 0, 1, 1, 1]  # nobody can know what was never seen
    assert of.groups.tolist() == [0] * 6
    assert of.given.sum(1).tolist() == [1] * 6
    assert of.negative == 0


def test_a_pair_that_no_window_holds_is_of_the_negative_class():
    text = "aspirin. " + "So it goes on and on. " * 20 + "warfarin."
    end = len(text) - 1
    spans = json.dumps([{"start": 0, "end": 7}, {"start": end - 8, "end": end}])
    row = pa.table({"text": [text], "mentions": [spans], "label": ['[[0, 1, "risky"]]']})
    of = outcomes_of(opened("pair"), row, "label")
    assert of.probabilities.tolist() == [[1.0, 0.0, 0.0]]
    assert of.labels.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("head", "labels", "wanted"),
    [
        ("single_label", ["risky", "unheard"], [[[0, 0, 1]], [[0, 0, 0]]]),
        ("ordinal", ["neither", "safe"], [[[1, 0, 0]], [[0, 1, 0]]]),
        ("multi_label", ['["risky", "safe"]', "[]"], [[[0, 1, 1]], [[0, 0, 0]]]),
        ("regression", [1.5, -2.0], [[[1.5]], [[-2.0]]]),
    ],
)
def test_labels_are_read_as_their_head_says(head, labels, wanted):
    table = pa.table({"text": ["aspirin", "warfarin"], "label": labels})
    found = true_labels(table, text_task(head), CLASSES, "label")
    assert [row.tolist() for row in found] == wanted
    of = outcomes_of(opened(head), table, "label")
    assert of.labels.tolist() == [row for rows in wanted for row in rows]


def test_spans_are_right_with_both_ends_and_their_class():
    true = [{"start": 0, "end": 7, "label": "safe"}, {"start": 12, "end": 20, "label": "risky"}]
    said = [Span(0, 7, "aspirin", "safe"), Span(12, 21, "warfarin ", "risky")]
    of = span_outcomes([said], [json.dumps(true)], CLASSES, np.array([4]))
    assert micro_f1(of) == pytest.approx(2 * 1 / 4)
    assert of.groups.tolist() == [4, 4, 4]
    of = outcomes_of(
        opened("span"), pa.table({"text": [TEXT], "label": [json.dumps(true)]}), "label"
    )
    assert of.labels.sum() == 2


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
    found = tune_text_baselines(
        task,
        classes,
        train,
        validation,
        task.label,
        num_trials=2,
        on_trial=lambda *t: told.append(t),
    ).fitted
    names = ["TF-IDF + logistic regression"]
    assert [b.name for b in found] == names + ["keyword rule"] * (task.head == "multi_label")
    assert told == [(names[0], 1), (names[0], 2)]
    for baseline in found:
        assert micro_f1(baseline.outcomes(test)) > 0.6, baseline.name
        assert len(baseline.score("a text that none has seen")) == 1


def test_a_baseline_is_as_sure_as_it_is_right_where_thresholds_rest_on_that():
    task = find(COMPLIANCE)
    train, validation, test = (
        task.sample(rows, seed) for rows, seed in ((600, 0), (300, 1), (600, 2))
    )
    classes = sorted({name for of in train[task.label].to_pylist() for name in json.loads(of)})
    found = tune_text_baselines(task, classes, train, validation, task.label, num_trials=1)
    of = found.fitted[0].outcomes(test)
    assert of.probabilities.mean() == pytest.approx(of.labels.mean(), rel=0.1)


def test_the_keyword_rule_finds_labels_that_words_were_made_by():
    draw = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "loss", "gain"]
    texts = [" ".join(draw.choice(words, 4)) for _ in range(200)]
    labels = [json.dumps([n for n in ("alpha", "beta") if n in text]) for text in texts]
    table = pa.table({"text": texts, "label": labels})
    _, rule = tune_text_baselines(
        text_task("multi_label"), ("alpha", "beta"), table, table, "label", num_trials=1
    ).fitted
    assert accuracy(rule.outcomes(table)) == 1.0
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
    (found,) = tune_text_baselines(task, CLASSES, table, table, "label", num_trials=1).fitted
    of = found.outcomes(table)
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
    found = tune_text_baselines(text_task(head), CLASSES, table, table, "label", num_trials=1)
    assert found.fitted == []
    assert len(found.left_out) == 1 + (head == "multi_label")
    assert all(reason in why for why in found.left_out.values())


def test_a_keyword_rule_without_words_leaves_the_other_baseline():
    table = pa.table({"text": ["alpha", "beta"] * 2, "label": ['["safe"]', "[]"] * 2})
    (found,), left_out = tune_text_baselines(
        text_task("multi_label"), CLASSES, table, table, "label", num_trials=1
    )
    assert found.name == "TF-IDF + logistic regression"
    why = "keyword rule must find words that 3 training texts share"
    assert left_out["keyword rule"].startswith(why)
