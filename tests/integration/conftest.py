"""Jobs in this process, and one pipeline on texts for the tests of what comes after it."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import exits
from tests.integration.test_pipeline import Ended
from tests.unit.vocabulary.tiny import tiny_base

TASK = "technology/security_analysis"
Job = Callable[..., Ended]


def call_job(name: str, *words: str) -> Ended:
    """Calls a job in this process, on the Ray that the tests share: to start one takes longer."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for variable in ("SPT_STORAGE", "SPT_DATABASE_URL"):
            patch.delenv(variable, raising=False)
        patch.setattr("jobs.exits.signal.signal", lambda *_: None)
        for module in ("command", "predict"):
            patch.setattr(f"jobs.{module}.ray_session", lambda _: contextlib.nullcontext())
        patch.setattr(sys, "argv", [f"jobs.{name}", *words, "--json"])
        with pytest.raises(SystemExit) as left:
            exits.run(importlib.import_module(f"jobs.{name}").main)
    assert isinstance(left.value.code, int)
    return Ended(left.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def job(local_ray: None) -> Job:
    return call_job


@pytest.fixture(scope="session")
def text_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


def text_words(storage: Path) -> list[str]:
    """What a user types for texts: a tiny base, and texts without labels beside the sample."""
    base = tiny_base(str(storage))
    more = storage / "unlabelled.jsonl"
    texts = ("Nobody has said what this beacon does.", " ")
    more.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    words = ["--recipe", "smoke", "--storage", str(storage)]
    words += ["--set", f"distillation.unlabelled={more}"]
    words += ["--set", "distillation.unlabelled_licences=a licence of its own"]
    return [*words, "--set", f"training.network.base={base.uri}"]


@pytest.fixture(scope="session")
def text_benchmark(local_ray: None, text_storage: Path) -> Ended:
    """What `jobs.benchmark` did, all of a pipeline but its service."""
    return call_job("benchmark", TASK, *text_words(text_storage))
