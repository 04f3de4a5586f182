"""Runs an exported text model on ONNX Runtime: one graph, its tokenizer and facts beside it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from spt_core.runtime.onnx import INPUT, open_session

GRAPH, TOKENIZER, FACTS = "model.onnx", "tokenizer.json", "facts.json"
PAIRS = "pairs"
OUTPUTS = ("logits", "shares")


class OnnxTextRuntime:
    """One graph: calibrated logits, and the tokens' shares of them. Thread-safe."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph)
        self._takes_pairs = PAIRS in {value.name for value in self._session.get_inputs()}

    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits and shares, as TextRuntime says."""
        inputs = {INPUT: features, PAIRS: pairs} if self._takes_pairs else {INPUT: features}
        logits, shares = cast(list[Any], self._session.run(None, inputs))
        return logits, shares
