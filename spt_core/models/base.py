"""What a model family must offer to training, distillation and export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from spt_core.artifacts import Role
from spt_core.signature import Signature
from spt_core.task import Head


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


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Family(Protocol):
    """A kind of model. Stateless; called on the driver and in workers alike.

    `facts` are what its networks need to know of the training rows, a JSON object.
    """

    def build(
        self, signature: Signature, role: Role, config: Any, facts: Mapping[str, Any]
    ) -> nn.Module:
        """A fresh network of that role, whose forward gives logits of a batch's inputs."""
        ...

    def start(self, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Give a fresh network the pretrained weights that training starts from, if any."""
        ...

    def rate(self, name: str, config: Any, facts: Mapping[str, Any]) -> float:
        """The learning rate of the parameter `name`, as a multiple of the run's."""
        ...

    def losses(self, head: Head) -> tuple[Loss, Loss]:
        """Mean losses to train on and to stop by, of logits, targets and weights of a batch."""
        ...
