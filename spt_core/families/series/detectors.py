"""What a good engineer would try first to find anomalies, and what a score without sense reaches.

Windowed PCA and isolation forests of window statistics learn from usual training windows alone; the
threshold of each keeps the same budget on the same validation readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from spt_core.data.hashing import column_hashes, uniform
from spt_core.families.baseline import Baseline, BaselineWork
from spt_core.families.series.encoding import standard, usual_rows
from spt_core.families.series.facts import sequence_field, series_facts
from spt_core.families.series.policies import fitted_policy
from spt_core.families.series.rows import filled_windows, part_table
from spt_core.families.series.statistics import window_statistics
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.outcomes import Outcomes, groups_of
from spt_core.signature import Field

COMPONENTS = (10, 3, 30)
FIT_ROWS = 4_000
TIMED_WINDOWS = 300
Floats = NDArray[np.float64]
Windows = NDArray[np.float32]
Score = Callable[[Windows], Floats]  # [N] of windows [N, T, C]


def simple_detector(work: BaselineWork, name: str) -> Baseline:
    """A detector with the threshold that its own calibration scores ask for."""
    field, head = sequence_field(work.signature), ITEM_HEADS["anomalies"]
    table = part_table(work.splits, "train", FIT_ROWS)
    windows = filled_windows(usual_rows(table, {"head": "anomalies"}), field)
    score, settings = DETECTORS[name](work, field, windows)
    policy = fitted_policy(work, lambda of: score(of)[:, None])
    work.tell(name, 1, 1)

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        truth = Truth(table, label, groups_of(table, group or work.task.group))
        scores = score(filled_windows(table, field))[:, None]
        return head.decided(work.task, (), truth, scores, policy)

    def inputs(table: pa.Table) -> list[Any]:
        return list(filled_windows(table.slice(0, TIMED_WINDOWS), field)[:, None])

    return Baseline(name, outcomes, inputs, score, settings)


def _pca(work: BaselineWork, field: Field, windows: Windows) -> tuple[Score, Mapping[str, Any]]:
    """The error of windows against their principal components, as many as serve validation best."""
    assert field.shape is not None
    facts = series_facts(field.shape, windows, head="anomalies")

    def cells(of: Windows) -> Floats:
        flat = standard(of.reshape(-1, of.shape[2]), facts)
        return flat.reshape(len(of), -1).astype(np.float64)

    def fitted(size: int) -> Score:
        rows = cells(windows)
        model = PCA(min(size, *rows.shape), random_state=work.seed).fit(rows)

        def score(of: Windows) -> Floats:
            own = cells(of)
            return np.square(own - model.inverse_transform(model.transform(own))).mean(1)

        return score

    head, metric = ITEM_HEADS["anomalies"], ITEM_HEADS["anomalies"].metrics["vus_pr"]
    held_out = work.splits.table("validation", work.max_rows)
    truth = Truth(held_out, work.splits.label, groups_of(held_out, work.splits.corpus.group))
    usual, of = head.default_policy(work.task, ()), filled_windows(held_out, field)
    tried = [(size, fitted(size)) for size in COMPONENTS[: max(work.num_trials, 1)]]
    figures = [
        metric(head.decided(work.task, (), truth, score(of)[:, None], usual)) for _, score in tried
    ]
    size, score = tried[int(np.argmax(figures))]
    return score, {"components": size}


def _forest(work: BaselineWork, field: Field, windows: Windows) -> tuple[Score, Mapping[str, Any]]:
    """How soon an isolation forest is done with a window's statistics."""
    del field
    forest = IsolationForest(n_estimators=100, random_state=work.seed, n_jobs=1)
    model = make_pipeline(SimpleImputer(keep_empty_features=True), forest)
    model.fit(window_statistics(windows))

    def score(of: Windows) -> Floats:
        usual: Any = model.score_samples  # of the last step, which its stub does not know
        return np.exp2(-usual(window_statistics(of))) - 1.0

    return score, {"trees": 100}


def _random(work: BaselineWork, field: Field, windows: Windows) -> tuple[Score, Mapping[str, Any]]:
    """A number that says nothing, the same of the same window."""
    del field, windows

    def score(of: Windows) -> Floats:
        sums = pa.array(of.reshape(len(of), -1).astype(np.float64).sum(1))
        return uniform(column_hashes(sums), work.seed)

    return score, {}


Fit = Callable[[BaselineWork, Field, Windows], tuple[Score, Mapping[str, Any]]]
DETECTORS: Mapping[str, Fit] = {
    "windowed PCA": _pca,
    "isolation forest": _forest,
    "random score": _random,
}
