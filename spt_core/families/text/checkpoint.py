"""Runs a text model's checkpoint, teacher or student, as it is."""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact
from spt_core.families.text.config import TextConfig
from spt_core.families.text.network import TextNetwork
from spt_core.plain import from_plain


def open_network(artifact: ModelArtifact) -> TextNetwork:
    """The network with its weights, ready to answer."""
    config = from_plain(TextConfig, artifact.config["network"])
    facts = json.loads(artifact.read(FACTS))
    network = TextNetwork(config, facts)
    network.load_state_dict(load_weights(artifact.read(WEIGHTS)))
    return network.eval()


def open_runtime(artifact: ModelArtifact) -> CheckpointTextRuntime:
    """The runtime of a checkpoint."""
    return CheckpointTextRuntime(open_network(artifact))


class CheckpointTextRuntime:
    """A checkpoint on PyTorch."""

    def __init__(self, network: TextNetwork) -> None:
        self._network = network

    @torch.no_grad()
    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits, shares and scale, as TextRuntime says."""
        logits, shares, scale = self._network.explain(
            torch.from_numpy(features), torch.from_numpy(pairs)
        )
        return logits.numpy(), shares.numpy(), scale.numpy()
