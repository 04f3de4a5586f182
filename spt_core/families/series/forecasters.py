"""What a good engineer would try first to foretell demand, intermittent demand too.

A method says the mean of each step to come from the target's own window; its quantiles are those of
a negative binomial distribution with that mean and the window's variance (Poisson's where it is
less). `zero` says that nothing comes, `in-sample quantiles` those of the window itself. Validation
rows choose the smoothing, and calibration rows move the levels as they move the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import nbinom

from spt_core.families.baseline import Baseline, BaselineWork
from spt_core.families.series.facts import columns_ahead, sequence_field
from spt_core.families.series.policies import fitted_policy
from spt_core.families.series.rows import filled_windows, part_table
from spt_core.families.series.statistics import window_statistics
from spt_core.heads import ITEM_HEADS, metric_of
from spt_core.heads.base import Truth
from spt_core.heads.forecasts import LEVELS
from spt_core.heads.outcomes import Outcomes, groups_of
from spt_core.signature import Field, SequenceShape

SMOOTHINGS = (0.1, 0.05, 0.2, 0.3)
IN_SAMPLE = "in-sample quantiles"
UNSMOOTHED = ("zero", IN_SAMPLE)
BOOSTED = "LightGBM (Tweedie)"
LEAST_MEAN = 1e-3
SPREAD = 1.05  # times the mean: the least variance of a negative binomial distribution
FIT_ROWS = 50_000
TIMED_WINDOWS = 300
Floats = NDArray[np.float64]
Windows = NDArray[np.float32]
Foretell = Callable[[Windows], Floats]  # quantiles [N, H, Q] of windows [N, T, C]
Mean = Callable[[Floats, float], Floats]  # the mean of a step [N] of demand [N, T], with alpha


def simple_forecast(work: BaselineWork, name: str) -> Baseline:
    """A forecast with the smoothing that serves validation rows best, and a policy of its own."""
    field, head, metric = (
        sequence_field(work.signature),
        ITEM_HEADS["forecasts"],
        metric_of(work.task),
    )
    table = part_table(work.splits, "validation", work.max_rows)
    truth = Truth(table, work.splits.label, groups_of(table, work.splits.corpus.group))
    usual = head.default_policy(work.task, ())
    assert field.shape is not None
    own = field.shape.channels.index(work.splits.label)
    tried = _fits(work, name, field, own)[: max(work.num_trials, 1)]
    best: tuple[float, Foretell, Mapping[str, Any]] | None = None
    for number, (foretell, settings) in enumerate(tried, 1):
        of = head.decided(work.task, (), truth, foretell(filled_windows(table, field)), usual)
        value = metric.sign * metric(of)
        if best is None or value > best[0]:
            best = (value, foretell, settings)
        work.tell(name, number, len(tried))
    assert best is not None, "there is at least one"
    _, foretell, settings = best
    policy = fitted_policy(work, foretell)

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        truth = Truth(table, label, groups_of(table, group or work.task.group))
        return head.decided(work.task, (), truth, foretell(filled_windows(table, field)), policy)

    def inputs(table: pa.Table) -> list[Any]:
        return list(filled_windows(table.slice(0, TIMED_WINDOWS), field)[:, None])

    return Baseline(name, outcomes, inputs, foretell, settings)


def _fits(
    work: BaselineWork, name: str, field: Field, own: int
) -> list[tuple[Foretell, Mapping[str, Any]]]:
    if name == BOOSTED:
        return [(_boosted(work, field, own), {"objective": "tweedie"})]
    assert field.shape is not None
    if name in UNSMOOTHED:
        return [(foretelling(name, SMOOTHINGS[0], own, field.shape), {})]
    return [(foretelling(name, alpha, own, field.shape), {"alpha": alpha}) for alpha in SMOOTHINGS]


def foretelling(name: str, alpha: float, own: int, shape: SequenceShape) -> Foretell:
    """What a method of FORECASTS says of windows, of the target in column `own`."""
    mean = FORECASTS[name]

    def foretell(of: Windows) -> Floats:
        demand = of[:, : shape.length, own].astype(np.float64)
        if name == IN_SAMPLE:
            return _repeated(_in_sample(demand), shape.horizon)
        return _repeated(quantiles_of(mean(demand, alpha), demand.var(1)), shape.horizon)

    return foretell


def quantiles_of(mean: Floats, variance: Floats) -> Floats:
    """Quantiles [N, Q] of negative binomial distributions; all 0 where nothing is expected."""
    safe = np.maximum(mean, LEAST_MEAN)
    spread = np.maximum(variance, SPREAD * safe)
    share = safe / spread
    size = safe * share / (1.0 - share)
    quantiles = nbinom.ppf(np.array(LEVELS), size[:, None], share[:, None])
    return np.where(mean[:, None] > 0, quantiles, 0.0)


def zero(demand: Floats, alpha: float) -> Floats:
    """Nothing."""
    del alpha
    return np.zeros(len(demand))


def ses(demand: Floats, alpha: float) -> Floats:
    """Simple exponential smoothing."""
    level = demand[:, :3].mean(1)
    for step in demand.T:
        level = level + alpha * (step - level)
    return level


def croston(demand: Floats, alpha: float) -> Floats:
    """Croston, "Forecasting and stock control for intermittent demands", ORQ 1972."""
    size, gap = _croston(demand, alpha)
    return size / gap


def sba(demand: Floats, alpha: float) -> Floats:
    """Croston's without its bias: Syntetos and Boylan, IJF 2005."""
    return (1.0 - alpha / 2.0) * croston(demand, alpha)


