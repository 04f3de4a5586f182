"""Compiled forests say what their libraries say, and give their columns the same Shapley values."""

import itertools
import math

import numpy as np
import pytest

from spt_core.families.tabular.blend import Blend, blend_from_bytes
from spt_core.families.tabular.boosters import (
    ForestObjective,
    Rows,
    fit_lightgbm,
    fit_xgboost,
    open_forest,
)
from spt_core.families.tabular.compiled import answer_blend
from spt_core.families.tabular.compiling import Part, compile_trees, grown
from spt_core.families.tabular.runtimes import BlendRuntime, compile_ahead
from tests.unit.families.tabular.tables import rows, signature

FITS = {"lightgbm": fit_lightgbm, "xgboost": fit_xgboost}
DEEP = {
    "lightgbm": {"num_leaves": 64, "min_data_in_leaf": 1, "learning_rate": 0.3},
    "xgboost": {"max_depth": 12, "min_child_weight": 0.0, "eta": 0.3},
}
LEAST = {"lightgbm": {"min_data_in_leaf": 5, "min_data_per_group": 5}, "xgboost": {"max_depth": 4}}
OBJECTIVES = {
    "binary": ForestObjective(
        {"objective": "binary"}, {"objective": "binary:logistic", "eval_metric": "logloss"}
    ),
    "classes": ForestObjective(
        {"objective": "multiclass", "num_class": 3},
        {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss"},
    ),
    "value": ForestObjective(
        {"objective": "regression"}, {"objective": "reg:squarederror", "eval_metric": "rmse"}
    ),
}
each_library = pytest.mark.parametrize("kind", FITS)


def forest(kind, signed, objective="binary", num_rounds=8, parameters=None, seed=0):
    """A forest of rows whose label hangs on a number, a missing value and a category."""
    features = rows(signed, 600, seed=seed)
    score = np.nan_to_num(features[:, 0], nan=-1.5) + np.nan_to_num(features[:, -1]) % 3
    label = {
        "binary": (score > np.median(score)).astype(float),
        "classes": np.digitize(score, np.quantile(score, [0.3, 0.7])).astype(float),
        "value": score * 10,
    }[objective]
    first_category = len(signed.numbers)
    data = Rows(features, label, features, label, first_category, OBJECTIVES[objective])
    chosen = LEAST[kind] if parameters is None else parameters
    return FITS[kind](chosen, data, 0, num_rounds=num_rounds)


def runtime(kind, trained, signed):
    parts = [Part(grown(kind, trained.to_bytes()), 1.0)]
    num_scores = trained.margins(rows(signed, 1)).shape[1]
    identity = np.array([np.ones(num_scores), np.zeros(num_scores)])
    blend = Blend(compile_trees(parts, num_scores), 0.0, identity)
    return BlendRuntime(blend_from_bytes(blend.to_bytes()), None, len(signed.columns))


def assert_alike(kind, trained, signed, features):
    compiled = runtime(kind, trained, signed)
    scores, effects = compiled.explain(features)
    np.testing.assert_allclose(scores, trained.margins(features), atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(effects, trained.contributions(features), atol=2e-5, rtol=1e-4)
    np.testing.assert_array_equal(compiled.score(features), scores)


@each_library
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_compiled_forest_is_its_library_s(kind, objective):
    signed = signature(4, (40, 5))
    assert_alike(kind, forest(kind, signed, objective), signed, rows(signed, 200, seed=3))


@each_library
@pytest.mark.parametrize("shape", [(1, ()), (3, ()), (0, (70,)), (2, (2, 3, 100))])
def test_any_columns_are_compiled(kind, shape):
    signed = signature(*shape)
    assert_alike(kind, forest(kind, signed), signed, rows(signed, 100, seed=4))


@each_library
@pytest.mark.parametrize("num_columns", [6, 12, 30])
def test_paths_of_many_columns_are_exact(kind, num_columns):
    signed = signature(num_columns, (3,))
    trained = forest(kind, signed, "value", 3, DEEP[kind])
    assert_alike(kind, trained, signed, rows(signed, 40, seed=5))


@each_library
def test_a_missing_number_where_training_saw_none_is_the_library_s(kind):
    signed = signature(2, (3,))
    trained = forest(kind, signed, seed=1)
    features = np.nan_to_num(rows(signed, 600))
    data = Rows(features, labels := (features[:, 0] > 0.3).astype(float), features, labels, 2)
    trained = FITS[kind](LEAST[kind], data, 0, num_rounds=4)
    assert_alike(kind, trained, signed, rows(signed, 60, seed=2))


@each_library
def test_values_of_any_magnitude_and_on_a_threshold_go_where_the_library_sends_them(kind):
    signed = signature(3, (4,))
    trained = forest(kind, signed)
    features = rows(signed, 300)
    thresholds = [
        split for _, tree in grown(kind, trained.to_bytes()).trees for split in thresholds_of(tree)
    ]
    features[: len(thresholds), 0] = thresholds[:300]
    features[150:200, 1] *= np.float32(1e30)
    assert_alike(kind, trained, signed, features)


def thresholds_of(node):
    if not hasattr(node, "threshold"):
        return []
    own = [] if node.members is not None else [node.threshold]
    return own + thresholds_of(node.left) + thresholds_of(node.right)


@each_library
def test_categories_that_training_never_saw_are_in_no_set(kind):
    signed = signature(1, (30,))
    trained = forest(kind, signed)
    features = rows(signed, 60)
    features[:, 1] = np.arange(60) * 7
    assert_alike(kind, trained, signed, features)


@each_library
def test_a_forest_that_could_not_split_says_one_thing(kind):
    signed = signature(2)
    features, same = rows(signed, 20), np.zeros(20)
    same[:5] = 1.0
    data = Rows(features, same, features, same, 2)
    flat = {"lightgbm": {"min_data_in_leaf": 50}, "xgboost": {"gamma": 1e9}}[kind]
    trained = FITS[kind](flat, data, 0, num_rounds=2)
    compiled = runtime(kind, trained, signed)
    scores, effects = compiled.explain(features)
    np.testing.assert_allclose(scores, trained.margins(features), atol=1e-6)
    assert not effects.any()


def test_effects_are_shapley_values_by_their_definition():
    """All orders of three columns, with the trees' own expectation of what is not known."""
    signed = signature(2, (5,))
    trained = forest("lightgbm", signed, "value")
    model = grown("lightgbm", trained.to_bytes())
    row = rows(signed, 5, seed=8)[4]

    def expectation(node, known):
        if not hasattr(node, "threshold"):
            return node.value
        if node.column in known:
            x = row[node.column]
            goes_left = (
                int(x) in node.members
                if node.members is not None
                else node.missing_left
                if math.isnan(x)
                else x <= node.threshold
            )
            return expectation(node.left if goes_left else node.right, known)
        covers = node.left.cover, node.right.cover
        sides = (expectation(side, known) for side in (node.left, node.right))
        return sum(c * s for c, s in zip(covers, sides, strict=True)) / sum(covers)

    values = np.zeros(3)
    for order in itertools.permutations(range(3)):
        for place, column in enumerate(order):
            after, before = set(order[: place + 1]), set(order[:place])
            for _, tree in model.trees:
                values[column] += (expectation(tree, after) - expectation(tree, before)) / 6
    _, effects = runtime("lightgbm", trained, signed).explain(row[None])
    np.testing.assert_allclose(effects[0, 0], values, atol=1e-5)


def test_forests_are_added_with_their_shares_and_units():
    signed = signature(3, (4,))
    features = rows(signed, 50, seed=6)
    first, second = forest("lightgbm", signed, "value"), forest("xgboost", signed, "value", seed=2)
    parts = [
        Part(grown("lightgbm", first.to_bytes()), 0.7, 0, 5.0, 100.0),
        Part(grown("xgboost", second.to_bytes()), 0.3, 0, 5.0, 100.0),
        Part(grown("lightgbm", first.to_bytes()), 1.0, 1),
    ]
    identity = np.array([[1.0, 1.0], [0.0, 0.0]])
    scores = BlendRuntime(Blend(compile_trees(parts, 2), 0.0, identity), None, 4).score(features)
    own = 0.7 * first.margins(features) + 0.3 * second.margins(features)
    np.testing.assert_allclose(scores[:, :1], 100 + 5 * own, rtol=1e-5)
    np.testing.assert_allclose(scores[:, 1:], first.margins(features), atol=1e-5)


def test_what_is_compiled_ahead_is_what_a_blend_needs():
    compile_ahead()
    signed = signature(2, (3,))
    runtime("xgboost", forest("xgboost", signed), signed).explain(rows(signed, 3))
    assert len(answer_blend.signatures) == 1


def test_a_forest_can_be_read_from_its_file_by_either_library():
    signed = signature(2, (3,))
    for kind in FITS:
        trained, features = forest(kind, signed), rows(signed, 20)
        again = open_forest(kind, trained.to_bytes())
        np.testing.assert_array_equal(again.margins(features), trained.margins(features))
