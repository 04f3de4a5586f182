"""INT8 of convolutions for CPUs: graph + rows -> Q/DQ graph that ONNX Runtime fuses.

Static and per channel: the ranges of activations are read off rows (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from spt_core.artifacts import GRAPH
from spt_core.errors import InputError

MAX_CALIBRATION_ROWS = 128


def static_graph(content: bytes, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> bytes:
    """The graph with 8-bit convolutions; what is summed of them stays in full precision.

    Weights take 7 bits: processors without VNNI add two products in 16 bits, which 8 overflow, and
    would answer otherwise than the ones with it. InputError where nothing is fed.
    """
    model = onnx.load_model_from_string(content)
    fed = list(feeds)
    if not fed:
        raise InputError("the ranges of activations are read off rows, however: there are none")
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / GRAPH
        quantize_static(
            model,
            path,
            Feeds(fed),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return path.read_bytes()


class Feeds(CalibrationDataReader):
    """Feeds one after the other, as the library asks for them."""

    def __init__(self, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Any:
        """The next feed; None after the last."""
        return next(self._feeds, None)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Without the library's advice on the root logger to prepare the graph."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
