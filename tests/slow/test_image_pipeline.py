"""Images from a folder of classes to a registered model with its pictures, and to batch scores."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from spt_core.registry import Registry
from spt_core.task import find
from tests.integration.conftest import Job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
TASK = "manufacturing/visual_inspection"
NAMES = ("no_defect", "scratches")
NUM_IMAGES = 80


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per class, with a truncated image, a text named .png and a copy."""
    folder = tmp_path_factory.mktemp("plates")
    table = find(TASK).sample(3 * NUM_IMAGES, 7)
    for number, (image, name) in enumerate(
        zip(table["image"].to_pylist(), table["defect"].to_pylist(), strict=True)
    ):
        if name in NAMES:
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{number:04d}.png").write_bytes(image)
    first = next((folder / "scratches").iterdir()).read_bytes()
    (folder / "scratches" / "cut.png").write_bytes(first[:-100])
    (folder / "scratches" / "note.png").write_text("taken on Monday")
    return folder


def test_a_folder_of_classes_becomes_a_model_that_scores_a_table_of_paths(
    job: Job, plates: Path, tmp_path: Path
) -> None:
    storage = str(tmp_path / "storage")
    words = [TASK, "--data", str(plates), "--recipe", "smoke", "--storage", storage]
    words += ["--set", "benchmark.num_trials=0"]  # baselines take as long as all the rest
    ended = job("benchmark", *words)
    assert ended.code == 0, ended.err
    assert "2 in quarantine" in ended.err
    assert "be a whole PNG" in ended.err
    assert "it is text" in ended.err
    version = Registry(f"sqlite:///{storage}/spt.db").get(f"{TASK}/default@1")
    assert version.exported.artifact.classes == NAMES
    pictures = version.report["pictures"]
    assert {picture["is_right"] for picture in pictures} <= {True, False}
    assert 0.0 <= version.report["quality"]["default"]["accuracy"]["value"] <= 1.0
    page = Path(version.report_uri.removeprefix("file://")).read_text()
    assert "Right and wrong pictures" in page
    scored, paths = tmp_path / "scored", plates / "paths.csv"
    names = [path.relative_to(plates) for path in sorted((plates / "scratches").iterdir())]
    paths.write_text("\n".join(["image", *map(str, names), "scratches/none.png"]))
    words = ["--data", str(paths), "--output", str(scored), "--storage", storage]
    result = job("predict", TASK, *words, "--model", "1").result
    assert result["num_quarantined"] == 3
    rows = pd.concat([pd.read_parquet(part) for part in sorted(scored.glob("[!_.]*.parquet"))])
    assert len(rows) == result["num_rows"]
    assert set(rows["defect"]) <= set(NAMES)
    regions = [json.loads(value)["regions"] for value in rows["location"]]
    assert all(0 <= r["left"] < r["right"] <= 64 for some in regions for r in some)
