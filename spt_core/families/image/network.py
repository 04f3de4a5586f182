"""Image family: inverted residuals of depthwise convolutions, and a head that says where.

features [B, C, S, S] in [0, 1] -> stages -> places [B, F, h, w] -> votes [B, K, h, w] -> logits

K classes, h x w places of a grid over the image. The score of a class is a mean of votes over
places, so that a place's share of it is read off and needs no further pass: the class activation
map of Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from spt_core.families.image.config import ImageConfig
from spt_core.task import Head

EPSILON = 1e-3  # of batch normalisation, as EfficientNet has it
# A small corpus has some hundred steps. Statistics that follow slowly (0.01, as EfficientNet's) are
# the teacher's still, where a student has other strides: accuracy on NEU was 0.89 instead of 0.98.
MOMENTUM = 0.1
STEM_STRIDE = 2
CHANNEL_STEP = 8  # that numbers of channels are rounded to
PIXEL_FIGURES = 2  # of a channel: mean and spread


class Stage(NamedTuple):
    """Blocks of equal width; the first has the stride, all expand their input's channels."""

    expansion: float
    channels: int
    num_blocks: int
    stride: int
    kernel: int


class Architecture(NamedTuple):
    """A stem of stride 2, stages, and the channels of the places that the head looks at."""

    stem: int
    stages: tuple[Stage, ...]
    top: int


# Tan and Le, "EfficientNet" (ICML 2019), as its authors' Lite variant for small processors has it:
# no squeeze-and-excite, ReLU6 in place of swish.
LITE0 = Architecture(
    32,
    (
        Stage(1, 16, 1, 1, 3),
        Stage(6, 24, 2, 2, 3),
        Stage(6, 40, 2, 2, 5),
        Stage(6, 80, 3, 2, 3),
        Stage(6, 112, 3, 1, 5),
        Stage(6, 192, 4, 2, 5),
        Stage(6, 320, 1, 1, 3),
    ),
    1280,
)
PLAIN = Architecture(
    16,
    (Stage(1, 16, 1, 1, 3), Stage(4, 24, 2, 2, 3), Stage(4, 40, 2, 2, 3), Stage(4, 80, 2, 2, 3)),
    128,
)
STUDENT_TOP = 256


class Convolution(nn.Module):
    """A convolution, its normalisation, and ReLU6 if it is activated; [B, C, H, W].

    With a stride it is padded as TensorFlow does, which the pretrained weights know.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        is_activated: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(*channels, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels[1], EPSILON, MOMENTUM)
        self._is_activated = is_activated
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self._padding = (before, after, before, after) if stride > 1 else None

    def forward(self, values: Tensor) -> Tensor:
        """The next channels."""
        if self._padding is not None:
            values = functional.pad(values, self._padding)
        values = self.norm(self.convolution(values))
        return functional.relu6(values) if self._is_activated else values


class Block(nn.Module):
    """An inverted residual (Sandler et al., "MobileNetV2", CVPR 2018)."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inner_channels(inputs, stage)
        self.expand = Convolution((inputs, inner), 1) if stage.expansion != 1 else None
        self.depthwise = Convolution((inner, inner), stage.kernel, stride=stride, groups=inner)
        self.project = Convolution((inner, stage.channels), 1, is_activated=False)
        self._is_residual = stride == 1 and inputs == stage.channels

    def forward(self, values: Tensor) -> Tensor:
        """The next channels."""
        inner = values if self.expand is None else self.expand(values)
        inner = self.project(self.depthwise(inner))
        return values + inner if self._is_residual else inner


