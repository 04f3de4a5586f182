"""A teacher of images that begins with one of other images: all stages, and votes by class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors.torch import load as load_weights
from torch import Tensor, nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.carrying import (
    EMBEDDING,
    ENCODER,
    HEAD,
    Begun,
    class_rows,
    put_rows,
    require_no_columns,
    whole,
)
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun

_CARRIED = ("stem.", "stages.", "top.")


class ImageTransferring:
    """The Transferring of images."""

    def layers(self, network: nn.Module) -> Mapping[str, Sequence[str]]:
        """The stem, the stages, and what votes."""
        names: dict[str, list[str]] = {}
        for name, _ in network.named_parameters():
            first, _, rest = name.partition(".")
            stage = f"{ENCODER}.{rest.partition('.')[0]}"
            at = {"stem": EMBEDDING, "stages": stage}.get(first, HEAD)
            names.setdefault(at, []).append(name)
        return names

    def configured(
        self, source: ModelArtifact, config: TrainingConfig
    ) -> tuple[TrainingConfig, tuple[str, ...]]:
        """As it is: images of any size pass through the same stages."""
        del source
        return config, ()

    def begun(
        self,
        source: ModelArtifact,
        run: TrainingRun,
        network: Any,
        splits: Splits,
        columns: Mapping[str, str | None],
    ) -> Begun:
        """Stem, stages and top, with what their normalisation has seen."""
        del splits
        require_no_columns(columns, "image")
        theirs, own, facts = (
            load_weights(source.read(WEIGHTS)),
            json.loads(source.read(FACTS)),
            run.facts,
        )
        for what in ("architecture", "channels"):
            if own[what] != facts[what]:
                raise InputError(
                    f"images are carried over between networks of one {what}, however: the "
                    f"source's is {own[what]}, the target's {facts[what]}"
                )
        weights: dict[str, Tensor] = {k: v.clone() for k, v in network.state_dict().items()}
        weights |= {n: v for n, v in theirs.items() if n.startswith(_CARRIED)}
        parameters = [name for name, _ in network.named_parameters()]
        given = {name: whole() for name in parameters if name.startswith(_CARRIED)}
        rows = class_rows(own["classes"], facts["classes"]) if own["head"] == facts["head"] else []
        if facts["head"] == own["head"] == "binary":
            rows = [(0, 0)]
        for name in ("vote.weight", "vote.bias"):
            put_rows(weights, given, name, theirs[name], rows)
        stages = ("the stem, the stages and the top",)
        if not rows:
            return Begun(weights, given, stages, ("the votes",))
        return Begun(weights, given, (*stages, f"the votes of {len(rows)} classes"), ())
