"""A teacher of series that begins with one of other series: blocks, and channels of one name."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load as load_weights
from torch import Tensor, nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.data.splits import Splits
from spt_core.families.carrying import EMBEDDING, ENCODER, HEAD, Begun, require_no_columns, whole
from spt_core.families.series.facts import sequence_field
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun

SIZES = ("teacher_members", "teacher_blocks", "teacher_filters", "teacher_kernels")
_OF_CHANNELS = re.compile(r"members\.\d+\.(blocks\.0\.(bottleneck|pooled)|shortcut)\.")
_BLOCK = re.compile(r"members\.\d+\.blocks\.(\d+)\.")
_OUTPUT = re.compile(r"members\.\d+\.output\.")


class SeriesTransferring:
    """The Transferring of series."""

    def layers(self, network: nn.Module) -> Mapping[str, Sequence[str]]:
        """What looks at channels, the blocks of all members, and what is behind them."""
        names: dict[str, list[str]] = {}
        for name, _ in network.named_parameters():
            block = _BLOCK.match(name)
            at = f"{ENCODER}.{block[1]}" if block else HEAD
            names.setdefault(EMBEDDING if _OF_CHANNELS.match(name) else at, []).append(name)
        return names

    def configured(
        self, source: ModelArtifact, config: TrainingConfig
    ) -> tuple[TrainingConfig, tuple[str, ...]]:
        """Networks of the source's sizes."""
        own = {name: source.config["network"][name] for name in SIZES}
        own["teacher_kernels"] = tuple(own["teacher_kernels"])
        changed = [
            f"{name} is {size}, as in the source's network"
            for name, size in own.items()
            if getattr(config.network, name) != size
        ]
        network = dataclasses.replace(config.network, **own)
        return dataclasses.replace(config, network=network), tuple(changed)

    def begun(
        self,
        source: ModelArtifact,
        run: TrainingRun,
        network: Any,
        splits: Splits,
        columns: Mapping[str, str | None],
    ) -> Begun:
        """The blocks; filters of channels of one name; outputs that say the same kind of thing.

        Each side's readings are in standard deviations from its own mean. Filters that are shorter
        because windows are begin afresh.
        """
        del splits
        require_no_columns(columns, "series")
        theirs, own = load_weights(source.read(WEIGHTS)), json.loads(source.read(FACTS))
        weights: dict[str, Tensor] = {k: v.clone() for k, v in network.state_dict().items()}
        given: dict[str, Tensor] = {}
        mine, channels = _channels(run.signature), _channels(source.signature)
        pairs = [(channels.index(name), i) for i, name in enumerate(mine) if name in channels]
        is_like = all(own.get(k) == run.facts.get(k) for k in ("head", "classes", "horizon"))
        parameters = {name for name, _ in network.named_parameters()}
        fresh: set[str] = set()
        for name, values in theirs.items():
            if name not in weights or name.startswith("usual."):
                continue
            if _OF_CHANNELS.match(name):
                _put_channels(weights, given, name, values, pairs)
            elif weights[name].shape != values.shape or (_OUTPUT.match(name) and not is_like):
                fresh.add("outputs" if _OUTPUT.match(name) else "filters of another length")
            else:
                weights[name] = values
                if name in parameters:
                    given[name] = whole()
        lost = [name for name in mine if name not in channels]
        fresh |= {f"channels without a counterpart: {', '.join(lost)}"} if lost else set()
        shared = [mine[i] for _, i in pairs]
        taken = ("the blocks", *([f"the channels {', '.join(shared)}"] if shared else []))
        return Begun(weights, given, taken, tuple(sorted(fresh)))


def _channels(signature: Any) -> list[str]:
    shape = sequence_field(signature).shape
    assert shape is not None, "a sequence has a shape"
    return list(shape.channels)


def _put_channels(
    weights: dict[str, Tensor],
    given: dict[str, Tensor],
    name: str,
    values: Tensor,
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Filters [F, C, 1] of the channels that both have."""
    if not pairs or len(values) != len(weights[name]):
        return
    theirs, mine = (list(places) for places in zip(*pairs, strict=True))
    weights[name][:, mine] = values[:, theirs]
    mask = torch.zeros(1, weights[name].shape[1], 1)
    mask[:, mine] = 1.0
    given[name] = mask
