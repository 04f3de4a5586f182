"""ZeRO 1, 2 and 3, with the optimizer offloaded too: the losses and weights of plain training.

The sums of two workers are rounded in another order, and AdamW divides by small numbers: losses
agree within RELATIVE, weights within ABSOLUTE.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from spt_core.models.text import TextNetwork
from spt_core.training.loop import BEST
from tests.tiny_models import TEXT_CONFIG
from tests.tiny_text_runs import CONFIG, tiny_run, train_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
RELATIVE = 1e-5
ABSOLUTE = 1e-5
SHARDED = ["zero1", "zero2", "zero3", "zero2+offload"]


class Trained(NamedTuple):
    """What a run ended with."""

    losses: list[float]
    weights: dict[str, Tensor]
    checkpoint: Path


@pytest.fixture(scope="module")
def trained(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Each strategy's run, trained once."""
    folder = tmp_path_factory.mktemp("storage")

    @functools.cache
    def train(name: str) -> Trained:
        strategy, _, offload = name.partition("+")
        config = dataclasses.replace(
            CONFIG, strategy=strategy, optimizer_offload=bool(offload), max_failures=0
        )
        weights, reports = train_tiny(folder, config, strategy + offload)
        losses = [metrics["validation_loss"] for metrics in reports if "validation_loss" in metrics]
        run = folder / "runs" / (strategy + offload)
        checkpoint = max(path for path in run.glob("checkpoint_*") if path.is_dir())
        return Trained(losses, load(weights), checkpoint)

    return train


def test_plain_training_learns(trained: Callable[[str], Trained]) -> None:
    first, last = trained("data_parallel").losses
    assert last < 0.97 * first


@pytest.mark.parametrize("name", SHARDED)
def test_sharded_training_has_the_losses_and_weights_of_plain_training(
    trained: Callable[[str], Trained], name: str
) -> None:
    plain, sharded = trained("data_parallel"), trained(name)
    assert sharded.losses == pytest.approx(plain.losses, rel=RELATIVE)
    assert {n: w.shape for n, w in sharded.weights.items()} == {
        n: w.shape for n, w in plain.weights.items()
    }
    assert all(
        torch.allclose(sharded.weights[n], w, rtol=0, atol=ABSOLUTE)
        for n, w in plain.weights.items()
    )


def test_a_checkpoint_of_zero3_holds_whole_weights_and_a_shard_of_each_worker(
    trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    run = trained("zero3")
    names = {path.name for path in run.checkpoint.iterdir() if path.is_file()}
    assert {BEST, "optimizer-0-of-2.pt", "optimizer-1-of-2.pt"} <= names

    network = TextNetwork(TEXT_CONFIG, tiny_run(tmp_path, CONFIG).facts).eval()
    network.load_state_dict(load((run.checkpoint / BEST).read_bytes()))
    logits = network(torch.tensor([[2, 7, 9, 3]]), torch.tensor([0]), torch.empty(0, 5).long())
    assert logits.shape == (1, 40)
    assert logits.isfinite().all()
