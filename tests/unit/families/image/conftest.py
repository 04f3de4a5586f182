"""An export of a tiny model of images, made once for a session; it must not be changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import industries.technology
from spt_core.artifacts import ExportedModel
from tests.kept_exports import kept_export
from tests.tiny_models import image_task, tiny_image_artifact


@pytest.fixture(scope="package")
def image_export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportedModel]:
    task = image_task("single_label")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(industries.technology, "TASKS", (task,))
        folder = tmp_path_factory.mktemp("images").as_uri()
        yield kept_export(tiny_image_artifact(task, folder))
