"""Images as training takes them: encoded once, dealt by seed, altered anew, streamed alike."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from spt_core.artifacts import as_uri
from spt_core.families.image.config import Variation
from spt_core.families.image.encoding import encode_images, targets_of, weights_of
from spt_core.families.image.reading import (
    Square,
    features_of,
    levels_of,
    scaled,
    unpacked,
)
from spt_core.families.image.rows import Altering, ImageShard, ImageStreamShard, sampled_rows
from spt_core.images import Picture
from tests.tiny_models import tiny_image, tiny_image_facts

SQUARE = Square(32, 1, 8)


def arrays(num_rows: int = 20):
    levels = levels_of([tiny_image(seed) for seed in range(num_rows)], SQUARE)
    targets = np.eye(num_rows, dtype=np.float32)
    return levels, targets, np.ones(num_rows, np.float32)


def test_a_batch_is_encoded_as_a_request_is() -> None:
    facts = tiny_image_facts("single_label", ("safe", "risky"))
    table = pa.table(
        {"image": [tiny_image(0), tiny_image(1)], "label": ["risky", "other"], "__row": [7, 9]}
    )
    encoded = encode_images(
        table, square=tuple(SQUARE), facts=json.dumps(facts), image="image", label="label"
    )
    levels = unpacked(encoded["levels"].to_pylist(), SQUARE)
    assert np.array_equal(levels, levels_of([tiny_image(0), tiny_image(1)], SQUARE))
    assert encoded["targets"].to_pylist() == [[0.0, 1.0], [0.0, 0.0]]
    assert encoded["weight"].to_pylist() == [1.0, 0.0]  # of a class that training never saw
    assert encoded["row"].to_pylist() == [7, 9]


def test_targets_are_by_head() -> None:
    facts = tiny_image_facts("multi_label", ("a", "b"))
    assert targets_of(facts, ['["b"]', "[]"]).tolist() == [[0, 1], [0, 0]]
    assert weights_of(facts, targets_of(facts, ["[]"])).tolist() == [1]
    assert targets_of(tiny_image_facts("binary", ()), [0, 1]).tolist() == [[0], [1]]
    weighted = {**tiny_image_facts("single_label", ("a", "b")), "class_weights": {"a": 3.0}}
    assert weights_of(weighted, targets_of(weighted, ["a", "b"])).tolist() == [3.0, 1.0]


def test_color_and_bits_become_those_of_the_model() -> None:
    color = np.zeros((40, 60, 3), np.uint8)
    color[:, :, 1] = 200
    gray = scaled(Picture(color), SQUARE)
    assert gray.shape == (1, 32, 32)
    assert np.abs(gray.astype(int) - round(0.587 * 200)).max() <= 1
    wide = scaled(Picture(color), Square(32, 3, 16))
    assert wide.dtype == np.uint16
    assert wide[1].max() == 200 * 257
    deep = Picture(np.full((20, 20), 4095, np.uint16))
    assert features_of(scaled(deep, Square(32, 1, 16))).max() == pytest.approx(4095 / 65535)
    assert scaled(deep, SQUARE).max() == 16
    assert scaled(deep, Square(32, 3, 8)).shape == (3, 32, 32)


def test_an_epoch_has_every_row_once_in_an_order_of_seed_and_epoch() -> None:
    shard = ImageShard(arrays(), seed=3, altering=None)

    def order(epoch: int, start: int = 0) -> list[int]:
        batches = shard.batches(size=6, epoch=epoch, shuffle=True, start=start)
        return torch.cat([batch.targets for batch in batches]).argmax(1).tolist()

    assert sorted(order(0)) == list(range(20))
    assert order(0) == order(0) != order(1)
    assert order(0, start=2) == order(0)[12:]


def test_images_are_altered_anew_in_each_epoch_and_never_for_stopping() -> None:
    altering = Altering(Variation(), ("left_right",))
    shard, plain = (ImageShard(arrays(8), seed=3, altering=how) for how in (altering, None))

    def first(of: ImageShard, epoch: int, *, shuffle: bool = True) -> torch.Tensor:
        return next(iter(of.batches(size=8, epoch=epoch, shuffle=shuffle))).inputs[0]

    assert torch.equal(first(shard, 0), first(shard, 0))
    assert not torch.equal(first(shard, 0), first(plain, 0))
    assert torch.equal(first(shard, 0, shuffle=False), first(plain, 0, shuffle=False))


def test_a_resumed_epoch_alters_as_an_undisturbed_one() -> None:
    shard = ImageShard(arrays(), seed=3, altering=Altering(Variation(), ()))
    whole = list(shard.batches(size=6, epoch=2, shuffle=True))
    rest = list(shard.batches(size=6, epoch=2, shuffle=True, start=2))
    assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in zip(whole[2:], rest, strict=True))


def test_what_is_streamed_has_every_row_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spt_core.families.image.rows.BUFFER_ROWS", 8)
    levels, targets, weights = arrays()

    def read():
        for start in range(0, 20, 7):
            rows = slice(start, start + 7)
            yield levels[rows], targets[rows], weights[rows]

    shard = ImageStreamShard(read, num_rows=20, seed=1, altering=None)
    batches = list(shard.batches(size=4, epoch=0, shuffle=True))
    assert sorted(torch.cat([b.targets for b in batches]).argmax(1).tolist()) == list(range(20))
    assert [len(batch.targets) for batch in batches] == [4] * 5


def test_facts_are_of_rows_from_all_over_a_part(tmp_path: Path) -> None:
    for number in range(3):  # a folder per class puts one class behind the other
        rows = pa.table({"image": [b"a"] * 100, "label": [f"class{number}"] * 100})
        pq.write_table(rows, tmp_path / f"{number}.parquet")
    splits = SimpleNamespace(
        num_rows={"train": 300},
        files=lambda part: [as_uri(tmp_path / f"{number}.parquet") for number in range(3)],
    )
    table = sampled_rows(splits, "train", ["label"], 30)
    assert table.column_names == ["label"]
    assert Counter(table["label"].to_pylist()) == {f"class{number}": 10 for number in range(3)}
