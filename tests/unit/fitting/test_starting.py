"""Networks that begin with a source's weights, in the very loop that a worker runs."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from spt_core.artifacts import as_uri
from spt_core.errors import CorruptArtifactError
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.starting import BEGIN, write_start
from spt_core.task import find
from tests.unit.fitting.runs import CONFIG, Reports, encoded, run_of, shard

RISK = find("financial_services/risk_assessment")
EPOCHS = dataclasses.replace(CONFIG, num_epochs=4, save_strategy="epoch")
CATEGORIES, NUMBERS, HEAD = "category_weight", "number_weight", "output.weight"


@pytest.fixture(scope="module")
def rows():
    return encoded(RISK, 200)


@pytest.fixture(scope="module")
def validation():
    return encoded(RISK, 150, seed=1)[1:]


def begun(rows, folder, first_epochs, *, given=None, l2_sp=0.0, config=EPOCHS):
    """A run that begins with a source's weights; by default it gave all of them."""
    run = run_of(rows, config)
    torch.manual_seed(7)
    network = run.learner.network(run)
    masks = {name: torch.ones(1) for name, _ in network.named_parameters()}
    start = write_start(
        as_uri(folder / "start"),
        network.state_dict(),
        masks if given is None else {**masks, **given},
        first_epochs=first_epochs,
        l2_sp=l2_sp,
    )
    return dataclasses.replace(run, start=start), dict(network.state_dict())


def fitted(run, rows, validation, folder, resume=None):
    reports = Reports(folder)
    held_out = None if validation is None else shard(*validation)
    fit(run, shard(*rows[1:]), held_out, report=reports, resume=resume)
    return reports


def weights(folder):
    return torch.load(folder / "state.pt", weights_only=True)["model"]


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def names_of(run):
    return [name for name, _ in run.learner.network(run).named_parameters()]


def test_each_epoch_trains_what_its_schedule_says(rows, tmp_path):
    first = {"output.weight": 0, "output.bias": 0, "bias": 1, NUMBERS: 2}
    run, begin = begun(rows, tmp_path, first)
    reports = fitted(run, rows, None, tmp_path)
    states = [weights(folder) for folder in reports.folders[:4]]
    assert changed(begin, states[0]) == {"output.weight", "output.bias"}
    assert "bias" in changed(states[0], states[1])
    assert NUMBERS not in changed(begin, states[1])
    assert NUMBERS in changed(states[1], states[2])
    assert CATEGORIES not in changed(begin, states[3])


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_resumes_with_the_layers_of_its_epoch_and_ends_like_an_undisturbed_one(
    rows, validation, tmp_path, epoch
):
    mask = torch.zeros(1, 1, CONFIG.network.student_hidden[0])
    mask[..., :4] = 1.0
    first = {"output.weight": 0, "output.bias": 0, "bias": 1, NUMBERS: 2}
    run, _ = begun(rows, tmp_path, first, given={NUMBERS: mask})
    usual = fitted(run, rows, validation, tmp_path / "usual")
    resumed = fitted(run, rows, validation, tmp_path / "again", usual.folders[epoch])
    assert not changed(usual.best, resumed.best)
    losses = usual.values("validation_loss")[epoch + 1 :]
    assert resumed.values("validation_loss") == losses


def test_of_a_frozen_parameter_what_the_source_did_not_give_is_trained(rows, tmp_path):
    mask = torch.zeros(1, 1, CONFIG.network.student_hidden[0])
    mask[..., :4] = 1.0
    run, begin = begun(rows, tmp_path, {"output.weight": 0}, given={NUMBERS: mask})
    after = weights(fitted(run, rows, None, tmp_path).folders[-1])
    assert torch.equal(begin[NUMBERS][..., :4], after[NUMBERS][..., :4])
    assert not torch.equal(begin[NUMBERS][..., 4:], after[NUMBERS][..., 4:])


def test_early_stopping_waits_for_layers_that_are_still_to_come(rows, validation, tmp_path):
    config = dataclasses.replace(EPOCHS, num_epochs=8, early_stopping_patience=1, learning_rate=0.5)
    features, labels = validation[0], 1 - validation[1]  # what is learned makes it worse
    first = {"output.weight": 0, NUMBERS: 5}
    run, begin = begun(rows, tmp_path, first, config=config)
    reports = fitted(run, rows, (features, labels), tmp_path)
    losses = reports.values("validation_loss")
    assert 6 <= len(losses) <= 8
    assert NUMBERS in changed(begin, weights(reports.folders[-1]))


def test_l2_sp_holds_what_was_given_near_where_it_was(rows, tmp_path):
    apart = []
    for strength in (0.0, 10.0):
        run = begun(rows, tmp_path, {})[0]
        first = dict.fromkeys(names_of(run), 0)
        run, begin = begun(rows, tmp_path, first, l2_sp=strength)
        after = weights(fitted(run, rows, None, tmp_path / str(strength)).folders[-1])
        apart.append(float((after[HEAD] - begin[HEAD]).norm()))
    assert apart[1] < 0.5 * apart[0]


def test_the_loss_that_is_stopped_by_has_no_part_of_l2_sp(rows, validation, tmp_path):
    losses = []
    for strength in (0.0, 1e-9):
        run, _ = begun(rows, tmp_path, {"output.weight": 0}, l2_sp=strength)
        reports = fitted(run, rows, validation, tmp_path / str(strength))
        losses.append(reports.values("validation_loss"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_first_weights_that_were_changed_in_storage_are_refused(rows, tmp_path):
    run, _ = begun(rows, tmp_path, {"output.weight": 0})
    (tmp_path / "start" / BEGIN).write_bytes(b"other")
    with pytest.raises(CorruptArtifactError, match="sha256"):
        fitted(run, rows, None, tmp_path)


def test_the_kept_weights_are_those_of_the_best_epoch(rows, validation, tmp_path):
    run, _ = begun(rows, tmp_path, {"output.weight": 0, NUMBERS: 1})
    reports = fitted(run, rows, validation, tmp_path)
    best = int(reports.metrics[-1]["best_epoch"])
    kept = load_file(reports.folders[-1] / BEST)
    assert not changed(kept, weights(reports.folders[best - 1]))
