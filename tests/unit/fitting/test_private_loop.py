"""DP-SGD as a worker runs it: counted, clipped, resumed, and never twice the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from spt_core.families.tabular.config import TabularConfig
from spt_core.fitting.accounting import private_steps, spent
from spt_core.fitting.loop import STATE
from spt_core.fitting.loops import loop_of
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.private_loop import fit_privately
from spt_core.task import find
from tests.unit.fitting.runs import CONFIG, Reports, encoded, run_of, shard

EPSILON, DELTA, NUM_ROWS = 8.0, 1e-4, 300
SMALL = dataclasses.replace(
    CONFIG, batch_size=100, network=TabularConfig(num_bins=4, student_hidden=(4,))
)


@pytest.fixture(scope="module")
def rows():
    return encoded(find("financial_services/risk_assessment"), NUM_ROWS)


def private_run(rows, config=SMALL, **changes) -> TrainingRun:
    private = private_steps(
        EPSILON,
        DELTA,
        num_rows=len(rows[2]),
        batch_size=config.batch_size,
        num_epochs=config.num_epochs,
        max_grad_norm=1.0,
    )
    private = dataclasses.replace(private, **changes)
    return dataclasses.replace(run_of(rows, config), private=private)


def fitted(run: TrainingRun, rows, folder: Path, report=None, resume=None) -> Reports:
    reports = report or Reports(folder)
    own = shard(*rows[1:])
    loop_of(run)(run, own, shard(*rows[1:]), report=reports, resume=resume)
    return reports


def state_of(reports: Reports, number: int = -1) -> dict:
    return torch.load(reports.folders[number] / STATE, weights_only=True)


def test_every_step_is_counted_and_nothing_of_the_training_rows_is_told(rows, tmp_path):
    run = private_run(rows)
    reports = fitted(run, rows, tmp_path)
    history = [tuple(release) for release in state_of(reports)["history"]]
    assert history == [*run.private.history]
    assert history[0][2] == 9  # three epochs of three steps
    assert 0.98 * EPSILON < spent(history, DELTA) <= EPSILON
    assert reports.values("epoch") == [1, 2, 3, 3]
    assert len(reports.values("validation_loss")) == 3
    assert not reports.values("train_loss")


def test_noise_is_not_repeated_by_the_seed(rows, tmp_path):
    first, second = (fitted(private_run(rows), rows, tmp_path / name) for name in "ab")
    assert not torch.equal(first.best["bias"], second.best["bias"])


def test_a_killed_run_goes_on_from_its_checkpoint_and_counts_each_step_once(rows, tmp_path):
    class Killed(Reports):
        def __call__(self, metrics, folder):
            super().__call__(metrics, folder)
            if metrics["epoch"] == 2:
                raise KeyboardInterrupt

    run, killed = private_run(rows), Killed(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        fitted(run, rows, tmp_path, report=killed)
    assert state_of(killed, 0)["history"][-1][2] == 3

    resumed = fitted(run, rows, tmp_path / "resumed", resume=killed.folders[0])
    assert resumed.values("epoch") == [2, 3, 3]
    assert [tuple(each) for each in state_of(resumed)["history"]] == [*run.private.history]


def test_an_epoch_without_a_drawn_row_is_noise_alone(rows, tmp_path):
    run = private_run(rows, sampling_rate=1e-9)
    reports = fitted(run, rows, tmp_path)
    assert all(torch.isfinite(weights).all() for weights in reports.best.values())


def test_one_row_moves_the_sum_of_gradients_by_no_more_than_its_clipped_norm(rows, tmp_path):
    signature, features, labels = rows
    strange = np.full((1, features.shape[1]), 1e30, np.float32)
    strange[:, len(signature.numbers) :] = 0.0
    beside = (
        signature,
        np.concatenate([features, strange]),
        np.concatenate([labels, 1 - labels[:1]]),
    )
    config = dataclasses.replace(SMALL, num_epochs=1, batch_size=10_000)
    norm, run = 0.01, private_run(rows, config)
    exact = dataclasses.replace(run.private, noise_multiplier=1e-9, max_grad_norm=norm)

    def summed(of, name):
        own = dataclasses.replace(run, private=exact)
        state = state_of(fitted(own, of, tmp_path / name))["optimizer"]["state"]
        # Adam's first mean is a tenth of the gradient, which is the sum over the rows' number.
        return torch.cat([each["exp_avg"].flatten() for each in state.values()]) * 10 * len(of[2])

    moved = float((summed(beside, "with") - summed(rows, "without")).norm())
    assert 0.5 * norm < moved <= 1.01 * norm


def test_a_row_whose_gradient_is_no_number_does_not_show(rows, tmp_path):
    signature, features, labels = rows
    spoiled = features.copy()
    spoiled[0, 0] = np.inf
    own = (signature, spoiled, labels)
    reports = fitted(private_run(own, sampling_rate=1.0), own, tmp_path)
    assert all(torch.isfinite(weights).all() for weights in reports.best.values())


def test_a_generous_budget_learns(rows, tmp_path):
    signature, features, labels = rows
    label = (features[:, 0] > np.median(features[:, 0])).astype(np.float32)
    config = dataclasses.replace(SMALL, num_epochs=30, learning_rate=0.03)
    own = (signature, features, label)
    reports = Reports(tmp_path)
    run = private_run(own, config, noise_multiplier=0.3)
    fit_privately(run, shard(*own[1:]), shard(*own[1:]), report=reports, resume=None)
    losses = reports.values("validation_loss")
    assert losses[-1] < losses[0] - 0.1
