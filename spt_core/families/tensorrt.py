"""TensorRT on this process's GPU: engine file -> arrays in, arrays out; or ONNX Runtime's provider.

An engine holds for one graph, one range of shapes, one kind of GPU, one driver and one version of
the library: its name is a digest of them all, and what has another name is not found. No torch
here, and nothing of NVIDIA's is imported before it is asked for. UNVERIFIED: no GPU has run this.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import logging
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from spt_core.artifacts import ExportedModel, digest, has_manifest, read_checked, read_manifest
from spt_core.errors import InputError, MachineError, MissingPackageError, NotFoundError
from spt_core.families.onnx import session_options
from spt_core.task import RuntimeName

PLAN = "engine.plan"
PROVIDER = "TensorrtExecutionProvider"
# Strong typing alone, and without the fault of 11.3, whose refittable engines may drop a bias.
MIN_VERSION = (11, 4)
INSTALL = (
    "pip install -c constraints.txt '.[tensorrt]', with NVIDIA's package index beside the usual"
)
# It takes the place of onnxruntime, whose files have the same names.
INSTALL_PROVIDER = "pip uninstall onnxruntime; pip install 'onnxruntime-gpu>=1.27'"
_log = logging.getLogger(__name__)


class Shape(NamedTuple):
    """The least, the usual and the greatest shape of an input; engines are tuned for the second."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


