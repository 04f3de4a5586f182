"""A model for phones: ONNX Runtime's own format beside the graph, and a note on its use.

ExportedModel -> model.ort, USAGE.md -> ExportedModel

ONNX Runtime Mobile reads `.ort` alone, without the parser of ONNX. The graph is optimized as on any
processor: what the optimizer does for the one that it runs on would not be a phone's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import jinja2
import numpy as np
import onnxruntime

from spt_core.artifacts import GRAPH, ExportedModel, digest, has_manifest, load_exported
from spt_core.errors import ParityError
from spt_core.export.exporter import write_export
from spt_core.families.graph import Exported, gap
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.serving import SERVING
from spt_core.task import find

ORT, USAGE = "model.ort", "USAGE.md"
TEMPLATE = Path(__file__).with_name("usage.md.j2")
TOLERANCE = 1e-5


def mobile(exported: ExportedModel) -> ExportedModel:
    """The same model with `model.ort` and `USAGE.md`; ParityError where the two graphs disagree."""
    uri = f"{exported.uri}/mobile-{digest([exported.files, onnxruntime.__version__])}"
    if has_manifest(uri):
        return load_exported(uri)
    contents = {name: exported.read(name) for name in exported.files}
    content = ort_graph(contents[GRAPH])
    difference = _difference(exported, contents, content)
    if not difference <= TOLERANCE:
        raise ParityError(
            f"model.ort must answer like model.onnx within {TOLERANCE:g}, however: it differs by "
            f"{difference:.3g}"
        )
    note = _usage(exported, content)
    parity = {**exported.parity, "ort_max_abs_difference": difference}
    files = {**contents, ORT: content, USAGE: note.encode()}
    return write_export(uri, exported.artifact, Exported(files, parity, exported.probes))


def ort_graph(graph: bytes) -> bytes:
    """The graph in ONNX Runtime's format."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ORT
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def _difference(exported: ExportedModel, contents: dict[str, bytes], content: bytes) -> float:
    """How far the answers to the export's probes are from what they were."""
    probes = exported.probes
    if "features" in probes:  # a table's graph takes what its probes are
        rows = [[np.nan if v is None else v for v in row] for row in probes["features"]]
        feed = {INPUT: np.array(rows, np.float32)}
        first, second = (
            open_session(graph).run(None, feed)[0] for graph in (contents[GRAPH], content)
        )
        return gap(np.asarray(second), np.asarray(first))
    serving = SERVING[exported.artifact.family]
    gaps = [
        serving.probe_gap(serving.open(exported.artifact, files.__getitem__), probes)
        for files in (contents, {**contents, GRAPH: content})
    ]
    return max(gaps[1] - gaps[0], 0.0)


def _usage(exported: ExportedModel, content: bytes) -> str:
    """What whoever puts it into an application has to know."""
    artifact, session = exported.artifact, open_session(content)
    signature = artifact.signature
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # no HTML
    return environment.from_string(TEMPLATE.read_text()).render(
        task=find(artifact.task),
        model_name=artifact.model_name,
        size_mb=len(content) / 1e6,
        version=onnxruntime.__version__,
        inputs=session.get_inputs(),
        outputs=session.get_outputs(),
        columns=[
            {"field": f"{column.field}: {column.term}", "categories": ("absent", "present")}
            if column.term
            else {"field": column.field, "categories": signature.field(column.field).categories}
            for column in signature.columns
        ],
    )
