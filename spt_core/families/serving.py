"""What a replica loads, by family; never torch. Adding a family: one line here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from spt_core.answering import Predictor
from spt_core.artifacts import ExportedModel, ModelArtifact
from spt_core.families.image.quantizing import ImageQuantizing
from spt_core.families.image.serving import ImageServing
from spt_core.families.series.serving import SeriesServing
from spt_core.families.tabular.serving import TabularServing
from spt_core.families.tensorrt import Feed, GraphRuntime, Shapes
from spt_core.families.text.serving import TextServing
from spt_core.task import RuntimeName


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


class Quantizing(Protocol):
    """What INT8 of a family's convolutions takes beside their graph. Stateless."""

    def feeds(self, predictor: Any, rows: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
        """What the graph is fed with for rows that the predictor encoded, to read ranges off."""
        ...

    def settled(self, graph: bytes, rows: Sequence[Any]) -> bytes:
        """The graph in INT8 with what full precision had fitted to held-out rows fitted again."""
        ...


class GpuServing(Protocol):
    """How the graphs of a family's exports run on TensorRT. Stateless."""

    def shapes(self, exported: ExportedModel) -> Shapes:
        """The range of shapes that a replica asks about, by input."""
        ...

    def feeds(self, predictor: Any, rows: Iterable[Any]) -> Iterator[Feed]:
        """What the graph is fed with for rows that the predictor encoded."""
        ...

    def open_graph(self, exported: ExportedModel, graph: GraphRuntime) -> Predictor:
        """The predictor of an export whose graph something else runs."""
        ...

    def open_on_gpu(self, exported: ExportedModel, runtime: RuntimeName) -> Predictor:
        """The predictor of an export as a GPU replica runs it.

        MissingPackageError, MachineError or NotFoundError where it cannot be; never on a processor
        instead, unless `runtime` says so.
        """
        ...


SERVING: Mapping[str, Serving] = {
    "tabular": TabularServing(),
    "text": TextServing(),
    "image": ImageServing(),
    "series": SeriesServing(),
}
# Families of convolutions, whose ranges of activations are read off rows.
CONVOLUTIONS: Mapping[str, Quantizing] = {"image": ImageQuantizing()}
# A table's kernel and forests run on processors, whatever a replica has beside them.
ON_GPU: Mapping[str, GpuServing] = {"text": TextServing()}
