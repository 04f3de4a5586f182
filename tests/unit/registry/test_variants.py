"""One version for several machines."""

import dataclasses
import json

import pytest

from spt_core.errors import ConflictError, InputError, NotFoundError
from spt_core.registry import Registry, deployment_from_json, version_from_json
from spt_core.registry.values import Ref, parse_ref
from tests.unit.registry.conftest import AMOUNT

NAME = "finance/fraud/default"


@pytest.fixture
def version(registry, make_export, policy, report):
    return registry.add(make_export(1), policy, report, created_by="ann")


def test_a_variant_is_the_version_with_another_export_policy_and_report(
    registry, version, make_export, policy
):
    exported, own = make_export(2), dataclasses.replace(policy, decline_threshold=0.7, version="")
    edge = registry.add_variant(version, "edge", exported, own, {}, created_by="bob")
    assert (edge.ref, edge.version, edge.variant) == (f"{NAME}@1:edge", 1, "edge")
    assert (edge.exported, edge.policy, edge.created_by) == (exported, own, "bob")
    assert registry.get("finance/fraud@1:edge") == edge
    assert registry.get("finance/fraud@1") == version
    assert registry.variants(version) == [edge]
    assert registry.versions("finance/fraud") == [version]  # it is none of its own
    assert version_from_json(json.loads(json.dumps(edge.to_json()))) == edge


def test_an_alias_leads_to_variants_too(registry, version, make_export, policy):
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann")
    registry.add_variant(version, "edge", make_export(2), policy, {}, created_by="bob")
    assert registry.get("finance/fraud:edge").ref == f"{NAME}@1:edge"
    with pytest.raises(NotFoundError, match=r"@1 has no variant 'edgy'; it has edge"):
        registry.get("finance/fraud:edgy")


def test_a_variant_is_made_again_until_it_is_deployed(registry, version, make_export, policy):
    registry.add_variant(version, "edge", make_export(2), policy, {}, created_by="bob")
    other = make_export(3)
    registry.add_variant(version, "edge", other, policy, {}, created_by="bob")
    assert registry.get(f"{NAME}@1:edge").exported == other
    live = registry.deploy(NAME, 1, expected_epoch=0, actor="bob", variant="edge")
    assert (live.ref, live.variant) == (f"{NAME}@1:edge", "edge")
    assert deployment_from_json(json.loads(json.dumps(live.to_json()))) == live
    assert [d.ref for d in registry.serving()] == [live.ref]
    registry.add_variant(version, "edge", other, policy, {}, created_by="bob")  # as it is
    with pytest.raises(ConflictError, match="a variant that is deployed stays as it is"):
        registry.add_variant(version, "edge", make_export(4), policy, {}, created_by="bob")
    with pytest.raises(NotFoundError, match="no variant 'phone'"):
        registry.deploy(NAME, 1, expected_epoch=1, actor="bob", variant="phone")


def test_what_is_no_variant_of_a_version(registry, version, make_export, policy):
    other_name = make_export(2, model_name="other")
    with pytest.raises(InputError, match="of its version's name"):
        registry.add_variant(version, "edge", other_name, policy, {}, created_by="bob")
    more = dataclasses.replace(AMOUNT, name="age")
    with pytest.raises(InputError, match="the variant 'edge'"):
        registry.add_variant(
            version, "edge", make_export(2, fields=(AMOUNT, more)), policy, {}, created_by="bob"
        )
    exported = make_export(2)
    artifact = dataclasses.replace(exported.artifact, data_fingerprint="other")
    with pytest.raises(InputError, match="trained on its version's rows"):
        registry.add_variant(
            version,
            "edge",
            dataclasses.replace(exported, artifact=artifact),
            policy,
            {},
            created_by="bob",
        )
    with pytest.raises(InputError, match="a variant is named by letters"):
        registry.add_variant(version, "a:b", make_export(2), policy, {}, created_by="bob")


def test_variants_are_in_a_backup(registry, version, make_export, policy, make_url, tmp_path):
    registry.add_variant(version, "edge", make_export(2), policy, {}, created_by="bob")
    registry.backup(f"{tmp_path}/dump.jsonl")
    restored = Registry(make_url())
    restored.restore(f"{tmp_path}/dump.jsonl")
    assert restored.variants(version) == registry.variants(version)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("a/b@3:edge", Ref("a/b/default", 3, "edge")),
        ("a/b/c:edge", Ref("a/b/c", "champion", "edge")),
        ("a/b@best", Ref("a/b/default", "best")),
    ],
)
def test_references_with_and_without_a_variant(text, ref):
    assert parse_ref(text) == ref


@pytest.mark.parametrize("text", ["a/b:", "a/b@3:", "a/b@3:x y"])
def test_a_variant_without_a_name(text):
    with pytest.raises(InputError, match="a variant is named by"):
        parse_ref(text)
