import dataclasses
import hashlib
import json

import numpy as np
import pytest
from safetensors.torch import save
from scipy.special import expit, logit

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, as_uri, write_bytes
from spt_core.families.tabular import softening
from spt_core.families.tabular.boosters import Rows, fit_lightgbm, fit_xgboost
from spt_core.families.tabular.checkpoint import TeacherRuntime
from spt_core.families.tabular.ensemble import (
    BLEND,
    FILES,
    FORESTS,
    LINEAR,
    NETWORK,
    TeacherEnsemble,
    best_weights,
    mix,
    network_said,
)
from spt_core.families.tabular.linear import fit_linear
from spt_core.families.tabular.network import table_facts
from spt_core.families.tabular.outputs import DECISION
from spt_core.families.tabular.softening import soften
from tests.unit.families.tabular.tables import CONFIG, labels, network, rows, signature

SIGNATURE = signature(3, (4, 3))
SHARES = {NETWORK: 0.4, "lightgbm": 0.2, "xgboost": 0.3, LINEAR: 0.1}
CALIBRATION = (1.2, 0.8, 0.1)
NUM_ROWS = 50
PLAIN = {
    "copies": 2,
    "num_numbers": 3,
    "swap_probability": 0.0,
    "forget_probability": 0.0,
    "hard_label_weight": 0.0,
    "seed": 0,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A teacher of an untrained network, two forests of two trees, and a linear model."""
    uri = as_uri(tmp_path_factory.mktemp("teacher"))
    train, target = rows(SIGNATURE, 200), labels(200).astype(np.float64)
    data = Rows(train, target, train, target, 3)
    facts = table_facts(SIGNATURE, CONFIG, rows(SIGNATURE, 64, seed=9), labels())
    contents = {
        WEIGHTS: save(network(SIGNATURE, "teacher").state_dict()),
        FACTS: json.dumps(facts).encode(),
        BLEND: json.dumps({"weights": SHARES, "calibration": CALIBRATION}).encode(),
        FORESTS["lightgbm"]: fit_lightgbm({}, data, 0, num_rounds=2).to_bytes(),
        FORESTS["xgboost"]: fit_xgboost({}, data, 0, num_rounds=2).to_bytes(),
        FILES[LINEAR]: fit_linear(data, 1.0).to_bytes(),
    }
    return ModelArtifact(
        uri=uri,
        task="financial_services/fraud_detection",
        model_name="default",
        family="tabular",
        role="teacher",
        signature=SIGNATURE,
        files={name: write_bytes(f"{uri}/{name}", content) for name, content in contents.items()},
        config={"network": json.loads(json.dumps(dataclasses.asdict(CONFIG)))},
        metrics={},
        seed=0,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
    )


def softened(*teachers, **changes):
    batch = {
        "features": rows(SIGNATURE, NUM_ROWS, seed=4),
        "target": labels(NUM_ROWS),
        "weight": np.linspace(1.0, 2.0, NUM_ROWS, dtype=np.float32),
        "row": np.arange(NUM_ROWS),
    }
    contents = [json.dumps(teacher.to_json()) for teacher in teachers]
    pieces = list(soften(batch, teachers=contents, **{**PLAIN, **changes}))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def test_the_best_weights_favour_the_member_that_knows():
    target = labels(200)
    good, bad = np.where(target, 0.9, 0.1), np.full(200, 0.5)
    assert best_weights(target, {"good": good, "bad": bad}, DECISION.output) == {
        "good": 1.0,
        "bad": 0.0,
    }


def test_the_best_weights_blend_members_that_err_apart():
    target = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
    members = {"a": np.array([0.9, 0.3, 0.1, 0.1]), "b": np.array([0.3, 0.9, 0.1, 0.1])}
    weights = best_weights(target, members, DECISION.output)
    assert weights == {"a": 0.5, "b": 0.5}
    assert sum(weights.values()) == 1.0


def test_the_log_odds_of_a_mix_are_those_of_the_mean_probability():
    members = {"a": np.array([0.2, 1.0, 0.0]), "b": np.array([0.4, 1.0, 0.0])}
    odds = DECISION.output.logits(mix(members, {"a": 0.25, "b": 0.75}))
    assert odds[0] == pytest.approx(logit(0.35))
    assert np.isfinite(odds).all()


def test_a_teacher_is_the_calibrated_blend_of_its_members(teacher):
    ensemble, features = TeacherEnsemble(teacher), rows(SIGNATURE)
    members = {kind: forest.predict(features) for kind, forest in ensemble.members.items()}
    members[NETWORK] = network_said(ensemble.network, features, DECISION.output)
    mixed = logit(sum(SHARES[name] * members[name] for name in SHARES))
    a, b, c = CALIBRATION
    wanted = expit(a * mixed + (b - a) * np.logaddexp(0, mixed) + c)
    np.testing.assert_allclose(ensemble.soft(features), wanted, atol=1e-9)


def test_a_teacher_of_before_has_no_linear_member(teacher, tmp_path):
    uri, files = as_uri(tmp_path), {}
    shares = {NETWORK: 0.5, "lightgbm": 0.2, "xgboost": 0.3}
    for name in teacher.files:
        content = teacher.read(name)
        if name == BLEND:
            content = json.dumps({"weights": shares, "calibration": CALIBRATION}).encode()
        if name != FILES[LINEAR]:
            files[name] = write_bytes(f"{uri}/{name}", content)
    older = TeacherEnsemble(dataclasses.replace(teacher, uri=uri, files=files))
    assert set(older.members) == {"lightgbm", "xgboost"}
    assert np.isfinite(older.scores(rows(SIGNATURE))).all()


def test_a_teacher_explains_against_a_typical_row(teacher):
    runtime = TeacherRuntime(teacher)
    probabilities, effects = runtime.explain(rows(SIGNATURE, 5))
    np.testing.assert_allclose(probabilities, runtime.score(rows(SIGNATURE, 5)), atol=1e-9)
    assert np.abs(runtime.explain(runtime._typical[None])[1]).max() < 1e-7  # float32
    assert effects.shape == (5, 5)


def test_soft_rows_are_the_batch_and_its_copies(teacher):
    made = softened(teacher)
    assert made["features"].shape == (3 * NUM_ROWS, 5)
    assert {name: column.dtype for name, column in made.items()} == dict.fromkeys(made, np.float32)
    np.testing.assert_array_equal(
        made["features"], np.tile(rows(SIGNATURE, NUM_ROWS, seed=4), (3, 1))
    )
    wanted = TeacherEnsemble(teacher).soft(made["features"])
    np.testing.assert_allclose(made["target"], wanted, atol=1e-6)


def test_a_row_is_answered_by_its_own_teacher_and_copies_by_the_mean_of_all(teacher):
    blend = json.dumps({"weights": SHARES, "calibration": [1.0, 1.0, 2.0]}).encode()
    uri = f"{teacher.uri}-other"
    for name in teacher.files:
        write_bytes(f"{uri}/{name}", blend if name == BLEND else teacher.read(name))
    files = {**teacher.files, BLEND: hashlib.sha256(blend).hexdigest()}
    other = dataclasses.replace(teacher, uri=uri, files=files)
    targets = softened(teacher, other)["target"]
    mean = (softened(teacher)["target"] + softened(other)["target"]) / 2
    np.testing.assert_array_equal(targets[:NUM_ROWS], softened(teacher)["target"][:NUM_ROWS])
    np.testing.assert_allclose(targets[NUM_ROWS:], mean[NUM_ROWS:], atol=1e-6)


def test_soft_rows_are_a_function_of_the_seed(teacher):
    changes = {"swap_probability": 0.5, "forget_probability": 0.1}
    first, second = softened(teacher, **changes), softened(teacher, **changes)
    other = softened(teacher, **changes, seed=1)
    np.testing.assert_array_equal(first["features"], second["features"])
    assert not np.array_equal(first["features"], other["features"], equal_nan=True)


@pytest.mark.parametrize("rows_at_once", [1, 2 * NUM_ROWS])
def test_the_pieces_of_soft_rows_are_those_of_one(teacher, rows_at_once, monkeypatch):
    changes = {"swap_probability": 0.5, "forget_probability": 0.1, "hard_label_weight": 0.5}
    whole = softened(teacher, **changes)
    monkeypatch.setattr(softening, "ROWS_AT_ONCE", rows_at_once)
    pieces = softened(teacher, **changes)
    np.testing.assert_array_equal(pieces["features"], whole["features"])
    np.testing.assert_allclose(pieces["target"], whole["target"], atol=1e-6)


def test_a_forgotten_cell_is_missing_or_unseen(teacher):
    copies = softened(teacher, forget_probability=1.0)["features"][NUM_ROWS:]
    assert np.isnan(copies[:, :3]).all()
    assert (copies[:, 3:] == 0).all()


def test_a_swapped_cell_comes_from_its_own_column(teacher):
    made = softened(teacher, swap_probability=1.0)["features"]
    originals, copies = made[:NUM_ROWS], made[NUM_ROWS:]
    assert not np.array_equal(copies[:NUM_ROWS], originals, equal_nan=True)
    for column in range(5):
        known = copies[:, column][~np.isnan(copies[:, column])]
        assert set(known) <= set(originals[:, column])


def test_hard_labels_count_for_original_rows_alone(teacher):
    soft, hard = softened(teacher), softened(teacher, hard_label_weight=1.0)
    np.testing.assert_allclose(hard["target"][:NUM_ROWS], labels(NUM_ROWS), atol=1e-6)
    np.testing.assert_array_equal(hard["target"][NUM_ROWS:], soft["target"][NUM_ROWS:])
