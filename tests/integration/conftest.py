"""Jobs in this process, and one pipeline on texts for the tests of what comes after it."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import exits
from tests.integration.test_pipeline import Ended, command, run_line
from tests.unit.vocabulary.tiny import tiny_base

TASK = "technology/security_analysis"
Job = Callable[..., Ended]


@pytest.fixture
def job(
    local_ray: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Job:
    """Calls a job in this process, on the Ray that the tests share: to start one takes longer."""
    for name in ("SPT_STORAGE", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("jobs.exits.signal.signal", lambda *_: None)
    for name in ("command", "predict"):
        monkeypatch.setattr(f"jobs.{name}.ray_session", lambda _: contextlib.nullcontext())

    def call(name: str, *words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", [f"jobs.{name}", *words, "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            exits.run(importlib.import_module(f"jobs.{name}").main)
        assert isinstance(left.value.code, int)
        return Ended(left.value.code, *capsys.readouterr())

    return call


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