Shapes = Mapping[str, Shape]
Feed = Mapping[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What an engine is built for. `capability` is the GPU's compute capability, such as 9.0."""

    gpu: str
    capability: str
    driver: str
    tensorrt: str


class GraphRuntime(Protocol):
    """Runs one graph. Thread-safe."""

    def run(self, feed: Feed) -> Mapping[str, NDArray[Any]]:
        """The outputs by name; inputs that the graph does not take are passed over."""
        ...


def this_device() -> Device:
    """The GPU that this process uses, its driver, and the library.

    MissingPackageError where the library or its bindings are not installed, MachineError where
    there is no GPU.
    """
    tensorrt, cuda, nvml = tensorrt_library(), _package("cuda.bindings.runtime"), _package("pynvml")
    number = _checked(cuda, cuda.cudaGetDevice())
    properties = _checked(cuda, cuda.cudaGetDeviceProperties(number))
    try:
        nvml.nvmlInit()
        driver = nvml.nvmlSystemGetDriverVersion()
    except nvml.NVMLError as error:
        raise MachineError(f"a GPU's driver must answer, however: {error}") from error
    return Device(
        gpu=properties.name.decode().rstrip("\0"),
        capability=f"{properties.major}.{properties.minor}",
        driver=driver,
        tensorrt=tensorrt.__version__,
    )


def tensorrt_library() -> Any:
    """The library, of a version that engines are built with here."""
    library = _package("tensorrt")
    parts = tuple(int(part) for part in library.__version__.split(".")[:2])
    if parts < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        raise MissingPackageError(
            f"engines are built and run by TensorRT {least} or later, however: this is "
            f"{library.__version__}; {INSTALL}"
        )
    return library


def engine_name(graph: bytes, shapes: Shapes, device: Device) -> str:
    """A short name of everything that an engine depends on."""
    sha256 = hashlib.sha256(graph).hexdigest()
    ranges = {name: list(shape) for name, shape in shapes.items()}
    return f"tensorrt-{digest([sha256, ranges, dataclasses.asdict(device)])}"


def engine_uri(exported: ExportedModel, graph: bytes, shapes: Shapes, device: Device) -> str:
    """The folder of an export's engine for a device, beside its files."""
    return f"{exported.uri}/{engine_name(graph, shapes, device)}"


def read_engine(exported: ExportedModel, graph: bytes, shapes: Shapes, device: Device) -> bytes:
    """An export's engine, checked against its digest; NotFoundError where none was built for it.

    A replica does not build one: that takes minutes, and its answers would be proven by nobody.
    """
    uri = engine_uri(exported, graph, shapes, device)
    if not has_manifest(uri):
        raise NotFoundError(
            f"a replica on TensorRT needs an engine for its own GPU, however: {exported.uri} has "
            f"none for {described(device)}; run jobs.export --engine tensorrt there"
        )
    return read_checked(uri, PLAN, read_manifest(uri)["files"])


def described(device: Device) -> str:
    """The device in words."""
    return f"{device.gpu} with driver {device.driver} and TensorRT {device.tensorrt}"


class Engine:
    """One engine with a buffer on the GPU for each input and output; one call at a time."""

    def __init__(self, plan: bytes) -> None:
        tensorrt, self._cuda = tensorrt_library(), _package("cuda.bindings.runtime")
        # All three must live as long as the context, which does not hold them.
        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise MachineError(
                "an engine must be one of this GPU, driver and TensorRT, however: it cannot be "
                "read here; its log says more"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise MachineError(
                "a GPU must have memory for an engine's context, however: it has not"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = tensorrt.TensorIOMode.INPUT
        self.inputs = [n for n in names if self._engine.get_tensor_mode(n) == inputs]
        self._outputs = [name for name in names if name not in self.inputs]
        self._types = {
            name: np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name))) for name in names
        }
        self._stream = _checked(self._cuda, self._cuda.cudaStreamCreate())
        weakref.finalize(self, self._cuda.cudaStreamDestroy, self._stream)
        self._buffers = {name: _Buffer(self._cuda) for name in names}
        self._lock = threading.Lock()

    def run(self, feed: Feed) -> Mapping[str, NDArray[Any]]:
        """The outputs by name; MachineError when the GPU fails.

        Inputs that the graph does not take are passed over. The GPU runs one call after the other
        anyway, and a second context would take its memory twice.
        """
        with self._lock:
            arrays = {
                name: np.ascontiguousarray(feed[name], self._types[name]) for name in self.inputs
            }
            for name, array in arrays.items():
                if not self._context.set_input_shape(name, array.shape):
                    raise InputError(
                        f"an engine takes the shapes that it was built for, however: {name} is "
                        f"{list(array.shape)}"
                    )
                self._copy_in(name, array)
            outputs: dict[str, NDArray[Any]] = {}
            for name in self._outputs:
                shape = tuple(self._context.get_tensor_shape(name))
                if min(shape, default=0) < 0:
                    raise MachineError(
                        f"an output's shape must follow from the inputs', however: {name} is "
                        f"{list(shape)}"
                    )
                outputs[name] = np.empty(shape, self._types[name])
                self._bind(name, outputs[name].nbytes)
            if not self._context.execute_async_v3(int(self._stream)):
                raise MachineError("an engine must run, however: it did not; its log says more")
            for name, array in outputs.items():
                self._copy_out(name, array)
            _checked(self._cuda, self._cuda.cudaStreamSynchronize(self._stream))
            return outputs

    def _copy_in(self, name: str, array: NDArray[Any]) -> None:
        self._bind(name, array.nbytes)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self._buffers[name].address, array.ctypes.data, array.nbytes, kind)

    def _copy_out(self, name: str, array: NDArray[Any]) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(array.ctypes.data, self._buffers[name].address, array.nbytes, kind)

    def _copy(self, target: int, source: int, num_bytes: int, kind: Any) -> None:
        done = self._cuda.cudaMemcpyAsync(target, source, num_bytes, kind, self._stream)
        _checked(self._cuda, done)

    def _bind(self, name: str, num_bytes: int) -> None:
        address = self._buffers[name].of(num_bytes)
        self._context.set_tensor_address(name, address)


class _Buffer:
    """Memory on the GPU that grows to the largest array it has held; freed with its engine."""

    def __init__(self, cuda: Any) -> None:
        self._cuda, self._num_bytes, self.address = cuda, 0, 0

    def of(self, num_bytes: int) -> int:
        """The address of at least so many bytes."""
        if num_bytes > self._num_bytes or not self.address:
            self._free()
            self._num_bytes = max(num_bytes, 1)
            self.address = int(_checked(self._cuda, self._cuda.cudaMalloc(self._num_bytes)))
        return self.address

    def __del__(self) -> None:
        self._free()

    def _free(self) -> None:
        if self.address:
            self._cuda.cudaFree(self.address)
            self.address = 0


