"""Sizes and rates of the models of images, and how copies of rows are made for students."""

from __future__ import annotations

import dataclasses

from spt_core.errors import InputError, require_shares

DEFAULT_BASE = "efficientnet-lite0"
STUDENT_STRIDES = (8, 16)
SIDE_STEP = 16  # what a network divides the side of an image by, at least


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """How an image is altered without its label changing; symmetries are the task's own.

    Attributes:
        turn_degrees: it is turned by up to so much, either way.
        zoom: it is enlarged or reduced by up to this share.
        shift: it is moved by up to this share of its side.
        contrast: levels are multiplied, and moved, by up to this share.
    """

    turn_degrees: float = 10.0
    zoom: float = 0.15
    shift: float = 0.08
    contrast: float = 0.15

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and turns that no label survives."""
        require_shares(self, "zoom", "shift", "contrast")
        if not 0 <= self.turn_degrees <= 180 or self.zoom >= 1:
            raise InputError(
                "turn_degrees must be in [0, 180] and zoom below 1, however: "
                f"{self.turn_degrees=}, {self.zoom=}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """Sizes and rates of the image networks: depthwise convolutions in stages.

    Attributes:
        base: whose pretrained weights the teacher starts from: `efficientnet-lite0` (the extra
            `imaging`; without it training starts at random, and says so), or a local folder with
            `model.safetensors` of its names; None starts a small network at random.
        size_px: the side of the square that images are scaled to, a multiple of 16.
        dropout: on the features before the head.
        head_rate: the learning rate of what is not pretrained, as a multiple of the rest's.
        variation: how training images are altered, anew in every epoch.
        student_stages: how many of the teacher's stages a student keeps; it starts from their
            weights.
        student_stride: how many pixels lie between the places that a student's map tells apart, 8
            or 16: a finer map says better where, and costs operations in the last stages. Of 57
            held-out pictures of NEU the places that maps of 12 x 12 name took 5.5 of the log-odds
            when they were hidden, the same shape elsewhere 3.2 (a student of two epochs).
        student_width: the share of their channels that a student has; below 1 it starts at random.
        student_expansion: the share of the channels inside its blocks that a student keeps, those
            that matter most to its teacher: half of them take half of its operations.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
    """

    base: str | None = DEFAULT_BASE
    size_px: int = 96
    dropout: float = 0.2
    head_rate: float = 5.0
    variation: Variation = dataclasses.field(default_factory=Variation)
    student_stages: int = 4
    student_stride: int = 8
    student_width: float = 1.0
    student_expansion: float = 1.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes and rates that make no network."""
        if self.size_px < 2 * SIDE_STEP or self.size_px % SIDE_STEP:
            raise InputError(
                f"size_px must be a multiple of {SIDE_STEP} from {2 * SIDE_STEP} on, however: "
                f"{self.size_px}"
            )
        if not 0 <= self.dropout < 1 or not self.head_rate > 0:
            raise InputError(
                "dropout must be in [0, 1) and head_rate above 0, however: "
                f"{self.dropout=}, {self.head_rate=}"
            )
        if self.student_stride not in STUDENT_STRIDES:
            raise InputError(
                f"student_stride must be one of {STUDENT_STRIDES}, however: {self.student_stride}"
            )
        shares = (self.student_width, self.student_expansion)
        if self.student_stages < 1 or not all(0 < share <= 1 for share in shares):
            raise InputError(
                "student_stages must be at least 1, student_width and student_expansion in (0, 1], "
                f"however: {self.student_stages=}, {self.student_width=}, {self.student_expansion=}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageCopying:
    """How the copies of an image are made that a teacher labels for its student.

    Attributes:
        variation: how each copy is altered.
        temperature: divides the logits of both before they are compared (Hinton, Vinyals and Dean,
            "Distilling the Knowledge in a Neural Network", 2015).
    """

    variation: Variation = dataclasses.field(default_factory=Variation)
    temperature: float = 2.0

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by nothing."""
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, however: {self.temperature}")
