import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from spt_core.continuous.ledger import (
    AuditEntry,
    AuditHead,
    Item,
    Ledger,
    OutboxEntry,
    Retrain,
    Review,
    RunClaim,
    Source,
    from_json,
)
from spt_core.errors import CorruptArtifactError, InputError
from spt_core.registry import Registry
from tests.unit.continuous.ledger.steps import ask, source


@pytest.fixture
def full(ledger):
    for number in range(3):
        ledger.note("test", {"number": number, "text": "naïve ☃"}, actor="olga")
    return ledger


def tamper(ledger, *statements):
    """What the owner of the database can do: take the triggers away, and change what he likes."""
    with ledger._database.write() as connection:
        if connection.dialect.name == "sqlite":
            for name in ("update", "delete", "replace"):
                connection.execute(sa.text(f"DROP TRIGGER spt_audit_{name}"))
        else:
            connection.execute(sa.text("ALTER TABLE spt_audit DISABLE TRIGGER ALL"))
        for statement in statements:
            connection.execute(sa.text(statement))


def test_a_sound_chain_has_a_head(full):
    head = full.verify_audit()
    assert head == full.audit_head()
    assert head.seq == len(list(full.audit()))
    assert [e.seq for e in full.audit(after=head.seq - 1)] == [head.seq]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE spt_audit SET body = '{}' WHERE seq = 3", "entry 3 does not match its hash"),
        ("UPDATE spt_audit SET actor = 'eve' WHERE seq = 2", "entry 2 does not match its hash"),
        ("UPDATE spt_audit SET at = '2020' WHERE seq = 4", "entry 4 does not match its hash"),
        ("DELETE FROM spt_audit WHERE seq = 3", "entry 3 is missing, 4 follows"),
        ("DELETE FROM spt_audit WHERE seq = 1", "entry 1 is missing"),
        ("UPDATE spt_audit SET prev = hash WHERE seq = 5", "entry 5 does not name the hash"),
    ],
)
def test_the_audit_names_the_first_broken_entry(full, damage, what):
    tamper(full, damage)
    with pytest.raises(CorruptArtifactError, match=what):
        full.verify_audit()


def test_an_audit_log_that_was_cut_off_is_found_by_an_exported_head(full):
    head = full.audit_head()
    tamper(full, f"DELETE FROM spt_audit WHERE seq = {head.seq}")
    full.verify_audit()
    with pytest.raises(CorruptArtifactError, match=f"entry {head.seq} is missing of {head.seq}"):
        full.verify_audit(head)


def test_an_audit_log_that_was_rewritten_is_found_by_an_exported_head(full):
    with pytest.raises(CorruptArtifactError, match="entry 2 has another hash"):
        full.verify_audit(AuditHead(2, "f" * 64))


def test_an_audit_log_is_verified_page_by_page(ledger, monkeypatch):
    monkeypatch.setattr("spt_core.continuous.ledger.audit._PAGE", 2)
    for number in range(5):
        ledger.note("test", {"number": number}, actor="olga")
    assert ledger.verify_audit() == ledger.audit_head()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE spt_audit SET actor = 'eve'",
        "DELETE FROM spt_audit",
        "INSERT OR REPLACE INTO spt_audit SELECT * FROM spt_audit",
        "TRUNCATE spt_audit",
    ],
)
def test_the_database_refuses_to_change_audit_entries(full, statement):
    is_sqlite = "sqlite" in full._database.shown
    if is_sqlite == statement.startswith("TRUNCATE") or is_sqlite < ("REPLACE" in statement):
        pytest.skip("is not in this database's language")
    before = full.verify_audit()
    with (
        pytest.raises(DatabaseError, match="never changed or removed"),
        full._database.write() as c,
    ):
        c.execute(sa.text(statement))
    assert full.verify_audit() == before


def test_what_is_no_json_is_not_logged(ledger):
    with pytest.raises(InputError, match="must be plain JSON"):
        ledger.note("test", {"number": float("nan")}, actor="olga")
    with pytest.raises(InputError, match="who writes must be named"):
        ledger.note("test", {}, actor="")


def test_a_restored_backup_has_the_same_sound_chain(ledger, fence, clock, registry, url, tmp_path):
    ask(ledger, fence, clock)
    Registry(url).backup(str(tmp_path / "a.jsonl"))
    Registry(f"sqlite:///{tmp_path}/other.db").restore(str(tmp_path / "a.jsonl"))
    other = Ledger(f"sqlite:///{tmp_path}/other.db")

    assert other.verify_audit() == ledger.verify_audit()
    assert (other.retrains(), other.items()) == (ledger.retrains(), ledger.items())


def test_values_go_to_json_and_back(ledger, fence, clock, registry, reviewer):
    begun = ask(ledger, fence, clock)
    ledger.decide(begun.retrain_id, begun.candidate_sha, "reject", reviewer=reviewer, reason="no")
    values = {
        Source: ledger.sources()[0],
        Item: ledger.items()[0],
        Retrain: ledger.retrain(begun.retrain_id),
        RunClaim: ledger.run_claim(begun.submission_id),
        Review: ledger.reviews(begun.retrain_id)[0],
        AuditEntry: next(ledger.audit()),
    }
    for kind, value in values.items():
        assert from_json(kind, value.to_json()) == value
    with pytest.raises(CorruptArtifactError, match="a stored OutboxEntry must be whole"):
        from_json(OutboxEntry, {"oid": 1})
    with pytest.raises(CorruptArtifactError, match="a source's state is one of"):
        from_json(Source, {**source("x").to_json(), "state": "ODD"})
