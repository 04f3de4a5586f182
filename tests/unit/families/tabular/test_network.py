import dataclasses

import numpy as np
import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.network import (
    PiecewiseLinearEncoding,
    _edges_of,
    table_facts,
    table_network,
)
from tests.unit.families.tabular.tables import CONFIG, labels, network, rows, signature, student

ENCODING = PiecewiseLinearEncoding(
    torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[1.0, 0.5, 0.25]])
)
WIDE = np.linspace(0, 1, 500, dtype=np.float32)


def encoded(value):
    return ENCODING(torch.tensor([[value]]))[0, 0].tolist()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("nan"), [0, 0, 0, 0]),
        (-1e30, [0, 0, 0, 1]),
        (0.0, [0, 0, 0, 1]),
        (0.25, [0.25, 0, 0, 1]),
        (1.0, [1, 0, 0, 1]),
        (2.0, [1, 0.5, 0, 1]),
        (3.0, [1, 1, 0, 1]),
        (7.0, [1, 1, 1, 1]),
        (3e38, [1, 1, 1, 1]),
    ],
)
def test_a_number_fills_its_bins_from_the_left_and_missing_fills_none(value, wanted):
    assert encoded(value) == wanted


def test_few_distinct_values_are_each_an_edge():
    values = np.repeat(np.array([1, 2, 5], np.float32), 50)
    assert _edges_of(values, values, 8, is_number=False).tolist() == [1, 2, 5]


def test_edges_are_increasing_reach_both_ends_and_fit_the_bins():
    edges = _edges_of(WIDE, (WIDE > 0.3).astype(np.float32), 8, is_number=False)
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 9
    assert (edges[0], edges[-1]) == (0, 1)


def test_the_tree_puts_an_edge_where_the_label_changes():
    edges = _edges_of(WIDE, (WIDE > 0.333).astype(np.float32), 8, is_number=False)
    assert np.abs(edges - 0.333).min() < 0.01


def test_a_zero_inflated_column_keeps_edges_among_its_other_values():
    values = np.concatenate([np.zeros(2000, np.float32), WIDE[1:]])
    edges = _edges_of(values, (values > 0.5).astype(np.float32), 8, is_number=False)
    assert edges[0] == 0
    assert ((edges > 0) & (edges < 1)).sum() >= 1


@pytest.mark.parametrize(
    "column",
    [
        np.full(64, np.nan),
        np.full(64, 7.0),
        np.where(np.arange(64) % 2, np.nan, 7.0),
        np.where(np.arange(64) % 2, 1e-40, 0.0),
        np.linspace(0, 1e-39, 64),
        np.linspace(-3e38, 3e38, 64),
    ],
    ids=["missing", "constant", "constant or missing", "two tiny", "tiny", "huge"],
)
def test_any_column_gives_finite_answers(column):
    signed = signature(2)
    sample = rows(signed)
    sample[:, 0] = column
    facts = table_facts(signed, CONFIG, sample, labels())
    made = table_network(signed, "student", CONFIG, facts)
    assert np.isfinite(facts["inverse_width"]).all()
    assert torch.isfinite(made(torch.from_numpy(sample))).all()


def test_a_typical_row_is_medians_and_commonest_categories():
    signed = signature(2, (3,))
    sample = np.array([[1, np.nan, 2], [2, np.nan, 2], [9, np.nan, 0]], np.float32)
    facts = table_facts(signed, CONFIG, sample, labels(3))
    assert facts["typical"] == [2.0, None, 2.0]


@torch.no_grad()
def test_an_explanation_starts_with_the_calibrated_probability():
    signed = signature(3, (4,))
    made, features = student(signed), torch.from_numpy(rows(signed))
    logits = made(features).squeeze(1)
    a, b, c = made.calibration.tolist()
    wanted = torch.sigmoid(a * logits + (b - a) * torch.nn.functional.softplus(logits) + c)
    torch.testing.assert_close(made.explain(features)[0], wanted, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_field_that_says_what_the_baseline_says_has_no_effect():
    signed = signature(3, (4,))
    made, features = student(signed), torch.from_numpy(rows(signed))
    made.baseline[:] = made._contributions(features[5:6])[0]
    effects = made.explain(features)[1]
    same = features.eq(features[5]) | (features.isnan() & features[5].isnan())
    assert same.sum() > 4
    torch.testing.assert_close(effects[same], torch.zeros(int(same.sum())), atol=1e-5, rtol=0)


@torch.no_grad()
def test_effects_of_a_student_without_bends_add_up_to_the_log_odds():
    signed = signature(3, (4,))
    made, features = student(signed), torch.from_numpy(rows(signed))
    made.calibrate((1.0, 1.0, 0.0))
    made.bias += 1000.0  # every unit of the first layer is on
    for layer in made.upper:
        layer.weight.abs_()
    probability, effects = made.double().explain(features.double())
    nothing = made._upper((made.bias + made.baseline.sum(0))[None])[0, 0]
    row = made(features.double()).squeeze(1)
    torch.testing.assert_close(effects.sum(1), row - nothing, atol=1e-6, rtol=1e-9)


@torch.no_grad()
def test_the_baseline_is_the_mean_contribution():
    signed = signature(2, (3,))
    made, features = student(signed), torch.from_numpy(rows(signed, 5000))
    made.set_baseline(features)
    hidden = made._first(features).mean(0)
    torch.testing.assert_close(made.baseline.sum(0) + made.bias, hidden, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_student_has_its_teacher_s_bins_whatever_it_is_told():
    signed = signature(5, ())
    sample = rows(signed)
    facts = table_facts(signed, dataclasses.replace(CONFIG, num_bins=4), sample, labels())
    made = table_network(signed, "student", dataclasses.replace(CONFIG, num_bins=24), facts)
    made.set_baseline(torch.from_numpy(sample))
    assert made(torch.from_numpy(sample)).shape == (len(sample), 1)


@pytest.mark.parametrize("shape", [(3, ()), (0, (4, 40)), (3, (4, 40))])
def test_a_teacher_gives_a_logit_of_each_member(shape):
    signed = signature(*shape)
    logits = network(signed, "teacher")(torch.from_numpy(rows(signed)))
    assert logits.shape == (64, CONFIG.teacher_members)
    assert torch.isfinite(logits).all()
    assert logits.std(1).min() > 0


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_checkpointing_changes_no_gradient(role):
    signed = signature(3, (4,))
    features = torch.from_numpy(rows(signed))
    gradients = []
    for checkpointing in (False, True):
        config = dataclasses.replace(CONFIG, gradient_checkpointing=checkpointing)
        made = network(signed, role, config).train()
        made(features).square().mean().backward()
        gradients.append({name: p.grad for name, p in made.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_model_without_columns_is_refused(role):
    with pytest.raises(InputError, match="at least one input column"):
        table_network(signature(0), role, CONFIG, {})


@pytest.mark.parametrize(
    "values",
    [{"num_bins": 1}, {"student_hidden": ()}, {"student_hidden": (0,)}, {"booster_trials": 0}],
)
def test_sizes_that_make_no_network_are_refused(values):
    with pytest.raises(InputError, match="however"):
        TabularConfig(**values)
