"""The linear model of a table: what it sees, what it says, and that it is stored whole."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from spt_core.families.tabular.boosters import Rows
from spt_core.families.tabular.linear import (
    STRENGTHS,
    Design,
    best_linear,
    fit_linear,
    open_linear,
    sampled,
)
from spt_core.families.tabular.outputs import OUTPUTS, Target

NUMBERS = 3


def rows_of(target: Target, seed: int = 0, size: int = 600) -> Rows:
    """Two numbers with gaps, an empty one, a category; labels follow the first and the category."""
    draw = np.random.default_rng(seed)
    numbers = draw.normal(50.0, 10.0, (size, NUMBERS)).astype(np.float32)
    numbers[draw.random(size) < 0.2, 1] = np.nan
    numbers[:, 2] = np.nan
    category = draw.integers(0, 4, size).astype(np.float32)
    rows = np.column_stack([numbers, category])
    pull = (numbers[:, 0] - 50.0) / 10.0 + category - 1.5
    if target.head == "regression":
        labels = pull + draw.normal(0, 0.1, size)
    elif target.head == "binary":
        labels = (draw.random(size) < expit(2 * pull)).astype(float)
    else:
        labels = np.digitize(pull + draw.normal(0, 0.3, size), [-1.0, 1.0]).astype(float)
    half = size // 2
    return Rows(
        rows[:half],
        labels[:half],
        rows[half:],
        labels[half:],
        NUMBERS,
        OUTPUTS[target.head].objective(target),
    )


TARGETS = [
    Target(head="binary"),
    Target(head="single_label", classes=("a", "b", "c")),
    Target(head="regression"),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.head)
def test_a_stored_model_says_the_same_on_any_row(target: Target):
    rows = rows_of(target)
    model = fit_linear(rows, 1.0)
    said = model.predict(rows.validation)
    assert np.array_equal(open_linear(model.to_bytes()).predict(rows.validation), said)
    unlike = np.array([[np.nan, np.nan, 1.0, 99.0]], np.float32)
    assert np.isfinite(model.predict(unlike)).all()


def test_it_is_the_logistic_regression_of_the_textbook():
    rows = rows_of(TARGETS[0])
    inputs = Design.of_rows(rows.train, NUMBERS)(rows.train)
    expected = LogisticRegression(C=1.0, max_iter=500).fit(inputs, rows.train_labels)
    said = fit_linear(rows, 1.0).predict(rows.train)
    assert said == pytest.approx(expected.predict_proba(inputs)[:, 1], abs=1e-9)
    accuracy = ((said > 0.5) == rows.train_labels).mean()
    assert accuracy > 0.8  # the labels are drawn


def test_a_missing_number_has_a_column_and_rare_values_share_one():
    rows = rows_of(TARGETS[0])
    rare = rows.train.copy()
    rare[:3, 3] = [7.0, 8.0, 9.0]
    design = Design.of_rows(rare, NUMBERS)
    inputs = design(rare).toarray()
    assert (
        inputs.shape[1] == design.num_columns == NUMBERS + 2 + 5
    )  # numbers, two that can be missing, four values, rest
    assert inputs[:3, -1].tolist() == [1.0, 1.0, 1.0]
    assert np.abs(inputs[:, :2].mean(0)).max() < 1e-6
    assert not inputs[:, 2].any()


def test_a_class_that_no_training_row_has_is_never_said():
    rows = rows_of(TARGETS[1])
    is_known = rows.train_labels < 2
    few = rows._replace(train=rows.train[is_known], train_labels=rows.train_labels[is_known])
    said = fit_linear(few, 1.0).predict(rows.validation)
    assert said.shape == (len(rows.validation), 3)
    assert not said[:, 2].any()
    assert said.sum(1) == pytest.approx(1.0)
    likely = said.argmax(1)[rows.validation_labels < 2]
    assert (likely == rows.validation_labels[rows.validation_labels < 2]).mean() > 0.8


@pytest.mark.parametrize("target", TARGETS[:2], ids=lambda target: target.head)
def test_rows_of_one_class_are_no_mistake(target: Target):
    rows = rows_of(target)
    said = fit_linear(rows._replace(train_labels=np.ones(len(rows.train))), 1.0).predict(rows.train)
    of_one = said if said.ndim == 1 else said[:, 1]
    assert (of_one > 0.999).all()


def test_a_regression_finds_the_line():
    rows = rows_of(TARGETS[2])
    said = fit_linear(rows, 10.0).predict(rows.validation)
    assert np.sqrt(np.mean((said - rows.validation_labels) ** 2)) < 0.15


def test_the_strength_is_that_of_least_loss_on_validation_rows():
    rows = rows_of(TARGETS[0])
    output = OUTPUTS["binary"]

    def closeness(truth, said, weights):
        return -output.loss(truth, said, weights)

    best = best_linear(rows, closeness, seed=0)
    losses = {
        strength: -closeness(
            rows.validation_labels, fit_linear(rows, strength).predict(rows.validation), None
        )
        for strength in STRENGTHS
    }
    assert best.parameters == {"C": min(losses, key=lambda strength: losses[strength])}


def test_many_rows_are_sampled_with_their_labels_and_weights():
    rows = rows_of(TARGETS[0])
    weighted = rows._replace(train_weights=rows.train[:, 0].astype(float))
    few = sampled(weighted, 50, seed=0)
    assert len(few.train) == len(few.train_labels) == 50
    assert few.train_weights == pytest.approx(few.train[:, 0])
    assert sampled(rows, 1000, seed=0) is rows
