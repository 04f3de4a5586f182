"""The teacher as a whole: a neural network and a gradient-boosted forest, blended.

features [B, F] -> w * network + (1 - w) * booster -> beta calibration -> probabilities [B]
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from scipy.special import expit, logit
from torch import nn

from spt_core.artifacts import ModelArtifact
from spt_core.models import FAMILIES
from spt_core.models.calibration import apply_calibration
from spt_core.models.tabular import TabularConfig
from spt_core.signature import Signature

WEIGHTS = "network.safetensors"
BOOSTER = "booster.txt"
BLEND = "blend.json"
FACTS = "facts.json"
_CLIP = 1e-7
_ROWS = 8192


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """How the members are joined, and the calibration of the result."""

    network_weight: float
    calibration: tuple[float, float, float]


class TeacherEnsemble:
    """Scores encoded rows with all members; holds its weights, so open it where it is used."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self.facts: dict[str, Any] = json.loads(artifact.read(FACTS))
        config = TabularConfig(**_tuples(artifact.config["network"]))
        self.network = FAMILIES[artifact.family].build(
            artifact.signature, artifact.role, config, self.facts
        )
        self.network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
        self.network.eval()
        self.booster = lightgbm.Booster(model_str=artifact.read(BOOSTER).decode())
        content = json.loads(artifact.read(BLEND))
        self.blend = Blend(
            network_weight=content["network_weight"], calibration=tuple(content["calibration"])
        )

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated log-odds [B]."""
        network = network_probability(self.network, features)
        booster = booster_probability(self.booster, features)
        mixed = mix(network, booster, self.blend.network_weight)
        return apply_calibration(mixed, self.blend.calibration)

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [B]."""
        return expit(self.log_odds(features))


def train_booster(
    signature: Signature,
    config: TabularConfig,
    train: tuple[NDArray[np.float32], NDArray[np.float32]],
    validation: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    *,
    seed: int,
    num_threads: int,
) -> str:
    """LightGBM's text model, stopped early on the validation rows if there are any."""
    parameters = {
        "objective": "binary",
        "learning_rate": config.booster_learning_rate,
        "num_leaves": config.booster_leaves,
        "min_data_in_leaf": min(config.booster_min_leaf_rows, max(len(train[1]) // 50, 1)),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "cat_smooth": 10.0,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": num_threads,
        "verbosity": -1,
    }
    first_category = len(signature.numbers)
    categories = list(range(first_category, len(signature.columns)))
    rows = lightgbm.Dataset(train[0], train[1], categorical_feature=categories)
    if validation is None:
        return lightgbm.train(parameters, rows, config.booster_rounds).model_to_string()
    held_out = lightgbm.Dataset(validation[0], validation[1], reference=rows)
    booster = lightgbm.train(
        parameters,
        rows,
        config.booster_rounds,
        valid_sets=[held_out],
        callbacks=[lightgbm.early_stopping(config.booster_patience, verbose=False)],
    )
    return booster.model_to_string(num_iteration=booster.best_iteration)


def best_weight(
    labels: NDArray[np.float32], network: NDArray[np.float64], booster: NDArray[np.float64]
) -> float:
    """The network's share of least log loss on held-out rows, among 0, 0.1, ... 1."""
    losses = []
    for share in np.linspace(0, 1, 11):
        mixed = np.clip(share * network + (1 - share) * booster, _CLIP, 1 - _CLIP)
        losses.append(-np.mean(labels * np.log(mixed) + (1 - labels) * np.log1p(-mixed)))
    return float(np.argmin(losses)) / 10


def mix(
    network: NDArray[np.float64], booster: NDArray[np.float64], network_weight: float
) -> NDArray[np.float64]:
    """Log-odds of the weighted mean of two members' probabilities [B]."""
    mixed = network_weight * network + (1 - network_weight) * booster
    return logit(np.clip(mixed, _CLIP, 1 - _CLIP))


@torch.no_grad()
def network_probability(network: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean probability [B] of a network's members."""
    network.eval()
    parts = [
        network(part).double().sigmoid().mean(1) for part in torch.from_numpy(features).split(_ROWS)
    ]
    return torch.cat(parts).numpy() if parts else np.empty(0)


def booster_probability(
    booster: lightgbm.Booster, features: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Probability [B] of the booster."""
    return np.asarray(booster.predict(features), dtype=np.float64)


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
