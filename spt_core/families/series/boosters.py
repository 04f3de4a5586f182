"""LightGBM on windows' statistics: a part of the teacher, and a baseline."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from spt_core.families.series.statistics import window_statistics
from spt_core.task import Head

Floats = NDArray[np.float64]
Windows = NDArray[np.float32]
PATIENCE = 30
_PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
}


class WindowBooster:
    """Values [N, 1] or logits [N, K] of windows [N, T, C]."""

    def __init__(self, model: str, head: Head) -> None:
        self._booster, self._head = lightgbm.Booster(model_str=model), head

    def outputs(self, windows: Windows) -> Floats:
        """What it says, in the units of its targets."""
        predictions = np.asarray(self._booster.predict(window_statistics(windows), num_threads=1))
        if self._head == "single_label":
            return np.log(np.clip(predictions, 1e-9, 1.0))
        return predictions[:, None]

    @property
    def num_trees(self) -> int:
        """How many there are of each class."""
        return self._booster.current_iteration()

    def to_text(self) -> str:
        """The model as LightGBM writes it: text, which holds no code."""
        return self._booster.model_to_string()


def fit_booster(
    head: Head,
    train: tuple[Windows, NDArray[np.float32]],
    held_out: tuple[Windows, NDArray[np.float32]] | None,
    *,
    num_trees: int,
    seed: int,
    **parameters: Any,
) -> WindowBooster:
    """The booster of training windows and targets [N, K], stopped early on held-out ones if any."""
    is_class = head == "single_label"
    objective: dict[str, Any] = {"objective": "regression"}
    if is_class:
        objective = {"objective": "multiclass", "num_class": train[1].shape[1]}
    rows = lightgbm.Dataset(window_statistics(train[0]), _labels(train[1], is_class=is_class))
    held: list[lightgbm.Dataset] = []
    stopping: list[Any] = []
    if held_out is not None:
        labels = _labels(held_out[1], is_class=is_class)
        held = [lightgbm.Dataset(window_statistics(held_out[0]), labels, reference=rows)]
        stopping = [lightgbm.early_stopping(PATIENCE, verbose=False)]
    booster = lightgbm.train(
        {**_PARAMETERS, **objective, "seed": seed, **parameters},
        rows,
        num_boost_round=num_trees,
        valid_sets=held,
        callbacks=stopping,
    )
    text = booster.model_to_string(num_iteration=booster.best_iteration if held else -1)
    return WindowBooster(text, head)


def _labels(targets: NDArray[np.float32], *, is_class: bool) -> NDArray[Any]:
    return targets.argmax(1) if is_class else targets[:, 0]
