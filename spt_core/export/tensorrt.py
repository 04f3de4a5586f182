"""TensorRT engines: an export's graph -> checked, built or refitted -> proven -> beside the export.

Precision lies in the graph: TensorRT 11 types every tensor as the graph does, so INT8 is what
stands between QuantizeLinear and DequantizeLinear (compression/qdq.py). A replica finds an engine
by its name alone, and builds none. UNVERIFIED: no GPU has run this.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import onnx

from spt_core.artifacts import (
    GRAPH,
    ExportedModel,
    digest,
    has_manifest,
    read_manifest,
    write_bytes,
    write_manifest,
)
from spt_core.errors import InputError, MachineError, ParityError, nearest
from spt_core.families.graph import gap
from spt_core.families.onnx import open_session
from spt_core.families.serving import ON_GPU, SERVING
from spt_core.families.tensorrt import (
    PLAN,
    Device,
    Engine,
    GraphRuntime,
    SessionRuntime,
    Shape,
    Shapes,
    engine_uri,
    read_engine,
    tensorrt_library,
    this_device,
)

MIN_OPSET, MAX_OPSET = 9, 25
# They compute scales while the model runs, or multiply without them: what INT8 on processors is.
DYNAMIC_INT8 = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
QDQ = ("QuantizeLinear", "DequantizeLinear")
RAW_SHARE = 10.0  # raw outputs may differ so much more than probabilities, as in an export's proof


class EngineFile(NamedTuple):
    """Where an engine lies, and what it differs by from ONNX Runtime on the export's probes.

    `refitted_from` is the export whose engine got this one's weights; "" where it was built.
    """

    uri: str
    parity: dict[str, float]
    refitted_from: str


def engine_of(
    exported: ExportedModel, *, earlier: Iterable[ExportedModel] = (), fresh: bool = False
) -> EngineFile:
    """The engine of an export for this process's GPU, found or made.

    An engine of one of the `earlier` exports for the same GPU, whose graph differs in weights
    alone, is refitted: that takes seconds, a build minutes. InputError for a graph that TensorRT
    does not take, ParityError for an engine that answers otherwise than ONNX Runtime.
    """
    serving = ON_GPU.get(exported.artifact.family)
    if serving is None:
        raise InputError(
            f"engines are of families that GPUs serve ({', '.join(ON_GPU)}), however: "
            f"{exported.uri} is of the family {exported.artifact.family!r}"
        )
    content, shapes = exported.read(GRAPH), serving.shapes(exported)
    device = this_device()
    uri = engine_uri(exported, content, shapes, device)
    if not fresh and has_manifest(uri):
        return _read(uri)
    check_graph(content, shapes)
    for other in earlier:
        if structure(other.read(GRAPH)) != structure(content):
            continue
        try:
            plan = refit(read_engine(other, other.read(GRAPH), shapes, device), content)
            parity = proven(exported, Engine(plan))
        except (InputError, MachineError, ParityError):  # not this one: what is built is proven too
            continue
        return _write(uri, plan, EngineFile(uri, parity, other.uri), device, shapes)
    plan = build_engine(content, shapes)
    parity = proven(exported, Engine(plan))
    return _write(uri, plan, EngineFile(uri, parity, ""), device, shapes)


def check_graph(content: bytes, shapes: Shapes) -> None:
    """Refuse what TensorRT would not take, in a sentence that names the node."""
    model = onnx.load_model_from_string(content)
    for each in model.opset_import:
        if each.domain not in ("", "ai.onnx"):
            continue
        if not MIN_OPSET <= each.version <= MAX_OPSET:
            raise InputError(
                f"TensorRT takes the opsets {MIN_OPSET} to {MAX_OPSET}, however: this graph has "
                f"{each.version}"
            )
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"TensorRT takes ONNX's own operators, however: {node.name!r} is {node.op_type} of "
                f"{node.domain}"
            )
        if node.op_type in DYNAMIC_INT8:
            raise InputError(
                "TensorRT takes INT8 as Q/DQ (compression/qdq.py) and none whose scales follow the "
                f"input, however: {node.name!r} is {node.op_type}"
            )
    constants = {value.name for value in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            _check_input(value, shapes)


def _check_input(value: onnx.ValueInfoProto, shapes: Shapes) -> None:
    """Refuse an input without a range of shapes, or with one that it cannot have."""
    if value.name not in shapes:
        raise InputError(
            f"every input needs a range of shapes, however: {value.name!r} has none; "
            f"{nearest(value.name, shapes)}"
        )
    shape, dims = shapes[value.name], value.type.tensor_type.shape.dim
    fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if not all(_fits(part, fixed) for part in shape) or not _rises(shape):
        raise InputError(
            f"a range of shapes must rise and fit its input, however: {value.name!r} is "
            f"{['?' if size is None else size for size in fixed]}, the range {list(shape)}"
        )


def _fits(shape: tuple[int, ...], fixed: list[int | None]) -> bool:
    return len(shape) == len(fixed) and all(
        size == only or only is None for size, only in zip(shape, fixed, strict=True)
    )


def _rises(shape: Shape) -> bool:
    return all(0 < low <= usual <= high for low, usual, high in zip(*shape, strict=True))


def structure(content: bytes) -> str:
    """A digest of all of a graph but its weights: what engines must share to be refitted.

    The scales of Q/DQ are no weights: they decide which kernels an engine is made of.
    """
    model = onnx.load_model_from_string(content)
    scales = {name for node in model.graph.node if node.op_type in QDQ for name in node.input}
    for value in model.graph.initializer:
        if value.data_type == onnx.TensorProto.FLOAT and value.dims and value.name not in scales:
            value.ClearField("raw_data")
            value.ClearField("float_data")
    return digest(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())


def build_engine(content: bytes, shapes: Shapes) -> bytes:
    """A refittable engine for this process's GPU; InputError where the parser refuses the graph."""
    tensorrt = tensorrt_library()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network()  # strongly typed: there is no other kind
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(content):
        raise InputError(f"TensorRT must take the graph, however: {_first_error(parser)}")
    config = builder.create_builder_config()
    config.set_flag(tensorrt.BuilderFlag.REFIT)
    # On by default, and rounds the products of full precision to 10 bits, which no proof allows.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, shape.minimum, shape.optimum, shape.maximum)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise MachineError("TensorRT must build an engine, however: it did not; its log says more")
    return bytes(plan)


