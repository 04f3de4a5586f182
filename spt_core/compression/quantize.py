"""INT8 for CPUs, after training: ExportedModel -> ExportedModel.

Convolutions: weights of 8 bits per channel, activations in ranges that are read off some of the
rows (static.py); quantized as they come, depthwise ones would lose what they know.
Linear layers: weights of 8 bits per channel, activations quantized as they come (ONNX Runtime).
Embeddings: 8 bits with a scale for each token, because they are most of a small model's size and a
scale for the whole table would lose rare tokens. Refused when the task's metric falls too far.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from spt_core.answering import Answerer
from spt_core.artifacts import (
    GRAPH,
    ExportedModel,
    code_fingerprint,
    digest,
    has_manifest,
    load_exported,
)
from spt_core.compression.static import MAX_CALIBRATION_ROWS, quiet, static_graph
from spt_core.data.hashing import row_hashes
from spt_core.data.splits import sampled_places
from spt_core.errors import InputError, QualityError
from spt_core.export.exporter import write_export
from spt_core.families.graph import Exported, gap
from spt_core.families.serving import CONVOLUTIONS, SERVING
from spt_core.heads import metric_of
from spt_core.model import open_answerer
from spt_core.policy import Policy
from spt_core.task import find

MIN_TABLE_ROWS = 256
# Rounding of activations may fall to the other side on another processor.
PROBE_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeConfig:
    """What quantization may cost.

    `min_share` of the full-precision model's metric on the rows must be kept; of a metric that is
    lower when better, it may grow to 1 / min_share of it. At most `max_rows` are scored.
    """

    min_share: float = 0.99
    max_rows: int = 5_000

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0.0 < self.min_share <= 1.0 or self.max_rows < 1:
            raise InputError(
                "min_share must be in (0, 1] and max_rows at least 1, however: "
                f"{self.min_share=}, {self.max_rows=}"
            )


def quantize(
    exported: ExportedModel,
    table: pa.Table,
    label: str,
    policy: Policy,
    *,
    config: QuantizeConfig | None = None,
    fresh: bool = False,
) -> ExportedModel:
    """The model in INT8, with the task's metric on labelled rows before and after as its proof.

    The rows must not have trained the model (validation rows, say). QualityError when less than
    `min_share` of the metric is left, or the full-precision model has none of it. A proof on the
    same rows, label, policy and code is found again unless `fresh`.
    """
    config = config or QuantizeConfig()
    require_int8(exported)
    rows = table.take(pa.array(sampled_places(table.num_rows, config.max_rows)))
    uri = f"{exported.artifact.uri}/int8-{proof_name(exported, rows, label, policy, config)}"
    if not fresh and has_manifest(uri):
        return load_exported(uri)
    content, judged = int8_graph(exported, rows)
    return write_proven(uri, exported, content, judged, label, policy, config)


def int8_graph(exported: ExportedModel, rows: pa.Table) -> tuple[bytes, pa.Table]:
    """The graph of a model in INT8, and those of the rows that may judge it.

    Ranges that are read off a row fit it better than the next one: quality is of the others.
    """
    convolutions = CONVOLUTIONS.get(exported.artifact.family)
    if convolutions is None:
        return quantized_graph(exported.read(GRAPH)), rows
    is_fed = np.zeros(rows.num_rows, np.bool_)
    num_fed = min(MAX_CALIBRATION_ROWS, rows.num_rows // 2)
    is_fed[sampled_places(rows.num_rows, num_fed)] = True
    fed, others = (rows.filter(pa.array(chosen)) for chosen in (is_fed, ~is_fed))
    predictor: Any = SERVING[exported.artifact.family].open(exported.artifact, exported.read)
    feeds = convolutions.feeds(predictor, predictor.encode(fed))
    content = static_graph(exported.read(GRAPH), feeds)
    return convolutions.settled(content, predictor.encode(others)), others


def write_proven(
    uri: str,
    exported: ExportedModel,
    content: bytes,
    rows: pa.Table,
    label: str,
    policy: Policy,
    config: QuantizeConfig,
) -> ExportedModel:
    """The model with another graph, written with what is left of its quality; QualityError."""
    contents = {file: exported.read(file) for file in exported.files} | {GRAPH: content}
    task = find(exported.artifact.task)
    full = open_answerer(exported, policy)
    predictor = SERVING[task.family].open(exported.artifact, contents.__getitem__)
    small = Answerer(task, predictor, policy)
    records = exported.probes["records"]
    quality = compared(full, small, rows, label, config)
    return write_export(
        uri,
        exported.artifact,
        Exported(
            contents,
            {
                "max_abs_difference": {
                    "probability": max(
                        gap(small.outputs(record), full.outputs(record)) for record in records
                    )
                },
                "full_precision": exported.uri,
                "quality": quality,
            },
            {
                "records": records,
                "probabilities": [small.outputs(record).ravel().tolist() for record in records],
                "tolerance": PROBE_TOLERANCE,
            },
        ),
    )


def require_int8(exported: ExportedModel) -> None:
    """Refuse a model that would not gain by INT8."""
    task = find(exported.artifact.task)
    if not task.facts.has_int8:
        raise InputError(
            "only models of a family that gains by it are quantized (a table's are small as they "
            "are, a series' answer slower in INT8), however: "
            f"{exported.uri} is of the family {task.family!r}"
        )


def draft_int8(exported: ExportedModel) -> ExportedModel:
    """A model of random weights in INT8, which says what one takes and has nothing to prove."""
    contents = {file: exported.read(file) for file in exported.files}
    convolutions = CONVOLUTIONS.get(exported.artifact.family)
    if convolutions is None:
        contents[GRAPH] = quantized_graph(contents[GRAPH])
    else:
        predictor: Any = SERVING[exported.artifact.family].open(exported.artifact, exported.read)
        fed = [predictor.read(record) for record in exported.probes["records"]]
        contents[GRAPH] = static_graph(contents[GRAPH], convolutions.feeds(predictor, fed))
    return write_export(
        f"{exported.uri}-int8", exported.artifact, Exported(contents, exported.parity, {})
    )


def proof_name(
    exported: ExportedModel,
    rows: pa.Table,
    label: str,
    policy: Policy,
    config: QuantizeConfig,
) -> str:
    """A short name of everything that a proof of quality depends on."""
    fields = find(exported.artifact.task).fields
    columns = [label, *(field.name for field in fields if field.name in rows.column_names)]
    return digest(
        [
            exported.files,
            config.min_share,
            row_hashes(rows, columns).tolist(),
            policy.version,
            code_fingerprint(),
        ]
    )


def compared(
    full: Answerer,
    small: Answerer,
    rows: pa.Table,
    label: str,
    config: QuantizeConfig,
) -> dict[str, Any]:
    """The metric of both on the same rows; QualityError when the small one keeps too little.

    So it is when the full one has nothing to keep: any other would do as well.
    """
    name, metric = full.task.metric, metric_of(full.task)
    before, after = (metric(answerer.outcomes(rows, label)) for answerer in (full, small))
    if not metric.lower_is_better and not before > 0:
        raise QualityError(
            f"a model's {name} must be above 0 for a share of it to say anything, however: on "
            f"{rows.num_rows:,} rows it is {before:.4f} in full precision"
        )
    best, worst = (after, before) if metric.lower_is_better else (before, after)
    if worst < config.min_share * best:
        raise QualityError(
            f"a quantized model must keep {config.min_share:.1%} of its {name}, however: on "
            f"{rows.num_rows:,} rows it has {after:.4f} instead of {before:.4f}"
        )
    return {
        "metric": name,
        "full_precision": before,
        "int8": after,
        "num_rows": rows.num_rows,
        "min_share": config.min_share,
    }


def quantized_graph(content: bytes) -> bytes:
    """The graph with 8-bit linear layers and embeddings.

    Weights take 7 bits: processors without VNNI add two products in 16 bits, which 8 overflow, and
    would answer otherwise than the ones with it.
    """
    model = onnx.load_model_from_string(content)
    small_tables(model)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / GRAPH
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def small_tables(model: ModelProto) -> None:
    """Put every large table that rows are gathered from into 8 bits, with a scale for each row."""
    graph = model.graph
    tables = {
        value.name: value
        for value in graph.initializer
        if value.data_type == onnx.TensorProto.FLOAT
        and len(value.dims) == 2
        and value.dims[0] >= MIN_TABLE_ROWS
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables:
            nodes.append(node)
            continue
        name, places, out = node.input[0], node.input[1], node.output[0]
        nodes += [
            helper.make_node("Gather", [f"{name}.int8", places], [f"{out}.int8"]),
            helper.make_node("Gather", [f"{name}.scale", places], [f"{out}.scale"]),
            helper.make_node("Cast", [f"{out}.int8"], [f"{out}.whole"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.whole", f"{out}.scale"], [out]),
        ]
    used = {name for node in nodes for name in node.input}
    for name, value in tables.items():
        if f"{name}.int8" not in used:
            continue
        rows = numpy_helper.to_array(value)
        scale = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12).astype(np.float32) / 127
        whole = np.clip(np.rint(rows / scale), -127, 127).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(whole, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        if name not in used:
            graph.initializer.remove(value)
    del graph.node[:]
    graph.node.extend(nodes)
