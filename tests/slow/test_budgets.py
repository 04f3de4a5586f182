"""A latency and a size go in, what fits is served; models for targets are known as variants."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spt_core.task import find
from tests.integration.test_pipeline import Ended, command, run_line

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
FRAUD = "financial_services/fraud_detection"
REFERENCE = f"{FRAUD}/default@1"
TARGETS = {
    "edge": {"edge_deployment": True, "pruning_ratio": 0.3, "target_memory_mb": 50},
    "watch": {"target_size_mb": 1e-6},
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


def job(name: str, storage: Path, *words: str) -> Ended:
    return run_line(*command(name, *words, "--storage", str(storage)))


@pytest.fixture(scope="module")
def served(storage: Path) -> Ended:
    limits = ("--set", "limits.latency_ms=200", "--set", "limits.size_mb=2")
    words = ("--recipe", "smoke", "--once", "--set", "search.num_trials=2")
    return job("pipeline", storage, *words, *limits)


def test_the_pipeline_searches_and_serves_what_fits(served: Ended, storage: Path) -> None:
    result = served.result
    assert result["version"] == REFERENCE
    assert set(result["answer"]) == set(find(FRAUD).answer)
    assert "2 students trained" in served.err
    (search,) = (storage / "models" / "searches").iterdir()
    assert pq.read_table(search / "trials.parquet").num_rows == 2


def test_limits_that_nothing_keeps_say_what_could_be_had(served: Ended, storage: Path) -> None:
    done = job("pipeline", storage, "--recipe", "smoke", "--once", "--set", "limits.size_mb=1e-6")
    assert (done.code, served.code) == (2, 0)
    assert "size_mb 1e-06), however: 16 (0." in done.err
    assert "Traceback" not in done.err


def test_a_target_s_model_is_a_variant(served: Ended, storage: Path, tmp_path: Path) -> None:
    (tmp_path / "targets.json").write_text(json.dumps(TARGETS))
    words = ("--recipe", "smoke", "--targets", str(tmp_path / "targets.json"))
    done = job("distill", storage, *words)
    assert done.code == 2  # of the two one is refused
    targets = json.loads(done.out.splitlines()[-1])["targets"]
    assert targets["edge"]["variant"] == f"{REFERENCE}:edge"
    assert "size_mb 1e-06" in targets["watch"]["refused"]

    rows = find(FRAUD).sample(50, 9).drop_columns([find(FRAUD).label])
    pq.write_table(rows, tmp_path / "new.parquet")
    data = ("--data", str(tmp_path / "new.parquet"), "--output", str(tmp_path / "scored"))
    scored = job("predict", storage, *data, "--variant", "edge").result
    assert (scored["model"], scored["num_rows"]) == (f"{REFERENCE}:edge", 50)

    deployed = job("deploy", storage, "--variant", "edge", "--once").result
    assert deployed["deployment"]["variant"] == "edge"
    assert deployed["version"] == f"{REFERENCE}:edge"
    evidence = job("evidence", storage, "--out", str(tmp_path / "trail"))
    assert evidence.code == 0, evidence.err
    assert f"{REFERENCE}:edge" in "".join(p.read_text() for p in tmp_path.rglob("*.json"))
