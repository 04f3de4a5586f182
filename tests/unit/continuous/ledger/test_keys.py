import pytest
import sqlalchemy as sa
from alembic import command

from spt_core.continuous.ledger import Ledger
from spt_core.errors import ConflictError, InputError
from spt_core.registry.database import _alembic


def test_a_key_is_valid_until_it_ends_or_is_revoked(ledger, clock, sqlite_only):
    ledger.name_principal("shop", ["client"], actor="olga")
    until = clock() + 60
    ends = ledger.issue_key("shop", roles=["client"], actor="olga", expires_s=until)
    stays = ledger.issue_key("shop", roles=["client"], actor="olga")
    assert ledger.holder(ends).principal == "shop"
    clock.now_s += 61
    assert ledger.holder(ends) is None
    assert ledger.holder(stays).state(clock()) == "valid"

    assert ledger.revoke_key(ledger.holder(stays).key_id, actor="olga")
    assert ledger.holder(stays) is None
    states = sorted(key.state(clock()) for key in ledger.api_keys() if key.principal == "shop")
    assert states == ["expired", "revoked"]


def test_a_key_loses_what_its_principal_loses(ledger):
    key = ledger.add_principal("ann", ["client", "operator"], actor="olga")
    assert ledger.holder(key).roles == ("client", "operator")
    ledger.remove_principal("ann", actor="olga")
    ledger.name_principal("ann", ["client"], actor="olga")
    assert ledger.holder(key) is None  # the name is another's now
    new = ledger.issue_key("ann", roles=["client"], actor="olga")
    with ledger._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM spt_principal WHERE name = 'ann'")
    assert ledger.holder(new).roles == ()


def test_every_change_of_a_key_is_in_the_log_and_its_text_is_not(ledger):
    key = ledger.add_principal("ann", ["client"], actor="olga")
    new = ledger.rotate_key(ledger.holder(key).key_id, actor="ann", overlap_s=60)
    ledger.revoke_key(ledger.holder(new).key_id, actor="olga")
    entries = list(ledger.audit())
    assert [entry.event for entry in entries[-5:]] == [
        "principal.added",
        "key.issued",
        "key.issued",
        "key.rotated",
        "key.revoked",
    ]
    text = " ".join(map(repr, entries))
    assert key not in text
    assert new not in text
    ledger.verify_audit()


def test_the_bootstrap_is_refused_once_anybody_has_a_key(ledger):
    with pytest.raises(ConflictError, match="named once"):
        ledger.bootstrap("eve", actor="eve")


@pytest.mark.parametrize(
    "limits", [{"requests_per_s": 0}, {"requests_per_s": float("inf")}, {"expires_s": 1.0}]
)
def test_limits_that_no_key_can_have_are_refused(ledger, limits):
    with pytest.raises(InputError):
        ledger.issue_key("rita", roles=["reviewer"], actor="olga", **limits)


def test_half_a_character_is_no_key(ledger):
    assert ledger.holder("spt_\ud800") is None


def test_principals_of_before_keys_stay_and_an_admin_is_made_anew(tmp_path):
    url = f"sqlite:///{tmp_path}/old.db"
    Ledger(url)
    config = _alembic()
    with sa.create_engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        connection.exec_driver_sql(
            "INSERT INTO spt_principal (name, roles, salt, key_hash) "
            "VALUES ('rita', '[\"reviewer\"]', '00', '00')"
        )
    upgraded = Ledger(url)
    assert [one.name for one in upgraded.principals()] == ["rita"]
    assert upgraded.api_keys() == []
    admin = upgraded.bootstrap("ada", actor="test")
    assert upgraded.holder(admin).roles == ("admin",)
    key = upgraded.issue_key("rita", roles=["reviewer"], actor="ada")
    assert upgraded.authenticate("rita", key).roles == ("reviewer",)
