"""Exports of tiny models that are kept: torch takes seconds to write even the smallest graph.

The first test that asks for a graph writes it, the others read it, in this run and in later ones,
as long as neither the library nor what it is made of has changed: the name of what is kept is a
digest of both. It lies in build/, which `make clean` removes. Processes that write the same at once
do it each in a folder of its own; whoever is done first gives it the name that all read.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path

import pytest

from spt_core.artifacts import ExportedModel, ModelArtifact, code_fingerprint, digest
from spt_core.export import export
from spt_core.families.graph import Exported
from spt_core.families.training import TRAINING

KEPT = Path(__file__).parent.parent / "build" / "tiny_exports"
PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxscript", "torch")
_PROOF = "exported.json"


def kept_export(artifact: ModelArtifact) -> ExportedModel:
    """What `export` makes of an artifact, with the graphs that an equal one had before."""

    def once(artifact: ModelArtifact) -> Exported:
        folder = KEPT / _name(artifact)
        if not folder.is_dir():
            _keep(make(artifact), folder)
        return _kept(folder)

    training = TRAINING[artifact.family]
    make = training.export
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRAINING, artifact.family, training._replace(export=once))  # type: ignore[arg-type]
        return export(artifact)


def _name(artifact: ModelArtifact) -> str:
    content = artifact.to_json()
    del content["uri"]  # where it lies differs from test to test, and is in none of its files
    versions = [importlib.metadata.version(name) for name in PACKAGES]
    makers = [Path(__file__).read_text(), (Path(__file__).parent / "tiny_models.py").read_text()]
    return digest([content, code_fingerprint(), versions, makers])


def _keep(made: Exported, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, content in made.contents.items():
        (own / name).write_bytes(content)
    (own / _PROOF).write_text(json.dumps([sorted(made.contents), made.parity, made.probes]))
    try:
        own.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(own)


def _kept(folder: Path) -> Exported:
    names, parity, probes = json.loads((folder / _PROOF).read_text())
    return Exported({name: (folder / name).read_bytes() for name in names}, parity, probes)
