"""A linear model of a table: a member of the teacher, and the baseline beside every model.

Encoded rows -> scaled numbers with indicators of missing ones, one-hot categories -> L2 penalty

Where rows are few and columns many (sets of terms above all) trees and networks have to beat it: of
the 24 diagnoses of symptom2disease, with 470 training rows and 900 columns, it finds 0.89 of the
validation rows' and forests and a network together 0.86 (mean of five folds).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from spt_core.families.tabular.boosters import Features, Metric, Rows
from spt_core.heads.base import Floats

MIN_CATEGORY_ROWS = 20  # rarer values share a coefficient
MAX_ITERATIONS = 500
STRENGTHS = (0.1, 1.0, 10.0)  # of the teacher's; the inverse of the penalty, as scikit-learn has it
MAX_ROWS = 50_000  # of the teacher's training: a linear model of a table learns no more from others
_SURE = 16.0  # log-odds


class Design:
    """What a linear model sees of encoded rows, as training rows were.

    Holds medians, means and deviations of numbers, which of them can be missing, and the frequent
    values of each category; the arrays are those of `to_arrays`.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)
        self._median, self._missing = arrays["median"], arrays["missing"]
        self._center, self._spread = arrays["center"], arrays["spread"]
        ends = np.cumsum(arrays["num_values"])
        self._values = np.split(arrays["values"], ends[:-1]) if len(ends) else []

    @property
    def num_columns(self) -> int:
        """The columns D of what a model sees."""
        return len(self._center) + sum(len(values) + 1 for values in self._values)

    @classmethod
    def of_rows(cls, rows: Features, first_category: int) -> Design:
        """The Design of training rows [N, F]; columns from `first_category` on are indices."""
        numbers = rows[:, :first_category].astype(np.float64)
        is_missing = np.isnan(numbers)
        # A column without any value carries nothing, and has no median.
        median = np.array([np.nanmedian(c) if not np.isnan(c).all() else 0.0 for c in numbers.T])
        missing = np.flatnonzero(is_missing.any(0))
        filled = np.hstack([np.where(is_missing, median, numbers), is_missing[:, missing]])
        spread = filled.std(0)
        values: list[NDArray[np.float32]] = []
        for column in rows[:, first_category:].T:
            names, counts = np.unique(column, return_counts=True)
            values.append(names[counts >= MIN_CATEGORY_ROWS])
        return cls(
            {
                "median": median,
                "missing": missing,
                "center": filled.mean(0),
                "spread": np.where(spread > 0, spread, 1.0),
                "values": np.concatenate([np.empty(0, np.float32), *values]),
                "num_values": np.array([len(v) for v in values], np.int64),
            }
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What `Design` is made of."""
        return self._arrays

    def __call__(self, rows: Features) -> sparse.csr_matrix:
        """Rows [N, F] as the model takes them [N, D]; a rare or new value has a column too."""
        first = len(self._median)
        numbers = rows[:, :first].astype(np.float64)
        is_missing = np.isnan(numbers)
        filled = np.hstack(
            [np.where(is_missing, self._median, numbers), is_missing[:, self._missing]]
        )
        parts: list[Any] = [sparse.csr_matrix((filled - self._center) / self._spread)]
        for column, values in zip(rows[:, first:].T, self._values, strict=True):
            place = np.searchsorted(values, column)
            is_frequent = place < len(values)
            is_frequent[is_frequent] = values[place[is_frequent]] == column[is_frequent]
            place = np.where(is_frequent, place, len(values))
            ones = np.ones(len(column))
            cells = (ones, (np.arange(len(column)), place))
            parts.append(sparse.csr_matrix(cells, shape=(len(column), len(values) + 1)))
        return sparse.csr_matrix(sparse.hstack(parts))


class LinearModel:
    """Logistic regression of classes, ridge regression of a number; says what a forest says.

    `size` is 0 of a number, 1 of a yes or no, else the number of classes; `seen` are the classes
    that training rows have, in the order of the coefficients.
    """

    def __init__(
        self,
        design: Design,
        arrays: Mapping[str, NDArray[Any]],
        parameters: Mapping[str, Any],
    ) -> None:
        self._design, self._arrays, self.parameters = design, dict(arrays), parameters
        self._coefficients, self._intercepts = arrays["coefficients"], arrays["intercepts"]
        self._seen, self._size = arrays["seen"], int(arrays["size"][0])

    def predict(self, features: Features) -> Floats:
        """Probabilities or values [B] of features [B, F]; of several classes [B, K]."""
        raw = self._design(features) @ self._coefficients.T + self._intercepts
        if self._size < 2:
            return expit(raw[:, 0]) if self._size else raw[:, 0]
        probabilities = np.zeros((len(raw), self._size))
        probabilities[:, self._seen] = softmax(raw, axis=1)
        return probabilities

    def to_bytes(self) -> bytes:
        """Safetensors that `open_linear` reads; no pickle."""
        arrays = {**self._design.to_arrays(), **self._arrays}
        return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def fit_linear(rows: Rows, strength: float, design: Design | None = None) -> LinearModel:
    """The model of these training rows, of one strength (the inverse of its L2 penalty)."""
    design = design or Design.of_rows(rows.train, rows.first_category)
    inputs, labels, weights = design(rows.train), rows.train_labels, rows.train_weights
    objective = rows.objective.lightgbm
    is_number = objective["objective"] == "regression"
    size = 0 if is_number else int(objective.get("num_class", 1))
    seen = np.empty(0, np.int64) if is_number else np.unique(labels).astype(np.int64)
    if len(seen) == 1:  # rows may be few, or capped, and of one class
        coefficients = np.zeros((1, design.num_columns))
        intercepts = np.array([0.0 if size > 1 else np.where(seen[0], _SURE, -_SURE)])
    else:
        model: Any = Ridge(alpha=1.0 / strength)
        if not is_number:
            model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():  # what has not converged is judged by validation rows
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs, labels, weights)
        coefficients, intercepts = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        if size > 1 and len(seen) == 2:  # scikit-learn has one row of coefficients for both
            coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
            intercepts = np.append(0.0, intercepts)
    arrays = {
        "coefficients": coefficients.astype(np.float64),
        "intercepts": intercepts.astype(np.float64),
        "seen": seen,
        "size": np.array([size], np.int64),
    }
    return LinearModel(design, arrays, {"C": strength})


def best_linear(rows: Rows, quality: Metric, *, seed: int) -> LinearModel:
    """The model of the strength whose quality on validation rows is highest, on a capped sample."""
    own = sampled(rows, MAX_ROWS, seed)
    design = Design.of_rows(own.train, own.first_category)
    truth = own.validation_labels if own.validation_targets is None else own.validation_targets
    models = [fit_linear(own, strength, design) for strength in STRENGTHS]
    return max(
        models,
        key=lambda m: quality(truth, m.predict(own.validation), own.validation_weights),
    )


def sampled(rows: Rows, max_rows: int, seed: int) -> Rows:
    """The rows with at most so many training rows, drawn at random."""
    if len(rows.train) <= max_rows:
        return rows
    drawn = np.random.default_rng(seed).permutation(len(rows.train))[:max_rows]
    weights = None if rows.train_weights is None else rows.train_weights[drawn]
    return rows._replace(
        train=rows.train[drawn], train_labels=rows.train_labels[drawn], train_weights=weights
    )


def open_linear(content: bytes) -> LinearModel:
    """The model that `to_bytes` wrote."""
    arrays = load(content)
    own = {name: arrays.pop(name) for name in ("coefficients", "intercepts", "seen", "size")}
    return LinearModel(Design(arrays), own, {})
