"""Figures per group of a protected attribute, which the model itself never sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.benchmark.gaps import Estimate, pairs
from spt_core.heads.metrics import calibration_error, roc_auc
from spt_core.heads.outcomes import OutcomeMetric, Outcomes
from spt_core.policy import DecisionPolicy
from spt_core.task import ComparedRate

MIN_GROUP_ROWS = 50
MAX_GROUPS = 12
AGE_EDGES = (25, 40, 62)  # 12 CFR 1002.2(o): an elderly applicant is 62 or older


def subgroup_figures(
    table: pa.Table,
    protected: tuple[str, ...],
    of: Outcomes,
    policy: DecisionPolicy,
    compared: ComparedRate,
) -> dict[str, list[dict[str, Any]]]:
    """Per protected column and group: rows, base rate, rates of decisions, AUC, calibration error.

    `recall` is the share of positives that are not approved: that are found. `impact_ratio` is the
    group's rate over the best group's, of approvals or of recall as the task has it: where approval
    is a benefit, a ratio below 0.8 fails the four-fifths rule of 29 CFR 1607.4(D), which lenders
    use as a first screen; where it is none, equal recall is equal opportunity (Hardt, Price and
    Srebro, "Equality of opportunity in supervised learning", 2016). It is None where fewer than two
    groups have MIN_GROUP_ROWS rows that the rate is a share of, or all rates are 0.

    The best of many groups is in part so by chance: `beyond_chance` says whether a group's rate is
    below another's by more than that, as 29 CFR 1607.4(D) asks of differences in small numbers
    (gaps.py, of as many independent rows as there are groups of rows, less what weights take).
    """
    figures = {
        column: [
            _figures(name, of.take(np.flatnonzero(rows)), policy, compared) for name, rows in groups
        ]
        for column, groups in _members(table, protected)
    }
    for rows in figures.values():
        rates = [row[compared] for row in rows if _is_known(row, compared)]
        best = max(rates, default=0.0)
        behind = _behind(rows, compared) if len(rates) > 1 and best > 0 else set[str]()
        for row in rows:
            is_compared = _is_known(row, compared) and len(rates) > 1 and best > 0
            row["impact_ratio"] = row[compared] / best if is_compared else None
            row["beyond_chance"] = row["group"] in behind
    return figures


def _behind(rows: Sequence[Mapping[str, Any]], compared: ComparedRate) -> set[str]:
    """The groups whose rate is below another's beyond chance."""
    judged = [row for row in rows if _is_known(row, compared)]
    estimates = [Estimate(row["group"], row[compared], 0.0, row["num_compared"]) for row in judged]
    return {pair.lower for pair in pairs(estimates) if pair.high < 1.0}


def _is_known(row: Mapping[str, Any], compared: ComparedRate) -> bool:
    return compared == "approval_rate" or row["num_positives"] >= MIN_GROUP_ROWS


def compared_outcomes(
    of: Outcomes, policy: DecisionPolicy, compared: ComparedRate
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows [N] a rate is a share of, and which of them count: approvals, found positives."""
    approved = of.probabilities[:, 0] < policy.review_threshold
    if compared == "approval_rate":
        return np.ones(len(approved), np.bool_), approved
    return of.labels[:, 0] == 1, ~approved


def compared_share(of: Outcomes, policy: DecisionPolicy, compared: ComparedRate) -> float:
    """The rate that groups are compared by; NaN of no row that it is a share of."""
    rows, counts = compared_outcomes(of, policy, compared)
    weights = rows if of.weights is None else rows * of.weights
    return float(np.average(counts, weights=weights)) if weights.sum() else float("nan")


def subgroup_metrics(
    table: pa.Table,
    protected: tuple[str, ...],
    of: Outcomes,
    metrics: Mapping[str, OutcomeMetric],
) -> dict[str, list[dict[str, Any]]]:
    """Per protected column and group: rows and each metric; NaN, where it is not defined, is None.

    `of` has an item for each row of the table.
    """
    return {
        column: [
            {"group": name, "num_rows": int(rows.sum())}
            | {
                key: _number(metric(of.take(np.flatnonzero(rows))))
                for key, metric in metrics.items()
            }
            for name, rows in groups
        ]
        for column, groups in _members(table, protected)
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _members(
    table: pa.Table, protected: tuple[str, ...]
) -> Iterator[tuple[str, list[tuple[str, NDArray[np.bool_]]]]]:
    """Each protected column, with the rows [N] of each of its groups that is large enough."""
    for column, groups in members(table, protected):
        large = [(name, rows) for name, rows in groups if rows.sum() >= MIN_GROUP_ROWS]
        yield column, large


def members(
    table: pa.Table, protected: tuple[str, ...]
) -> Iterator[tuple[str, list[tuple[str, NDArray[np.bool_]]]]]:
    """Each protected column, with the rows [N] of each of its groups, the largest first."""
    for column in protected:
        if column not in table.column_names:
            continue
        groups = _groups(column, table[column].to_pandas())
        names = groups.value_counts().index[:MAX_GROUPS]
        yield column, [(str(name), (groups == name).to_numpy()) for name in names]


def _groups(column: str, values: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(values) or values.nunique() <= MAX_GROUPS:
        return values.astype("string").fillna("missing")
    edges = AGE_EDGES if column.lower() == "age" else tuple(values.quantile([0.25, 0.5, 0.75]))
    bins = [-np.inf, *sorted(set(edges)), np.inf]
    return pd.cut(values, bins, right=False).astype("string").fillna("missing")


def _figures(
    name: str, of: Outcomes, policy: DecisionPolicy, compared: ComparedRate
) -> dict[str, Any]:
    labels, probabilities, weights = of.labels[:, 0], of.probabilities[:, 0], of.weights
    both_classes = 0 < labels.sum() < len(labels)
    return {
        "group": name,
        "num_rows": len(labels),
        "num_positives": int(labels.sum()),
        "num_compared": _num_independent(of, compared_outcomes(of, policy, compared)[0]),
        "base_rate": float(np.average(labels, weights=weights)),
        "mean_probability": float(np.average(probabilities, weights=weights)),
        "approval_rate": compared_share(of, policy, "approval_rate"),
        "recall": _number(compared_share(of, policy, "recall")),
        "roc_auc": roc_auc(labels, probabilities, weights) if both_classes else None,
        "calibration_error": calibration_error(labels, probabilities, weights),
    }


def _num_independent(of: Outcomes, counted: NDArray[np.bool_]) -> float:
    """Of how many independent rows a rate is: at most one of a group, by Kish's rule of weights."""
    size = float(len(np.unique(of.groups[counted])))
    if of.weights is None or not size:
        return size
    weights = of.weights[counted]
    return min(size, float(weights.sum() ** 2 / (weights**2).sum()))