class ImageNetwork(nn.Module):
    """Stages and a head; teacher and student alike.

    The calibration is in the graph: `explain` gives logits * scale + shift, whose softmax (one
    class per image) or sigmoid (each class for itself) are probabilities. So is what images of
    training are like: the distance of an image's figures (means of the last stage's channels, mean
    and spread of its pixels) from theirs, in units of what held-out images reach. It is the
    Mahalanobis distance of Lee et al., "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples" (NeurIPS 2018), to the mean of all classes.
    """

    level: Tensor
    spread: Tensor
    scale: Tensor
    shift: Tensor
    center: Tensor
    whitening: Tensor

    def __init__(self, config: ImageConfig, facts: Mapping[str, Any]) -> None:
        super().__init__()
        plan = architecture_of(facts)
        self.head: Head = facts["head"]
        self.stem = Convolution((facts["channels"], plan.stem), 3, stride=STEM_STRIDE)
        stages: list[nn.Module] = []
        width = plan.stem
        for stage in plan.stages:
            blocks: list[nn.Module] = []
            for number in range(stage.num_blocks):
                blocks.append(Block(width, stage, stage.stride if number == 0 else 1))
                width = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.top = Convolution((width, plan.top), 1)
        num_logits = num_logits_of(self.head, len(facts["classes"]))
        self.vote = nn.Linear(plan.top, num_logits)
        self._dropout, self._recomputes = config.dropout, config.gradient_checkpointing
        level = torch.tensor(facts["mean"]).view(1, -1, 1, 1)
        spread = torch.tensor(facts["spread"]).view(1, -1, 1, 1)
        self.register_buffer("level", level, persistent=False)
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("scale", torch.ones(num_logits))
        self.register_buffer("shift", torch.zeros(num_logits))
        num_figures = width + PIXEL_FIGURES * facts["channels"]
        self.register_buffer("center", torch.zeros(num_figures))
        self.register_buffer("whitening", torch.eye(num_figures))

    def forward(self, features: Tensor) -> Tensor:
        """Uncalibrated logits [B, K]."""
        places = self.top(self._inner(self._standard(features)))
        pooled = functional.dropout(places.mean((2, 3)), self._dropout, self.training)
        return self.vote(pooled)

    def pooled(self, features: Tensor) -> Tensor:
        """The features [B, F] that the head looks at."""
        return self.top(self._inner(self._standard(features))).mean((2, 3))

    def figures(self, features: Tensor) -> Tensor:
        """What an image is compared with training images by [B, D]."""
        standard = self._standard(features)
        return self._figures(standard, self._inner(standard))

    def explain(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Calibrated logits [B, K], the places' shares of them [B, K, h, w], the distance [B]."""
        standard = self._standard(features)
        inner = self._inner(standard)
        places = self.top(inner)
        votes = functional.conv2d(places, self.vote.weight[:, :, None, None])
        logits = (votes.mean((2, 3)) + self.vote.bias) * self.scale + self.shift
        shares = votes * (self.scale / (votes.shape[2] * votes.shape[3]))[None, :, None, None]
        apart = (self._figures(standard, inner) - self.center) @ self.whitening
        return logits, shares, apart.square().sum(1).sqrt()

    @torch.no_grad()
    def calibrate(self, scale: Tensor, shift: Tensor) -> None:
        """Put a calibration into the graph: `scale` and `shift` [K]."""
        self.scale.copy_(scale)
        self.shift.copy_(shift)

    @torch.no_grad()
    def compare_with(self, center: Tensor, whitening: Tensor) -> None:
        """Put what training images are like into the graph: [D] and [D, D]."""
        self.center.copy_(center)
        self.whitening.copy_(whitening)

    def _standard(self, features: Tensor) -> Tensor:
        # Twice the spread: about what the pretrained weights know of photographs.
        return (features - self.level) / (2.0 * self.spread)

    def _inner(self, standard: Tensor) -> Tensor:
        values = self.stem(standard)
        if not torch.compiler.is_exporting():
            # Depthwise convolutions take two thirds of the time where channels lie side by side.
            values = values.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            if self._recomputes and self.training:
                values = checkpoint(stage, values, use_reentrant=False)
            else:
                values = stage(values)
        return values

    def _figures(self, standard: Tensor, inner: Tensor) -> Tensor:
        level = standard.mean((2, 3))
        spread = ((standard - level[:, :, None, None]).square().mean((2, 3)) + 1e-6).sqrt()
        return torch.cat([inner.mean((2, 3)), level, spread], 1)


def image_facts(
    *,
    architecture: Architecture,
    head: Head,
    classes: Sequence[str],
    channels: int,
    depth_bits: int,
    mean: Sequence[float],
    spread: Sequence[float],
    symmetries: Sequence[str] = (),
    start: str | None = None,
    class_weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What an image network needs to know; a JSON object.

    `mean` and `spread` of levels in [0, 1] are those of training images, a number for each channel.
    `start` is the file whose weights training starts from.
    """
    content = {
        "architecture": architecture,
        "head": head,
        "classes": list(classes),
        "channels": channels,
        "depth_bits": depth_bits,
        "mean": list(mean),
        "spread": list(spread),
        "symmetries": list(symmetries),
        "start": start,
        "class_weights": dict(class_weights or {}),
    }
    return json.loads(json.dumps(content))


def architecture_of(facts: Mapping[str, Any]) -> Architecture:
    """The architecture that facts hold."""
    stem, stages, top = facts["architecture"]
    return Architecture(stem, tuple(Stage(*stage) for stage in stages), top)


def student_architecture(teacher: Architecture, config: ImageConfig) -> Architecture:
    """The first stages of a teacher's, never all of them, with a share of their channels.

    Where places would lie farther apart than a student's, stages go on without a stride.
    """
    kept: list[Stage] = []
    apart = STEM_STRIDE
    for stage in teacher.stages[: max(min(config.student_stages, len(teacher.stages) - 1), 1)]:
        stride = stage.stride if apart * stage.stride <= config.student_stride else 1
        kept.append(stage._replace(stride=stride))
        apart *= stride
    share, inside = config.student_width, config.student_expansion
    return Architecture(
        _narrow(teacher.stem, share),
        tuple(
            stage._replace(
                channels=_narrow(stage.channels, share),
                expansion=stage.expansion * (1.0 if stage.expansion == 1 else inside),
            )
            for stage in kept
        ),
        _narrow(min(STUDENT_TOP, teacher.top), share),
    )


def inner_channels(inputs: int, stage: Stage) -> int:
    """How many channels a stage's block has inside that takes so many."""
    return inputs if stage.expansion == 1 else _narrow(inputs, stage.expansion)


def multiply_adds(network: ImageNetwork, channels: int, size_px: int) -> int:
    """The products of an image's answer without its reasons, which nearly all time goes into."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.zeros(1, channels, size_px, size_px))
    return counter.get_total_flops() // 2


def num_logits_of(head: Head, num_classes: int) -> int:
    """How many logits K a head of that many classes has."""
    return 1 if head == "binary" else num_classes


def _narrow(channels: int, share: float) -> int:
    return max(round(channels * share / CHANNEL_STEP), 1) * CHANNEL_STEP
