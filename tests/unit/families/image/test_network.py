"""The network of images: places that add up, calibration, what training images are like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.image.altering import altered
from spt_core.families.image.config import ImageConfig, Variation
from spt_core.families.image.exporting import fused
from spt_core.families.image.network import (
    LITE0,
    PLAIN,
    Convolution,
    ImageNetwork,
    image_facts,
    student_architecture,
)
from spt_core.families.image.teaching import likeness
from tests.tiny_models import IMAGE_CONFIG, tiny_image_facts

CLASSES = ("safe", "risky", "neither")


@pytest.fixture
def network() -> ImageNetwork:
    torch.manual_seed(0)
    return ImageNetwork(IMAGE_CONFIG, tiny_image_facts("single_label", CLASSES)).eval()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_places_add_up_to_the_score_but_for_what_is_said_of_any_image(
    network: ImageNetwork, features: torch.Tensor
) -> None:
    network.calibrate(torch.tensor([0.5, 2.0, 1.0]), torch.tensor([0.1, 0.0, -0.3]))
    logits, shares, _ = network.explain(features)
    constant = network.vote.bias * network.scale + network.shift
    assert torch.allclose(shares.sum((2, 3)) + constant, logits, atol=1e-5)
    assert torch.allclose(network(features) * network.scale + network.shift, logits, atol=1e-5)


@torch.no_grad()
def test_a_network_of_fused_convolutions_says_the_same(
    network: ImageNetwork, features: torch.Tensor
) -> None:
    network.train()
    network(features)  # moves what is normalised by
    network.eval()
    own = fused(network)
    for one, other in zip(network.explain(features), own.explain(features), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in own.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@torch.no_grad()
def test_images_unlike_training_s_are_farther_than_held_out_ones(network: ImageNetwork) -> None:
    draw = torch.Generator().manual_seed(0)

    def blurred(size: int) -> torch.Tensor:
        coarse = torch.rand(size, 1, 4, 4, generator=draw) * 0.2 + 0.4
        return torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")

    like, held_out = (network.figures(blurred(n)).double().numpy() for n in (300, 100))
    center, whitening = likeness(like)
    network.compare_with(*(torch.from_numpy(a.astype(np.float32)) for a in (center, whitening)))
    apart = np.linalg.norm((held_out - center) @ whitening, axis=1)
    assert np.allclose(apart.max() >= apart, True)
    unlike = torch.stack([torch.rand(1, 32, 32, generator=draw), torch.ones(1, 32, 32)])
    assert network.explain(unlike)[2].min() > apart.max()


def test_a_student_has_the_first_stages_and_never_all() -> None:
    config = ImageConfig(student_stages=5, student_stride=16)
    assert student_architecture(LITE0, config).stages == LITE0.stages[:5]
    assert student_architecture(PLAIN, config).stages == PLAIN.stages[:3]
    narrow = student_architecture(LITE0, ImageConfig(student_stages=5, student_width=0.5))
    assert [stage.channels for stage in narrow.stages] == [8, 16, 16, 40, 56]


@pytest.mark.parametrize(
    ("stride", "stages", "places"), [(8, 2, 24), (8, 4, 12), (16, 4, 6), (8, 5, 12), (16, 5, 6)]
)
def test_the_map_of_a_student_is_as_fine_as_its_stride(
    stride: int, stages: int, places: int
) -> None:
    config = ImageConfig(student_stages=stages, student_stride=stride)
    facts = {
        **tiny_image_facts("single_label", CLASSES),
        "architecture": student_architecture(LITE0, config),
    }
    network = ImageNetwork(config, facts).eval()
    shares = network.explain(torch.rand(1, 1, 96, 96))[1]
    assert shares.shape == (1, 3, places, places)


def test_a_stride_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be one of \(8, 16\), however: 32"):
        ImageConfig(student_stride=32)


def test_the_trunk_that_a_student_keeps_is_a_twelfth_of_its_teacher() -> None:
    def size(architecture: object) -> int:
        facts = image_facts(
            architecture=architecture,  # type: ignore[arg-type]  # one of two
            head="single_label",
            classes=CLASSES,
            channels=3,
            depth_bits=8,
            mean=[0.5] * 3,
            spread=[0.2] * 3,
        )
        return sum(p.numel() for p in ImageNetwork(ImageConfig(), facts).parameters())

    student, teacher = size(student_architecture(LITE0, ImageConfig())), size(LITE0)
    assert 1 / 14 < student / teacher < 1 / 11
    larger = ImageConfig(student_stages=5, student_stride=16)
    assert 700_000 < size(student_architecture(LITE0, larger)) < 760_000


@pytest.mark.parametrize("size", [28, 32, 33])
def test_a_stride_is_padded_as_the_pretrained_weights_know_it(size: int) -> None:
    convolution = Convolution((1, 1), 3, stride=2)
    assert convolution(torch.rand(1, 1, size, size)).shape[2] == -(-size // 2) - size % 2


def test_images_are_mirrored_only_where_the_task_says_so() -> None:
    image = torch.zeros(64, 1, 16, 16)
    image[:, :, :, 10:] = 1.0  # bright to the right
    still = Variation(turn_degrees=0.0, zoom=0.0, shift=0.0, contrast=0.0)

    def brighter_left(symmetries: tuple[str, ...]) -> int:
        draw = torch.Generator().manual_seed(0)
        seen = altered(image, still, symmetries, draw)
        return int((seen[:, 0, :, :6].mean((1, 2)) > 0.5).sum())

    assert brighter_left(()) == 0
    assert torch.equal(altered(image, still, (), torch.Generator().manual_seed(0)), image)
    assert 20 < brighter_left(("left_right",)) < 44
    assert brighter_left(("top_bottom",)) == 0
    assert 5 < brighter_left(("quarter_turn",)) < 30


def test_what_is_altered_follows_the_draw_and_stays_in_range() -> None:
    image = torch.rand(8, 3, 16, 16)
    first, second, third = (
        altered(image, Variation(), ("left_right",), torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert 0.0 <= float(first.min()) <= float(first.max()) <= 1.0
