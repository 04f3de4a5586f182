"""An export of a tiny model of images, made once for a session; it must not be changed."""

from __future__ import annotations

import pytest

import industries.technology
from spt_core.artifacts import ExportedModel
from spt_core.task import Task
from tests.kept_exports import kept_export
from tests.tiny_models import image_task, tiny_image_artifact


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, ExportedModel]:
    task = image_task("single_label")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(industries.technology, "TASKS", (task,))
        folder = tmp_path_factory.mktemp("images").as_uri()
        return task, kept_export(tiny_image_artifact(task, folder))


@pytest.fixture
def image_export(
    tiny_export: tuple[Task, ExportedModel], monkeypatch: pytest.MonkeyPatch
) -> ExportedModel:
    """The export, whose task can be found while the test lasts."""
    task, export = tiny_export
    monkeypatch.setattr(industries.technology, "TASKS", (task,))
    return export
