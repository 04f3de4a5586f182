import dataclasses
import pickle

import numpy as np
import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.tabular.learner import TabularLearner
from spt_core.fitting.loop import STATE
from spt_core.task import find
from tests.unit.fitting.runs import CONFIG, encoded, fitted, network, run_of

RISK = find("financial_services/risk_assessment")


@pytest.fixture(scope="module")
def rows():
    return encoded(RISK, 300)


@pytest.fixture(scope="module")
def validation():
    return encoded(RISK, 200, seed=1)[1:]


@pytest.fixture(scope="module")
def usual(rows, validation, tmp_path_factory):
    """An undisturbed run."""
    return fitted(rows, tmp_path_factory.mktemp("usual"), validation=validation)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def test_training_lowers_the_loss_and_reports_each_epoch(usual):
    losses = usual.values("validation_loss")
    assert len(losses) == CONFIG.num_epochs
    assert losses[-1] < losses[0]
    assert usual.metrics[-1] == {"epoch": 3, "final": 1.0, "best_epoch": 3}


def test_a_step_of_seconds_is_reported_before_its_epoch_is_over(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("spt_core.fitting.loop.REPORT_S", -1.0)
    config = dataclasses.replace(CONFIG, evaluation_strategy="no", logging_steps=1000)
    reports = [m for m in fitted(rows, tmp_path, config).metrics if "train_loss" in m]
    assert [m["step"] for m in reports[:3]] == [1, 2, 3]
    assert [m["progress"] for m in reports[:3]] == pytest.approx([1 / 30, 2 / 30, 3 / 30])
    assert reports[-1]["progress"] == 1.0


def test_the_same_run_gives_the_same_weights(rows, validation, usual, tmp_path):
    assert same(fitted(rows, tmp_path, validation=validation).best, usual.best)


def test_another_seed_gives_other_weights(rows, validation, usual, tmp_path):
    config = dataclasses.replace(CONFIG, seed=1)
    assert not same(fitted(rows, tmp_path, config, validation=validation).best, usual.best)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_resumed_run_ends_like_an_undisturbed_one(rows, validation, usual, tmp_path, epoch):
    resumed = fitted(rows, tmp_path, validation=validation, resume=usual.folders[epoch])
    assert same(resumed.best, usual.best)
    assert resumed.values("validation_loss") == usual.values("validation_loss")[epoch + 1 :]


def test_a_run_resumes_within_an_epoch(rows, validation, tmp_path):
    steps = dataclasses.replace(
        CONFIG, evaluation_strategy="steps", save_strategy="steps", eval_steps=7
    )
    whole = fitted(rows, tmp_path / "whole", steps, validation=validation)
    assert torch.load(whole.folders[1] / STATE, weights_only=True)["position"]["batch"] == 4
    resumed = fitted(
        rows, tmp_path / "resumed", steps, validation=validation, resume=whole.folders[1]
    )
    assert same(resumed.best, whole.best)


def test_a_run_resumes_between_groups_of_batches_whose_gradients_are_summed(
    rows, validation, tmp_path
):
    steps = dataclasses.replace(
        CONFIG,
        evaluation_strategy="steps",
        save_strategy="steps",
        eval_steps=7,  # of 10 batches an epoch: the seventh is the first half of a group
        gradient_accumulation_steps=2,
    )
    whole = fitted(rows, tmp_path / "whole", steps, validation=validation)
    for number, folder in enumerate(whole.folders[:-1]):
        again = tmp_path / f"again-{number}"
        resumed = fitted(rows, again, steps, validation=validation, resume=folder)
        assert same(resumed.best, whole.best)
        losses = whole.values("validation_loss")[number + 1 :]
        assert resumed.values("validation_loss") == losses


def test_a_run_that_stopped_early_stays_stopped(rows, validation, tmp_path):
    config = dataclasses.replace(
        CONFIG, num_epochs=30, early_stopping_patience=2, learning_rate=0.3
    )
    stopped = fitted(rows, tmp_path / "stopped", config, validation=validation)
    losses = stopped.values("validation_loss")
    assert len(losses) < 30
    assert int(np.argmin(losses)) == len(losses) - 3
    again = fitted(
        rows, tmp_path / "again", config, validation=validation, resume=stopped.folders[-1]
    )
    assert again.values("validation_loss") == []
    assert same(again.best, stopped.best)


def test_the_best_weights_are_kept_not_the_last(rows, validation, tmp_path):
    features, labels = validation[0], 1 - validation[1]  # what is learned makes it worse
    ran = fitted(rows, tmp_path, validation=(features, labels))
    losses = ran.values("validation_loss")
    assert losses[-1] > min(losses)
    made = network(rows, ran)
    with torch.no_grad():
        logits = made(torch.from_numpy(features)).squeeze(1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels))
    assert float(loss) == pytest.approx(min(losses), abs=1e-5)


def test_without_validation_the_last_weights_are_kept(rows, tmp_path):
    config = dataclasses.replace(CONFIG, evaluation_strategy="no", save_strategy="no")
    ran = fitted(rows, tmp_path, config)
    assert len(ran.folders) == 1
    assert same(ran.best, torch.load(ran.folders[0] / STATE, weights_only=True)["model"])


def test_only_specialized_layers_change(rows, tmp_path):
    config = dataclasses.replace(CONFIG, specialized_layers=["output"], save_strategy="no")
    none = dataclasses.replace(config, learning_rate=1e-30, weight_decay=0.0)
    before, after = (
        fitted(rows, tmp_path / "a", none).best,
        fitted(rows, tmp_path / "b", config).best,
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"output.weight", "output.bias"}


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_unknown_specialized_layer_is_refused_before_any_worker_starts(rows, role):
    config = dataclasses.replace(CONFIG, specialized_layers=["outputs"])
    with pytest.raises(InputError, match="the nearest is 'output'"):
        run_of(rows, config, role)


def test_a_worker_is_not_asked_for_its_layers_again(rows, monkeypatch):
    run = run_of(rows, dataclasses.replace(CONFIG, specialized_layers=["output"]))
    monkeypatch.delattr(TabularLearner, "network")
    again = pickle.loads(pickle.dumps(run))
    assert (again.config, again.facts) == (run.config, run.facts)


def test_weights_of_a_class_move_the_answers_towards_it(rows, validation, usual, tmp_path):
    weighted = fitted(rows, tmp_path, validation=validation, weights=1 + 9 * rows[2])
    features = torch.from_numpy(validation[0])
    with torch.no_grad():
        gap = network(rows, weighted)(features) - network(rows, usual)(features)
    assert gap.mean() > 1.0
