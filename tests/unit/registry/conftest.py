"""A registry on each database: SQLite, and (slow) the Postgres of SPT_TEST_POSTGRES_URL."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from spt_core.artifacts import (
    ExportedModel,
    ModelArtifact,
    as_uri,
    exported_from_json,
    write_manifest,
)
from spt_core.policy import Costs, DecisionPolicy
from spt_core.registry import Registry
from spt_core.signature import Field, Signature

ROOT = Path(__file__).parents[3]
NAME = "finance/fraud/default"
AMOUNT = Field(name="amount", kind="number", minimum=0.0)
CHANNEL = Field(name="channel", kind="category", categories=("web", "pos"), required=False)

MakeExport = Callable[..., ExportedModel]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Gives the URL of another empty database at each call."""
    if request.param == "sqlite":
        yield lambda: f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db"
        return
    server = os.environ.get("SPT_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("SPT_TEST_POSTGRES_URL names no Postgres server to make databases on")
    address = sa.make_url(server).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    made: list[str] = []

    def make() -> str:
        made.append(f"spt_test_{uuid.uuid4().hex[:12]}")
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {made[-1]}"))
        return address.set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def url(make_url: Callable[[], str]) -> str:
    return make_url()


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(url)


@pytest.fixture
def make_export(tmp_path: Path) -> MakeExport:
    """Writes an export with a manifest; exports of different seeds are different models."""

    def make(
        seed: int = 0,
        *,
        fields: tuple[Field, ...] = (AMOUNT, CHANNEL),
        model_name: str = "default",
        licences: tuple[str, ...] = ("CC-BY-4.0",),
        parents: tuple[str, ...] = (),
    ) -> ExportedModel:
        folder = as_uri(tmp_path / f"artifact-{model_name}-{seed}-{uuid.uuid4().hex[:6]}")
        artifact = ModelArtifact(
            uri=folder,
            task="finance/fraud",
            model_name=model_name,
            family="tabular",
            role="student",
            signature=Signature(fields=fields),
            files={"model.safetensors": "00"},
            config={"hidden": [8, 8]},
            metrics={"average_precision": 0.5},
            seed=seed,
            data_fingerprint="d",
            code_fingerprint="c",
            splits="file:///splits",
            licences=licences,
            parents=parents,
        )
        write_manifest(folder, artifact.to_json())
        exported = ExportedModel(
            uri=f"{folder}/export",
            artifact=artifact,
            files={"model.onnx": "11"},
            parity={"model.onnx": 1e-7},
            probes={},
            size_bytes=4096,
        )
        write_manifest(exported.uri, exported.to_json())
        return exported_from_json(exported.to_json())

    return make


@pytest.fixture
def policy() -> DecisionPolicy:
    costs = Costs(missed_positive=100.0, false_alarm=10.0, review=2.0)
    return DecisionPolicy(costs=costs, review_threshold=0.1, decline_threshold=0.8)


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "quality": {"student": {"average_precision": {"value": 0.61, "low": 0.58, "high": 0.64}}},
        "latency_ms": {"student": {"p99": 1.5}},
        "curves": {"student": {"recall": [0.1, 0.2]}},
        "compliance": {"protected_attributes_excluded": True},
    }


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts Python code with arguments in a process of its own; ends it after the test."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()
