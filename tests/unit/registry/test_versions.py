import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.policy import DecisionPolicy
from spt_core.registry import Registry, version_from_json

NAME = "finance/fraud/default"
ADD = """
import sys
from spt_core.artifacts import load_exported
from spt_core.policy import policy_from_json
from spt_core.registry import Registry
import json
url, policy, *exports = sys.argv[1:]
registry = Registry(url)
print("ready", flush=True)
sys.stdin.readline()
for uri in exports:
    version = registry.add(load_exported(uri), policy_from_json(json.loads(policy)), {},
                           created_by="race")
    print(version.version, flush=True)
"""


def test_versions_of_a_name_count_from_one(registry, make_export, policy, report):
    first = registry.add(make_export(1), policy, report, created_by="ann")
    second = registry.add(make_export(2), policy, report, created_by="ann", report_uri="s3://r")

    assert [first.ref, second.ref] == [f"{NAME}@1", f"{NAME}@2"]
    assert registry.versions("finance/fraud") == [first, second]
    assert registry.names() == [NAME]


def test_a_version_reads_back_as_it_was_added(registry, make_export, policy, report):
    exported = make_export()
    version = registry.add(exported, policy, report, created_by="ann")

    assert (version.exported, version.policy, version.report) == (exported, policy, report)
    assert registry.get(f"{NAME}@1") == version
    assert version_from_json(json.loads(json.dumps(version.to_json()))) == version


def test_adding_the_same_again_returns_the_existing_version(registry, make_export, policy):
    exported = make_export()
    first = registry.add(exported, policy, {"run": 1}, created_by="ann")

    assert registry.add(exported, policy, {"run": 2}, created_by="bob") == first


def test_another_policy_makes_another_version(registry, make_export, policy):
    exported = make_export()
    registry.add(exported, policy, {}, created_by="ann")
    stricter = dataclasses.replace(policy, decline_threshold=0.7, version="")

    assert registry.add(exported, stricter, {}, created_by="ann").version == 2


def test_licences_and_lineage_include_every_parent(registry, make_export, policy):
    teacher = make_export(1, licences=("MIT", "CC0-1.0")).artifact
    student = make_export(2, licences=("CC-BY-4.0", "MIT"), parents=(teacher.uri,))
    version = registry.add(student, policy, {}, created_by="ann")

    assert version.licences == ("CC-BY-4.0", "CC0-1.0", "MIT")
    assert version.lineage == (student.artifact.uri, teacher.uri)


def test_threads_that_race_never_get_one_number_twice(url, make_export, policy):
    exports = [make_export(seed) for seed in range(12)]
    barrier = threading.Barrier(4)

    def add(some):
        barrier.wait()
        registry = Registry(url)  # opening races as well
        return [registry.add(e, policy, {}, created_by="ann").version for e in some]

    with ThreadPoolExecutor(4) as pool:
        numbers = [n for part in pool.map(add, [exports[i::4] for i in range(4)]) for n in part]

    assert sorted(numbers) == list(range(1, 13))


@pytest.mark.slow
def test_processes_that_race_never_get_one_number_twice(url, make_export, policy, start):
    exports = [make_export(seed) for seed in range(8)]
    shared = make_export(99)
    text = json.dumps(policy.to_json())
    processes = [
        start(ADD, url, text, shared.uri, *(e.uri for e in exports[i::2])) for i in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n", timeout=60)[0].split() for process in processes]

    assert answers[0][0] == answers[1][0]  # the same export: one version
    assert sorted({int(n) for part in answers for n in part}) == list(range(1, 10))


def test_a_bare_name_means_the_champion(registry, make_export, policy):
    version = registry.add(make_export(), policy, {}, created_by="ann")
    registry.set_alias("finance/fraud", "champion", 1, expected=None, actor="ann")

    for ref in ("finance/fraud", NAME, f"{NAME}@champion", "finance/fraud@1"):
        assert registry.get(ref) == version


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("finance/froud", "the nearest is 'finance/fraud/default'"),
        ("finance/fraud", "has no alias 'champion', there are none; its versions are 1"),
        ("finance/fraud@7", "has no version 7; it has 1"),
        ("finance/fraud@candidat", "the nearest is 'candidate'"),
    ],
)
def test_what_is_not_found_is_told_with_what_exists(registry, make_export, policy, ref, hint):
    registry.add(make_export(), policy, {}, created_by="ann")
    if "candidat" in ref:
        registry.set_alias(NAME, "candidate", 1, expected=None, actor="ann")

    with pytest.raises(NotFoundError, match=hint):
        registry.get(ref)


@pytest.mark.parametrize("ref", ["finance", "a/b/c/d", "finance/fr aud", "finance/fraud@", "a/b@C"])
def test_a_malformed_reference_is_refused(registry, ref):
    with pytest.raises(InputError):
        registry.get(ref)


@pytest.mark.parametrize(
    "report",
    [{"score": float("nan")}, {"compliance": {"x": "yes"}}, {"compliance": []}, {"a": {1}}],
)
def test_a_report_that_is_not_plain_json_is_refused(registry, make_export, policy, report):
    with pytest.raises(InputError):
        registry.add(make_export(), policy, report, created_by="ann")
    assert registry.names() == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("exported", "{}"),
        ("policy", "[]"),
        ("report", "{broken"),
        ("report", "[]"),
        ("report", '{"compliance": {"x": 1}}'),
        ("lineage", '"text"'),
    ],
)
def test_json_that_was_changed_in_the_database_is_refused(
    registry, url, make_export, policy: DecisionPolicy, column, value
):
    registry.add(make_export(), policy, {}, created_by="ann")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        query = sa.text(f"UPDATE spt_model_version SET {column} = :value")
        connection.execute(query, {"value": value})

    with pytest.raises(CorruptArtifactError, match="a stored model version must"):
        registry.get(f"{NAME}@1")
