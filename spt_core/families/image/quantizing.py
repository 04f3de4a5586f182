"""What INT8 of a model of images takes beside its graph: rows to read ranges off, a new reach.

Rounded activations lie farther from training's than exact ones: in one trained model a tenth of
held-out images, not a hundredth, were beyond the reach that full precision had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.families.image.reading import features_of
from spt_core.families.image.serving import REACH, EncodedImage, OnnxImageRuntime
from spt_core.families.onnx import INPUT

WHITENING = "whitening"  # as the graph's initializer is named, behind its module


class ImageQuantizing:
    """The Quantizing of images."""

    def feeds(self, predictor: Any, rows: Iterable[EncodedImage]) -> Iterator[dict[str, Any]]:
        """What the graph is fed with for encoded images."""
        del predictor
        for row in rows:
            yield {INPUT: features_of(row.levels[None])}

    def settled(self, graph: bytes, rows: Sequence[EncodedImage]) -> bytes:
        """The graph with distances of 1 where the farthest of held-out rows lie, as before."""
        runtime = OnnxImageRuntime(graph)
        apart = [float(runtime.explain(features_of(row.levels[None]))[2][0]) for row in rows]
        reached = float(np.quantile(apart, REACH, method="higher"))
        return graph if reached <= 1.0 else rescaled(graph, 1.0 / reached)


def rescaled(graph: bytes, factor: float) -> bytes:
    """The graph with each distance multiplied."""
    import onnx  # replicas do without
    from onnx import numpy_helper

    model = onnx.load_model_from_string(graph)
    (own,) = (value for value in model.graph.initializer if value.name.endswith(WHITENING))
    scaled: NDArray[np.float32] = numpy_helper.to_array(own) * np.float32(factor)
    own.CopyFrom(numpy_helper.from_array(scaled, own.name))
    return model.SerializeToString()
