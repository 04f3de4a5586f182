"""Two untrained models on the same rows: paired figures, slices, changed answers, golden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spt_core.benchmark.comparison import CompareConfig, Model, compare
from spt_core.continuous.gate import judge
from spt_core.continuous.ledger.values import canonical
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.model import default_policy, open_answerer
from tests.publications import artifact, splits


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Splits, Model, Model]:
    folder = Path(tmp_path_factory.mktemp("models"))
    made = splits(folder)
    models = [artifact(folder, seed, made.uri) for seed in (1, 2)]
    policy = default_policy(models[0])
    return made, Model(models[0], policy), Model(models[1], policy)


@pytest.fixture(scope="module")
def found(world: tuple[Splits, Model, Model]) -> dict[str, Any]:
    made, champion, candidate = world
    config = CompareConfig(slices=("region", "class:T1027"), group="report", num_resamples=20)
    sets = {"held-out rows": made.evaluation_set()}
    return compare(champion, candidate, sets, config)


def test_figures_and_their_difference_have_intervals(found: dict[str, Any]) -> None:
    (one,) = found["sets"]
    gain = one["candidate"]["value"] - one["champion"]["value"]
    assert one["difference"]["value"] == pytest.approx(gain)
    assert one["difference"]["low"] <= one["difference"]["high"]
    assert (one["num_rows"], one["num_groups"]) == (60, 3)
    assert set(one["others"]) == {"macro_f1_frequent", "micro_f1", "accuracy", "log_loss"}


def test_small_groups_are_no_slices_and_a_class_may_be_one(found: dict[str, Any]) -> None:
    (one,) = found["sets"]
    assert [part["slice"] for part in one["slices"]] == ["class:T1027"]


def test_examples_are_answers_that_changed(found: dict[str, Any]) -> None:
    assert 0 < found["sets"][0]["churn"] <= 1
    assert found["examples"]
    assert all(one["champion"] != one["candidate"] for one in found["examples"])
    assert all(set(one["record"]) == {"text"} for one in found["examples"])


def test_golden_records_are_what_the_champion_knows(
    found: dict[str, Any], world: tuple[Splits, Model, Model]
) -> None:
    answerer = open_answerer(*world[1])
    assert found["golden"]
    for one in found["golden"]:
        scores = answerer.judge(one["record"]).scores
        assert [score.label for score in scores if score.is_given] == one["labels"]


def test_the_whole_is_plain_json_that_the_gate_judges(found: dict[str, Any]) -> None:
    verdict = judge(json.loads(canonical(found)))
    assert verdict.state in ("REJECTED", "NEEDS_REVIEW")


def test_a_model_beside_itself_changes_nothing(world: tuple[Splits, Model, Model]) -> None:
    made, champion, _ = world
    same = compare(champion, champion, {"a": made.evaluation_set()}, CompareConfig())
    assert same["sets"][0]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (same["sets"][0]["churn"], same["examples"]) == (0.0, [])
    assert judge(same).state == "PROMOTED"


@pytest.mark.parametrize("name", ["county", "class:T9999"])
def test_a_slice_that_is_not_there_is_refused(
    world: tuple[Splits, Model, Model], name: str
) -> None:
    made, champion, _ = world
    with pytest.raises(InputError, match="a slice must"):
        compare(champion, champion, {"a": made.evaluation_set()}, CompareConfig(slices=(name,)))
