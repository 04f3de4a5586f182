"""What a Ray Data task runs to label augmented texts with a teacher; opened once per process."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from scipy.special import expit, softmax

from spt_core.artifacts import FACTS, WEIGHTS, artifact_from_json
from spt_core.families.text.config import TextConfig
from spt_core.families.text.network import TextNetwork
from spt_core.families.text.scores import TextScores, WindowedText, score_windows
from spt_core.families.text.token_rows import TokenRow, token_rows, windows_of
from spt_core.fitting.precision import is_bf16_cpu
from spt_core.plain import from_plain


def soften_texts(
    batch: dict[str, NDArray[Any]],
    *,
    teacher: str,
    copies: int,
    mask_id: int,
    kept: NDArray[np.int64],
    projection: NDArray[np.float32],
    mask_probability: float,
    splice_probability: float,
    hard_label_weight: float,
    temperature: float,
    seed: int,
    use_mixed_precision: bool,
) -> pa.Table:
    """Texts and augmented copies with the teacher's distributions, in the student's token ids.

    `kept` holds the teacher's id of each of the student's tokens, `projection` [H, h] takes the
    teacher's token states to the student's width. The draw follows the rows' numbers. In mixed
    precision the teacher answers in bf16 on CPUs that multiply it, as the student learns in it. The
    answers are of its encoder alone: what its wide part says, the student's own learns from texts.
    """
    network, facts = _open_teacher(teacher)
    size = int(network.scale.shape[0])
    rows = token_rows(batch, size)
    draw = np.random.default_rng([seed, int(batch["row"][0]), len(rows)])
    splices = network.head not in ("pair", "span")
    special = set(facts["special"])
    everything = list(rows)
    for _ in range(copies):
        for row in _copied(rows, network.head, draw):
            if splices and draw.random() < splice_probability:
                row = _spliced(row, rows[draw.integers(len(rows))], draw)
            everything.append(_masked(row, special, mask_id, mask_probability, draw))
    is_bf16 = use_mixed_precision and is_bf16_cpu()
    texts = [WindowedText(windows_of(row), row.pairs) for row in everything]
    scores = score_windows(network, texts, facts["pad"], is_bf16=is_bf16)
    soft = _labelled(network.head, everything, scores, temperature, projection)
    ids = np.full(int(kept.max()) + 1, -1, np.int32)
    ids[kept] = np.arange(len(kept), dtype=np.int32)
    unknown = int(ids[facts["unknown"]])
    student_rows: list[TokenRow] = []
    for number, row in enumerate(soft):
        if number < len(rows) and hard_label_weight:
            hard = rows[number].targets
            if network.head == "regression":
                hard = hard / np.float32(temperature)
            row = row._replace(targets=row.targets + hard_label_weight * (hard - row.targets))
        inside = np.where(row.ids < len(ids), ids[np.minimum(row.ids, len(ids) - 1)], -1)
        student_rows.append(
            row._replace(ids=np.where(inside >= 0, inside, unknown).astype(np.int32))
        )
    return pa.table(
        {
            name: pa.array([np.ravel(getattr(row, name)) for row in student_rows])
            for name in TokenRow._fields
        }
    )


def _copied(rows: Sequence[TokenRow], head: str, draw: np.random.Generator) -> Sequence[TokenRow]:
    """The rows that copies are made of.

    Where a text may have several labels, most have none, and the teacher says the same of them:
    every other copy is of a text with a label.
    """
    labelled = [row for row in rows if row.targets.any()] if head == "multi_label" else []
    if not labelled:
        return rows
    return [labelled[draw.integers(len(labelled))] if draw.random() < 0.5 else row for row in rows]


def _masked(
    row: TokenRow, special: set[int], mask_id: int, share: float, draw: np.random.Generator
) -> TokenRow:
    """The row with some of its tokens masked, never the special ones."""
    chosen = draw.random(len(row.ids)) < share
    chosen &= ~np.isin(row.ids, list(special))
    return row._replace(ids=np.where(chosen, np.int32(mask_id), row.ids))


def _spliced(row: TokenRow, other: TokenRow, draw: np.random.Generator) -> TokenRow:
    """The beginning of one text's first window and the end of another's, in one window."""
    first, second = row.ids[: row.lengths[0]], other.ids[: other.lengths[0]]
    cut = int(draw.integers(1, len(first)))
    rest = int(draw.integers(1, len(second)))
    room = max(len(first), len(second))
    ids = np.concatenate([first[:cut], second[rest:-1]])[: room - 1]
    ids = np.append(ids, first[-1]).astype(np.int32)
    return row._replace(ids=ids, lengths=np.array([len(ids)], np.int32))


def _labelled(
    head: str,
    rows: Sequence[TokenRow],
    scores: TextScores,
    temperature: float,
    projection: NDArray[np.float32],
) -> list[TokenRow]:
    """The rows with the teacher's softened answer as targets, and its projected token states."""
    return [
        row._replace(
            targets=_softened(head, logits.astype(np.float64), temperature),
            weights=np.ones(len(logits), np.float32),
            states=states @ projection,
        )
        for row, logits, states in zip(rows, scores.logits, scores.states, strict=True)
    ]


def _softened(head: str, logits: NDArray[np.float64], temperature: float) -> NDArray[np.float32]:
    if head == "regression":  # the loss divides the student's values too
        return (logits / temperature).astype(np.float32)
    if head in ("multi_label", "ordinal"):
        return expit(logits / temperature).astype(np.float32)
    return softmax(logits / temperature, axis=1).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _open_teacher(artifact: str) -> tuple[TextNetwork, dict[str, Any]]:
    torch.set_num_threads(1)
    source = artifact_from_json(json.loads(artifact))
    facts: dict[str, Any] = json.loads(source.read(FACTS))
    network = TextNetwork(from_plain(TextConfig, source.config["network"]), facts)
    network.load_state_dict(load_weights(source.read(WEIGHTS)))
    network.wide = None
    return network.eval(), facts
