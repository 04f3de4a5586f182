"""What a retraining trains on: labels by precedence, replay, and rows that are never touched."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spt_core.continuous.ledger import Fence, ItemRef, Ledger, fence_of
from spt_core.continuous.ledger.values import canonical
from spt_core.continuous.monitoring import bucket_of
from spt_core.continuous.retraining import (
    Labeled,
    RetrainConfig,
    candidate_sha,
    labeled,
    mixture,
    model_of,
    of_submission,
    pinned_items,
    retrain_config,
    task_of,
)
from spt_core.data.corpus import HASH
from spt_core.data.replay import evaluation_set_of, replayed, with_training
from spt_core.data.splits import Splits, load_splits
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.model import default_policy
from spt_core.task import find
from tests.publications import BUCKET, MODEL, begun, item, splits, task
from tests.tiny_models import FRAUD, tiny_export

CONFIG = RetrainConfig()


@pytest.fixture(scope="module")
def champion_splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return splits(tmp_path_factory.mktemp("storage"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/spt.db")


@pytest.fixture
def fence(ledger: Ledger) -> Iterator[Fence]:
    with ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        yield fence_of(lease)


def found(champion_splits: Splits, *items, config: RetrainConfig = CONFIG) -> list[Labeled]:
    return labeled(task(), items, champion_splits, config)


def test_buckets_and_models_name_each_other() -> None:
    assert model_of(BUCKET) == MODEL
    assert bucket_of(MODEL) == BUCKET
    assert model_of(f"{BUCKET}.mine") == f"{MODEL.removesuffix('default')}mine"
    assert bucket_of(model_of(f"{BUCKET}.mine")) == f"{BUCKET}.mine"


@pytest.mark.parametrize("bucket", ["rules", "a.b.c.d", "financial_services.fraud_detection"])
def test_a_bucket_that_publications_cannot_train_is_refused(bucket: str) -> None:
    with pytest.raises(InputError, match="however"):
        task_of(bucket)


def test_a_person_s_label_wins_over_the_source_s_and_that_over_rules(
    champion_splits: Splits,
) -> None:
    config = RetrainConfig(taxonomy={"dropper": "T1105"})
    hint = {"text": "The new loader uses T1055.", "categories": json.dumps(["dropper", "news"])}
    human = item("1", **hint, label="T1027", label_source="human")
    official, weak = item("2", **hint), item("3", "It is packed with T1027, see T1027.")
    config = dataclasses.replace(
        config, rules=retrain_config(
            {"rules": [{"label": "T1027", "pattern": "packed", "precision": 0.9}]}
        ).rules,
    )  # fmt: skip
    said = found(champion_splits, human, official, weak, config=config)
    assert [(one.label, one.by) for one in said] == [
        ("T1027", "human"),
        ("T1105", "taxonomy"),
        ("T1027", "weak"),
    ]
    assert said[1].why == "dropper"


def test_a_text_about_which_nothing_is_known_has_no_label(champion_splits: Splits) -> None:
    (one,) = found(champion_splits, item("1", "Our office is closed on Monday."))
    assert (one.label, one.by) == (None, "")
    assert one.text == "Advisory 1. Our office is closed on Monday."


def test_two_categories_that_contradict_each_other_are_none(champion_splits: Splits) -> None:
    config = RetrainConfig(taxonomy={"a": "T1105", "b": "T1027"})
    (one,) = found(champion_splits, item("1", "x", categories='["a","b"]'), config=config)
    assert one.label is None


def test_a_person_s_label_that_is_no_class_is_refused(champion_splits: Splits) -> None:
    with pytest.raises(InputError, match="one of the task's classes"):
        found(champion_splits, item("1", "x", label="T9", label_source="human"))


def labelled(champion_splits: Splits, number: int, source: str = "cert") -> list[Labeled]:
    items = [
        item(f"{source}{n}", f"Text {n} of {source}", source_id=source, label="T1105",
             label_source="human")
        for n in range(number)
    ]  # fmt: skip
    return found(champion_splits, *items)


def test_at_least_half_of_the_rows_are_old_and_sources_share_what_is_new(
    champion_splits: Splits,
) -> None:
    config = RetrainConfig(replay_share=0.8, held_out_share=0.0)
    many = labelled(champion_splits, 100) + labelled(champion_splits, 12, "other")
    mixed = mixture(task(), many, champion_splits, config)
    assert (mixed.facts["num_replayed"], mixed.facts["num_new"]) == (80, 20)
    reports = mixed.train["report"].to_pylist()[-20:]
    assert sum(name.startswith("other:") for name in reports) == 10
    assert mixed.facts["num_beyond_replay_share"] == 92


def test_what_is_judged_by_is_never_trained_on(champion_splits: Splits) -> None:
    told = champion_splits.table("test")["text"][0].as_py()
    twin = item("1", told, title="", label="T1105", label_source="human")
    fresh = item("2", "Something else", label="T1105", label_source="human")
    again = dataclasses.replace(fresh, item_key="3", title=fresh.title)
    mixed = mixture(
        task(), found(champion_splits, twin, fresh, again), champion_splits, RetrainConfig()
    )
    assert mixed.facts["num_left_out"] == 2
    assert mixed.facts["num_new"] == 1
    held_out = champion_splits.table("test")[HASH].to_pylist()
    assert not set(held_out) & set(mixed.train[HASH].to_pylist())


def test_enough_labelled_publications_are_an_evaluation_set_of_their_own(
    champion_splits: Splits,
) -> None:
    mixed = mixture(
        task(), labelled(champion_splits, 200), champion_splits, RetrainConfig(held_out_share=0.3)
    )
    assert 40 <= mixed.facts["num_held_out"] <= 80
    assert mixed.held_out.num_rows == mixed.facts["num_held_out"]
    assert not set(mixed.held_out[HASH].to_pylist()) & set(mixed.train[HASH].to_pylist())


def test_new_splits_keep_the_rows_that_judge_and_are_made_once(champion_splits: Splits) -> None:
    mixed = mixture(task(), labelled(champion_splits, 5), champion_splits, CONFIG)
    made = with_training(champion_splits, mixed.train, name="new", licences=["cert"])
    assert made.num_rows["train"] == 85
    assert made.fingerprints["test"] == champion_splits.fingerprints["test"]
    assert made.table("test").equals(champion_splits.table("test"))
    assert made.evaluation_set().fingerprint == champion_splits.evaluation_set().fingerprint
    assert made.licences == ("MIT", "cert")
    assert made.data_fingerprint.startswith("185-")
    assert load_splits(made.uri) == made
    assert with_training(champion_splits, mixed.train, name="new", licences=["cert"]).reused


def test_what_was_done_to_added_texts_is_said_where_the_old_ones_lost_identifiers(
    champion_splits: Splits,
) -> None:
    private = dataclasses.replace(champion_splits, deidentified={"patterns": "1"})
    train = champion_splits.table("train")
    made = with_training(private, train, name="as published")
    assert made.deidentified == {"patterns": "1", "added rows": "as they were"}
    made = with_training(private, train, name="private", added_rows="by patterns 1")
    assert made.deidentified["added rows"] == "by patterns 1"
    assert with_training(champion_splits, train, name="never").deidentified == {}


def test_a_new_class_follows_the_known_ones(champion_splits: Splits) -> None:
    train = champion_splits.table("train")
    names = ["T0001", *train["technique"].to_pylist()[1:]]
    column = train.schema.get_field_index("technique")
    changed = train.set_column(
        column, train.schema.field(column), pa.array(names, pa.large_string())
    )
    made = with_training(champion_splits, changed, name="new")
    assert made.classes == (*champion_splits.classes, "T0001")


def test_replay_of_a_large_corpus_takes_the_same_share_each_time(champion_splits: Splits) -> None:
    some = replayed(champion_splits, 40)
    assert 20 <= some.num_rows <= 60
    assert replayed(champion_splits, 40).equals(some)


def test_held_out_publications_know_their_rows(champion_splits: Splits) -> None:
    table = champion_splits.table("validation")
    made = evaluation_set_of(champion_splits, table, "publications")
    assert made.table().num_rows == made.num_rows == 20
    assert np.array_equal(np.asarray(made.table()[HASH]), np.asarray(table[HASH]))


def test_the_items_are_those_that_the_trigger_named(ledger: Ledger, fence: Fence) -> None:
    made = begun(ledger, fence, item("1", "a"), item("2", "b", source_id="other"))
    assert of_submission(ledger, made.submission_id or "") == made
    assert [one.item_key for one in pinned_items(ledger, made)] == ["1", "2"]
    ledger.label(ItemRef("cert", "1", 1), "T1105", actor="lena")
    assert pinned_items(ledger, made)[0].label == "T1105"


def test_an_unknown_submission_is_told_so(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="retrain-x-1-a1-0 *|is none"):
        of_submission(ledger, "retrain-x-1-a1-0")


def test_items_that_were_tampered_with_are_refused(
    ledger: Ledger, fence: Fence, tmp_path: Path
) -> None:
    made = begun(ledger, fence, item("1", "a"))
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_item SET content_sha = 'f'")
    with pytest.raises(CorruptArtifactError, match="those of its manifest"):
        pinned_items(ledger, made)


@pytest.mark.parametrize(
    "content",
    [{"replay_share": 0.4}, {"steps": 3}, {"rules": [{"pattern": "x"}]}, {"mlm_steps": -1}],
)
def test_a_configuration_that_makes_no_sense_is_refused(content: dict) -> None:
    with pytest.raises(InputError, match="however"):
        retrain_config(content)


def test_a_bucket_s_configuration_is_the_last_one_and_edits_are_remembered(
    ledger: Ledger, fence: Fence
) -> None:
    assert ledger.configuration(BUCKET) == {}
    for steps in (1, 2):
        body = {"retraining": RetrainConfig(mlm_steps=steps).to_json()}
        ledger.configured(BUCKET, json.loads(json.dumps(body)), actor="carl")
    ledger.configured("another", {"retraining": {}}, actor="carl")
    made = begun(ledger, fence, item("1", "a"))
    assert retrain_config(ledger.configuration(BUCKET)["retraining"]).mlm_steps == 2
    assert ledger.involved(made.retrain_id, "carl") == ["edited its configuration"]


def test_an_approval_of_before_holds_for_the_same_model(tmp_path: Path) -> None:
    exported = tiny_export(find(FRAUD), str(tmp_path))
    policy = default_policy(exported)
    content = json.loads(json.dumps([exported.to_json(), policy.to_json()]))
    del content[1]["kind"]
    without = _without(content, ("classes", "notes", "goal", "controllable", "seen"))
    seen = [field.seen for field in exported.artifact.signature.fields]
    assert any(seen)  # what a model says is part of what is approved
    plain = dataclasses.replace(
        exported,
        artifact=dataclasses.replace(
            exported.artifact,
            signature=dataclasses.replace(
                exported.artifact.signature,
                fields=tuple(
                    dataclasses.replace(field, seen=None)
                    for field in exported.artifact.signature.fields
                ),
            ),
        ),
    )
    before = hashlib.sha256(canonical(without).encode()).hexdigest()
    assert candidate_sha(plain, policy) == before
    assert candidate_sha(exported, policy) != before


def _without(content: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(content, dict):
        return {key: _without(value, keys) for key, value in content.items() if key not in keys}
    if isinstance(content, list):
        return [_without(each, keys) for each in content]
    return content
