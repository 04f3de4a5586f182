import dataclasses
import json

import pytest
import torch
from safetensors.torch import load, save

from spt_core.artifacts import WEIGHTS, as_uri, write_bytes
from spt_core.families.series.learner import LEARNER
from spt_core.families.series.transferring import SeriesTransferring
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Signature
from tests.tiny_models import (
    SERIES_CONFIG,
    SERIES_FIELD,
    series_task,
    tiny_series_artifact,
    tiny_series_facts,
)


def run_of(channels):
    shape = dataclasses.replace(SERIES_FIELD.shape, channels=channels)
    return TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=(dataclasses.replace(SERIES_FIELD, shape=shape),)),
        role="teacher",
        config=TrainingConfig(family="series", network=SERIES_CONFIG),
        facts=tiny_series_facts("regression"),
        num_rows=1,
        row_bytes=1,
        scoring_rows=1,
        head="regression",
    )


@pytest.fixture
def source(tmp_path):
    """A teacher of random weights."""
    made = tiny_series_artifact(series_task("regression"), as_uri(tmp_path))
    torch.manual_seed(5)
    content = save(LEARNER.network(run_of(SERIES_FIELD.shape.channels)).state_dict())
    files = {**made.files, WEIGHTS: write_bytes(f"{made.uri}/{WEIGHTS}", content)}
    return dataclasses.replace(made, role="teacher", files=files)


def test_blocks_and_channels_of_one_name_come_over(source):
    first, second = SERIES_FIELD.shape.channels
    run = run_of((second, "pressure"))
    network = LEARNER.network(run)
    begin = SeriesTransferring().begun(source, run, network, None, {})
    theirs, name = load(source.read(WEIGHTS)), "members.0.blocks.0.bottleneck.weight"
    assert torch.equal(begin.weights[name][:, 0], theirs[name][:, 1])
    assert torch.equal(begin.weights[name][:, 1], network.state_dict()[name][:, 1])
    branch = "members.0.blocks.0.branches.0.weight"
    assert torch.equal(begin.weights[branch], theirs[branch])
    assert begin.taken == ("the blocks", f"the channels {second}")
    assert begin.fresh == ("channels without a counterpart: pressure",)
    assert first not in str(begin.taken)


def test_what_is_usual_stays_the_target_s(source):
    run = run_of(SERIES_FIELD.shape.channels)
    network = LEARNER.network(run)
    network.usual.center.fill_(42.0)
    begin = SeriesTransferring().begun(source, run, network, None, {})
    assert (begin.weights["usual.center"] == 42.0).all()


def test_networks_have_the_source_s_sizes(source):
    wider = dataclasses.replace(SERIES_CONFIG, teacher_filters=16)
    config = TrainingConfig(family="series", network=wider)
    configured, changes = SeriesTransferring().configured(source, config)
    assert json.dumps(dataclasses.asdict(configured.network)) == json.dumps(
        dataclasses.asdict(SERIES_CONFIG)
    )
    assert changes == ("teacher_filters is 2, as in the source's network",)
