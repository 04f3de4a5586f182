"""What scores encoded rows in a replica: a student or a blend on compiled code."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spt_core.families.tabular.blend import Blend
from spt_core.families.tabular.compiled import BETA, answer_blend, answer_student
from spt_core.families.tabular.kernel import Floats, Kernel
from spt_core.families.tabular.trees import Trees


class Runtime(Protocol):
    """Scores encoded rows. Thread-safe, holds the weights, raises nothing on finite input."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B] of decisions, else scores [B, K], of features [B, F]."""
        ...

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same, and signed effects [B, F] on the log-odds, or [B, K, F] on the scores."""
        ...


class KernelRuntime:
    """Single rows on the compiled kernel, batches on another runtime of the same model."""

    def __init__(self, kernel: Kernel, batches: Runtime) -> None:
        self._kernel, self._batches = kernel, batches
        self._no_effects = np.empty((0, 0))
        self._is_decision = len(kernel.calibration) == BETA
        self._num_scores = kernel.calibration.shape[1]
        self.score(np.zeros((1, len(kernel.places)), np.float32))  # compiles, or finds it compiled

    def score(self, features: Floats) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B], or scores [B, K]."""
        if len(features) != 1:
            return self._batches.score(features)
        scores = np.empty(self._num_scores)
        answer_student(self._kernel, features[0], scores, self._no_effects)
        return scores if self._is_decision else scores[None]

    def explain(
        self, features: Floats
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same and effects [B, F], or [B, K, F]."""
        if len(features) != 1:
            return self._batches.explain(features)
        num_scores = self._num_scores
        scores, effects = np.empty(num_scores), np.empty((num_scores, features.shape[1]))
        answer_student(self._kernel, features[0], scores, effects)
        return (scores, effects) if self._is_decision else (scores[None], effects[None])


class BlendRuntime:
    """Rows one after the other on compiled code, of a batch too."""

    def __init__(self, blend: Blend, kernel: Kernel | None, num_columns: int) -> None:
        self._blend, self._kernel = blend, kernel or _no_kernel(len(blend.calibration.T))
        self._no_effects = np.empty((0, 0, 0))
        self.score(np.zeros((1, num_columns), np.float32))  # compiles, or finds it compiled

    def score(self, features: Floats) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B] of decisions, scores [B, K] of others."""
        return self._answer(features, self._no_effects)

    def explain(
        self, features: Floats
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same and effects [B, F], or [B, K, F]."""
        num_scores = self._blend.calibration.shape[1]
        effects = np.empty((len(features), num_scores, features.shape[1]))
        scores = self._answer(features, effects)
        return scores, effects[:, 0] if scores.ndim == 1 else effects

    def _answer(self, features: Floats, effects: NDArray[np.float64]) -> NDArray[np.floating[Any]]:
        trees, share, calibration = self._blend
        scores = np.empty((len(features), calibration.shape[1]))
        rows = np.ascontiguousarray(features)
        answer_blend(self._kernel, trees, share, calibration, rows, scores, effects)
        return scores[:, 0] if len(calibration) == BETA else scores


def compile_ahead() -> None:
    """Compile before there is a model, as the installation does: the first one need not wait."""
    row = np.zeros((1, 1), np.float32)
    answer_student(_no_kernel(1), row[0], np.empty(1), np.empty((1, 1)))
    whole, single = np.zeros(1, np.int32), np.zeros(1, np.float32)
    trees = Trees(
        firsts=whole,
        outputs=whole[:0],
        num_blocks=whole[:0],
        column=whole,
        threshold=single,
        missing_left=np.zeros(1, np.uint8),
        sets=np.zeros((1, 2), np.int32),
        words=np.zeros(1, np.uint32),
        above=whole,
        below=whole,
        value=single,
        earlier=whole,
        share=single,
        points=np.zeros((1, 2, 4), np.float32),
        bias=np.zeros((2, 1)),
    )
    BlendRuntime(Blend(trees, 0.0, np.zeros((2, 1))), None, 1).explain(row)


def _no_kernel(num_scores: int) -> Kernel:
    """A student that says nothing, for forests that answer alone."""
    return Kernel(
        places=np.zeros((1, 2), np.int64),
        ramps=np.zeros((0, 2), np.float32),
        steps=np.zeros((0, 1), np.float32),
        sums=np.zeros((1, 1), np.float32),
        centers=np.zeros((2, 1), np.float32),
        sizes=np.ones(1, np.int64),
        upper=np.zeros(2 * num_scores, np.float32),
        calibration=np.zeros((2, num_scores), np.float32),
    )
