"""What a good engineer would try first: LightGBM, XGBoost and a linear model, tuned; and rules.

Same training rows, same encoded columns; tuned with Optuna on the validation rows alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.errors import InputError
from spt_core.families.baseline import Baseline, Baselines, BaselineWork
from spt_core.families.tabular.boosters import (
    Features,
    Metric,
    Rows,
    quality_of,
    tune,
)
from spt_core.families.tabular.linear import Design, LinearModel, fit_linear
from spt_core.families.tabular.outputs import Target
from spt_core.families.tabular.reading import Encoder
from spt_core.families.tabular.rows import booster_rows, target_of
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Floats, Truth
from spt_core.heads.labels import indicators
from spt_core.heads.outcomes import Outcomes, groups_of, outcomes
from spt_core.policy import Policy
from spt_core.task import Rule

Predict = Callable[[Features], Floats]
LINEAR = ("logistic regression", "ridge regression")  # of classes, of a number
FORESTS: Mapping[str, str] = {"LightGBM": "lightgbm", "XGBoost": "xgboost"}
TIMED_ROWS = 500


def tune_baselines(work: BaselineWork) -> Baselines:
    """Every baseline at its best of `num_trials` trials by the task's metric on validation rows."""
    target = target_of(work.task, work.splits, "none")
    quality = quality_of(work.task, target)
    rows = booster_rows(work.splits, work.signature, target, limit=work.max_rows)
    validation = work.splits.table("validation", limit=work.max_rows)
    done, total = itertools.count(1), work.num_trials * (len(FORESTS) + 1)

    def tells(name: str) -> Callable[[str, int], None]:
        def tell(kind: str, trial: int) -> None:
            del kind, trial
            work.tell(name, next(done), total)

        return tell

    fitted: list[Baseline] = []
    for name, kind in FORESTS.items():
        forest = tune(
            kind, rows, quality, num_trials=work.num_trials, seed=work.seed, on_trial=tells(name)
        )
        fitted.append(_baseline(name, forest.predict, forest.parameters, work, target, validation))
    name = LINEAR[target.head == "regression"]
    linear = _linear(rows, quality, work, tells(name))
    fitted.append(_baseline(name, linear.predict, linear.parameters, work, target, validation))
    left_out: dict[str, str] = {}
    for name, rule in work.task.rules.items():
        try:
            fitted.append(_of_rule(name, rule, work, target))
        except InputError as error:  # the corpus lacks a column that the rule is made of
            left_out[name] = str(error)
    return Baselines(fitted, left_out)


def _baseline(
    name: str,
    predict: Predict,
    parameters: Mapping[str, Any],
    work: BaselineWork,
    target: Target,
    validation: pa.Table,
) -> Baseline:
    """What predicts from features [B, F] as a benchmark takes it.

    A decision is taken at the costs that the model's is; other policies are fitted on validation
    rows, as the baseline was.
    """
    encoder, head, task = Encoder(work.signature), ITEM_HEADS[work.task.head], work.task

    def said(table: pa.Table) -> Floats:
        scores = target.output.of_forest(predict(encoder.table(table)))
        return head.outputs(target.output.said_scores(scores, target))

    def decided(table: pa.Table, label: str, group: str | None, policy: Policy) -> Outcomes:
        truth = Truth(table, label, groups_of(table, group or task.group))
        return head.decided(task, target.classes, truth, said(table), policy)

    policy = work.policy
    if task.head != "binary":
        usual = head.default_policy(task, target.classes)
        policy = head.policy(task, decided(validation, work.splits.label, None, usual))

    def inputs(table: pa.Table) -> list[Any]:
        features = encoder.table(table.slice(0, TIMED_ROWS))
        return [features[i : i + 1] for i in range(len(features))]

    return Baseline(
        name,
        lambda table, label, group: decided(table, label, group, policy),
        inputs,
        predict,
        parameters,
    )


def _of_rule(name: str, rule: Rule, work: BaselineWork, target: Target) -> Baseline:
    """A task's rule as a baseline: it gives its class, however rarely that is right.

    Its probabilities are how often training rows of which it says the same have each class, all
    classes counting once more by their shares.
    """
    classes, task = list(target.classes), work.task

    def places(table: pa.Table) -> NDArray[np.int64]:
        return np.array([classes.index(said) for said in rule(table)], np.int64)

    train = work.splits.table("train", limit=work.max_rows)
    true = indicators([[said] for said in train[work.splits.label].to_pylist()], classes)
    rates = np.zeros((len(classes), len(classes)))
    np.add.at(rates, places(train), true)
    rates += true.mean(0)
    rates /= rates.sum(1, keepdims=True)

    def outcomes_of(table: pa.Table, label: str, group: str | None) -> Outcomes:
        given = places(table)
        labels = indicators([[name] for name in table[label].to_pylist()], classes)
        groups = groups_of(table, group or task.group)
        return outcomes(classes, labels, rates[given], np.eye(len(classes))[given], groups=groups)

    def inputs(table: pa.Table) -> list[Any]:
        return [table.slice(row, 1) for row in range(min(table.num_rows, TIMED_ROWS))]

    return Baseline(name, outcomes_of, inputs, rule, {})


def _linear(
    rows: Rows, quality: Metric, work: BaselineWork, on_trial: Callable[[str, int], None]
) -> LinearModel:
    """The linear model of the best penalty."""
    design = Design.of_rows(rows.train, rows.first_category)
    truth = rows.validation_labels if rows.validation_targets is None else rows.validation_targets
    best: list[tuple[float, LinearModel]] = []

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("C", 1e-4, 100.0, log=True)
        model = fit_linear(rows, strength, design)
        value = quality(truth, model.predict(rows.validation), rows.validation_weights)
        if not best or value > best[0][0]:
            best[:] = [(value, model)]
        on_trial("linear", trial.number + 1)
        return value

    sampler = optuna.samplers.TPESampler(seed=work.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({"C": 1.0})
    study.optimize(objective, n_trials=work.num_trials)
    return best[0][1]
