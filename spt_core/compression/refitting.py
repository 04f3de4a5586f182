"""What was chosen, once more on every row but the test's: twin + teacher + student -> export.

Figures, calibration and thresholds are the twin's: no row is left to measure them by.
"""

from __future__ import annotations

from spt_core.answering import Answerer
from spt_core.artifacts import (
    FACTS,
    GRAPH,
    ExportedModel,
    ModelArtifact,
    code_fingerprint,
    digest,
    has_manifest,
    lineage,
    load_exported,
    write_derived,
)
from spt_core.compression.quantize import (
    PROBE_TOLERANCE,
    QuantizeConfig,
    int8_graph,
    quantized_graph,
)
from spt_core.data.splits import load_splits
from spt_core.export import export
from spt_core.export.exporter import write_export
from spt_core.families.graph import Exported
from spt_core.families.serving import CONVOLUTIONS, SERVING
from spt_core.families.training import TRAINING
from spt_core.model import default_policy
from spt_core.task import find

MAX_ROWS = QuantizeConfig().max_rows
QUALITY = "quality"  # in an export's proof: that of INT8 on validation rows


def student_of(artifact: ModelArtifact) -> ModelArtifact:
    """The student that a model is, or has in it or beside it."""
    return next(each for each in lineage(artifact) if each.role == "student")


def refitted_export(
    twin: ExportedModel, teacher: ModelArtifact, student: ModelArtifact
) -> ExportedModel:
    """An export like its twin's of a teacher and a student that were refitted."""
    artifact = _artifact(twin, teacher, student)
    exported = export(artifact)
    return exported if QUALITY not in twin.parity else _in_int8(exported, twin)


def _artifact(twin: ExportedModel, teacher: ModelArtifact, student: ModelArtifact) -> ModelArtifact:
    own, refitted = twin.artifact, TRAINING[twin.artifact.family].refitted
    if own.role == "student" or refitted is None:
        files = {name: student.read(name) for name in student.files}
    else:
        files = {**refitted(own, teacher, student), FACTS: student.read(FACTS)}
    name = digest([twin.files, student.files, teacher.files, code_fingerprint()])
    uri = f"{student.uri.rpartition('/')[0]}/refit-{name}"
    return write_derived(
        student,
        uri,
        files,
        role=own.role,
        metrics=own.metrics,
        parents=(student.uri, teacher.uri, own.uri),
        twin=twin.uri,
    )


def _in_int8(full: ExportedModel, twin: ExportedModel) -> ExportedModel:
    """The export in INT8, as its twin was found to be as good in."""
    uri = f"{full.uri}-int8"
    if has_manifest(uri):
        return load_exported(uri)
    contents = {file: full.read(file) for file in full.files}
    if full.artifact.family in CONVOLUTIONS:  # the rows that the twin's ranges were read off
        validation = load_splits(full.artifact.splits).table("validation", MAX_ROWS)
        contents[GRAPH], _ = int8_graph(full, validation)
    else:
        contents[GRAPH] = quantized_graph(contents[GRAPH])
    predictor = SERVING[full.artifact.family].open(full.artifact, contents.__getitem__)
    small = Answerer(find(full.artifact.task), predictor, default_policy(full))
    records = full.probes["records"]
    probes = {
        "records": records,
        "probabilities": [small.outputs(record).ravel().tolist() for record in records],
        "tolerance": PROBE_TOLERANCE,
    }
    parity = {**full.parity, "full_precision": full.uri, QUALITY: twin.parity[QUALITY]}
    return write_export(uri, full.artifact, Exported(contents, parity, probes))
