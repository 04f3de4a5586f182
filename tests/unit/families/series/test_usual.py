"""What is usual in windows: three errors, of which one sees a level that stands still."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from spt_core.errors import CorruptArtifactError
from spt_core.families.series.config import SeriesConfig
from spt_core.families.series.facts import series_facts
from spt_core.families.series.network import ResidualNetwork, series_network
from spt_core.families.series.usual import fit_usual, parts_of, usual_bytes, usual_from_bytes
from spt_core.signature import SequenceShape

SHAPE = SequenceShape(length=8, channels=("flow", "heat"), step=60.0, time="time", unit="host")
LEFT, LEVEL, LAST = range(3)


def usual_days(num_windows, seed):
    """Windows whose level moves a little from one to the next, with noise."""
    draw = np.random.default_rng(seed)
    levels = draw.normal(50.0, 2.0, (num_windows, 1, 2))
    return (levels + draw.normal(0.0, 0.3, (num_windows, SHAPE.length, 2))).astype(np.float32)


TRAIN, HELD_OUT = usual_days(400, 0), usual_days(200, 1)
FACTS = series_facts(SHAPE, TRAIN, head="anomalies")


def expect(windows):
    """The reading before, as the next one: of a level that stands still it is right."""
    center, spread = np.array(FACTS["center"]), np.array(FACTS["spread"])
    return (windows[:, -2] - center) / spread


def errors_of(windows, usual):
    center, spread = np.array(FACTS["center"]), np.array(FACTS["spread"])
    error = (windows[:, -1] - center) / spread - expect(windows)
    return parts_of(windows, error, usual, FACTS)


USUAL = fit_usual(TRAIN, HELD_OUT, FACTS, 4, expect)


def test_each_error_is_a_third_where_one_of_a_hundred_usual_windows_lies():
    scores = errors_of(HELD_OUT, USUAL).sum((2, 3))
    assert np.quantile(scores, 0.99, axis=1) == pytest.approx([1 / 3] * 3)


def test_a_level_beyond_training_is_an_anomaly_though_it_stands_still():
    fallen = HELD_OUT.copy()
    fallen[:, :, 0] -= 20.0
    errors = np.median(errors_of(fallen, USUAL).sum((2, 3)), axis=1)
    assert errors[LEVEL] > 2.0
    assert errors[LAST] < 1 / 3
    assert errors[LEFT] < errors[LEVEL] / 3.0


def test_the_level_s_part_lies_in_the_channel_that_has_it():
    fallen = HELD_OUT.copy()
    fallen[:, :, 1] -= 20.0
    of_channels = errors_of(fallen, USUAL)[LEVEL].sum((0, 1))
    assert of_channels[1] > 10.0 * of_channels[0]


def test_a_component_that_never_varied_is_not_the_whole_score():
    still = np.full((50, SHAPE.length, 2), 7.0, np.float32)
    facts = series_facts(SHAPE, still, head="anomalies")
    usual = fit_usual(still, still, facts, 4, lambda windows: np.zeros((len(windows), 2)))
    assert (usual.spreads >= 0.1).all()


def test_what_an_earlier_version_has_left_is_told_in_a_sentence():
    old = save({"components": np.zeros((2, 4)), "units": np.ones(2)})
    with pytest.raises(CorruptArtifactError, match="train it again"):
        usual_from_bytes(old)
    assert np.array_equal(usual_from_bytes(usual_bytes(USUAL)).spreads, USUAL.spreads)


@torch.no_grad()
def test_the_graph_scores_as_the_fit_does():
    torch.manual_seed(0)
    student = series_network(SeriesConfig(components=4), "student", FACTS).eval()
    assert isinstance(student, ResidualNetwork)
    student.set_usual(USUAL)
    center, spread = np.array(FACTS["center"]), np.array(FACTS["spread"])
    windows = HELD_OUT[:20]
    error = (windows[:, -1] - center) / spread - student(torch.from_numpy(windows)).numpy()
    scores, parts = student.explain(torch.from_numpy(windows))
    expected = parts_of(windows, error, USUAL, FACTS).sum(0)
    assert parts[:, 0].numpy() == pytest.approx(expected, abs=1e-4)
    assert scores[:, 0].numpy() == pytest.approx(expected.sum((1, 2)), abs=1e-4)
