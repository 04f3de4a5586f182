"""Runs checkpoints of series: the student as it is, the teacher with gradients as reasons."""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.errors import CorruptArtifactError
from spt_core.families.series.config import SeriesConfig
from spt_core.families.series.encoding import standard
from spt_core.families.series.ensemble import BLEND, USUAL, open_teacher
from spt_core.families.series.network import (
    ForecastNetwork,
    Student,
    as_student,
    num_explained,
    num_outputs,
    series_network,
)
from spt_core.families.series.usual import parts_of, usual_from_bytes
from spt_core.plain import from_plain

Windows = NDArray[np.float32]


def open_runtime(artifact: ModelArtifact) -> StudentRuntime | UsualTeacherRuntime | TeacherRuntime:
    """The runtime of a checkpoint."""
    if artifact.role == "teacher":
        is_usual = USUAL in artifact.files
        return UsualTeacherRuntime(artifact) if is_usual else TeacherRuntime(artifact)
    return StudentRuntime(open_student(artifact))


def open_student(artifact: ModelArtifact) -> Student:
    """The student's network with its weights, ready to answer."""
    config = from_plain(SeriesConfig, artifact.config["network"])
    facts = json.loads(artifact.read(FACTS))
    network = as_student(series_network(config, "student", facts))
    try:
        network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
    except RuntimeError as error:
        raise CorruptArtifactError(
            "a student's weights must be those of its network, however: those of "
            f"{artifact.uri} are not ({str(error).splitlines()[-1].strip()}); train it again"
        ) from error
    return network.eval()


class StudentRuntime:
    """A student's checkpoint."""

    def __init__(self, network: Student) -> None:
        self._network = network

    @torch.no_grad()
    def explain(self, windows: Windows) -> tuple[Windows, Windows]:
        """Scores [B, K] and the map [B, E, T, C], from the graph that is exported."""
        if isinstance(self._network, ForecastNetwork):
            return self._network(torch.from_numpy(windows)).numpy(), _no_map(windows)
        scores, parts = self._network.explain(torch.from_numpy(windows))
        return scores.numpy(), parts.numpy()


class UsualTeacherRuntime:
    """A teacher of anomalies; a reading's effect is its part of the score."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self._ensemble = open_teacher(artifact)
        self._usual = usual_from_bytes(artifact.read(USUAL))

    def explain(self, windows: Windows) -> tuple[Windows, Windows]:
        """Scores [B, 1] and the map [B, 1, T, C]."""
        facts = self._ensemble.facts
        error = standard(windows[:, -1], facts) - self._ensemble.outputs(windows)
        parts = parts_of(windows, error, self._usual, facts).sum(0)
        scores = parts.sum((1, 2))[:, None]
        return scores.astype(np.float32), parts[:, None].astype(np.float32)


class TeacherRuntime:
    """A teacher ensemble; a reading's effect is its gradient in the networks times its distance
    from the usual one (Shrikumar, Greenside and Kundaje, 2016), without the booster's share.
    """

    def __init__(self, artifact: ModelArtifact) -> None:
        self._ensemble = open_teacher(artifact)
        blend = json.loads(artifact.read(BLEND))
        self._scale, self._shift = np.array(blend["scale"]), np.array(blend["shift"])

    def explain(self, windows: Windows) -> tuple[Windows, Windows]:
        """Scores [B, K] and effects [B, E, T, C]."""
        facts, network = self._ensemble.facts, self._ensemble.network
        if facts["head"] == "forecasts":
            return self._ensemble.outputs(windows).astype(np.float32), _no_map(windows)
        scores = self._ensemble.outputs(windows) * self._scale + self._shift
        whole = np.where(np.isnan(windows), np.array(facts["center"], np.float32), windows)
        inputs = torch.from_numpy(whole.astype(np.float32)).requires_grad_()
        members = network(inputs).unflatten(1, (-1, num_outputs(facts))).mean(1)
        distance = whole - np.array(facts["center"], np.float32)
        maps: list[NDArray[np.float64]] = []
        for item in range(num_explained(facts)):
            total = members[:, item].sum()
            (slope,) = torch.autograd.grad(total, inputs, retain_graph=True)
            maps.append(slope.numpy() * distance * self._scale[item])
        return scores.astype(np.float32), np.stack(maps, 1).astype(np.float32)


def _no_map(windows: Windows) -> Windows:
    return np.empty((len(windows), 0, *windows.shape[1:]), np.float32)
