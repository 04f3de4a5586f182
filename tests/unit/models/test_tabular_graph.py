import pytest
import torch

from spt_core.models.tabular import TabularConfig
from spt_core.models.tabular_graph import MAX_RAMPED_VALUES, ExplainGraph, ScoreGraph
from tests.unit.models.tables import CONFIG, rows, signature, student

LARGE = MAX_RAMPED_VALUES + 1
SHAPES = {
    "numbers": (4, ()),
    "one number": (1, ()),
    "categories": (0, (3, 5)),
    "one category of one value": (0, (1,)),
    "a category without values": (2, (0, 3)),
    "the largest ramped category": (2, (MAX_RAMPED_VALUES,)),
    "one embedded category": (0, (LARGE,)),
    "embedded categories": (0, (LARGE, 2 * LARGE)),
    "numbers and an embedded category": (3, (LARGE,)),
    "small, large, small": (3, (2, LARGE, 4)),
    "large, small, large": (2, (LARGE, 3, 50)),
    "small, large, small without numbers": (0, (2, LARGE, 4)),
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@each_shape
@torch.no_grad()
def test_the_score_graph_is_the_student(shape):
    signed = signature(*shape)
    network, features = student(signed), torch.from_numpy(rows(signed))
    found = ScoreGraph(network)(features)
    assert found.shape == (64,)
    torch.testing.assert_close(found, network.probability(features), atol=1e-5, rtol=0)


@each_shape
@torch.no_grad()
def test_the_explain_graph_is_the_student_s_explanation(shape):
    signed = signature(*shape)
    network, features = student(signed), torch.from_numpy(rows(signed))
    wanted, wanted_effects = network.explain(features)
    found, effects = ExplainGraph(network)(features)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(effects, wanted_effects, atol=1e-5, rtol=1e-5)


@each_shape
@torch.no_grad()
def test_one_row_is_answered_as_among_others(shape):
    signed = signature(*shape)
    network, features = student(signed), torch.from_numpy(rows(signed))
    together = ExplainGraph(network)(features)[1]
    alone = torch.cat([ExplainGraph(network)(features[i : i + 1])[1] for i in range(3)])
    torch.testing.assert_close(alone, together[:3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hidden", [(8,), (8, 4, 4)])
@torch.no_grad()
def test_any_depth_is_the_student(hidden):
    signed = signature(2, (3, LARGE))
    network = student(signed, TabularConfig(num_bins=6, student_hidden=hidden))
    features = torch.from_numpy(rows(signed))
    found, effects = ExplainGraph(network)(features)
    torch.testing.assert_close(found, network.probability(features), atol=1e-5, rtol=0)
    torch.testing.assert_close(ScoreGraph(network)(features), found, atol=1e-5, rtol=0)
    torch.testing.assert_close(effects, network.explain(features)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("calibration", [(1.0, 1.0, 0.0), (0.05, 20.0, 3.0), (20.0, 0.05, -9.0)])
@torch.no_grad()
def test_any_calibration_is_the_student_s(calibration):
    signed = signature(3, (4,))
    network, features = student(signed), torch.from_numpy(rows(signed))
    network.calibrate(calibration)
    wanted = network.probability(features)
    torch.testing.assert_close(ScoreGraph(network)(features), wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_values_of_any_magnitude_are_finite_and_equal():
    signed = signature(4)
    network, features = student(signed), torch.from_numpy(rows(signed))
    features *= 10.0 ** torch.linspace(-40, 37, len(features))[:, None]
    found, effects = ExplainGraph(network)(features)
    assert torch.isfinite(effects).all()
    torch.testing.assert_close(found, network.probability(features), atol=1e-5, rtol=0)


@torch.no_grad()
def test_columns_without_any_value_or_with_one_are_the_student_s():
    signed = signature(3, (2,))
    sample = rows(signed)
    sample[:, 0], sample[:, 1] = float("nan"), 7.0
    network, features = student(signed, CONFIG), torch.from_numpy(sample)
    wanted, wanted_effects = network.explain(features)
    torch.testing.assert_close(ScoreGraph(network)(features), wanted, atol=1e-5, rtol=0)
    effects = ExplainGraph(network)(features)[1]
    torch.testing.assert_close(effects, wanted_effects, atol=1e-5, rtol=1e-5)
