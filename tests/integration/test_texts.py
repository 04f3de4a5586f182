"""Texts from a file to a registered model's answer and to batch scores, as jobs do it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from spt_core.model import SpecializedModel
from spt_core.registry import Registry
from spt_core.task import find
from tests.integration.conftest import TASK, Job
from tests.integration.test_pipeline import Ended

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_texts_become_a_registered_model_that_answers(
    text_benchmark: Ended, text_storage: Path
) -> None:
    task = find(TASK)
    version = Registry(f"sqlite:///{text_storage}/spt.db").get(text_benchmark.result["version"])
    model = SpecializedModel(version.exported, policy=version.policy)
    answer = model.analyze_threat(dict(task.example))
    assert set(answer) == set(task.answer)
    text = task.example["text"]
    for phrase in answer["evidence"]:
        assert text[phrase["start"] : phrase["end"]] == phrase["text"]
    report = text_benchmark.result["report"].removeprefix("file://")
    assert Path(report).read_text().startswith("<!")
    assert "TF-IDF" in text_benchmark.err


def test_texts_without_labels_are_told_and_their_licence_stays(
    text_benchmark: Ended, text_storage: Path
) -> None:
    assert "1 bad texts without labels, 1 good" in text_benchmark.err
    version = Registry(f"sqlite:///{text_storage}/spt.db").get(f"{TASK}/default@1")
    assert "a licence of its own" in version.licences


def test_texts_without_labels_are_scored_in_batch(
    text_benchmark: Ended, job: Job, text_storage: Path, tmp_path: Path
) -> None:
    assert text_benchmark.code == 0, text_benchmark.err
    texts = [
        "The dropper encodes its payload.",
        " ",
        "مرحبا بالعالم 😀",
        "It reads LSASS memory. " * 40,
    ]
    rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (tmp_path / "new.jsonl").write_text(rows)
    words = [
        TASK,
        "--model",
        "1",
        "--data",
        str(tmp_path / "new.jsonl"),
        "--output",
        str(tmp_path / "scored"),
    ]
    result = job("predict", *words, "--storage", str(text_storage)).result
    assert (result["num_rows"], result["num_quarantined"]) == (3, 1)
    parts = sorted((tmp_path / "scored").glob("[!_.]*.parquet"))
    scores = pd.concat([pd.read_parquet(part) for part in parts]).set_index("row").sort_index()
    assert list(scores.index) == [0, 2, 3]
    assert scores["score"].between(0, 1).all()
    assert set(find(TASK).answer) <= set(scores.columns)
