from pathlib import Path

import pytest

from spt_core.artifacts import as_uri
from spt_core.errors import CorruptArtifactError, InputError
from spt_core.registry import Registry

NAME = "finance/fraud/default"


@pytest.fixture
def full(registry, make_export, policy, report):
    for seed in range(3):
        registry.add(make_export(seed), policy, report, created_by="ann")
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann", reason="naïve\n☃")
    registry.set_alias(NAME, "champion", 2, expected=1, actor="ann")
    registry.mark(registry.deploy(NAME, 2, expected_epoch=0, actor="ann"), "live")
    with registry.lease("rollout"):
        pass
    return registry


def test_a_restored_database_equals_the_backed_up_one(full, make_url, tmp_path):
    full.backup(as_uri(tmp_path / "a.jsonl"))
    other = Registry(make_url())
    counts = other.restore(as_uri(tmp_path / "a.jsonl"))
    other.backup(as_uri(tmp_path / "b.jsonl"))

    assert counts["spt_model_version"] == 3
    rows = [(tmp_path / name).read_text().splitlines()[1:-1] for name in ("a.jsonl", "b.jsonl")]
    assert rows[0] == rows[1]
    assert other.versions(NAME) == full.versions(NAME)
    assert other.history(NAME) == full.history(NAME)
    assert other.deployments() == full.deployments()


def test_a_restored_database_goes_on_where_the_other_stopped(
    full, make_url, make_export, policy, tmp_path
):
    full.backup(str(tmp_path / "a.jsonl"))
    other = Registry(make_url())
    other.restore(str(tmp_path / "a.jsonl"))

    assert other.add(make_export(9), policy, {}, created_by="ann").version == 4
    assert other.set_alias(NAME, "champion", 4, expected=2, actor="ann").to_version == 4
    with other.lease("rollout") as lease:
        assert lease.epoch == 2


def test_a_database_that_holds_something_is_not_restored_into(full, tmp_path):
    full.backup(str(tmp_path / "a.jsonl"))

    with pytest.raises(InputError, match="3 rows in spt_model_version.*; name a new database"):
        full.restore(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("ann", "eve", 1),
        lambda text: text[: len(text) // 2],
        lambda text: "\n".join(text.splitlines()[:-1]),
        lambda _: "",
        lambda _: "[]\n",
        lambda _: "no json",
    ],
)
def test_a_damaged_backup_is_refused(full, make_url, tmp_path: Path, damage):
    path = tmp_path / "a.jsonl"
    full.backup(str(path))
    path.write_text(damage(path.read_text()))
    other = Registry(make_url())

    with pytest.raises(CorruptArtifactError, match="a backup"):
        other.restore(str(path))
    assert other.names() == []


def test_a_backup_of_another_schema_is_refused(full, make_url, tmp_path, monkeypatch):
    monkeypatch.setattr(full._database, "revision", "0000")
    full.backup(str(tmp_path / "a.jsonl"))

    with pytest.raises(InputError, match="must have this version's schema 0006"):
        Registry(make_url()).restore(str(tmp_path / "a.jsonl"))


def test_a_backup_does_not_overwrite(full, tmp_path):
    full.backup(str(tmp_path / "a.jsonl"))

    with pytest.raises(InputError, match="must not overwrite"):
        full.backup(str(tmp_path / "a.jsonl"))
