"""Blends of a student and its teacher's forests, which a replica can run, as checkpoints.

student's scores x share + forests' margins x shares -> calibration -> scores [B, K]

The student stands for the teacher's network, which is too large to be served. All are mixed as
scores, log-odds or logits: what a column adds to a blend is the sum of what it adds to each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.artifacts import FACTS, ModelArtifact
from spt_core.families.tabular.boosters import Forest, open_forest
from spt_core.families.tabular.ensemble import BLEND, FORESTS, QUANTILE_FORESTS
from spt_core.families.tabular.network import StudentNetwork
from spt_core.families.tabular.outputs import DECISION, Target, target_from_json
from spt_core.heads.base import Floats

STUDENT = "student"
_ROWS = 8192


class Member(NamedTuple):
    """A forest of a blend: the file that it is in, its share, and the score that it begins at."""

    kind: str
    file: str
    share: float
    first_score: int


class BlendedModel:
    """A checkpoint of a blend, run by the libraries that its parts were trained with."""

    def __init__(self, artifact: ModelArtifact, network: StudentNetwork | None) -> None:
        self.target = target_from_json(json.loads(artifact.read(FACTS)))
        content = json.loads(artifact.read(BLEND))
        self.shares: dict[str, float] = content["weights"]
        self.calibration: list[Any] = content["calibration"]
        self.network = network
        self.members = members_of(self.shares, self.target)
        self._forests = {m.file: open_forest(m.kind, artifact.read(m.file)) for m in self.members}

    @property
    def num_scores(self) -> int:
        """How many scores K a row has."""
        return self.target.output.num_outputs(self.target, is_student=True)

    def scores(self, features: NDArray[np.float32]) -> Floats:
        """Calibrated scores [B, K]; of decisions, log-odds [B, 1]."""
        total = np.zeros((len(features), self.num_scores))
        if self.network is not None:
            total += self.shares[STUDENT] * student_scores(self.network, features)
        for member in self.members:
            margins = forest_scores(self._forests[member.file], features, self.target)
            stop = member.first_score + margins.shape[1]
            total[:, member.first_score : stop] += member.share * margins
        return calibrated(total, self.calibration, self.target)

    def explain(self, features: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """The same, and the columns' effects on them [B, K, F]."""
        total, average = np.zeros((len(features), self.num_scores)), np.zeros(self.num_scores)
        effects = np.zeros((*total.shape, features.shape[1]))
        if self.network is not None:
            share = self.shares[STUDENT]
            scores, own, nothing = _student_effects(self.network, features)
            total, average, effects = share * scores, share * nothing, share * own
        scale, _ = self.target.output.margin_units(self.target) or (1.0, 0.0)
        for member in self.members:
            forest, first = self._forests[member.file], member.first_score
            margins = member.share * forest_scores(forest, features, self.target)
            added = member.share * scale * forest.contributions(features)
            outputs = slice(first, first + margins.shape[1])
            total[:, outputs] += margins
            effects[:, outputs] += added
            average[outputs] += (margins - added.sum(2))[0]
        after, after_average = (
            calibrated(scores, self.calibration, self.target) for scores in (total, average[None])
        )
        far = total - average
        slope = np.divide(after - after_average, far, out=np.ones_like(far), where=far != 0)
        return after, effects * slope[:, :, None]


def members_of(shares: Mapping[str, float], target: Target) -> list[Member]:
    """The forests that have a share; the quantiles of a number come with them."""
    members = [
        Member(kind, file, shares[kind], 0) for kind, file in FORESTS.items() if shares[kind]
    ]
    if members and target.head == "regression":
        share = sum(member.share for member in members)
        members += [Member("lightgbm", f, share, 1 + i) for i, f in enumerate(QUANTILE_FORESTS)]
    return members


def calibrated(mixed: Floats, calibration: Sequence[Any], target: Target) -> Floats:
    """Calibrated scores [B, K] of scores [B, K]."""
    return target.output.calibrated(shaped(mixed, target), calibration).reshape(mixed.shape)


def forest_scores(forest: Forest, features: NDArray[np.float32], target: Target) -> Floats:
    """A forest's margins [B, K] in the units of a student's scores."""
    scale, shift = target.output.margin_units(target) or (1.0, 0.0)
    return scale * forest.margins(features) + shift


@torch.no_grad()
def student_scores(network: StudentNetwork, features: NDArray[np.float32]) -> Floats:
    """A student's calibrated scores [B, K]; of decisions, log-odds [B, 1]."""
    parts = [network.scores(rows) for rows in torch.from_numpy(features).split(_ROWS)]
    return torch.cat(parts).double().numpy()


@torch.no_grad()
def _student_effects(
    network: StudentNetwork, features: NDArray[np.float32]
) -> tuple[Floats, Floats, Floats]:
    """A student's scores [B, K], their effects [B, K, F] and the scores of nothing known [K]."""
    _, effects = network.explain(torch.from_numpy(features))
    own = effects.double().numpy().reshape(len(features), -1, features.shape[1])
    return student_scores(network, features), own, network.scores_of_nothing().double().numpy()


def mixed(scores: Mapping[str, Floats], shares: Mapping[str, float]) -> Floats:
    """The weighted sum of the members' scores."""
    return np.sum([share * scores[name] for name, share in shares.items() if share], axis=0)


def shaped(scores: Floats, target: Target) -> Floats:
    """Scores [B, K] as an Output takes them: [B] of decisions."""
    return scores[:, 0] if target.head == DECISION.head else scores
