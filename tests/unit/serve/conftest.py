"""What a replica is told of the shared export, and a replica."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from serve.model_server import ModelServer
from spt_core.artifacts import ExportedModel, as_uri, write_bytes, write_manifest
from spt_core.model import default_policy
from tests.tiny_models import FRAUD


@pytest.fixture
def config(export: ExportedModel) -> dict[str, Any]:
    """What the roll-out writer sends to a replica."""
    return {
        "ref": f"{FRAUD}/default@1",
        "exported": export.uri,
        "files": dict(export.files),
        "policy": default_policy(export).to_json(),
    }


@pytest.fixture
def copied(export: ExportedModel, tmp_path: Path) -> ExportedModel:
    """The export in a folder of its own, to be damaged."""
    made = dataclasses.replace(export, uri=as_uri(tmp_path / "export"))
    for name in export.files:
        write_bytes(f"{made.uri}/{name}", export.read(name))
    write_manifest(made.uri, made.to_json())
    return made


@pytest.fixture
def server(config: dict[str, Any]) -> ModelServer:
    made = ModelServer(FRAUD)
    asyncio.run(made.reconfigure(config))
    return made
