"""One pipeline on texts, which the tests of what comes after it share: it takes two minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_pipeline import Ended, command, run_line
from tests.unit.vocabulary.tiny import tiny_base

TASK = "technology/security_analysis"


@pytest.fixture(scope="session")
def text_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def text_pipeline(text_storage: Path) -> Ended:
    """What `jobs.pipeline` did; its model is the champion."""
    base = tiny_base(str(text_storage))
    more = text_storage / "unlabelled.jsonl"
    texts = ("Nobody has said what this beacon does.", " ")
    more.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    words = ["--recipe", "smoke", "--once", "--storage", str(text_storage)]
    words += ["--set", f"distillation.unlabelled={more}"]
    words += ["--set", "distillation.unlabelled_licences=a licence of its own"]
    words += ["--set", f"training.network.base={base.uri}"]
    return run_line(*command("pipeline", *words, task=TASK))
