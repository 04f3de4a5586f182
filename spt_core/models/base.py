"""What a model family must offer to training, distillation and export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spt_core.artifacts import Role
from spt_core.signature import Signature


class Network(Protocol):
    """A student network: training, calibration, attribution and export meet on these methods."""

    def forward(self, features: Tensor) -> Tensor:
        """Uncalibrated logits [B, k] of features [B, F]; members are averaged as probabilities."""
        ...

    def calibrate(self, parameters: tuple[float, float, float]) -> None:
        """Put the parameters of a beta calibration into the graph."""
        ...

    def set_baseline(self, features: Tensor) -> None:
        """Take what stands for "no information" in attributions from training rows [N, F]."""
        ...

    def explain(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Calibrated probabilities [B] and signed effects on the log-odds [B, F]."""
        ...


class Family(Protocol):
    """A kind of model. Stateless; called on the driver and in workers alike."""

    def facts(
        self,
        signature: Signature,
        config: Any,
        sample: NDArray[np.float32],
        labels: NDArray[np.float32],
    ) -> Mapping[str, Any]:
        """What networks need to know of training rows [N, F] and labels [N]; a JSON object."""
        ...

    def build(
        self, signature: Signature, role: Role, config: Any, facts: Mapping[str, Any]
    ) -> nn.Module:
        """A fresh network of that role, whose forward gives logits [B, k] of features [B, F]."""
        ...
