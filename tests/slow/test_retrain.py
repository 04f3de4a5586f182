"""jobs.retrain end to end on tiny texts: a champion, publications, a candidate that is judged."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from spt_core.continuous.ledger import Ledger, fence_of
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.registry import Registry
from tests.integration.test_pipeline import Ended, command, run_line
from tests.publications import BUCKET, MODEL, begun, item

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
CONFIG = {"recipe": "smoke", "mlm_steps": 4, "max_new_tokens": 3, "min_term_uses": 3}


def retrain(storage: Path, submission_id: str) -> Ended:
    _, environment = command("retrain")
    words = ["--submission-id", submission_id, "--storage", str(storage), "--json"]
    return run_line([sys.executable, "-m", "jobs.retrain", *words], environment)


def test_publications_become_a_candidate_that_the_gate_judges(
    text_pipeline: Ended, text_storage: Path
) -> None:
    assert text_pipeline.result["version"] == f"{MODEL}@1"
    url = f"sqlite:///{text_storage}/spt.db"
    registry, ledger = Registry(url), Ledger(url)
    ledger.configured(BUCKET, {"retraining": CONFIG}, actor="carl")
    told = [
        item(str(n), f"A cryptoclipper number {n} hides its strings.", label="T1027",
             label_source="human")
        for n in range(6)
    ]  # fmt: skip
    with ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        fence = fence_of(lease)
        made_ = begun(ledger, fence, *told, item("7", "Nothing that anybody knows."))
        submission = made_.submission_id or ""
        ledger.submitted(fence, submission)
        first = retrain(text_storage, submission)
        assert first.result["candidate_version"] == f"{MODEL}@2"
        again = retrain(text_storage, submission)
        assert (again.code, "must not have run" in again.err) == (2, True)
        ledger.trained(fence, submission)
        judged = drive_verdicts(ledger, fence, registry, now_s=time.time())
    assert not judged.errors
    after = ledger.retrain(made_.retrain_id)
    assert after.state in ("NEEDS_REVIEW", "REJECTED")
    assert after.candidate_sha == first.result["candidate_sha"]
    data = after.evaluation["data"]
    assert data["labeled_by"] == {"human": 6, "nobody": 1}
    assert (data["num_new"], data["replay_share"] >= 0.5) == (6, True)
    assert "cryptoclipper" in after.evaluation["vocabulary"]["added"]
    champion, candidate = registry.versions(MODEL)
    splits = [v.exported.artifact.splits for v in (champion, candidate)]
    tests = [json.loads((Path(s.removeprefix("file://")) / "_manifest.json").read_text())
             ["fingerprints"]["test"] for s in splits]  # fmt: skip
    assert tests[0] == tests[1]


def test_an_unknown_submission_ends_with_one_sentence(tmp_path: Path) -> None:
    ended = retrain(tmp_path, "retrain-nothing-1-a1-000000000000")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "no retraining's present attempt" in ended.err
