import dataclasses
import json
from typing import get_args

import numpy as np
import pytest
import torch

from spt_core.families.image import learner as image
from spt_core.families.series import learner as series
from spt_core.families.serving import SERVING
from spt_core.families.tabular import learner as tabular
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.network import table_facts
from spt_core.families.text import learner as text
from spt_core.families.text.bases import store_base
from spt_core.families.text.reading import TextEncoder
from spt_core.families.training import TRAINING
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import Batch
from spt_core.plain import from_plain
from spt_core.signature import Field, Signature
from spt_core.task import FAMILIES, Family
from tests.tiny_models import (
    IMAGE_CONFIG,
    SERIES_CONFIG,
    SERIES_FIELD,
    TEXT_CONFIG,
    TEXTS,
    series_windows,
    tiny_image_facts,
    tiny_series_facts,
    tiny_text_facts,
    tiny_tokenizer,
)
from tests.unit.families.tabular.tables import labels, rows, signature

LEARNERS = {
    "tabular": tabular.LEARNER,
    "text": text.LEARNER,
    "image": image.LEARNER,
    "series": series.LEARNER,
}
each_family = pytest.mark.parametrize("name", SERVING)
each_role = pytest.mark.parametrize("role", ["teacher", "student"])
TABLE_CONFIG = TabularConfig(num_bins=4, student_hidden=(8,), teacher_width=8)
TABLE, TEXT = signature(3, (4, 40)), Signature(fields=(Field(name="text", kind="text"),))
IMAGE = Signature(fields=(Field(name="image", kind="image"),))
SERIES = Signature(fields=(SERIES_FIELD,))
SIGNATURES = {"tabular": TABLE, "text": TEXT, "image": IMAGE, "series": SERIES}
CONFIGS = {
    "tabular": TABLE_CONFIG,
    "text": TEXT_CONFIG,
    "image": IMAGE_CONFIG,
    "series": SERIES_CONFIG,
}
HEADS = {
    "tabular": "binary",
    "text": "multi_label",
    "image": "single_label",
    "series": "regression",
}
CLASSES = ("low", "high")


@pytest.fixture(autouse=True)
def seeded():
    """Of random weights, some leave a unit without any gradient."""
    torch.manual_seed(0)


def facts(name):
    if name == "tabular":
        return table_facts(TABLE, TABLE_CONFIG, rows(TABLE), labels())
    if name == "image":
        return tiny_image_facts("single_label", CLASSES)
    if name == "series":
        return tiny_series_facts("regression")
    return tiny_text_facts("multi_label", CLASSES, tiny_tokenizer())


def run_of(name, role="teacher", known=None):
    """What a worker is told of a run of the family."""
    return TrainingRun(
        learner=LEARNERS[name],
        signature=SIGNATURES[name],
        role=role,
        config=TrainingConfig(family=name, network=CONFIGS[name], use_mixed_precision=False),
        facts=known or facts(name),
        num_rows=64,
        row_bytes=100,
        scoring_rows=64,
        head=HEADS[name],
    )


def batch(name):
    """What a network takes, and targets and weights of its logits."""
    if name == "tabular":
        features = torch.from_numpy(rows(TABLE))
        return Batch((features,), torch.from_numpy(labels()), torch.ones(len(features)))
    if name == "image":
        targets = torch.eye(len(CLASSES)).repeat(2, 1)
        return Batch((torch.rand(4, 1, 32, 32),), targets, torch.ones(4))
    if name == "series":
        windows = torch.from_numpy(series_windows(20, 1))
        return Batch((windows,), windows[:, -1, :1] - 10.0, torch.ones(20))
    found = TextEncoder(tiny_tokenizer(), max_tokens=24, overlap=4)
    inputs = tuple(torch.from_numpy(a) for a in found.batch(found.encode(TEXTS)))
    return Batch(inputs, torch.rand(len(TEXTS), len(CLASSES)), torch.ones(len(TEXTS)))


def build(name, role):
    return LEARNERS[name].network(run_of(name, role))


def test_the_families_are_those_that_a_task_can_name():
    named = set(get_args(Family))
    assert set(SERVING) == set(TRAINING) == set(FAMILIES) == set(LEARNERS) == named


@each_family
def test_a_configuration_survives_json(name):
    kind = SERVING[name].config
    assert type(CONFIGS[name]) is kind
    content = json.loads(json.dumps(dataclasses.asdict(CONFIGS[name])))
    assert from_plain(kind, content) == CONFIGS[name]


@each_family
def test_facts_are_json_and_a_function_of_the_rows(name):
    assert json.loads(json.dumps(facts(name), allow_nan=False)) == facts(name)


@each_family
@each_role
def test_a_network_gives_logits_of_each_row(name, role):
    found = batch(name)
    logits = build(name, role)(*found.inputs)
    assert logits.ndim == 2
    assert logits.shape[0] == len(found.targets)
    assert torch.isfinite(logits).all()


@each_family
@each_role
def test_every_parameter_learns(name, role):
    run, given = run_of(name, role), batch(name)
    network = run.learner.network(run)
    for _ in range(2):  # an output that starts at zero passes nothing on in the first step
        run.learner.loss(network, given, run).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert run.learner.stopping_loss(network, given, run).ndim == 0


@each_family
def test_each_parameter_has_a_rate(name):
    run = run_of(name)
    for parameter, _ in run.learner.network(run).named_parameters():
        assert run.learner.rate(parameter, run) > 0


@each_family
def test_layers_have_stable_names_from_the_input_on_and_each_parameter_is_in_one(name):
    network = build(name, "teacher")
    layers = TRAINING[name].transferring.layers(network)
    first, *encoders, last = layers
    assert (first, last) == ("embedding", "head")
    assert encoders == [f"encoder.{number}" for number in range(len(encoders))]
    assert len(encoders) >= 1
    held = [parameter for names in layers.values() for parameter in names]
    assert sorted(held) == sorted(parameter for parameter, _ in network.named_parameters())


@each_family
def test_training_starts_from_what_the_facts_name(name, tmp_path):
    known = facts(name)
    if name == "text":
        weights = build(name, "teacher").encoder.state_dict()
        made = store_base(
            "tiny", known["encoder"], tiny_tokenizer(), weights, storage=tmp_path.as_uri()
        )
        known = {**known, "base": made.uri}
    run = run_of(name, known=known)
    starts = [run.learner.network(run, is_start=True) for _ in "ab"]
    if name == "text":
        first, second = (network.encoder.state_dict() for network in starts)
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert all(torch.equal(first[key], weights[key]) for key in first)


@torch.no_grad()
def test_a_table_student_calibrates_and_explains():
    network, features = build("tabular", "student").eval(), torch.from_numpy(rows(TABLE))
    network.set_baseline(features)
    network.calibrate((1.0, 1.0, 1.5))
    probability, effects = network.explain(features)
    assert effects.shape == features.shape
    wanted = network(features).mean(1).double().numpy() + 1.5
    assert np.abs(torch.logit(probability.double()).numpy() - wanted).max() < 1e-4
