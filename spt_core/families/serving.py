"""What a replica loads, by family; never torch. Adding a family: one line here."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from spt_core.answering import Predictor
from spt_core.artifacts import ModelArtifact
from spt_core.families.tabular.serving import TabularServing
from spt_core.families.text.serving import TextServing


class Serving(Protocol):
    """How a family's models are opened. Stateless.

    `config` and `copying` are the dataclasses of its networks' parameters and of how copies of rows
    are made for students.
    """

    config: Any
    copying: Any

    def open(self, artifact: ModelArtifact, read: Callable[[str], bytes]) -> Predictor:
        """The predictor of an export, whose files `read` gives by name."""
        ...

    def open_checkpoint(self, artifact: ModelArtifact) -> Predictor:
        """The predictor of a checkpoint; imports torch."""
        ...

    def probe_gap(self, predictor: Any, probes: Mapping[str, Any]) -> float:
        """How far an opened predictor's answers are from the probes of its export."""
        ...


SERVING: Mapping[str, Serving] = {"tabular": TabularServing(), "text": TextServing()}
