"""INT8 for TensorRT: ExportedModel -> Q/DQ graph, its ranges read off rows -> ExportedModel.

Static and symmetric: each weight's channel and each activation has a scale of its own that stands
in the graph, because TensorRT takes the precision from there and from nowhere else. On ONNX
Runtime's processor it is slower than full precision; processors get quantize.py's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from numpy.typing import NDArray
from onnxruntime.quantization import (
    QuantFormat,
    QuantType,
    quantize_static,
)

from spt_core.artifacts import GRAPH, ExportedModel, has_manifest, load_exported
from spt_core.compression.quantize import (
    QuantizeConfig,
    proof_name,
    require_int8,
    write_proven,
)
from spt_core.compression.static import Feeds, quiet
from spt_core.data.splits import sampled_places
from spt_core.errors import InputError
from spt_core.families.serving import ON_GPU, SERVING
from spt_core.policy import Policy

MAX_CALIBRATION_ROWS = 256
LINEAR = ("MatMul", "Gemm", "Conv")


def quantize_symmetric(
    exported: ExportedModel,
    table: pa.Table,
    label: str,
    policy: Policy,
    *,
    config: QuantizeConfig | None = None,
    fresh: bool = False,
) -> ExportedModel:
    """The model as a Q/DQ graph, with the task's metric on labelled rows before and after.

    As `quantize`: some of the rows, half of them at most, give the activations' ranges, and the
    metric is of the others: ranges that are read off a row fit it better than the next one.
    """
    config = config or QuantizeConfig()
    family = exported.artifact.family
    if family not in ON_GPU:
        raise InputError(
            f"graphs for TensorRT are of families that GPUs serve ({', '.join(ON_GPU)}), however: "
            f"{exported.uri} is of the family {family!r}"
        )
    require_int8(exported)
    rows = table.take(pa.array(sampled_places(table.num_rows, config.max_rows)))
    if rows.num_rows < 2:
        raise InputError(
            f"ranges and quality need rows of their own, however: there are {rows.num_rows}"
        )
    uri = f"{exported.artifact.uri}/qdq-{proof_name(exported, rows, label, policy, config)}"
    if not fresh and has_manifest(uri):
        return load_exported(uri)
    num_fed = min(MAX_CALIBRATION_ROWS, rows.num_rows // 2)
    is_fed = np.zeros(rows.num_rows, np.bool_)
    is_fed[sampled_places(rows.num_rows, num_fed)] = True
    predictor: Any = SERVING[family].open(exported.artifact, exported.read)
    encoded = predictor.encode(rows.filter(pa.array(is_fed)))
    content = qdq_graph(exported.read(GRAPH), ON_GPU[family].feeds(predictor, encoded))
    others = rows.filter(pa.array(~is_fed))
    return write_proven(uri, exported, content, others, label, policy, config)


def qdq_graph(content: bytes, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> bytes:
    """The graph with 8-bit linear layers between QuantizeLinear and DequantizeLinear.

    `feeds` are inputs by name; what the graph does not take is left out. InputError for none.
    """
    model = onnx.load_model_from_string(content)
    names = [value.name for value in model.graph.input]
    given = [{name: feed[name] for name in names} for feed in feeds]
    if not given:
        raise InputError("the ranges of activations are read off rows, however: there are none")
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / GRAPH
        quantize_static(
            model,
            path,
            Feeds(given),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LINEAR),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                # TensorRT adds biases in full precision, and takes none of 32 bits.
                "QuantizeBias": False,
                # Sums of products stay as they are: biases and residuals are added to them.
                "OpTypesToExcludeOutputQuantization": list(LINEAR),
            },
        )
        return path.read_bytes()
