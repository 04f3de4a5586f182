import pytest
import torch
from safetensors.torch import load

from spt_core.artifacts import WEIGHTS, as_uri
from spt_core.errors import InputError
from spt_core.families.image.learner import LEARNER
from spt_core.families.image.transferring import ImageTransferring
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from tests.tiny_models import IMAGE_CONFIG, image_task, tiny_image_artifact, tiny_image_facts


@pytest.fixture
def source(tmp_path):
    return tiny_image_artifact(image_task("single_label"), as_uri(tmp_path))


def begun(source, classes, **changes):
    run = TrainingRun(
        learner=LEARNER,
        signature=None,
        role="teacher",
        config=TrainingConfig(family="image", network=IMAGE_CONFIG),
        facts={**tiny_image_facts("single_label", classes), **changes},
        num_rows=1,
        row_bytes=1,
        scoring_rows=1,
    )
    network = LEARNER.network(run)
    return network, ImageTransferring().begun(source, run, network, None, {})


def test_stages_come_over_with_what_their_normalisation_has_seen(source):
    theirs = load(source.read(WEIGHTS))
    _, begin = begun(source, ("other", "new"))
    for name in ("stages.1.0.expand.convolution.weight", "top.norm.running_mean"):
        assert torch.equal(begin.weights[name], theirs[name])
    assert begin.fresh == ("the votes",)
    assert "vote.weight" not in begin.given


def test_votes_of_classes_of_one_name_come_over(source):
    network, begin = begun(source, ("risky", "new"))
    theirs = load(source.read(WEIGHTS))
    place = source.classes.index("risky")
    assert torch.equal(begin.weights["vote.weight"][0], theirs["vote.weight"][place])
    assert torch.equal(begin.weights["vote.weight"][1], network.vote.weight[1].detach())


def test_images_of_other_channels_are_refused(source):
    with pytest.raises(InputError, match="networks of one channels"):
        begun(source, ("risky", "new"), channels=3, mean=[0.5] * 3, spread=[0.2] * 3)
