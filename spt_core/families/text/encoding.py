"""What a Ray Data task runs on each batch of a split of texts: token ids and targets, made once."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.corpus import ROW
from spt_core.families.text.reading import EncodedText, Mention, TextEncoder
from spt_core.task import Head

Floats = NDArray[np.float32]


def tokenize_batch(
    table: pa.Table,
    *,
    tokenizer: bytes,
    sizes: tuple[int, int],
    facts: str,
    text: str,
    spans: str | None,
    label: str | None,
    class_weights: Mapping[str, float],
) -> pa.Table:
    """One batch of typed rows: ids and lengths of windows, targets, weights and pairs, all flat.

    Without a label the targets are zeros and weigh nothing.
    """
    model_facts = json.loads(facts)
    encoder = text_encoder(tokenizer, *sizes)
    encoded = encode_rows(encoder, table, text=text, spans=spans, head=model_facts["head"])
    if label is None:
        targets = [no_targets(model_facts, row) for row in encoded]
    else:
        values = table[label].to_pylist()
        targets = [targets_of(model_facts, v, row) for v, row in zip(values, encoded, strict=True)]
    rows = [
        _row(model_facts, of_row, row, class_weights)
        for of_row, row in zip(targets, encoded, strict=True)
    ]
    columns = {name: [row[name] for row in rows] for name in _TYPES}
    arrays = {name: pa.array(columns[name], kind) for name, kind in _TYPES.items()}
    return pa.table({**arrays, "row": table[ROW]})


def encode_rows(
    encoder: TextEncoder, table: pa.Table, *, text: str, spans: str | None, head: Head
) -> list[EncodedText]:
    """The texts of typed rows as windows; those of a pair task with their mentions."""
    texts: list[str] = table[text].to_pylist()
    if head != "pair":
        return encoder.encode(texts)
    assert spans is not None, "a pair task's corpus has a spans column"
    mentions = [
        [Mention(span["start"], span["end"]) for span in json.loads(value)]
        for value in table[spans].to_pylist()
    ]
    return [encoder.encode_pairs(t, m) for t, m in zip(texts, mentions, strict=True)]


def targets_of(facts: Mapping[str, Any], value: Any, row: EncodedText) -> Floats:
    """What a row's label asks of the logits [items, K]; all zero where a class is not known."""
    classes: list[str] = facts["classes"]
    index = {name: number for number, name in enumerate(classes)}
    match facts["head"]:
        case "single_label":
            return _one_hot([index.get(value, -1)], len(classes))
        case "multi_label":
            given = {index[name] for name in json.loads(value) if name in index}
            return np.array([[float(k in given) for k in range(len(classes))]], np.float32)
        case "ordinal":
            return np.array(
                [[float(index[value] > k) for k in range(len(classes) - 1)]], np.float32
            )
        case "regression":
            return np.array([[(value - facts["center"]) / facts["spread"]]], np.float32)
        case "pair":
            named = {(i, j): name for i, j, name in json.loads(value)}
            other = facts["negative_class"]
            places = [index.get(named.get((p.first, p.second), other), -1) for p in row.pairs]
            return _one_hot(places, len(classes))
        case _:
            tags = _tags(json.loads(value), row, index, frozenset(facts["special"]))
            return _one_hot(tags, 2 * len(classes) + 1)


def no_targets(facts: Mapping[str, Any], row: EncodedText) -> Floats:
    """Zeros in the shape of `targets_of`, for a row without a label."""
    num_classes, num_items = len(facts["classes"]), 1
    match facts["head"]:
        case "ordinal":
            width = num_classes - 1
        case "regression":
            width = 1
        case "span":
            width, special = 2 * num_classes + 1, frozenset(facts["special"])
            num_items = sum(id not in special for window in row.windows for id in window.ids)
        case "pair":
            width, num_items = num_classes, len(row.pairs)
        case _:
            width = num_classes
    return np.zeros((num_items, width), np.float32)


@functools.lru_cache(maxsize=4)
def text_encoder(tokenizer: bytes, max_tokens: int, overlap: int) -> TextEncoder:
    """The encoder of a tokenizer, built once per process."""
    return TextEncoder(tokenizer, max_tokens=max_tokens, overlap=overlap)


def _row(
    facts: Mapping[str, Any], targets: Floats, row: EncodedText, class_weights: Mapping[str, float]
) -> dict[str, Any]:
    weights = targets.sum(1) > 0 if facts["head"] in ("single_label", "pair", "span") else None
    weights = np.ones(len(targets), np.float32) if weights is None else weights.astype(np.float32)
    if class_weights and len(targets):
        of_class = np.array([class_weights[name] for name in facts["classes"]], np.float32)
        weights = weights * of_class[targets.argmax(1)]
    pairs = [(p.window, *p.first_tokens, *p.second_tokens) for p in row.pairs]
    return {
        "ids": [token for window in row.windows for token in window.ids],
        "lengths": [len(window.ids) for window in row.windows],
        "targets": targets.ravel(),
        "weights": weights,
        "pairs": [number for pair in pairs for number in pair],
    }


def _one_hot(places: Sequence[int], size: int) -> Floats:
    targets = np.zeros((len(places), size), np.float32)
    for number, place in enumerate(places):
        if place >= 0:
            targets[number, place] = 1.0
    return targets


def _tags(
    spans: Sequence[Mapping[str, Any]],
    row: EncodedText,
    index: Mapping[str, int],
    special: frozenset[int],
) -> list[int]:
    """B and I of each span's class for every token of the text, 0 outside."""
    tags: list[int] = []
    for window in row.windows:
        before = None
        for token, (start, end) in zip(window.ids, window.offsets, strict=True):
            if token in special:  # a text may spell one out
                continue
            inside = next(
                (s for s in spans if s["start"] < end and s["end"] > start and s["label"] in index),
                None,
            )
            if inside is None:
                tags.append(0)
            else:
                tags.append(2 * index[inside["label"]] + (2 if inside is before else 1))
            before = inside
    return tags


_TYPES = {
    "ids": pa.list_(pa.int32()),
    "lengths": pa.list_(pa.int32()),
    "targets": pa.list_(pa.float32()),
    "weights": pa.list_(pa.float32()),
    "pairs": pa.list_(pa.int32()),
}
