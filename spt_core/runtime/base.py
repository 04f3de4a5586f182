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
