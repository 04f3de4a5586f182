"""What a worker asks of the family of texts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors.torch import load as load_weights
from torch import Tensor
from torch.nn import functional

from spt_core.artifacts import read_bytes
from spt_core.families.text.bases import load_base
from spt_core.families.text.network import TextNetwork, num_logits_of
from spt_core.families.text.rows import TokenShard, TokenStreamShard
from spt_core.families.text.token_rows import TokenRow, token_rows
from spt_core.fitting.losses import (
    Loss,
    labelwise_cross_entropy,
    soft_cross_entropy,
    squared_error,
)
from spt_core.fitting.plan import Read, TrainingRun
from spt_core.fitting.precision import bf16_on_cpu
from spt_core.fitting.shards import Batch
from spt_core.fitting.strategy import has_bf16
from spt_core.task import Head

LOSSES: Mapping[Head, Loss] = {
    "single_label": soft_cross_entropy,
    "pair": soft_cross_entropy,
    "span": soft_cross_entropy,
    "multi_label": labelwise_cross_entropy,
    "ordinal": labelwise_cross_entropy,
    "regression": squared_error,
}


class TextLearner:
    """The Learner of texts: an encoder that begins with the weights of its base."""

    def network(self, run: TrainingRun, *, is_start: bool = False) -> TextNetwork:
        """The network of a run: of random weights, or of those that training starts from."""
        network = TextNetwork(run.config.network, run.facts)
        if is_start:
            _start(network, run.facts)
        return network

    def rate(self, name: str, run: TrainingRun) -> float:
        """The learning rate of a parameter, as a multiple of the run's."""
        config = run.config.network
        if not name.startswith("encoder."):
            return config.head_rate
        depth = run.facts["encoder"]["num_hidden_layers"]
        parts = name.split(".")
        numbers = [int(part) for part in parts if part.isdigit()]
        above = depth - 1 - numbers[0] if numbers else depth if "embeddings" in parts else 0
        return config.layer_decay**above

    def loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The head's loss; a student's is softened, and its states are drawn to its teacher's."""
        loss = LOSSES[run.head]
        with precision(batch, run):
            if batch.states is None:
                return loss(model(*batch.inputs).float(), batch.targets, batch.weights)
            logits, states = model(*batch.inputs, with_state=True)
            heat = run.temperature
            softened = loss(logits.float() / heat, batch.targets, batch.weights) * heat**2
            alike = functional.cosine_similarity(states, batch.states).mean()
            return softened + run.state_weight * (1.0 - alike)

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The head's loss."""
        with precision(batch, run):
            logits = model(*batch.inputs)
        return LOSSES[run.head](logits.float(), batch.targets, batch.weights)

    def shard(
        self, read: Read, run: TrainingRun, num_rows: int | None
    ) -> TokenShard | TokenStreamShard:
        """Tokenized texts."""
        pad, seed = run.facts["pad"], run.config.seed
        size = num_logits_of(run.head, len(run.facts["classes"]))

        def rows() -> Iterator[TokenRow]:
            for batch in read():
                yield from token_rows(batch, size)

        if num_rows is not None:
            return TokenStreamShard(rows, num_rows=num_rows, pad=pad, seed=seed)
        return TokenShard(list(rows()), pad=pad, seed=seed)


LEARNER = TextLearner()


def _start(network: TextNetwork, facts: Mapping[str, Any]) -> None:
    """Give the encoder the weights of its base, and a student's head those of its teacher's."""
    network.encoder.load_state_dict(load_base(facts["base"]).weights())
    if facts.get("teacher") is not None:
        weights = load_weights(read_bytes(facts["teacher"]))
        head = {k: v for k, v in weights.items() if not k.startswith("encoder.")}
        network.load_state_dict(head, strict=False)
        network.calibrate(torch.ones_like(network.scale), torch.zeros_like(network.shift))


def precision(batch: Batch, run: TrainingRun) -> contextlib.AbstractContextManager[None]:
    """bf16 for windows of texts [W, T], the batch's first inputs, where the CPU has it."""
    is_asked = has_bf16(run.config) and not run.config.use_gpu
    return bf16_on_cpu(asked=is_asked, num_tokens=batch.inputs[0].shape[1])
