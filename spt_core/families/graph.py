"""Network -> ONNX bytes that say nothing of where they were made."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

OPSET = 18


class Exported(NamedTuple):
    """A model's runtime files, the proof that they answer like its checkpoint, and probes."""

    contents: Mapping[str, bytes]
    parity: Mapping[str, Any]
    probes: Mapping[str, Any]


class Method(nn.Module):
    """One method of a network as a module, which is what the exporter takes."""

    def __init__(self, network: nn.Module, method: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self._method = network, method

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the method gives."""
        return self._method(*inputs)


def graph(
    module: nn.Module,
    examples: Sequence[torch.Tensor],
    shapes: Mapping[str, Mapping[int, Any]],
    outputs: Sequence[str],
) -> bytes:
    """The module as ONNX; `shapes` name its inputs in order, and their dynamic dimensions."""
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(examples),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(shapes),
            output_names=list(outputs),
            dynamic_shapes=(tuple(dict(dims) for dims in shapes.values()),),
            verbose=False,
        )
        assert program is not None
        program.optimize()
        model = program.model_proto
    # The exporter writes where its source lies into every node: the bytes would depend on the path.
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    return model.SerializeToString()


def gap(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest absolute difference."""
    return float(np.max(np.abs(actual - expected))) if expected.size else 0.0


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep the exporter's notices about itself off the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
