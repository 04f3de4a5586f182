"""The teacher as a whole: a neural network, two gradient-boosted forests, a linear model, blended.

features [B, F] -> weighted mean of probabilities -> beta calibration -> probabilities [B]
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from torch import nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.tabular.boosters import (
    Forest,
    Rows,
    fit_lightgbm,
    fit_quantile,
    fit_xgboost,
    open_forest,
)
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.linear import (
    MAX_ROWS,
    LinearModel,
    fit_linear,
    open_linear,
    sampled,
)
from spt_core.families.tabular.network import table_network
from spt_core.families.tabular.outputs import QUANTILES, Output, target_from_json
from spt_core.heads.base import Floats
from spt_core.plain import from_plain

NETWORK = "network"
FORESTS: Mapping[str, str] = {"lightgbm": "lightgbm.txt", "xgboost": "xgboost.json"}
LINEAR = "linear"
FILES: Mapping[str, str] = {**FORESTS, LINEAR: "linear.safetensors"}  # of the members beside it
QUANTILE_FORESTS = ("lightgbm-low.txt", "lightgbm-high.txt")  # of a number's interval
BLEND = "blend.json"
MEMBER_SETTINGS = "forests.json"  # what each was fitted with, so that it can be again
Member = Forest | LinearModel
_ROWS = 8192


def open_member(kind: str, content: bytes) -> Member:
    """What a teacher's file holds."""
    return open_linear(content) if kind == LINEAR else open_forest(kind, content)


def member_settings(file: str, member: Member) -> dict[str, Any]:
    """What a teacher's file was fitted with: kind, quantile, parameters, and trees of forests."""
    if isinstance(member, LinearModel):
        return {"kind": LINEAR, "quantile": None, "parameters": dict(member.parameters)}
    kind = next((kind for kind, name in FORESTS.items() if name == file), "lightgbm")
    quantiles: dict[str, float] = dict(zip(QUANTILE_FORESTS, QUANTILES, strict=True))
    quantile = quantiles.get(file)
    # LightGBM counts rounds that grew no tree too.
    parameters = {**member.parameters, "num_trees": member.num_rounds}
    return {"kind": kind, "quantile": quantile, "parameters": parameters}


def refitted(settings: Mapping[str, Any], rows: Rows, seed: int) -> Member:
    """The member of the same settings on other rows; a forest with as many trees."""
    if settings["kind"] == LINEAR:
        return fit_linear(sampled(rows, MAX_ROWS, seed), settings["parameters"]["C"])
    parameters = {k: v for k, v in settings["parameters"].items() if k != "num_trees"}
    num_trees = settings["parameters"]["num_trees"]
    if settings["quantile"] is not None:
        return fit_quantile(settings["quantile"], parameters, rows, seed, num_trees)
    fit = fit_lightgbm if settings["kind"] == "lightgbm" else fit_xgboost
    return fit(parameters, rows, seed, num_trees)


class TeacherEnsemble:
    """Scores encoded rows with all members; holds its weights, so open it where it is used."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self.facts: dict[str, Any] = json.loads(artifact.read(FACTS))
        self.target = target_from_json(self.facts)
        config = from_plain(TabularConfig, artifact.config["network"])
        self.network = table_network(artifact.signature, artifact.role, config, self.facts)
        self.network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
        self.network.eval()
        content = json.loads(artifact.read(BLEND))
        self.weights: dict[str, float] = content["weights"]
        self.calibration: list[Any] = content["calibration"]
        self.members = {
            kind: open_member(kind, artifact.read(file))
            for kind, file in FILES.items()
            if self.weights.get(kind)  # teachers of before had no linear model
        }
        self.quantiles = [
            open_forest("lightgbm", artifact.read(name))
            for name in QUANTILE_FORESTS
            if name in artifact.files
        ]

    def scores(self, features: NDArray[np.float32]) -> Floats:
        """Calibrated scores: log-odds [B] of decisions, else [B, K]; numbers have three."""
        output = self.target.output
        members = {
            kind: output.of_forest(member.predict(features))
            for kind, member in self.members.items()
        }
        if self.weights[NETWORK]:
            members[NETWORK] = network_said(self.network, features, output)
        logits = output.logits(mix(members, self.weights))
        return output.calibrated(with_quantiles(logits, self.quantiles, features), self.calibration)

    def soft(self, features: NDArray[np.float32]) -> Floats:
        """What the scores ask of a student: probabilities [B] or [B, K], values [B, 3]."""
        return self.target.output.soft(self.scores(features), self.target)


def best_weights(
    targets: Floats,
    members: Mapping[str, Floats],
    output: Output,
    weights: Floats | None = None,
) -> dict[str, float]:
    """The members' shares of least loss on held-out rows, in steps of a tenth."""
    stacked = np.stack(list(members.values()))
    flat = stacked.reshape(len(stacked), -1)
    best, best_loss = (1.0,), np.inf
    for tenths in itertools.product(range(11), repeat=len(members)):
        if sum(tenths) != 10:
            continue
        mixed = np.array(tenths) / 10 @ flat
        loss = output.loss(targets, mixed.reshape(stacked.shape[1:]), weights)
        if loss < best_loss:
            best, best_loss = tuple(t / 10 for t in tenths), loss
    return dict(zip(members, best, strict=True))


def mix(members: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """The weighted mean of what the members say."""
    return np.sum([weights[name] * said for name, said in members.items()], axis=0)


def with_quantiles(
    logits: Floats, quantiles: Sequence[Forest], features: NDArray[np.float32]
) -> Floats:
    """A number's value [B, 1] and what the forests of its quantiles say; others have none."""
    if not quantiles:
        return logits
    return np.column_stack([logits, *(forest.predict(features) for forest in quantiles)])


@torch.no_grad()
def network_said(network: nn.Module, features: NDArray[np.float32], output: Output) -> Floats:
    """What a network's members say of rows, the mean over them."""
    network.eval()
    parts = [network(part).double() for part in torch.from_numpy(features).split(_ROWS)]
    return output.of_network(torch.cat(parts).numpy()) if parts else np.empty(0)
