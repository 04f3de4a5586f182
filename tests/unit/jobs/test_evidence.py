"""The trail of a version, exported by one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.evidence import main
from spt_core.continuous.ledger import Ledger, fence_of
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.errors import CorruptArtifactError, NotFoundError
from spt_core.registry import Registry
from tests.publications import BUCKET, MODEL, begun, item, trained, version

SCORE = {
    "model": MODEL,
    "score": 2.9,
    "needed": 1.0,
    "reasons": [
        {"what": "keyword", "name": "<effect>", "where": "title", "adds": 2.0},
        {"what": "classifier", "name": "p = 0.900", "where": "'effect' +1.20", "adds": 0.9},
    ],
    "others": 3,
}
pytestmark = pytest.mark.slow  # a ledger with a finished retraining for each


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A retraining that was approved and is the champion now."""
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite:///{tmp_path}/spt.db"
    ledger, registry = Ledger(url), Registry(url)
    for seed in (1, 2):
        version(registry, seed, {"model_name": "default", "quality": {"default": {}}})
    registry.set_alias(MODEL, "champion", 1, expected=None, actor="olga")
    ledger.add_principal("rita", ["reviewer"], actor="olga")
    ledger.add_principal("carl", ["operator"], actor="olga")
    ledger.configured(BUCKET, {"gate": {"validation_required": True}}, actor="carl")
    (rita,) = (one for one in ledger.principals() if one.name == "rita")
    with ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        fence = fence_of(lease)
        made = begun(
            ledger,
            fence,
            item(
                "<1>",
                "It takes effect on 1 May 2099.",
                url="https://a.example/1",
                score=2.9,
                explanation=json.dumps(SCORE),
            ),
        )
        made = trained(ledger, fence, made, tmp_path, registry.get(f"{MODEL}@2"))
        drive_verdicts(ledger, fence, registry, now_s=2e9)
        ledger.decide(made.retrain_id, made.candidate_sha, "approve", reviewer=rita, reason="good")
        registry.set_alias(MODEL, "champion", 2, expected=1, actor="watcher", reason="r")
        ledger.deployed(fence, made.retrain_id, f"{MODEL}#1")
    return tmp_path


def export(storage: Path, ref: str, capsys: Any) -> tuple[dict[str, Any], str, dict[str, Any]]:
    main([ref, "--storage", str(storage), "--out", str(storage / "out"), "--json"])
    told = json.loads(capsys.readouterr().out)
    content = json.loads((storage / "out" / "evidence.json").read_text())
    return content, (storage / "out" / "evidence.html").read_text(), told


def test_one_command_exports_the_whole_line(storage: Path, capsys: Any) -> None:
    content, page, told = export(storage, f"{MODEL}@2", capsys)
    line = content["retraining"]
    assert [move["to"] for move in line["moves"]] == [
        "DETECTED", "QUEUED", "SUBMITTED", "TRAINED", "EVALUATED", "NEEDS_REVIEW", "PROMOTED",
        "DEPLOYED",
    ]  # fmt: skip
    assert line["publications"][0]["url"] == "https://a.example/1"
    assert line["publications"][0]["source_url"] == "https://cert.example/"
    assert line["publications"][0]["score"] == 2.9
    assert line["publications"][0]["explanation"] == SCORE
    assert line["data"]["code_fingerprint"] == "c"
    assert line["decisions"][0]["reviewer"] == "rita"
    assert line["part_of"] == {"carl": ["edited its configuration"]}
    assert line["evaluation"]["sets"][0]["difference"]["value"] == pytest.approx(0.02)
    assert content["serving"]["aliases"] == ["champion"]
    assert content["audit_head"] == told["audit_head"]
    assert told["audit_head"]["seq"] == Ledger(f"sqlite:///{storage}/spt.db").audit_head().seq
    for fact in ("rita", "2099-05-01", "held-out rows", "requires a person"):
        assert fact in page
    assert "Advisory &lt;1&gt;" in page
    assert "2.9 of 1" in page
    assert "keyword &#39;&lt;effect&gt;&#39; in the title +2<br>" in page
    assert "classifier p = 0.900 (&#39;effect&#39; +1.20) +0.9<br>3 more<br>" in page
    assert "a &lt;b&gt;text&lt;/b&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("https://a.example/1", "").replace(
        "https://cert.example/", ""
    )


def test_a_version_that_a_person_trained_says_so(storage: Path, capsys: Any) -> None:
    content, page, _ = export(storage, f"{MODEL}@1", capsys)
    assert content["retraining"] is None
    assert "No retraining made this version" in page


def test_a_run_whose_result_is_gone_leaves_its_trail(storage: Path, capsys: Any) -> None:
    for path in storage.glob("retrain-*.json"):
        path.unlink()
    content, page, _ = export(storage, MODEL, capsys)
    assert "must exist to be read" in content["retraining"]["data"]["missing"]
    assert "must exist to be read" in page


def test_a_version_that_is_not_what_was_judged_is_refused(storage: Path, capsys: Any) -> None:
    ledger = Ledger(f"sqlite:///{storage}/spt.db")
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_retrain SET candidate_sha = 'f'")
    with pytest.raises(CorruptArtifactError, match="must be those that were judged"):
        export(storage, f"{MODEL}@2", capsys)


def test_a_log_that_was_changed_is_refused(storage: Path, capsys: Any) -> None:
    ledger = Ledger(f"sqlite:///{storage}/spt.db")
    with ledger._database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER spt_audit_update")
        connection.exec_driver_sql("UPDATE spt_audit SET actor = 'nobody' WHERE seq = 3")
    with pytest.raises(CorruptArtifactError, match="entry 3"):
        export(storage, f"{MODEL}@2", capsys)


def test_a_version_that_does_not_exist_is_named(storage: Path, capsys: Any) -> None:
    with pytest.raises(NotFoundError, match="has no version 9"):
        export(storage, f"{MODEL}@9", capsys)
