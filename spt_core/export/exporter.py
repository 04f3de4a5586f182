"""The verb: ModelArtifact -> runtime files with their proof -> ExportedModel, by family."""

from __future__ import annotations

from spt_core.artifacts import (
    ExportedModel,
    ModelArtifact,
    code_fingerprint,
    digest,
    has_manifest,
    load_exported,
    write_bytes,
    write_manifest,
)
from spt_core.families.graph import OPSET, Exported
from spt_core.families.training import TRAINING


def export(artifact: ModelArtifact, *, fresh: bool = False) -> ExportedModel:
    """The runtime files beside a checkpoint; ParityError when they disagree with it.

    Of texts a teacher can be exported too: it is a network like its student, and only larger.
    """
    uri = f"{artifact.uri}/onnx-{digest([artifact.files, OPSET, code_fingerprint()])}"
    if not fresh and has_manifest(uri):
        return load_exported(uri)
    return write_export(uri, artifact, TRAINING[artifact.family].export(artifact))


def write_export(uri: str, artifact: ModelArtifact, output: Exported) -> ExportedModel:
    """Write the files, then the manifest."""
    exported = ExportedModel(
        uri=uri,
        artifact=artifact,
        files={name: write_bytes(f"{uri}/{name}", data) for name, data in output.contents.items()},
        parity=output.parity,
        probes=output.probes,
        size_bytes=sum(len(data) for data in output.contents.values()),
    )
    write_manifest(uri, exported.to_json())
    return exported
