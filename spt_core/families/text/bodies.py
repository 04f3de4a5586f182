"""A smaller encoder made of a larger one: fewer layers, narrower ones.

weights + configuration -> weights + configuration
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spt_core.errors import InputError
from spt_core.families.text.bases import build_encoder

_LAYER = re.compile(r"(?P<before>(?:^|.*\.)layers?\.)(?P<number>\d+)(?P<after>\..*)")


def chosen_layers(
    weights: Mapping[str, Tensor], encoder: Mapping[str, Any], num_layers: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and configuration of an encoder with `num_layers` of its layers, spread evenly.

    The first and the last one stay; what those between them did is learned again.
    """
    depth = encoder["num_hidden_layers"]
    if num_layers > depth:
        raise InputError(
            f"a student may keep at most its teacher's {depth} layers, however: "
            f"student_layers is {num_layers}"
        )
    spread = np.linspace(0, depth - 1, num_layers) if num_layers > 1 else np.array([depth - 1])
    order = {int(old): new for new, old in enumerate(spread.round())}
    selection: dict[str, Tensor] = {}
    for name, value in weights.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            selection[name] = value
        elif int(match["number"]) in order:
            selection[f"{match['before']}{order[int(match['number'])]}{match['after']}"] = value
    return selection, {**encoder, "num_hidden_layers": num_layers}


def whole_heads(encoder: Mapping[str, Any], width: int | None) -> int:
    """The largest hidden size of whole attention heads up to `width`, None being the encoder's."""
    size: int = encoder["hidden_size"]
    per_head = size // encoder["num_attention_heads"]
    if width is not None and width < per_head:
        raise InputError(
            f"a student must keep one head of its teacher at least, which is {per_head} wide, "
            f"however: student_width is {width}"
        )
    return min(width or size, size) // per_head * per_head


def narrowed(
    weights: Mapping[str, Tensor],
    encoder: Mapping[str, Any],
    width: int,
    axes: NDArray[np.float32],
    *,
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A narrower encoder whose states are about those of the wide one on `axes` [H, width].

    As in Ashkboos et al., "SliceGPT: Compress Large Language Models by Deleting Rows and Columns"
    (ICLR 2024), but without folding the norms away: training mends what they distort. Of heads and
    of hidden units of the feed-forward layers the strongest stay. Layers that are not named as
    BERT's start as initialised, from `seed`.
    """
    size, heads = encoder["hidden_size"], encoder["num_attention_heads"]
    per_head = size // heads
    narrow_config = {
        **encoder,
        "hidden_size": width,
        "num_attention_heads": width // per_head,
        "intermediate_size": encoder["intermediate_size"] * width // size,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        narrow_weights = {
            name: value
            for name, value in build_encoder(narrow_config).state_dict().items()
            if not name.startswith("pooler.")
        }
    onto = torch.from_numpy(axes)
    for name, value in weights.items():
        if "embeddings" in name and value.ndim == 2 or name.endswith("LayerNorm.bias"):
            narrow_weights[name] = value @ onto
        elif name.endswith("LayerNorm.weight"):  # fewer numbers share one variance
            narrow_weights[name] = (onto**2 * value.unsqueeze(1)).sum(0) * math.sqrt(size / width)
    for layer in range(narrow_config["num_hidden_layers"]):
        if f"encoder.layer.{layer}.attention.self.query.weight" in weights:
            _slice_layer(
                narrow_weights, weights, f"encoder.layer.{layer}", onto, per_head, narrow_config
            )
    return narrow_weights, narrow_config


def state_axes(states: NDArray[np.floating[Any]], width: int) -> NDArray[np.float32]:
    """The `width` axes [H, width] on which token states [N, H] are largest, orthonormal."""
    _, axes = np.linalg.eigh(states.astype(np.float64).T @ states)
    return np.ascontiguousarray(axes[:, ::-1][:, :width]).astype(np.float32)


def _slice_layer(
    narrow_weights: dict[str, Tensor],
    weights: Mapping[str, Tensor],
    layer: str,
    onto: Tensor,
    per_head: int,
    narrow_config: Mapping[str, Any],
) -> None:
    """Put a layer's strongest heads and units into `narrow_weights`, their states on the axes."""
    value, out = (
        weights[f"{layer}.attention.{part}.weight"] for part in ("self.value", "output.dense")
    )
    strength = (value.norm(dim=1) * out.norm(dim=0)).reshape(-1, per_head).sum(1)
    kept = strength.topk(narrow_config["num_attention_heads"]).indices.sort().values
    inside = (kept.unsqueeze(1) * per_head + torch.arange(per_head)).flatten()
    up, down = (weights[f"{layer}.{part}.dense.weight"] for part in ("intermediate", "output"))
    units = (up.norm(dim=1) * down.norm(dim=0)).topk(narrow_config["intermediate_size"]).indices
    into = [(f"attention.self.{part}", inside) for part in ("query", "key", "value")]
    for part, rows in (*into, ("intermediate.dense", units.sort().values)):
        narrow_weights[f"{layer}.{part}.weight"] = weights[f"{layer}.{part}.weight"][rows] @ onto
        narrow_weights[f"{layer}.{part}.bias"] = weights[f"{layer}.{part}.bias"][rows]
    for part, columns in (
        ("attention.output.dense", inside),
        ("output.dense", units.sort().values),
    ):
        narrow_weights[f"{layer}.{part}.weight"] = (
            onto.T @ weights[f"{layer}.{part}.weight"][:, columns]
        )
        narrow_weights[f"{layer}.{part}.bias"] = onto.T @ weights[f"{layer}.{part}.bias"]
