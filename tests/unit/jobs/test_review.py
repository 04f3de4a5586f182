"""jobs.review as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.review import main
from spt_core.continuous.ledger import Ledger, Retrain, fence_of
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.relevance import Relevance
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from spt_core.registry import Registry
from spt_core.task import IndustryType
from tests.publications import BUCKET, MODEL, begun, item, trained, version

pytestmark = pytest.mark.slow  # a ledger with a finished retraining for each


class Desk:
    """The command line over one database."""

    def __init__(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.keys: dict[str, str] = {}

    def call(self, *words: str, by: str | None = None) -> Any:
        self._monkeypatch.setenv("SPT_API_KEY", self.keys.get(by or "", ""))
        main([*words, "--storage", str(self.folder), "--json"])
        return json.loads(self._capsys.readouterr().out.splitlines()[-1])

    def add(self, name: str, role: str) -> None:
        made = self.call("principals", "add", name, "--role", role, by="ada")
        self.keys[name] = made["credential"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Desk:
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Desk(tmp_path, monkeypatch, capsys)
    made.keys["ada"] = Ledger(f"sqlite:///{tmp_path}/spt.db").bootstrap("ada", actor="test")
    made.add("rita", "reviewer")
    made.add("otto", "operator")
    return made


@pytest.fixture
def waiting(desk: Desk) -> Iterator[Retrain]:
    """A candidate that needs a person, as otto has asked for."""
    body = json.dumps({"gate": {"validation_required": True}})
    desk.call("configure", BUCKET, body, by="otto")
    url = f"sqlite:///{desk.folder}/spt.db"
    ledger, registry = Ledger(url), Registry(url)
    for seed in (1, 2):
        version(registry, seed)
    registry.set_alias(MODEL, "champion", 1, expected=None, actor="olga")
    with ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        fence = fence_of(lease)
        watched = Monitoring(model=MODEL, keywords=("malware",), terms=("side loading",))
        found = item("1", "It does side loading.", title="Advisory 1: malware")
        rated = Relevance([watched], {}).rated(found, IndustryType.TECHNOLOGY)
        made = begun(ledger, fence, rated)
        made = trained(ledger, fence, made, desk.folder, registry.get(f"{MODEL}@2"))
        drive_verdicts(ledger, fence, registry, now_s=2e9)
        yield ledger.retrain(made.retrain_id)


def test_a_person_lists_shows_and_approves(desk: Desk, waiting: Retrain) -> None:
    (line,) = desk.call("list")["reviews"]
    shown = desk.call("show", line["retrain_id"])
    assert shown["cannot_approve"] == {"otto": ["edited its configuration"]}
    short = shown["candidate_sha"][:8]
    words = ["approve", line["retrain_id"], short, "--reason", "it is right"]
    assert shown["held_until"] is None
    decided = desk.call(*words, "--not-before", "2099-01-31T00:00+05:00", by="rita")
    assert (decided["state"], decided["decided_before"]) == ("PROMOTED", False)
    shown = desk.call("show", line["retrain_id"])
    assert shown["decisions"][0]["reviewer"] == "rita"
    assert shown["held_until"] == "2099-01-30T19:00:00.000+00:00"


def test_a_publication_is_shown_with_its_score_and_why(desk: Desk, waiting: Retrain) -> None:
    (one,) = desk.call("show", waiting.retrain_id)["publications"]
    assert one["score"] == 2.5
    assert one["explanation"]["needed"] == 1.0
    assert [reason["name"] for reason in one["explanation"]["reasons"]] == [
        "malware",
        "side loading",
    ]


def test_a_held_roll_out_says_until_when_at_a_terminal(
    desk: Desk, waiting: Retrain, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["approve", waiting.retrain_id, waiting.candidate_sha, "--reason", "it is right"]
    desk.call(*words, "--not-before", "2099-01-31", by="rita")
    main(["show", waiting.retrain_id, "--storage", str(desk.folder)])
    assert "its roll-out is held until 2099-01-31T00:00:00" in capsys.readouterr().out


def test_the_page_is_readable_at_a_terminal(
    desk: Desk, waiting: Retrain, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["show", waiting.retrain_id, "--storage", str(desk.folder)])
    out = capsys.readouterr().out
    for fact in (
        waiting.candidate_sha,
        "macro_f1 on held-out rows (60 rows): 0.8000 [0.7800, 0.8200] to 0.8200",
        "['T1055'] -> ['T1027']",
        "Advisory 1",
        "otto cannot approve it",
        "requires a person's approval",
        "score 2.5 of 1: keyword 'malware' in the title +2, term 'side loading' in the text +0.5",
    ):
        assert fact in out


def test_a_rejection_needs_a_reviewer_and_his_reason(desk: Desk, waiting: Retrain) -> None:
    words = ["reject", waiting.retrain_id, waiting.candidate_sha, "--reason", "too many changes"]
    with pytest.raises(ForbiddenError, match="SPT_API_KEY"):
        desk.call(*words)
    with pytest.raises(ForbiddenError, match="the role 'reviewer'"):
        desk.call(*words, by="otto")
    assert desk.call(*words, by="rita")["state"] == "REJECTED"


def test_a_run_that_cannot_be_judged_is_tried_again_or_discarded_by_an_operator(
    desk: Desk, waiting: Retrain
) -> None:
    ledger = Ledger(f"sqlite:///{desk.folder}/spt.db")
    for command in ("retry", "discard"):
        words = [command, waiting.retrain_id, "--reason", "its labels were wrong"]
        with pytest.raises(ForbiddenError, match="SPT_API_KEY"):
            desk.call(*words)
        with pytest.raises(ForbiddenError, match="the role 'operator'"):
            desk.call(*words, by="rita")
    with pytest.raises(ConflictError, match="is NEEDS_REVIEW"):
        desk.call("discard", waiting.retrain_id, "--reason", "no", by="otto")
    tried = desk.call("retry", waiting.retrain_id, "--reason", "its labels were wrong", by="otto")
    assert (tried["state"], tried["attempt"]) == ("QUEUED", 2)
    entry = [one for one in ledger.audit() if one.event == "retrain.tried_again"][-1]
    assert (entry.actor, entry.body["why"]) == ("otto", "its labels were wrong")


def test_what_was_discarded_says_by_whom_and_why(
    desk: Desk, waiting: Retrain, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(f"sqlite:///{desk.folder}/spt.db")
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_retrain SET state = 'EVALUATED'")
    words = ["discard", waiting.retrain_id, "--reason", "it cannot be judged"]
    assert desk.call(*words, by="otto")["state"] == "REJECTED"
    assert desk.call(*words, by="otto")["discarded_before"]
    shown = desk.call("show", waiting.retrain_id)
    assert (shown["discarded"]["by"], shown["decisions"]) == ("otto", [])
    main(["show", waiting.retrain_id, "--storage", str(desk.folder)])
    assert "otto: discarded, it cannot be judged" in capsys.readouterr().out


@pytest.mark.parametrize(("candidate", "error"), [("0f0f0f0f", ConflictError), ("0f", InputError)])
def test_another_candidate_than_the_present_one_is_refused(
    desk: Desk, waiting: Retrain, candidate: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="candidate"):
        desk.call("approve", waiting.retrain_id, candidate, "--reason", "ok", by="rita")


def test_a_revoked_principal_decides_nothing_more(desk: Desk, waiting: Retrain) -> None:
    assert desk.call("principals", "revoke", "rita", by="ada")["revoked"]
    with pytest.raises(ForbiddenError, match="those of a principal that are valid"):
        desk.call("approve", waiting.retrain_id, waiting.candidate_sha, "--reason", "x", by="rita")
    assert [one["name"] for one in desk.call("principals", "list")["principals"]] == ["ada", "otto"]


def test_a_key_does_no_more_than_it_is_for(desk: Desk, waiting: Retrain) -> None:
    ledger = Ledger(f"sqlite:///{desk.folder}/spt.db")
    ledger.name_principal("both", ["client", "reviewer"], actor="test")
    desk.keys["narrow"] = ledger.issue_key("both", roles=["client"], actor="test")
    other = ["another_industry"]
    desk.keys["other"] = ledger.issue_key("both", roles=["reviewer"], tasks=other, actor="test")
    words = ["approve", waiting.retrain_id, waiting.candidate_sha, "--reason", "x"]
    with pytest.raises(ForbiddenError, match="the role 'reviewer', however: 'both' has client"):
        desk.call(*words, by="narrow")
    with pytest.raises(ForbiddenError, match="that of 'both' is for another_industry"):
        desk.call(*words, by="other")
    assert ledger.retrain(waiting.retrain_id).state == "NEEDS_REVIEW"
    refused = [entry.body["deed"] for entry in ledger.audit() if entry.event == "access.refused"]
    assert refused == ["review approve"] * 2


def test_labels_are_an_operator_s_and_must_be_classes_names(desk: Desk, waiting: Retrain) -> None:
    assert desk.call("label", "cert", "1", "T1055", by="otto")["by"] == "otto"
    with pytest.raises(ForbiddenError, match="operator"):
        desk.call("label", "cert", "1", "T1055", by="rita")
    with pytest.raises(InputError, match="cert"):
        desk.call("label", "cert", "99", "T1055", by="otto")


@pytest.mark.parametrize(
    "body", ["{", "[]", '{"gate": {"x": 1}}', '{"retraining": {"replay_share": 0.1}}']
)
def test_a_configuration_that_makes_no_sense_is_refused(desk: Desk, body: str) -> None:
    with pytest.raises(InputError, match="however"):
        desk.call("configure", BUCKET, body, by="otto")


def test_unknown_things_are_named(desk: Desk, waiting: Retrain) -> None:
    with pytest.raises(NotFoundError, match="there is no retraining"):
        desk.call("show", "nothing-1")
    with pytest.raises(InputError, match="needs a name"):
        desk.call("principals", "add", by="ada")
    with pytest.raises(ForbiddenError, match="admin"):
        desk.call("thaw", BUCKET, "--reason", "x", by="otto")
