"""The teacher as a whole: the mean of its networks, blended with a booster on statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.series.boosters import WindowBooster
from spt_core.families.series.config import SeriesConfig
from spt_core.families.series.network import TeacherNetwork, num_outputs, series_network
from spt_core.plain import from_plain

BOOSTER = "booster.txt"
BLEND = "blend.json"
USUAL = "usual.safetensors"  # of anomalies
SHARES = tuple(share / 10 for share in range(11))  # of the booster
ROWS_AT_ONCE = 1024
Floats = NDArray[np.float64]
Windows = NDArray[np.float32]


class TeacherEnsemble:
    """A teacher that answers windows; its outputs are uncalibrated, in the network's units."""

    def __init__(
        self,
        network: torch.nn.Module,
        facts: Mapping[str, Any],
        booster: WindowBooster | None = None,
        share: float = 0.0,
    ) -> None:
        self.network, self.facts = network.eval(), facts
        self.booster, self.share = booster, share

    def outputs(self, windows: Windows) -> Floats:
        """[N, K] of windows [N, T, C]."""
        scores = network_outputs(self.network, windows, self.facts)
        if self.booster is None or self.share == 0.0:
            return scores
        return blended(scores, self.booster.outputs(windows), self.share, self.facts)


def open_teacher(artifact: ModelArtifact) -> TeacherEnsemble:
    """The teacher of an artifact's files."""
    facts: dict[str, Any] = json.loads(artifact.read(FACTS))
    config = from_plain(SeriesConfig, artifact.config["network"])
    network = series_network(config, "teacher", facts)
    network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
    booster, share = None, 0.0
    if BOOSTER in artifact.files:
        share = json.loads(artifact.read(BLEND))["booster"]
        booster = WindowBooster(artifact.read(BOOSTER).decode(), facts["head"])
    return TeacherEnsemble(network, facts, booster, share)


@torch.no_grad()
def network_outputs(network: torch.nn.Module, windows: Windows, facts: Mapping[str, Any]) -> Floats:
    """What a network's members say together [N, K]: mean values, or logs of mean probabilities."""
    size, parts = num_outputs(facts), [np.empty((0, num_outputs(facts)))]
    for some in torch.from_numpy(windows).split(ROWS_AT_ONCE):
        members = network(some).double().unflatten(1, (-1, size))
        if facts["head"] == "single_label" and isinstance(network, TeacherNetwork):
            parts.append(members.softmax(2).mean(1).clamp_min(1e-9).log().numpy())
        else:
            parts.append(members.mean(1).numpy())
    return np.concatenate(parts)


def blended(scores: Floats, boosted: Floats, share: float, facts: Mapping[str, Any]) -> Floats:
    """The network's outputs [N, K] with a share of the booster's; an interval moves along."""
    if facts["head"] == "regression":
        return scores + share * (boosted - scores[:, :1])
    return np.log((1.0 - share) * np.exp(scores) + share * np.exp(boosted))


def best_share(scores: Floats, boosted: Floats, targets: Floats, facts: Mapping[str, Any]) -> float:
    """The booster's share of least loss on validation rows: squared error, or log loss."""

    def loss(share: float) -> float:
        mixed = blended(scores, boosted, share, facts)
        if facts["head"] == "regression":
            return float(np.mean((mixed[:, :1] - targets) ** 2))
        return float(-np.mean((targets * mixed).sum(1)))

    return min(SHARES, key=loss)
