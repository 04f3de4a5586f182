"""Pictures of a report: right and wrong ones with their maps, and what hiding the map does."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spt_core.answering import Answerer
from spt_core.benchmark.pictures import (
    NUM_ELSEWHERE,
    _elsewhere,
    deletion_facts,
    picture_facts,
)
from spt_core.heads.base import Prediction, Scores, Truth
from spt_core.heads.labels import SINGLE_LABEL
from spt_core.images import Picture, decoded, picture_of, png
from spt_core.judgement import AttentionMap
from spt_core.policy import LabelPolicy
from tests.tiny_models import image_task, text_task

POLICY = LabelPolicy(thresholds={}, most_probable=True)
TASK = image_task("single_label")


class Brightness:
    """Says "risky" by how bright the brightest of 4 x 4 places is; its map is the truth."""

    classes = ("safe", "risky")

    def read(self, record: Any) -> Picture:
        return picture_of(record["image"], "image")

    def encode(self, table: pa.Table) -> list[Picture]:
        return [picture_of(value, "image") for value in table["image"].to_pylist()]

    def predict(self, rows: Any) -> list[Scores]:
        return [self.scored(row)[0] for row in rows]

    def explain(self, rows: Any) -> list[Prediction]:
        return [self.scored(row)[1] for row in rows]

    def scored(self, row: Picture) -> tuple[Scores, Prediction]:
        levels = row.pixels.astype(float).reshape(4, 8, 4, 8).mean((1, 3)) / 50.0
        shares = np.where(levels == levels.max(), levels, 0.0)
        scores = Scores(np.array([[0.0, levels.max() - 2.0]]))
        effects = tuple(tuple(line) for line in shares.tolist())
        return scores, Prediction({}, scores, lambda *_: (AttentionMap(effects, 32, 32),))


def picture(place: int, level: int = 200) -> bytes:
    pixels = np.full((32, 32), 40, np.uint8)
    row, column = divmod(place, 4)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = level
    return png(pixels)


@pytest.fixture
def answerer() -> Answerer:
    return Answerer(TASK, Brightness(), POLICY)


@pytest.fixture
def table() -> pa.Table:
    images = [picture(n) for n in range(8)] + [picture(n, 50) for n in range(8)]
    return pa.table({"image": images, "label": ["risky"] * 6 + ["safe"] * 10})


def test_right_and_wrong_answers_are_shown_the_surest_first(
    answerer: Answerer, table: pa.Table
) -> None:
    of = answerer.outcomes(table, "label")
    facts = picture_facts(answerer, table, of)
    assert [fact["is_right"] for fact in facts] == [True] * 4 + [False] * 2
    assert {fact["true"] for fact in facts[:4]} == {"risky", "safe"}
    assert all((fact["true"], fact["given"]) == ("safe", "risky") for fact in facts[4:])
    assert decoded(base64.b64decode(facts[0]["png"]), "it must").width_px == 160


def test_hiding_what_the_map_names_lowers_the_answer_more_than_hiding_others(
    answerer: Answerer, table: pa.Table
) -> None:
    facts = deletion_facts(answerer, table.slice(0, 8))
    assert facts["num_rows"] == 8
    assert facts["drop"] > facts["random_drop"] + 0.5
    assert facts["share_larger"] > 0.7
    gain = facts["drop"] - facts["random_drop"]
    assert 0 < facts["difference_low"] <= gain <= facts["difference_high"]
    assert facts["num_places"] >= 9


def test_the_same_shape_lies_elsewhere_and_never_where_it_was() -> None:
    mask = np.zeros((6, 5), np.bool_)
    mask[1:3, 2:4] = True
    others = _elsewhere(mask, np.random.default_rng(0))
    assert len(others) == NUM_ELSEWHERE
    assert all(other.sum() == 4 and not np.array_equal(other, mask) for other in others)


def test_a_model_of_texts_has_no_pictures(table: pa.Table) -> None:
    task = text_task("single_label")
    of = SINGLE_LABEL.decided(
        task, ("safe", "risky"), Truth(table, "label", np.arange(16)), np.eye(2)[[0] * 16], POLICY
    )
    other = Answerer(task, Brightness(), POLICY)
    assert picture_facts(other, table, of) == []
    assert deletion_facts(other, table) == {}