class SessionRuntime:
    """A session of ONNX Runtime. `provider` is the one that is offered the graph's nodes first."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.provider: str = session.get_providers()[0]
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    def run(self, feed: Feed) -> Mapping[str, NDArray[Any]]:
        """The outputs by name; inputs that the graph does not take are passed over."""
        outputs = self._session.run(None, {name: feed[name] for name in self._inputs})
        return dict(zip(self._outputs, cast(list[Any], outputs), strict=True))


def provider_session(
    graph: bytes, shapes: Shapes, cache_folder: Path, *, allow_fallback: bool = False
) -> SessionRuntime:
    """A session on the TensorRT provider, whose engines lie in a folder of this machine.

    MissingPackageError without the provider, MachineError where any node would run elsewhere; with
    `allow_fallback` CUDA or the processor take what it does not, and a warning says so.
    """
    available = onnxruntime.get_available_providers()
    if PROVIDER not in available and not allow_fallback:
        raise MissingPackageError(
            f"a session on TensorRT needs ONNX Runtime's {PROVIDER}, however: this one has "
            f"{', '.join(available)}; {INSTALL_PROVIDER}"
        )
    options = session_options()
    providers: list[Any] = []
    if PROVIDER in available:
        cache_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        providers.append((PROVIDER, provider_options(shapes, cache_folder)))
    if allow_fallback:
        others = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers += [name for name in others if name in available]
    else:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        # Without the last argument it prints the error and goes on on a processor.
        session = onnxruntime.InferenceSession(
            graph, options, providers=providers, enable_fallback=int(allow_fallback)
        )
    except Exception as error:  # ONNX Runtime's own derive from nothing narrower
        fact = " ".join(str(error).split())[:300]
        raise MachineError(f"TensorRT must take the whole graph, however: {fact}") from error
    opened = SessionRuntime(session)
    if opened.provider != PROVIDER:
        if not allow_fallback:
            raise MachineError(
                f"TensorRT must take the whole graph, however: {opened.provider} has it"
            )
        _log.warning(
            "TensorRT was asked for, and may be fallen back from: %s runs", opened.provider
        )
    return opened


def provider_options(shapes: Shapes, cache_folder: Path) -> dict[str, str]:
    """The provider's own options: the profile, and where engines and timings are kept."""

    def written(places: Mapping[str, tuple[int, ...]]) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in places.items())

    return {
        "trt_profile_min_shapes": written({n: shape.minimum for n, shape in shapes.items()}),
        "trt_profile_opt_shapes": written({n: shape.optimum for n, shape in shapes.items()}),
        "trt_profile_max_shapes": written({n: shape.maximum for n, shape in shapes.items()}),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache_folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache_folder),
    }


def open_graph(
    exported: ExportedModel, graph: bytes, shapes: Shapes, runtime: RuntimeName
) -> GraphRuntime:
    """What runs an export's graph on this process's GPU, as `runtime` says."""
    if runtime == "tensorrt":
        return Engine(read_engine(exported, graph, shapes, this_device()))
    allow_fallback = runtime == "tensorrt_provider_or_cpu"
    folder = Path.home() / ".cache" / "spt"
    try:  # the provider's own names say nothing of the driver
        folder /= engine_name(graph, shapes, this_device())
    except (MachineError, MissingPackageError):
        if not allow_fallback:
            raise
    return provider_session(graph, shapes, folder, allow_fallback=allow_fallback)


def _package(name: str) -> Any:  # optional packages have no types here
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # the second: a library of NVIDIA's is not there
        raise MissingPackageError(
            f"TensorRT needs the package of {name}, however: it is not installed; {INSTALL}"
        ) from error


def _checked(cuda: Any, done: tuple[Any, ...]) -> Any:
    """What a call of CUDA's runtime gave; MachineError where it failed."""
    code, *given = done
    if code != cuda.cudaError_t.cudaSuccess:
        raise MachineError(f"a GPU must do what it is asked, however: {code.name}")
    return given[0] if given else None
