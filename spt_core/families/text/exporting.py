"""A text model's files: one graph, its tokenizer, its facts; a replica needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.artifacts import FACTS, GRAPH, ModelArtifact
from spt_core.errors import ParityError
from spt_core.families.graph import OPSET, Exported, Method, gap, graph
from spt_core.families.onnx import INPUT
from spt_core.families.text.checkpoint import CheckpointTextRuntime, open_network
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.serving import (
    OUTPUTS,
    PAIRS,
    TOKENIZER,
    OnnxTextRuntime,
    TextPredictor,
    TextRuntime,
)
from spt_core.heads import HEADS
from spt_core.heads.labels import sigmoid, softmax
from spt_core.task import Task, find

TOLERANCE = 1e-5
SHARE_TOLERANCE = 1e-3  # on logits, which reach far beyond 1
PROBE_TOLERANCE = 1e-4
NUM_PROBES = 12
_LIMITS = {"probability": TOLERANCE, "shares": SHARE_TOLERANCE, "scale": TOLERANCE}

Ids = NDArray[np.int64]


class Trial(NamedTuple):
    """Random ids [W, T], the longest as long as a window may be, and random pairs [P, 5]."""

    features: Ids
    pairs: Ids


def export_text(artifact: ModelArtifact) -> Exported:
    """The network as one graph; ParityError when it disagrees with its checkpoint."""
    network = open_network(artifact)
    facts, tokenizer = json.loads(artifact.read(FACTS)), artifact.read(TOKENIZER)
    max_tokens = artifact.config["network"]["max_tokens"]
    words = TextEncoder(
        tokenizer, max_tokens=max_tokens, overlap=artifact.config["network"]["window_overlap"]
    )
    example = trial(words, num_windows=3, num_tokens=max(max_tokens // 3, 7), num_pairs=5, seed=0)
    content = _graph(network, example, takes_pairs=facts["head"] == "pair")
    checkpoint = CheckpointTextRuntime(network)
    parity = check_parity(checkpoint, OnnxTextRuntime(content), words, facts["head"], max_tokens)
    predictor = TextPredictor(artifact.signature, checkpoint, words=words, facts=facts)
    records = probe_records(find(artifact.task), words, max_tokens)
    return Exported(
        {GRAPH: content, TOKENIZER: tokenizer, FACTS: artifact.read(FACTS)},
        parity,
        probes_of(predictor, records),
    )


def check_parity(
    checkpoint: TextRuntime, runtime: TextRuntime, words: TextEncoder, head: str, max_tokens: int
) -> dict[str, Any]:
    """The largest differences seen; ParityError beyond TOLERANCE at any of the shapes.

    A graph may silently keep a size of the example that it was traced with, so none is that size.
    """
    shapes = [(1, 5, 1), (2, max_tokens, 3), (9, max(max_tokens // 2, 6), 17), (16, 11, 1)]
    squashed = sigmoid if head in ("multi_label", "ordinal") else softmax
    worst = dict.fromkeys(_LIMITS, 0.0)
    for seed, (num_windows, num_tokens, num_pairs) in enumerate(shapes, 1):
        given = trial(
            words,
            num_windows=num_windows,
            num_tokens=min(num_tokens, max_tokens),
            num_pairs=num_pairs,
            seed=seed,
        )
        expected, expected_shares, expected_scale = checkpoint.explain(*given)
        actual, shares, scale = runtime.explain(*given)
        if head != "regression":
            actual, expected = (
                squashed(logits.astype(np.float64)) for logits in (actual, expected)
            )
        gaps = {
            "probability": gap(actual, expected),
            "shares": gap(shares, expected_shares),
            "scale": gap(scale, expected_scale),
        }
        for name, limit in _LIMITS.items():
            if not gaps[name] <= limit:
                raise ParityError(
                    f"an exported model must agree with its checkpoint within {limit:g}, however: "
                    f"{name} differs by {gaps[name]:.3g} at windows, tokens, pairs "
                    f"{(num_windows, num_tokens, num_pairs)}"
                )
            worst[name] = max(worst[name], gaps[name])
    return {
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "shapes": [list(shape) for shape in shapes],
        "opset": OPSET,
    }


def trial(
    words: TextEncoder, *, num_windows: int, num_tokens: int, num_pairs: int, seed: int
) -> Trial:
    """Windows of 3 to `num_tokens` random tokens, the first of them full, and random pairs."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(min(5, num_tokens), num_tokens + 1, num_windows)
    lengths[0] = num_tokens
    size = words.tokenizer.get_vocab_size()
    features = draw.integers(0, size, (num_windows, num_tokens))
    ordinary = next(i for i in range(size) if i not in (words.prefix, words.suffix, words.pad))
    features[np.isin(features, [words.prefix, words.suffix, words.pad])] = ordinary
    features[:, 0] = words.prefix
    features[np.arange(num_windows), lengths - 1] = words.suffix
    features[np.arange(num_tokens) >= lengths[:, None]] = words.pad
    pairs: list[tuple[int, ...]] = []
    for window in draw.integers(0, num_windows, num_pairs):
        places = np.sort(draw.integers(1, lengths[window] - 1, 4))
        pairs.append((int(window), *places.tolist()))
    return Trial(features, np.array(pairs, np.int64).reshape(num_pairs, 5))


def probe_records(task: Task, words: TextEncoder, max_tokens: int) -> list[dict[str, Any]]:
    """The task's example and random words of the vocabulary, up to three windows long."""
    draw = np.random.default_rng(0)
    size, records = words.tokenizer.get_vocab_size(), [dict(task.example)]
    for length in np.geomspace(3, 2.5 * max_tokens, NUM_PROBES - 1).astype(int).tolist():
        ids = draw.integers(0, size, length).tolist()
        text = f"a {words.tokenizer.decode(ids)} b"
        record: dict[str, Any] = {task.text_field.name: text}
        if task.head == "pair" and task.spans_field is not None:
            places = [m.span() for m in re.finditer(r"\w+", text)]
            chosen = sorted({0, len(places) // 2, len(places) - 1})
            record[task.spans_field.name] = [
                {"start": places[i][0], "end": places[i][1]} for i in chosen
            ]
        records.append(record)
    return records


def probes_of(
    predictor: TextPredictor, records: list[dict[str, Any]], *, tolerance: float = PROBE_TOLERANCE
) -> dict[str, Any]:
    """Records with the probabilities that a replica must reproduce within the tolerance."""
    outputs = HEADS[predictor.head].outputs
    scores = predictor.predict([predictor.read(record) for record in records])
    return {
        "records": records,
        "probabilities": [outputs(row.values).ravel().tolist() for row in scores],
        "tolerance": tolerance,
    }


def _graph(network: torch.nn.Module, example: Trial, *, takes_pairs: bool) -> bytes:
    windows, tokens = torch.export.Dim("windows"), torch.export.Dim("tokens", min=3)
    shapes: dict[str, Mapping[int, Any]] = {INPUT: {0: windows, 1: tokens}}
    if takes_pairs:
        shapes[PAIRS] = {0: torch.export.Dim("pairs")}
    examples = [torch.from_numpy(array) for array in example][: len(shapes)]
    explain: Any = network.explain  # nn.Module's attributes have no types
    return graph(Method(network, explain), examples, shapes, OUTPUTS)
