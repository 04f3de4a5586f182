"""Fixtures shared by all tests: one local Ray and one tiny export for a session, public data."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spt_core.artifacts import ExportedModel

ROOT = Path(__file__).parent.parent
# Libraries read it when they are loaded; threads of tiny models only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A port of nobody: the service that a person runs on the usual one is none of the tests'.
os.environ["SPT_HTTP_PORT"] = "18399"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for an export is slow: torch needs ten seconds to write even a tiny graph."""
    for item in items:
        if {"export", "text_export"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def pytest_collection() -> None:
    """Modules stay until the end, so the collector has nothing to find in them."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Without this every full collection of garbage walks torch and Ray."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One local Ray with two CPUs; its workers import the project from this checkout."""
    import ray  # takes seconds, and unit tests do not need it

    os.environ.pop("RAY_ADDRESS", None)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # As an embedded Ray has it: checkpoints of tiny epochs are known before the run is over.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    """An untrained fraud student, exported once for a session; it must not be changed."""
    from spt_core.artifacts import as_uri
    from spt_core.task import find
    from tests.tiny_models import FRAUD, tiny_export  # torch takes seconds

    return tiny_export(find(FRAUD), as_uri(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="session")
def text_export(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    """An untrained model of drug pairs, exported once for a session; it must not be changed."""
    from spt_core.artifacts import as_uri
    from spt_core.task import find
    from tests.kept_exports import kept_export
    from tests.tiny_models import DRUGS, tiny_text_artifact

    return kept_export(tiny_text_artifact(find(DRUGS), as_uri(tmp_path_factory.mktemp("texts"))))


@pytest.fixture
def data_home() -> str:
    """The folder of public data sets (SPT_DATA_HOME); the test is skipped without it."""
    folder = os.environ.get("SPT_DATA_HOME", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SPT_DATA_HOME does not name the folder of public data sets")
    return folder
