"""`python -m jobs.registry`, called as a function."""

import json

import pytest

from jobs.registry import main
from spt_core.errors import ConflictError, InputError, NotFoundError
from spt_core.registry import Registry
from spt_core.signature import Field

NAME = "finance/fraud/default"
PATH = "finance/fraud"
AMOUNT = Field(name="amount", kind="number", minimum=0.0)


@pytest.fixture
def make_url(tmp_path):  # the command is the same on each database
    return lambda: f"sqlite:///{tmp_path}/spt.db"


@pytest.fixture
def call(registry, url, tmp_path, make_export, policy, report, capsys):
    country = Field(name="country", kind="category")
    parent = make_export(0, licences=("MIT",)).artifact
    registry.add(make_export(1, parents=(parent.uri,)), policy, report, created_by="ann")
    registry.add(make_export(2, fields=(AMOUNT, country)), policy, {}, created_by="bob")
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann", reason="first one")

    def call(*argv):
        assert main([*argv, "--database", url, "--storage", str(tmp_path)]) == 0
        return capsys.readouterr().out

    return call


def answer(text):
    return json.loads(text.splitlines()[-1])


def test_list_names_every_version_with_its_aliases(call):
    versions = answer(call("list", "--json"))["versions"]

    assert [(v["ref"], v["aliases"]) for v in versions] == [
        (f"{NAME}@1", ["champion"]),
        (f"{NAME}@2", []),
    ]
    assert "champion" in call("list")


@pytest.mark.parametrize(
    "fact",
    ["0.61 [0.58, 0.64]", "latency_ms.student.p99", "CC-BY-4.0, MIT", "champion", "by ann", "0.8"],
)
def test_show_tells_what_decides_whether_to_trust_a_version(call, fact):
    assert fact in call("show", PATH)


def test_show_without_a_report_tells_the_metrics_of_training(call):
    assert "average_precision" in call("show", f"{PATH}@2")


def test_compare_puts_figures_and_signature_problems_beside_each_other(call):
    content = answer(call("compare", PATH, f"{PATH}@2", "--json"))

    assert content["left"]["figures"]["quality.student.average_precision"]["value"] == 0.61
    assert "field 'country' is new and required" in content["right"]["problems_for_left"]
    text = " ".join(call("compare", PATH, f"{PATH}@2").split())
    assert "quality.student.average_precision" in text


def test_alias_moves_and_history_tells_who_and_why(call):
    call("alias", f"{PATH}@2", "candidate", "--reason", "try it", "--actor", "eve")
    moves = answer(call("history", PATH, "--json"))["changes"]

    assert [(m["alias"], m["actor"], m["reason"]) for m in moves] == [
        ("champion", "ann", "first one"),
        ("candidate", "eve", "try it"),
    ]
    assert "try it" in call("history", PATH)


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (("alias", f"{PATH}@1", "champion", "--expected", "none"), ConflictError),
        (("alias", f"{PATH}@1", "champion", "--expected", "seven"), InputError),
        (("alias", f"{PATH}@2", "champion"), InputError),
        (("show", "finance/froud"), NotFoundError),
    ],
)
def test_a_mistake_is_told_in_one_sentence(call, argv, error):
    with pytest.raises(error) as caught:
        call(*argv)
    assert "\n" not in str(caught.value)


def test_a_backup_without_an_address_lands_under_the_storage(call, tmp_path, url):
    uri = answer(call("backup", "--json"))["uri"]
    other = f"sqlite:///{tmp_path}/other.db"
    assert main(["restore", uri, "--database", other]) == 0

    assert uri.startswith(f"file://{tmp_path}/backups/registry-")
    assert Registry(other).versions(NAME) == Registry(url).versions(NAME)


def test_help_teaches_by_example(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out

    assert "examples:" in text
    assert "the champion is the one that is served" in text
