"""What a worker asks of the family of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from spt_core.artifacts import Role
from spt_core.families.image.bases import start_weights
from spt_core.families.image.config import ImageConfig
from spt_core.families.image.network import ImageNetwork
from spt_core.families.image.pruning import pruned
from spt_core.families.image.reading import Square
from spt_core.families.image.rows import (
    Altering,
    Arrays,
    ImageShard,
    ImageStreamShard,
    arrays_of,
    joined,
)
from spt_core.fitting.losses import Loss, labelwise_cross_entropy, soft_cross_entropy
from spt_core.fitting.plan import Read, TrainingRun
from spt_core.fitting.shards import Batch
from spt_core.task import Head

LOSSES: Mapping[Head, Loss] = {
    "binary": labelwise_cross_entropy,
    "single_label": soft_cross_entropy,
    "multi_label": labelwise_cross_entropy,
}
# The modules that begin with the weights of a base, or of a teacher.
TAKEN: Mapping[Role, tuple[str, ...]] = {
    "teacher": ("stem.", "stages.", "top."),
    "student": ("stem.", "stages."),
}


class ImageLearner:
    """The Learner of images: a teacher begins with pretrained weights, a student with its own."""

    def network(self, run: TrainingRun, *, is_start: bool = False) -> ImageNetwork:
        """The network of a run: of random weights, or of those that training starts from."""
        network = ImageNetwork(run.config.network, run.facts)
        if is_start and run.facts["start"] is not None:
            _start(network, run)
        return network

    def rate(self, name: str, run: TrainingRun) -> float:
        """The learning rate of a parameter, as a multiple of the run's."""
        is_new = run.facts["start"] is not None and not name.startswith(TAKEN[run.role])
        return run.config.network.head_rate if is_new else 1.0

    def loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The head's loss; a student's is softened."""
        heat = run.temperature
        logits = model(*batch.inputs).float() / heat
        return LOSSES[run.head](logits, batch.targets, batch.weights) * heat**2

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The head's loss."""
        return LOSSES[run.head](model(*batch.inputs).float(), batch.targets, batch.weights)

    def shard(
        self, read: Read, run: TrainingRun, num_rows: int | None
    ) -> ImageShard | ImageStreamShard:
        """Images as levels; a student's copies were altered before its teacher answered them."""
        square, seed = run_square(run), run.config.seed
        altering = None
        if run.role == "teacher":
            altering = Altering(run.config.network.variation, run.facts["symmetries"])

        def arrays() -> Iterator[Arrays]:
            for batch in read():
                yield arrays_of(batch, square)

        if num_rows is not None:
            return ImageStreamShard(arrays, num_rows=num_rows, seed=seed, altering=altering)
        return ImageShard(joined(list(arrays())), seed=seed, altering=altering)


LEARNER = ImageLearner()


def _start(network: ImageNetwork, run: TrainingRun) -> None:
    """Give a teacher the weights of its base, a student those of its teacher's first stages."""
    own = network.state_dict()
    weights = pruned(start_weights(run.facts["start"], run.facts["channels"]), own)
    taken = [name for name in own if name.startswith(TAKEN[run.role])]
    network.load_state_dict({name: weights[name] for name in taken}, strict=False)


def run_square(run: TrainingRun) -> Square:
    """What the network of a run takes."""
    network = run.config.network
    assert isinstance(network, ImageConfig), "the configuration has checked it"
    return Square(network.size_px, run.facts["channels"], run.facts["depth_bits"])
