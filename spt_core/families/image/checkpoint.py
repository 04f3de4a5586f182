"""Runs an image model's checkpoint, teacher or student, as it is."""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.image.config import ImageConfig
from spt_core.families.image.network import ImageNetwork
from spt_core.plain import from_plain


def open_network(artifact: ModelArtifact) -> ImageNetwork:
    """The network with its weights, ready to answer."""
    config = from_plain(ImageConfig, artifact.config["network"])
    network = ImageNetwork(config, json.loads(artifact.read(FACTS)))
    network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
    return network.eval()


def open_runtime(artifact: ModelArtifact) -> CheckpointImageRuntime:
    """The runtime of a checkpoint."""
    return CheckpointImageRuntime(open_network(artifact))


class CheckpointImageRuntime:
    """A checkpoint on PyTorch."""

    def __init__(self, network: ImageNetwork) -> None:
        self._network = network

    @torch.no_grad()
    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits, shares and distance, as ImageRuntime says."""
        logits, shares, distance = self._network.explain(torch.from_numpy(features))
        return logits.numpy(), shares.numpy(), distance.numpy()
