"""ZeRO 1, 2 and 3, with the optimizer offloaded too: the losses and weights of plain training.

The sums of two workers are rounded in another order, and AdamW divides by small numbers: losses
agree within RELATIVE, weights within ABSOLUTE.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from spt_core.families.text.network import TextNetwork
from spt_core.fitting.loop import BEST
from tests.sharded_runs import NUM_WORKERS
from tests.tiny_models import TEXT_CONFIG
from tests.tiny_text_runs import CONFIG, tiny_run, train_tiny

ROOT = Path(__file__).parents[2]
RELATIVE = 1e-5
ABSOLUTE = 1e-5
PLAIN = "data_parallel"
SHARDED = ["zero1", "zero2", "zero3", "zero2+offload", "zero3+offload"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each strategy's losses and weights, from two processes."""
    folder = tmp_path_factory.mktemp("sharded")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = dict(os.environ)
    words = [sys.executable, "-m", "tests.sharded_runs", str(folder)]
    workers = [
        subprocess.Popen(
            [*words, str(rank), port, PLAIN, *SHARDED],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(NUM_WORKERS)
    ]
    said = [worker.communicate(timeout=280)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * NUM_WORKERS, said
    return folder


def losses(folder: Path, name: str) -> list[float]:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
def test_plain_training_learns(trained: Path) -> None:
    first, last = losses(trained, PLAIN)
    assert last < 0.97 * first


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARDED)
def test_sharded_training_has_the_losses_and_weights_of_plain_training(
    trained: Path, name: str
) -> None:
    assert losses(trained, name) == pytest.approx(losses(trained, PLAIN), rel=RELATIVE)
    sharded, plain = (load_file(trained / f"{each}.safetensors") for each in (name, PLAIN))
    assert {n: w.shape for n, w in sharded.items()} == {n: w.shape for n, w in plain.items()}
    assert all(torch.allclose(sharded[n], w, rtol=0, atol=ABSOLUTE) for n, w in plain.items())


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_checkpoint_of_zero3_holds_whole_weights_and_a_shard_of_each_worker(
    local_ray: None, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, strategy="zero3", max_failures=0)
    weights, reports = train_tiny(tmp_path, config, "zero3")
    first, last = (m["validation_loss"] for m in reports if "validation_loss" in m)
    assert last < 0.97 * first
    folders = (tmp_path / "runs" / "zero3").glob("checkpoint_*")
    checkpoint = max(path for path in folders if path.is_dir())
    names = {path.name for path in checkpoint.iterdir() if path.is_file()}
    assert {BEST, "optimizer-0-of-2.pt", "optimizer-1-of-2.pt"} <= names
    assert load(weights).keys() == load_file(checkpoint / BEST).keys()

    network = TextNetwork(TEXT_CONFIG, tiny_run(tmp_path, CONFIG).facts).eval()
    network.load_state_dict(load((checkpoint / BEST).read_bytes()))
    logits = network(torch.tensor([[2, 7, 9, 3]]), torch.tensor([0]), torch.empty(0, 5).long())
    assert logits.shape == (1, 40)
    assert logits.isfinite().all()
