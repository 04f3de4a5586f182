import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from spt_core.errors import ConflictError, InputError, NotFoundError
from spt_core.registry import alias_change_from_json
from spt_core.signature import Field

NAME = "finance/fraud/default"
AMOUNT = Field(name="amount", kind="number", minimum=0.0)


@pytest.fixture
def add(registry, make_export, policy):
    """Adds a version with these fields and this report."""
    count = iter(range(100))

    def add(*fields, report=None):
        exported = make_export(next(count), fields=fields or (AMOUNT,))
        return registry.add(exported, policy, report or {}, created_by="ann").version

    return add


def test_an_alias_moves_and_its_history_is_kept(registry, add):
    add(), add()
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann", reason="first")
    last = registry.set_alias(NAME, "champion", 2, expected=1, actor="bob")

    assert registry.aliases("finance/fraud") == {"champion": 2}
    history = registry.history(NAME)
    assert [(c.from_version, c.to_version, c.actor, c.reason) for c in history] == [
        (None, 1, "ann", "first"),
        (1, 2, "bob", ""),
    ]
    assert alias_change_from_json(json.loads(json.dumps(last.to_json()))) == history[-1]


@pytest.mark.parametrize("expected", [None, 2])
def test_an_alias_that_means_something_else_now_is_not_moved(registry, add, expected):
    add(), add()
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann")

    with pytest.raises(ConflictError, match="it is now @1"):
        registry.set_alias(NAME, "champion", 2, expected=expected, actor="bob")
    assert len(registry.history(NAME)) == 1


def test_of_those_who_race_to_move_an_alias_one_wins(registry, add):
    for _ in range(8):
        add()

    def move(version):
        try:
            registry.set_alias(NAME, "champion", version, expected=None, actor=f"a{version}")
        except ConflictError:
            return 0
        return version

    with ThreadPoolExecutor(8) as pool:
        winners = [version for version in pool.map(move, range(1, 9)) if version]

    assert [registry.aliases(NAME)["champion"]] == winners


def test_a_champion_that_would_break_clients_is_refused(registry, add):
    add(AMOUNT), add(AMOUNT, Field(name="country", kind="category"))
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann")

    with pytest.raises(
        InputError, match="'country' is new and required; give it another model name"
    ):
        registry.set_alias(NAME, "champion", 2, expected=1, actor="ann")
    registry.set_alias(NAME, "candidate", 2, expected=None, actor="ann")
    assert registry.aliases(NAME) == {"candidate": 2, "champion": 1}


def test_a_champion_that_failed_compliance_is_refused(registry, add):
    add(report={"compliance": {"data_licence_known": False, "reasons": True}})

    with pytest.raises(InputError, match="@1 failed data_licence_known"):
        registry.set_alias(NAME, "champion", 1, expected=None, actor="ann")
    assert registry.aliases(NAME) == {}


def test_a_failed_check_that_is_not_required_is_no_obstacle(registry, add):
    add(report={"compliance": {"reasons": {"passed": False, "required": False, "fact": "none"}}})
    add(report={"compliance": {"reasons": {"passed": False, "required": True, "fact": "none"}}})

    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann")
    with pytest.raises(InputError, match=r"@2 failed reasons \(none\)"):
        registry.set_alias(NAME, "champion", 2, expected=1, actor="ann")


def test_an_alias_cannot_mean_a_version_that_does_not_exist(registry, add):
    add()

    with pytest.raises(NotFoundError, match="has no version 9"):
        registry.set_alias(NAME, "champion", 9, expected=None, actor="ann")


@pytest.mark.parametrize("alias", ["7", "Champion", "", "a b", "@x"])
def test_an_alias_that_could_be_taken_for_something_else_is_refused(registry, add, alias):
    add()

    with pytest.raises(InputError, match="an alias must be"):
        registry.set_alias(NAME, alias, 1, expected=None, actor="ann")
