"""The teacher as a whole: a neural network and two gradient-boosted forests, blended.

features [B, F] -> weighted mean of probabilities -> beta calibration -> probabilities [B]
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from scipy.special import expit, logit
from torch import nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.tabular.boosters import open_forest
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.network import table_network
from spt_core.heads.beta import apply_calibration
from spt_core.plain import from_plain

NETWORK = "network"
FORESTS: Mapping[str, str] = {"lightgbm": "lightgbm.txt", "xgboost": "xgboost.json"}
BLEND = "blend.json"
_CLIP = 1e-7
_ROWS = 8192


class TeacherEnsemble:
    """Scores encoded rows with all members; holds its weights, so open it where it is used."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self.facts: dict[str, Any] = json.loads(artifact.read(FACTS))
        config = from_plain(TabularConfig, artifact.config["network"])
        self.network = table_network(artifact.signature, artifact.role, config, self.facts)
        self.network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
        self.network.eval()
        content = json.loads(artifact.read(BLEND))
        self.weights: dict[str, float] = content["weights"]
        self.calibration: tuple[float, float, float] = tuple(content["calibration"])
        self.forests = {
            kind: open_forest(kind, artifact.read(FORESTS[kind]))
            for kind in FORESTS
            if self.weights[kind]
        }

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated log-odds [B]."""
        members = {kind: forest.probability(features) for kind, forest in self.forests.items()}
        if self.weights[NETWORK]:
            members[NETWORK] = network_probability(self.network, features)
        return apply_calibration(mix(members, self.weights), self.calibration)

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [B]."""
        return expit(self.log_odds(features))


def best_weights(
    labels: NDArray[np.float32], members: Mapping[str, NDArray[np.float64]]
) -> dict[str, float]:
    """The members' shares of least log loss on held-out rows, in steps of a tenth."""
    stacked = np.stack(list(members.values()))
    best, best_loss = (1.0,), np.inf
    for tenths in itertools.product(range(11), repeat=len(members)):
        if sum(tenths) != 10:
            continue
        mixed = np.clip(np.array(tenths) / 10 @ stacked, _CLIP, 1 - _CLIP)
        loss = -np.mean(labels * np.log(mixed) + (1 - labels) * np.log1p(-mixed))
        if loss < best_loss:
            best, best_loss = tuple(t / 10 for t in tenths), loss
    return dict(zip(members, best, strict=True))


def mix(
    members: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """Log-odds of the weighted mean of the members' probabilities [B]."""
    mixed = sum(weights[name] * probabilities for name, probabilities in members.items())
    return logit(np.clip(mixed, _CLIP, 1 - _CLIP))


@torch.no_grad()
def network_probability(network: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean probability [B] of a network's members."""
    network.eval()
    parts = [
        network(part).double().sigmoid().mean(1) for part in torch.from_numpy(features).split(_ROWS)
    ]
    return torch.cat(parts).numpy() if parts else np.empty(0)
