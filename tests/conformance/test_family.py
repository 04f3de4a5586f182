import json
from typing import get_args

import numpy as np
import pytest
import torch

from spt_core.models import FAMILIES
from spt_core.models.heads import binary_loss
from spt_core.models.tabular import TabularConfig
from spt_core.task import Family
from tests.unit.models.tables import labels, rows, signature

CONFIGS = {"tabular": TabularConfig(num_bins=4, student_hidden=(8,), teacher_width=8)}
SIGNATURE = signature(3, (4, 40))
each_family = pytest.mark.parametrize("name", FAMILIES)
each_role = pytest.mark.parametrize("role", ["teacher", "student"])


def facts(name):
    return FAMILIES[name].facts(SIGNATURE, CONFIGS[name], rows(SIGNATURE), labels())


def build(name, role):
    return FAMILIES[name].build(SIGNATURE, role, CONFIGS[name], facts(name))


def test_the_families_are_those_that_a_task_can_name():
    assert set(FAMILIES) == set(get_args(Family)) == set(CONFIGS)


@each_family
def test_facts_are_json_and_a_function_of_the_rows(name):
    assert json.loads(json.dumps(facts(name), allow_nan=False)) == facts(name)


@each_family
@each_role
def test_a_network_gives_logits_of_each_row(name, role):
    logits = build(name, role)(torch.from_numpy(rows(SIGNATURE, 7)))
    assert logits.ndim == 2
    assert logits.shape[0] == 7
    assert torch.isfinite(logits).all()


@each_family
@each_role
def test_every_parameter_learns(name, role):
    network = build(name, role)
    for _ in range(2):  # an output that starts at zero passes nothing on in the first step
        loss = binary_loss(
            network(torch.from_numpy(rows(SIGNATURE))), torch.from_numpy(labels()), torch.ones(64)
        )
        loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@each_family
@torch.no_grad()
def test_a_student_calibrates_and_explains(name):
    network, features = build(name, "student").eval(), torch.from_numpy(rows(SIGNATURE))
    network.set_baseline(features)
    network.calibrate((1.0, 1.0, 1.5))
    probability, effects = network.explain(features)
    assert effects.shape == features.shape
    wanted = network(features).mean(1).double().numpy() + 1.5
    assert np.abs(torch.logit(probability.double()).numpy() - wanted).max() < 1e-4
