"""TensorRT, CUDA and NVML as far as this project calls them, on the processor: plans are graphs.

It shows that the calls fit together and what becomes of their failures, not that TensorRT has them.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from spt_core.families.onnx import open_session

BROKEN = b"broken"


class Fakes:
    """The modules by name, and what was called."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.calls: list[str] = []
        self.missing: list[str] = []  # weights that a refit leaves
        self.parses, self.fails = True, ""
        self.driver = "580.95.05"
        self.modules: Mapping[str, Any] = {
            "tensorrt": self._tensorrt(),
            "cuda.bindings.runtime": self._cuda(),
            "pynvml": types.SimpleNamespace(
                NVMLError=OSError,
                nvmlInit=lambda: None,
                nvmlSystemGetDriverVersion=lambda: self.driver,
            ),
        }

    def _cuda(self) -> Any:
        success = types.SimpleNamespace(name="cudaSuccess")

        def done(name: str, *given: Any) -> tuple[Any, ...]:
            if self.fails == name:
                return types.SimpleNamespace(name="cudaErrorNoDevice"), None
            return success, *given

        def malloc(size: int) -> tuple[Any, ...]:
            block = ctypes.create_string_buffer(size)
            self.memory[ctypes.addressof(block)] = block
            return done("malloc", ctypes.addressof(block))

        def copy(target: int, source: int, size: int, kind: str, stream: int) -> tuple[Any, ...]:
            ctypes.memmove(target, source, size)
            return done("copy")

        properties = types.SimpleNamespace(name=b"Fake GPU\0", major=9, minor=0)
        return types.SimpleNamespace(
            cudaError_t=types.SimpleNamespace(cudaSuccess=success),
            cudaMemcpyKind=types.SimpleNamespace(
                cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out"
            ),
            cudaGetDevice=lambda: done("device", 0),
            cudaGetDeviceProperties=lambda number: done("properties", properties),
            cudaStreamCreate=lambda: done("stream", 1),
            cudaStreamDestroy=lambda stream: self.calls.append("destroy"),
            cudaStreamSynchronize=lambda stream: done("synchronize"),
            cudaMalloc=malloc,
            cudaFree=self.memory.pop,
            cudaMemcpyAsync=copy,
        )

    def _tensorrt(self) -> Any:
        fakes = self

        class Parser:
            num_errors = 1

            def __init__(self, target: Any, logger: Any) -> None:
                self._target = target

            def get_error(self, number: int) -> Any:
                return types.SimpleNamespace(desc=lambda: "no\nsuch layer", node=lambda: 7)

            def parse(self, content: bytes) -> bool:
                self._target.content = content
                return fakes.parses

            def refit_from_bytes(self, content: bytes) -> bool:
                self._target.engine.content = content
                return fakes.parses

        class Refitter:
            def __init__(self, engine: Any, logger: Any) -> None:
                fakes.calls.append("refit")
                self.engine = engine

            def get_missing_weights(self) -> list[str]:
                return fakes.missing

            def refit_cuda_engine(self) -> bool:
                return True

        class Builder:
            def __init__(self, logger: Any) -> None:
                fakes.calls.append("build")

            def create_network(self) -> Any:
                return types.SimpleNamespace()

            def create_builder_config(self) -> Any:
                return types.SimpleNamespace(
                    set_flag=lambda flag: fakes.calls.append(f"+{flag}"),
                    clear_flag=lambda flag: fakes.calls.append(f"-{flag}"),
                    add_optimization_profile=lambda profile: None,
                )

            def create_optimization_profile(self) -> Any:
                return types.SimpleNamespace(
                    set_shape=lambda name, *shape: fakes.calls.append(f"{name} {shape}")
                )

            def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
                return None if fakes.fails == "build" else network.content

        class Logger:
            ERROR = 0

            def __init__(self, severity: int) -> None:
                pass

        return types.SimpleNamespace(
            __version__="11.4.0.106",
            Logger=Logger,
            Builder=Builder,
            BuilderFlag=types.SimpleNamespace(REFIT="refit", TF32="tf32"),
            OnnxParser=Parser,
            OnnxParserRefitter=Parser,
            Refitter=Refitter,
            Runtime=lambda logger: types.SimpleNamespace(
                deserialize_cuda_engine=lambda plan: None if plan == BROKEN else FakeEngine(plan)
            ),
            TensorIOMode=types.SimpleNamespace(INPUT="input", OUTPUT="output"),
            nptype=lambda name: name,
        )


class FakeEngine:
    """An engine whose plan is the graph itself."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        model = onnx.load_model_from_string(content)
        self._inputs = [value.name for value in model.graph.input]
        values = [*reversed(model.graph.output), *model.graph.input]  # in an order of its own
        self._names = [value.name for value in values]
        self._types = {
            value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            for value in values
        }
        self.num_io_tensors = len(values)

    def get_tensor_name(self, number: int) -> str:
        return self._names[number]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self._inputs else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        return self._types[name]

    def serialize(self) -> bytes:
        return self.content

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


class FakeContext:
    """A context that computes as soon as it is asked for an output's shape."""

    def __init__(self, engine: FakeEngine) -> None:
        self._session = open_session(engine.content)
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._outputs: dict[str, Any] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name], self._outputs = shape, {}
        return 0 < shape[0] <= 128

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if not self._outputs:
            feed = {name: self._array(name) for name in self._shapes}
            names = [value.name for value in self._session.get_outputs()]
            self._outputs = dict(zip(names, self._session.run(None, feed), strict=True))
        return self._outputs[name].shape

    def execute_async_v3(self, stream: int) -> bool:
        for name, array in self._outputs.items():
            ctypes.memmove(self._addresses[name], array.tobytes(), array.nbytes)
        return True

    def _array(self, name: str) -> Any:
        kind, shape = np.dtype(self._engine.get_tensor_dtype(name)), self._shapes[name]
        size = int(np.prod(shape)) * kind.itemsize
        return np.frombuffer(ctypes.string_at(self._addresses[name], size), kind).reshape(shape)


def with_other_weights(content: bytes, *, factor: float) -> bytes:
    """The graph with all its weights of two dimensions multiplied."""
    model = onnx.load_model_from_string(content)
    for value in model.graph.initializer:
        if value.data_type == onnx.TensorProto.FLOAT and len(value.dims) == 2:
            array = numpy_helper.to_array(value) * np.float32(factor)
            value.CopyFrom(numpy_helper.from_array(array, value.name))
    return model.SerializeToString()
