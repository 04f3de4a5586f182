"""Runs an exported text model on ONNX Runtime: one graph, its tokenizer and facts beside it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from spt_core.runtime.onnx import INPUT, open_session

GRAPH, TOKENIZER, FACTS = "model.onnx", "tokenizer.json", "facts.json"
PAIRS = "pairs"
OUTPUTS = ("logits", "shares", "scale")


class OnnxTextRuntime:
    """One graph: calibrated logits, the tokens' shares of them, the scale. Thread-safe."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph)
        self._takes_pairs = PAIRS in {value.name for value in self._session.get_inputs()}

    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits, shares and scale, as TextRuntime says."""
        inputs = {INPUT: features, PAIRS: pairs} if self._takes_pairs else {INPUT: features}
        logits, shares, scale = cast(list[Any], self._session.run(None, inputs))
        return logits, shares, scale
