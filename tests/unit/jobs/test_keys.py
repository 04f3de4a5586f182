"""jobs.keys as a person uses it, and who may change what on the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.settings import api_key
from jobs import keys, registry, review
from spt_core.continuous.ledger import Ledger
from spt_core.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from spt_core.registry import Registry
from tests.chaos.ledger.world import MODEL, POLICY, exported

Key = dict[str, Any]


class Desk:
    """The command line over one database."""

    def __init__(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.ledger = Ledger(f"sqlite:///{folder}/spt.db")

    def call(self, *words: str, key: str = "", job: Any = keys) -> Any:
        self._monkeypatch.setenv("SPT_API_KEY", key)
        job.main([*words, "--storage", str(self.folder), "--json"])
        return json.loads(self._capsys.readouterr().out.splitlines()[-1])

    def events(self) -> list[str]:
        return [entry.event for entry in self.ledger.audit()]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Desk:
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL", "SPT_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path, monkeypatch, capsys)


@pytest.fixture
def admin(desk: Desk) -> str:
    return desk.call("bootstrap", "ada")["key"]


def test_the_first_admin_is_made_once(desk: Desk) -> None:
    with pytest.raises(ForbiddenError, match=r"jobs\.keys bootstrap"):
        desk.call("issue", "eve", "--role", "admin")
    assert desk.call("bootstrap", "ada")["roles"] == ["admin"]
    with pytest.raises(ConflictError, match="named once"):
        desk.call("bootstrap", "eve")
    with pytest.raises(ForbiddenError, match="SPT_API_KEY is not set"):
        desk.call("issue", "eve", "--role", "admin")
    assert "principal.bootstrapped" in desk.events()
    assert desk.events()[-1] == "access.refused"
    (refused,) = desk.call("refused")["refused"][-1:]
    assert (refused["deed"], refused["why"]) == ("giving a key", "SPT_API_KEY is not set")


def test_a_key_is_shown_once_and_kept_as_a_digest(desk: Desk, admin: str) -> None:
    made = desk.call("issue", "shop", "--role", "client", "--task", "technology", key=admin)
    assert made["key"].startswith("spt_")
    (_, listed) = desk.call("list")["keys"]
    assert (listed["key_id"], listed["tasks"]) == (made["key_id"], ["technology"])
    assert made["key"].encode() not in (desk.folder / "spt.db").read_bytes()
    assert made["key"] not in json.dumps([entry.body for entry in desk.ledger.audit()])


def test_only_an_admin_gives_and_takes_keys(desk: Desk, admin: str) -> None:
    olga = desk.call("issue", "olga", "--role", "operator", key=admin)
    for words in (
        ("issue", "eve", "--role", "client"),
        ("revoke", olga["key_id"]),
        ("rotate", desk.ledger.api_keys()[0].key_id),
    ):
        for shown in (olga["key"], "spt_wrong"):
            with pytest.raises(ForbiddenError, match="needs a key with the role admin"):
                desk.call(*words, key=shown)
    assert [key.principal for key in desk.ledger.api_keys()] == ["ada", "olga"]


def test_a_key_has_no_role_that_its_principal_lacks(desk: Desk, admin: str) -> None:
    desk.call("issue", "rita", "--role", "reviewer", key=admin)
    with pytest.raises(InputError, match="'rita' is no admin"):
        desk.call("issue", "rita", "--role", "admin", key=admin)


def test_a_revoked_and_an_expired_key_open_nothing(desk: Desk, admin: str) -> None:
    made = desk.call("issue", "olga", "--role", "admin", "--expires", "1h", key=admin)
    (_, olga) = desk.ledger.api_keys()
    assert olga.expires_s is not None
    assert 3500 < olga.expires_s - time.time() < 3700
    later = Ledger(f"sqlite:///{desk.folder}/spt.db", clock=lambda: time.time() + 3700)
    assert later.holder(made["key"]) is None
    assert desk.call("revoke", made["key_id"], key=admin) == {
        "key_id": made["key_id"],
        "revoked_before": False,
    }
    assert desk.call("revoke", made["key_id"], key=admin)["revoked_before"]
    with pytest.raises(ForbiddenError, match="no valid one"):
        desk.call("issue", "eve", "--role", "client", key=made["key"])


def test_a_holder_rotates_his_own_key_and_the_old_one_ends_later(desk: Desk, admin: str) -> None:
    made = desk.call("issue", "shop", "--role", "client", "--requests-per-s", "5", key=admin)
    new = desk.call("rotate", made["key_id"], "--overlap", "1h", key=made["key"])
    old, after = desk.ledger.holder(made["key"]), desk.ledger.holder(new["key"])
    assert old is not None
    assert after is not None
    assert old.expires_s is not None
    assert old.expires_s - time.time() < 3700
    assert (after.roles, after.tasks, after.requests_per_s) == (old.roles, old.tasks, 5)
    desk.call("rotate", new["key_id"], "--overlap", "0s", key=new["key"])
    assert desk.ledger.holder(new["key"]) is None


def test_a_principal_who_goes_takes_his_keys_with_him(desk: Desk, admin: str) -> None:
    made = desk.call("issue", "rita", "--role", "reviewer", key=admin)
    desk.call("principals", "revoke", "rita", key=admin, job=review)
    assert desk.ledger.holder(made["key"]) is None
    desk.call("issue", "rita", "--role", "reviewer", key=admin)
    assert desk.ledger.holder(made["key"]) is None


def test_an_alias_moves_by_whose_key_it_is(desk: Desk, admin: str) -> None:
    held = Registry(f"sqlite:///{desk.folder}/spt.db")
    for name in ("a", "b"):
        held.add(exported(name), POLICY, {}, created_by="test")
    task = MODEL.rpartition("/")[0]
    desk.ledger.name_principal("olga", ["operator"], actor="ada")
    right = desk.ledger.issue_key("olga", roles=["operator"], tasks=[task], actor="ada")
    wrong = desk.call("issue", "otto", "--role", "operator", "--task", "healthcare", key=admin)[
        "key"
    ]
    move = ("alias", f"{MODEL}@2", "champion")
    for shown, why in ((wrong, "is for healthcare"), (admin, "is for admin"), ("", "is not set")):
        with pytest.raises(ForbiddenError, match=why):
            desk.call(*move, key=shown, job=registry)
    with pytest.raises(InputError, match="whose key it is, however: olga, not eve"):
        desk.call(*move, "--actor", "eve", key=right, job=registry)
    assert held.aliases(MODEL) == {}
    assert desk.call(*move, key=right, job=registry)["actor"] == "olga"
    assert desk.events()[-1] == "alias.moved"
    assert desk.events().count("access.refused") == 3


@pytest.mark.parametrize(
    ("words", "error", "fact"),
    [
        (("issue", "x", "--role", "client", "--expires", "soon"), InputError, "such as 90d"),
        (("issue", "x", "--role", "client", "--requests-per-s", "0"), InputError, "above 0"),
        (("issue", "x", "--role", "client", "--requests-per-s", "nan"), InputError, "above 0"),
        (("issue", "x", "--role", "client", "--task", ""), NotFoundError, "no task or industry ''"),
        (("issue", "x", "--role", "client", "--task", "helthcare"), NotFoundError, "'healthcare'"),
        (("issue", "\n", "--role", "client"), InputError, "printable"),
        (("revoke", "0000"), NotFoundError, "there is no key '0000'"),
        (("rotate", "0000"), NotFoundError, "there is no key '0000'"),
    ],
)
def test_mistakes_are_one_sentence(
    desk: Desk, admin: str, words: tuple[str, ...], error: type[Exception], fact: str
) -> None:
    with pytest.raises(error, match=fact) as caught:
        desk.call(*words, key=admin)
    assert "\n" not in str(caught.value)


def test_a_key_comes_from_a_file_that_its_owner_alone_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("spt_x\n")
    monkeypatch.delenv("SPT_API_KEY", raising=False)
    monkeypatch.setenv("SPT_API_KEY_FILE", str(file))
    for mode in (0o644, 0o640, 0o604):
        file.chmod(mode)
        with pytest.raises(InputError, match=f"has the mode 0{mode:o}"):
            api_key()
    file.chmod(0o600)
    assert api_key() == "spt_x"
    monkeypatch.setenv("SPT_API_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="must name a file"):
        api_key()
