"""Figures per group of a protected attribute, which the model itself never sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.heads.metrics import calibration_error, roc_auc
from spt_core.heads.outcomes import OutcomeMetric, Outcomes
from spt_core.policy import DecisionPolicy

MIN_GROUP_ROWS = 50
MAX_GROUPS = 12
AGE_EDGES = (25, 40, 62)  # 12 CFR 1002.2(o): an elderly applicant is 62 or older


def subgroup_figures(
    table: pa.Table,
    protected: tuple[str, ...],
    of: Outcomes,
    policy: DecisionPolicy,
) -> dict[str, list[dict[str, Any]]]:
    """Per protected column and group: rows, base rate, approval rate, AUC, calibration error.

    `impact_ratio` is the group's approval rate over the best group's; below 0.8 it fails the
    four-fifths rule of 29 CFR 1607.4(D), which lenders use as a first screen. It is None where
    there is no second group to compare with, or no approval.
    """
    figures = {
        column: [
            _figures(name, of.take(np.flatnonzero(rows)), policy.review_threshold)
            for name, rows in groups
        ]
        for column, groups in _members(table, protected)
    }
    for rows in figures.values():
        best = max((row["approval_rate"] for row in rows), default=0.0)
        is_compared = len(rows) > 1 and best > 0
        for row in rows:
            row["impact_ratio"] = row["approval_rate"] / best if is_compared else None
    return figures


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


def _figures(name: str, of: Outcomes, review_threshold: float) -> dict[str, Any]:
    labels, probabilities, weights = of.labels[:, 0], of.probabilities[:, 0], of.weights
    both_classes = 0 < labels.sum() < len(labels)
    approved = probabilities < review_threshold
    return {
        "group": name,
        "num_rows": len(labels),
        "base_rate": float(np.average(labels, weights=weights)),
        "mean_probability": float(np.average(probabilities, weights=weights)),
        "approval_rate": float(np.average(approved, weights=weights)),
        "roc_auc": roc_auc(labels, probabilities, weights) if both_classes else None,
        "calibration_error": calibration_error(labels, probabilities, weights),
    }
