"""Runs checkpoints: the student's network as it is, the teacher by leaving features out."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.ensemble import TeacherEnsemble
from spt_core.families.tabular.network import StudentNetwork, table_network
from spt_core.plain import from_plain

_ROWS = 8192


def open_runtime(artifact: ModelArtifact) -> StudentRuntime | TeacherRuntime:
    """The runtime of a checkpoint."""
    return TeacherRuntime(artifact) if artifact.role == "teacher" else StudentRuntime(artifact)


def open_student(artifact: ModelArtifact) -> StudentNetwork:
    """The student's network with its weights, ready to score."""
    config = from_plain(TabularConfig, artifact.config["network"])
    facts = json.loads(artifact.read(FACTS))
    network = table_network(artifact.signature, "student", config, facts)
    network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
    return cast(StudentNetwork, network.eval())  # build() makes one for the role student


class StudentRuntime:
    """A student's checkpoint."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self._network = open_student(artifact)

    @torch.no_grad()
    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [B]."""
        parts = torch.from_numpy(features).split(_ROWS)
        return torch.cat([self._network.probability(p) for p in parts]).double().numpy()

    @torch.no_grad()
    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities [B] and effects [B, F], from the same graph that is exported."""
        probability, effects = self._network.explain(torch.from_numpy(features))
        return probability.double().numpy(), effects.double().numpy()


class TeacherRuntime:
    """A teacher ensemble; effects as for the student, against a typical row."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self._ensemble = TeacherEnsemble(artifact)
        typical = self._ensemble.facts["typical"]
        self._typical = np.array([np.nan if v is None else v for v in typical], np.float32)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [B]."""
        return self._ensemble.probability(features)

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities [B] and effects [B, F]; 2F + 1 scorings a row."""
        num_features = features.shape[1]
        own = np.eye(num_features, dtype=bool)
        effects = np.empty(features.shape, np.float64)
        probabilities = self.score(features)
        nothing = self._ensemble.log_odds(self._typical[None])[0]
        for index, row in enumerate(features):
            without = np.where(own, self._typical, row)
            alone = np.where(own, row, self._typical)
            odds = self._ensemble.log_odds(np.concatenate([row[None], without, alone]))
            out_of, into = odds[1 : 1 + num_features], odds[1 + num_features :]
            effects[index] = ((odds[0] - out_of) + (into - nothing)) / 2
        return probabilities, effects
