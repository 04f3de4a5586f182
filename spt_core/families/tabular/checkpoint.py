"""Runs checkpoints: students and blends as they are, the teacher by leaving features out."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from scipy.special import expit

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.tabular.blending import BlendedModel
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.ensemble import TeacherEnsemble
from spt_core.families.tabular.network import StudentNetwork, table_network
from spt_core.families.tabular.outputs import DECISION
from spt_core.plain import from_plain

_ROWS = 8192


def open_runtime(artifact: ModelArtifact) -> StudentRuntime | TeacherRuntime | BlendCheckpoint:
    """The runtime of a checkpoint."""
    if artifact.role == "blend":
        return BlendCheckpoint(artifact)
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
        """Calibrated probabilities [B], or scores [B, K]."""
        parts = torch.from_numpy(features).split(_ROWS)
        return torch.cat([self._network.score(p) for p in parts]).double().numpy()

    @torch.no_grad()
    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same and effects [B, F] or [B, K, F], from the graph that is exported."""
        scores, effects = self._network.explain(torch.from_numpy(features))
        return scores.double().numpy(), effects.double().numpy()


class BlendCheckpoint:
    """A blend, run by the libraries that its parts were trained with."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self.model = BlendedModel(
            artifact, open_student(artifact) if WEIGHTS in artifact.files else None
        )
        self._is_decision = self.model.target.head == DECISION.head

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [B], or scores [B, K]."""
        return self._said(self.model.scores(features))

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same and effects [B, F] or [B, K, F]."""
        scores, effects = self.model.explain(features)
        return self._said(scores), effects[:, 0] if self._is_decision else effects

    def _said(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return expit(scores[:, 0]) if self._is_decision else scores


class TeacherRuntime:
    """A teacher ensemble; effects as for the student, against a typical row."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self._ensemble = TeacherEnsemble(artifact)
        typical = self._ensemble.facts["typical"]
        self._typical = np.array([np.nan if v is None else v for v in typical], np.float32)
        self._is_decision = self._ensemble.target.head == DECISION.head

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [B], or scores [B, K]."""
        scores = self._ensemble.scores(features)
        return expit(scores) if self._is_decision else scores

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same and effects [B, F] or [B, K, F]; 2F + 1 scorings a row."""
        num_features = features.shape[1]
        own = np.eye(num_features, dtype=bool)
        nothing = self._ensemble.scores(self._typical[None])[0]
        effects: list[NDArray[np.float64]] = []
        for row in features:
            without = np.where(own, self._typical, row)
            alone = np.where(own, row, self._typical)
            scores = self._ensemble.scores(np.concatenate([row[None], without, alone]))
            out_of, into = scores[1 : 1 + num_features], scores[1 + num_features :]
            effects.append((((scores[0] - out_of) + (into - nothing)) / 2).T)
        return self.score(features), np.array(effects)
