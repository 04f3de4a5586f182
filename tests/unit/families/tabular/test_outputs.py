"""Classes, ordered classes and numbers of tables: targets, blending, calibration, kernel."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from spt_core.families.tabular.boosters import Rows, fit_quantile, quality_of, tune
from spt_core.families.tabular.encoding import weights_of
from spt_core.families.tabular.exporting import kernel_of, trial_rows
from spt_core.families.tabular.learner import LOSSES
from spt_core.families.tabular.network import StudentNetwork, TeacherNetwork, table_facts
from spt_core.families.tabular.outputs import OUTPUTS, Target, target_from_json
from spt_core.families.tabular.runtimes import KernelRuntime
from spt_core.heads import HEADS
from spt_core.task import FAMILIES
from tests.tiny_models import table_task
from tests.unit.families.tabular.tables import CONFIG, rows, signature

CLASSES = ("low", "middle", "high")
TARGETS = {
    "single_label": Target(head="single_label", classes=CLASSES),
    "ordinal": Target(head="ordinal", classes=CLASSES),
    "regression": Target(head="regression", center=10.0, spread=4.0),
}
SIGNATURE = signature(3, (4,))
each_head = pytest.mark.parametrize("head", TARGETS)


def labels(head, num_rows):
    """Labels that the first number tells, however the rows are encoded."""
    values = np.nan_to_num(rows(SIGNATURE, num_rows)[:, 0])
    if head == "regression":
        return 10.0 + 4.0 * values
    return np.array(CLASSES)[np.digitize(values, [-0.5, 0.8])].tolist()


def targets(head, num_rows=64):
    return TARGETS[head].output.targets(labels(head, num_rows), TARGETS[head]).astype(np.float32)


def network(head, role):
    torch.manual_seed(0)
    target = TARGETS[head]
    facts = table_facts(SIGNATURE, CONFIG, rows(SIGNATURE), targets(head), target)
    kind = TeacherNetwork if role == "teacher" else StudentNetwork
    return kind(SIGNATURE, CONFIG, facts).eval()


def student(head):
    """A student far from its initial state, calibrated, with a baseline."""
    made = network(head, "student")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    size = len(made.scale)
    made.calibrate([np.linspace(0.5, 1.5, size).tolist(), np.linspace(-1, 1, size).tolist()])
    made.set_baseline(torch.from_numpy(rows(SIGNATURE, 200, seed=5)))
    return made


def test_every_head_of_tables_has_an_output_and_losses():
    assert set(OUTPUTS) == set(LOSSES) == set(FAMILIES["tabular"].heads)


def test_targets_say_what_labels_ask():
    single, ordinal, value = (TARGETS[head] for head in TARGETS)
    assert single.output.targets(["high", "new"], single).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert ordinal.output.targets(["low", "high"], ordinal).tolist() == [[0, 0], [1, 1]]
    assert value.output.targets([10.0, 18.0], value).tolist() == [[0.0], [2.0]]


def test_a_class_that_training_never_saw_weighs_nothing():
    target = Target(head="single_label", classes=CLASSES, class_weights=(0.5, 1.0, 2.0))
    asked = target.output.targets(["high", "new", "low"], target).astype(np.float32)
    assert weights_of(asked, target).tolist() == [2.0, 0.0, 0.5]
    assert np.isnan(target.output.forest_labels(asked)).tolist() == [False, True, False]


def test_a_target_is_part_of_the_facts_and_facts_of_before_are_of_decisions():
    assert target_from_json({**TARGETS["ordinal"].to_json(), "left": []}) == TARGETS["ordinal"]
    assert target_from_json({"left": []}) == Target()


@each_head
def test_members_learn_by_themselves_and_are_stopped_together(head):
    features, asked = torch.from_numpy(rows(SIGNATURE)), torch.from_numpy(targets(head))
    logits = network(head, "teacher").train()(features)
    assert logits.shape[:2] == (64, CONFIG.teacher_members)
    loss, stopping_loss = (each(logits, asked, torch.ones(64)) for each in LOSSES[head])
    assert loss.ndim == stopping_loss.ndim == 0
    assert stopping_loss <= loss + 1e-6  # by convexity


@each_head
def test_what_forests_and_networks_say_has_the_shape_of_the_targets(head):
    output, target = TARGETS[head].output, TARGETS[head]
    said = softmax(np.random.default_rng(0).normal(size=(5, 3)), axis=1)
    forest = output.of_forest(said[:, 0] if head == "regression" else said)
    members = output.of_network(
        network(head, "teacher")(torch.from_numpy(rows(SIGNATURE)[:5])).detach().double().numpy()
    )
    assert forest.shape == members.shape == targets(head)[:5].shape
    scores = output.said_scores(forest, target)
    outputs = HEADS[head].outputs(scores)
    if head == "regression":
        assert outputs[:, 0] == pytest.approx(10.0 + 4.0 * said[:, 0])
    else:
        assert outputs == pytest.approx(said, abs=1e-6)


@each_head
def test_calibrated_scores_ask_of_a_student_what_the_teacher_says(head):
    output, target = TARGETS[head].output, TARGETS[head]
    asked = targets(head).astype(np.float64)
    logits = np.random.default_rng(0).normal(
        size=(64, 3 if head == "regression" else asked.shape[1])
    )
    calibration = output.calibration(logits, asked, target)
    soft = output.soft(output.calibrated(logits, calibration), target)
    assert soft.shape == logits.shape
    if head == "regression":
        assert soft == pytest.approx(logits)
    else:
        assert ((soft >= 0) & (soft <= 1)).all()


@each_head
@pytest.mark.parametrize("size", [1, 20])
def test_the_kernel_answers_like_the_network(head, size):
    made = student(head)
    features = trial_rows(SIGNATURE, size, seed=3)
    with torch.no_grad():
        scores, effects = (part.numpy() for part in made.explain(torch.from_numpy(features)))
    runtime = KernelRuntime(kernel_of(made), batches=None)
    for row, (score, effect) in enumerate(zip(scores, effects, strict=True)):
        own = features[row : row + 1]
        kernel_scores, kernel_effects = runtime.explain(own)
        assert kernel_scores[0] == pytest.approx(score, abs=1e-4)
        assert kernel_effects[0] == pytest.approx(effect, abs=1e-3)
        assert runtime.score(own)[0] == pytest.approx(kernel_scores[0])


@each_head
def test_effects_of_a_student_are_of_each_score(head):
    scores, effects = student(head).explain(torch.from_numpy(rows(SIGNATURE)[:7]))
    assert effects.shape == (*scores.shape, 4)


@each_head
@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_forests_learn_what_a_number_tells(head, kind):
    target, task = TARGETS[head], table_task(head)
    features, asked = rows(SIGNATURE, 400), targets(head, 400).astype(np.float64)
    output = target.output
    forest_labels = output.forest_labels(asked)
    data = Rows(
        features, forest_labels, features, forest_labels, 3, output.objective(target), asked
    )
    quality = quality_of(task, target)
    forest = tune(kind, data, quality, num_trials=1, seed=0)
    usual = np.full_like(forest.predict(features), forest.predict(features).mean(0))
    assert quality(asked, forest.predict(features)) > quality(asked, usual)


def test_quantile_forests_hold_most_values_between_them():
    asked = targets("regression", 400)[:, 0].astype(np.float64)
    noisy = asked + np.random.default_rng(0).normal(size=400)
    features = rows(SIGNATURE, 400)
    data = Rows(features, noisy, features, noisy, 3)
    low, high = (fit_quantile(q, {}, data, 0).predict(features) for q in (0.05, 0.95))
    assert 0.8 < np.mean((low <= noisy) & (noisy <= high)) <= 1.0
    assert (low <= high).mean() > 0.95