def refit(plan: bytes, content: bytes) -> bytes:
    """An engine with the weights of a graph of the same structure; MachineError where any is left.

    That it answers like the graph is not said here: see `proven`.
    """
    tensorrt = tensorrt_library()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    runtime = tensorrt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise MachineError("an engine must be readable to be refitted, however: it is not")
    refitter = tensorrt.Refitter(engine, logger)
    parser = tensorrt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_bytes(content):
        raise MachineError(f"an engine must take new weights, however: {_first_error(parser)}")
    missing = refitter.get_missing_weights()
    if missing or not refitter.refit_cuda_engine():
        fact = f"{len(missing)} are missing, such as {missing[0]}" if missing else "it refused them"
        raise MachineError(f"an engine must take all new weights, however: {fact}")
    return bytes(engine.serialize())


def proven(exported: ExportedModel, graph: GraphRuntime) -> dict[str, float]:
    """The largest differences from ONNX Runtime on the probes; ParityError beyond their tolerance.

    Raw outputs are compared relative to the largest of theirs, or to 1. The probabilities are what
    every replica compares when it loads the export.
    """
    family, artifact = exported.artifact.family, exported.artifact
    predictor: Any = SERVING[family].open(artifact, exported.read)
    session = SessionRuntime(open_session(exported.read(GRAPH)))
    rows = [predictor.read(record) for record in exported.probes["records"]]
    gaps: dict[str, float] = {}
    for feed in ON_GPU[family].feeds(predictor, rows):
        outputs = graph.run(feed)
        for name, expected in session.run(feed).items():
            size = float(np.max(np.abs(expected), initial=1.0))
            difference = gap(outputs[name], expected) / size
            gaps[name] = float(np.maximum(gaps.get(name, 0.0), difference))  # keeps a NaN
    limit: float = exported.probes["tolerance"]
    limits: dict[str, float] = {**dict.fromkeys(gaps, RAW_SHARE * limit), "probability": limit}
    opened = ON_GPU[family].open_graph(exported, graph)
    gaps["probability"] = SERVING[family].probe_gap(opened, exported.probes)
    for name, difference in gaps.items():
        if not difference <= limits[name]:
            raise ParityError(
                f"an engine must answer like ONNX Runtime within {limits[name]:g}, however: {name} "
                f"differs by {difference:.3g}"
            )
    return gaps


def _write(uri: str, plan: bytes, engine: EngineFile, device: Device, shapes: Shapes) -> EngineFile:
    write_manifest(
        uri,
        {
            "files": {PLAN: write_bytes(f"{uri}/{PLAN}", plan)},
            "device": dataclasses.asdict(device),
            "shapes": {name: list(shape) for name, shape in shapes.items()},
            "parity": engine.parity,
            "refitted_from": engine.refitted_from,
        },
    )
    return engine


def _read(uri: str) -> EngineFile:
    manifest = read_manifest(uri)
    return EngineFile(uri, manifest["parity"], manifest["refitted_from"])


def _first_error(parser: Any) -> str:
    """What a parser says of the first thing that it does not take, on one line."""
    if not parser.num_errors:
        return "it does not say why"
    error = parser.get_error(0)
    return " ".join(f"{error.desc()} (node {error.node()})".split())[:300]