def tsb(demand: Floats, alpha: float) -> Floats:
    """Size and probability, updated each step: Teunter, Syntetos and Babai, EJOR 2011."""
    is_demand = demand > 0
    probability = is_demand.mean(1)
    size = _mean_size(demand)
    for step, there in zip(demand.T, is_demand.T, strict=True):
        probability = probability + alpha * (there - probability)
        size = np.where(there, size + alpha * (step - size), size)
    return probability * size


def _croston(demand: Floats, alpha: float) -> tuple[Floats, Floats]:
    """The smoothed size of a demand and the steps between two, by window."""
    is_demand = demand > 0
    size = _mean_size(demand)
    gap = demand.shape[1] / np.maximum(is_demand.sum(1), 1)
    since = np.ones(len(demand))
    for step, there in zip(demand.T, is_demand.T, strict=True):
        size = np.where(there, size + alpha * (step - size), size)
        gap = np.where(there, gap + alpha * (since - gap), gap)
        since = np.where(there, 1.0, since + 1.0)
    return size, np.maximum(gap, 1.0)


def _mean_size(demand: Floats) -> Floats:
    return demand.sum(1) / np.maximum((demand > 0).sum(1), 1)


def _in_sample(demand: Floats) -> Floats:
    return np.quantile(demand, LEVELS, axis=1, method="inverted_cdf").T.astype(np.float64)


def _repeated(quantiles: Floats, horizon: int) -> Floats:
    return np.repeat(quantiles[:, None], horizon, axis=1)


def _boosted(work: BaselineWork, field: Field, own: int) -> Foretell:
    assert field.shape is not None
    table = part_table(work.splits, "train", min(work.max_rows, FIT_ROWS))
    truth = Truth(table, work.splits.label, groups_of(table, None))
    came = ITEM_HEADS["forecasts"].truths(work.task, (), truth)
    return boosted_forecast(filled_windows(table, field), came, own, field.shape, seed=work.seed)


def boosted_forecast(
    windows: Windows, came: Floats, own: int, shape: SequenceShape, *, seed: int
) -> Foretell:
    """LightGBM with Tweedie loss on statistics: the mean demand of a step of the horizon.

    Fitted to windows [N, T, C] and what came of them [N, H]. Where something is known in advance,
    of each step by itself, by its number and what is known.
    """
    means = came.ravel() if shape.num_ahead else came.mean(1)
    rows = lightgbm.Dataset(step_figures(windows, own, shape), means)
    parameters = {
        "objective": "tweedie",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 50,
        "verbosity": -1,
        "num_threads": 1,
        "seed": seed,
        "deterministic": True,
    }
    booster = lightgbm.train(parameters, rows, num_boost_round=200)

    def foretell(of: Windows) -> Floats:
        figures = step_figures(of, own, shape)
        mean = np.asarray(booster.predict(figures, num_threads=1), np.float64)
        variance = of[:, : shape.length, own].astype(np.float64).var(1)
        if not shape.num_ahead:
            return _repeated(quantiles_of(mean, variance), shape.horizon)
        quantiles = quantiles_of(mean, np.repeat(variance, shape.horizon))
        return quantiles.reshape(len(of), shape.horizon, -1)

    return foretell


def step_figures(windows: Windows, own: int, shape: SequenceShape) -> NDArray[np.float32]:
    """Window statistics, the share of steps with demand, and the last steps as they are [N, F].

    Where something is known in advance [N * H, F + K + 1]: the same for each step to come, with
    what is known of it and its number.
    """
    readings = windows[:, : shape.length]
    demand = readings[:, :, own]
    figures = np.column_stack([window_statistics(readings), (demand > 0).mean(1), demand[:, -6:]])
    if not shape.num_ahead:
        return figures
    plans = windows[:, shape.length :, columns_ahead(shape)].reshape(
        len(windows) * shape.horizon, -1
    )
    numbers = np.tile(np.arange(shape.horizon, dtype=np.float32), len(windows))
    return np.column_stack([np.repeat(figures, shape.horizon, 0), plans, numbers])


FORECASTS: Mapping[str, Mean] = {
    "zero": zero,
    IN_SAMPLE: zero,  # whose quantiles are not those of a mean
    "SES": ses,
    "Croston": croston,
    "SBA": sba,
    "TSB": tsb,
}
