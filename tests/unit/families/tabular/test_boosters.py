import numpy as np
import pytest

from spt_core.families.tabular.boosters import (
    FOREST_KINDS,
    Rows,
    fit_lightgbm,
    fit_xgboost,
    open_forest,
    tune,
)
from spt_core.heads.metrics import roc_auc

each_kind = pytest.mark.parametrize("kind", FOREST_KINDS)


def draw(seed, num_rows=300):
    """A label that follows a number, and a category whose odd indices are positive."""
    random = np.random.default_rng(seed)
    number, category = random.normal(size=num_rows), random.integers(0, 20, num_rows)
    labels = (number + 2.0 * (category % 2) + random.normal(size=num_rows) * 0.3 > 1.0) * 1.0
    number[::17] = np.nan
    return np.column_stack([number, category]).astype(np.float32), labels


ROWS = Rows(*draw(0), *draw(1), first_category=1)


@pytest.fixture(scope="module")
def forests():
    return {kind: tune(kind, ROWS, roc_auc, num_trials=1, seed=0) for kind in FOREST_KINDS}


@each_kind
def test_a_forest_ranks_rows_that_it_has_not_seen(forests, kind):
    features, labels = draw(2)
    probabilities = forests[kind].predict(features)
    assert probabilities.dtype == np.float64
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert roc_auc(labels, probabilities) > 0.9


@each_kind
def test_an_opened_forest_answers_as_before(forests, kind):
    features, _ = draw(2)
    opened = open_forest(kind, forests[kind].to_bytes())
    assert np.array_equal(opened.predict(features), forests[kind].predict(features))


@each_kind
def test_a_forest_stops_early_and_says_how_many_trees_it_has(forests, kind):
    assert 1 <= forests[kind].parameters["num_trees"] < 1000


@each_kind
def test_an_index_beyond_training_is_answered(forests, kind):
    assert np.isfinite(
        forests[kind].predict(np.array([[0.0, 0.0], [np.nan, 7.0]], np.float32))
    ).all()


@pytest.mark.parametrize("fit", [fit_lightgbm, fit_xgboost])
def test_a_number_of_rounds_is_obeyed(fit):
    assert fit({}, ROWS, 0, num_rounds=3).parameters["num_trees"] == 3


def test_every_trial_is_told_and_the_best_is_kept():
    told = []
    values = iter([0.2, 0.9, 0.4])
    best = tune(
        "xgboost",
        ROWS,
        lambda labels, probabilities, weights: next(values),
        num_trials=3,
        seed=0,
        on_trial=lambda *trial: told.append(trial),
    )
    assert told == [("xgboost", 1), ("xgboost", 2), ("xgboost", 3)]
    assert best.parameters["max_depth"] != 4 or best.parameters["eta"] != 0.05
