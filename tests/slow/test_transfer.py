"""Transfer on Ray Train: the specification's snippets, and a run that is killed and resumes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from spt_core.artifacts import lineage
from spt_core.fitting.loop import STATE
from spt_core.model import SpecializedModel
from spt_core.task import IndustryType, find
from spt_core.training import SpecializedModelTrainer
from spt_core.transfer.plan import TRANSFER
from tests.small_runs import NETWORK, config_of
from tests.specification import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
FRAUD = find("financial_services/fraud_detection")
CLAIMS = find("insurance/claims_fraud")
NUM_ROWS = 400


@pytest.fixture(scope="module")
def financial_model(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> SpecializedModel:
    """A teacher of three blocks, as the specification's configuration names them."""
    config = config_of(FRAUD, tmp_path_factory.mktemp("transfer"))
    network = dataclasses.replace(NETWORK, teacher_blocks=3)
    config = dataclasses.replace(config, network=network)
    return SpecializedModelTrainer(config).train(FRAUD.sample(NUM_ROWS, 0))


def test_a_model_is_transferred_between_domains_as_the_specification_writes_it(
    financial_model: SpecializedModel,
) -> None:
    rows = CLAIMS.sample(NUM_ROWS, 0).to_pylist()
    loader = DataLoader(rows, batch_size=32, shuffle=True)
    space = run(
        "transfer",
        financial_model=financial_model,
        insurance_dataloader=loader,
        IndustryType=IndustryType,
    )
    transferred_model = space["transferred_model"]
    assert transferred_model.task == CLAIMS
    assert 0 <= transferred_model.assess_claim(CLAIMS.example)["fraud_probability"] <= 1
    why, saved = transferred_model.artifact.notes[-2:]
    assert "is kept: log loss" in why
    assert saved.startswith("labels saved: ")


def test_a_model_is_transferred_with_the_specification_s_strategy(
    financial_model: SpecializedModel, tmp_path: Path
) -> None:
    network = dataclasses.replace(NETWORK, teacher_blocks=3)
    config = dataclasses.replace(config_of(CLAIMS, tmp_path), num_epochs=10, network=network)
    space = run(
        "transfer_strategy",
        trainer=SpecializedModelTrainer(config),
        source_model=financial_model,
        target_data=CLAIMS.sample(NUM_ROWS, 1),
    )
    transferred_model = space["transferred_model"]
    assert transferred_model.task == CLAIMS
    if TRANSFER in transferred_model.artifact.files:  # it may be the one from scratch
        facts = json.loads(transferred_model.artifact.read(TRANSFER))
        assert facts["notes"][0] == "epoch 2 unfreezes encoder.2, which was never frozen"
        behind = [artifact.uri for artifact in lineage(transferred_model.artifact)]
        assert financial_model.artifact.uri in behind


SCRIPT = """
import dataclasses, json, sys
import ray
from spt_core.artifacts import load_artifact
from spt_core.data.sources import open_corpus
from spt_core.data.splitting import split
from spt_core.fitting.ray_train import fit_model
from spt_core.task import find
from spt_core.training.trainer import training_config_from_json
from spt_core.transfer import TransferConfig
from spt_core.transfer.plan import TransferPlan

source, storage, name = load_artifact(sys.argv[1]), sys.argv[2], sys.argv[3]
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
task = find("insurance/claims_fraud")
splits = split(task, open_corpus(task, task.sample(400, 2), storage=storage), storage)
config = training_config_from_json(source.config)
config = dataclasses.replace(
    config, task=task.path, industry=task.industry, model_name=name, output_dir=storage + "/models",
    num_epochs=12, evaluation_strategy="epoch", save_strategy="epoch",
)
transfer = TransferConfig(
    strategy="progressive_unfreezing",
    freeze_layers=("encoder.0",),
    unfreeze_schedule={"epoch_6": ("encoder.0",)},
)
plan = TransferPlan(source, splits, config, transfer)
artifact, reused = fit_model(plan, splits, plan.config, parents=(source.uri,))
assert not reused
print(json.dumps(artifact.metrics))
"""


def started(source: str, storage: Path, name: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    environment["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, source, str(storage), name],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics_of(process: subprocess.Popen[str]) -> dict[str, float]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def states(storage: Path) -> dict[int, Path]:
    """The checkpoints of a run's epochs that can be read."""
    found: dict[int, Path] = {}
    for folder in storage.glob("models/runs/teacher-*/checkpoint_*"):
        try:
            state = torch.load(folder / STATE, weights_only=True)
        except Exception:  # noqa: BLE001  # being written, or being dropped
            continue
        found[state["position"]["epoch"]] = folder
    return found


def test_a_killed_transfer_resumes_with_the_layers_of_its_epoch(
    financial_model: SpecializedModel, tmp_path: Path
) -> None:
    source = financial_model.artifact.uri
    first = started(source, tmp_path / "one", "default")
    deadline = time.monotonic() + 300
    while max(states(tmp_path / "one"), default=0) < 3:
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    resumed = metrics_of(started(source, tmp_path / "one", "default"))
    undisturbed = metrics_of(started(source, tmp_path / "two", "default"))
    assert resumed == pytest.approx(undisturbed, abs=1e-6)
