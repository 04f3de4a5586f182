"""What every runtime offers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """Scores encoded rows. Thread-safe, holds the weights, raises nothing on finite input."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B] of features [B, F]."""
        ...

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Calibrated probabilities [B], and signed effects on the log-odds [B, F]."""
        ...


class TextRuntime(Protocol):
    """Runs windows of token ids. Thread-safe, holds the weights."""

    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Calibrated logits of windows [W, K] (span: [W, T, K]), the tokens' shares, the scale [K].

        `features` are ids [W, T]; for the pair head, logits [P, K] and shares [P, T, K] of `pairs`
        [P, 5], at least one: window, first and last token of either mention. Others ignore them.
        The scale is what calibration multiplied the logits and the shares by; above 0.
        """
        ...
