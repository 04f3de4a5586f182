"""Sizes and rates of the models of texts, and how copies of rows are made for students."""

from __future__ import annotations

import dataclasses

from spt_core.errors import InputError, require_shares

DEFAULT_BASE = "sentence-transformers/all-MiniLM-L6-v2"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """Sizes and rates of the text networks.

    A text of any length is scored as a whole. It is trained on, and held out for early stopping,
    by at most STEP_WINDOWS of its windows (rows.py), drawn anew every epoch.

    Attributes:
        base: the encoder to start from: a hub id, a local folder, or the URI of a Base.
        max_tokens: tokens of a window, the two special ones included.
        window_overlap: tokens that neighboring windows of a long text share.
        dropout: on hidden states and before the head. Attention weights have none: a CPU's fused
            attention does not know it, and costs half of the unfused one.
        layer_decay: each layer learns at this share of the rate of the one above it.
        head_rate: the head's learning rate, as a multiple of the encoder's.
        pair_width: hidden units of a pair's representation.
        wide_buckets: rows of the table of token pairs in a multi-label model's wide part (see
            wide.py); 0 leaves the part out.
        student_layers: how many of the teacher's layers a student keeps, spread evenly.
        student_width: the student's hidden size at most, of which it takes as many of the teacher's
            attention heads as fit; None keeps the teacher's.
        trim_vocabulary: whether a student drops tokens that its training texts never use.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
    """

    base: str = DEFAULT_BASE
    max_tokens: int = 128
    window_overlap: int = 16
    dropout: float = 0.1
    layer_decay: float = 0.9
    head_rate: float = 10.0
    pair_width: int = 192
    wide_buckets: int = 16_384
    student_layers: int = 2
    student_width: int | None = None
    trim_vocabulary: bool = True
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes and rates that make no network."""
        if not 0 <= self.window_overlap < self.max_tokens - 2:
            raise InputError(
                "windows must overlap by less than they hold, however: "
                f"{self.max_tokens=}, {self.window_overlap=}"
            )
        if not 0 <= self.dropout < 1 or not 0 < self.layer_decay <= 1 or not self.head_rate > 0:
            raise InputError(
                "dropout must be in [0, 1), layer_decay in (0, 1] and head_rate above 0, however: "
                f"{self.dropout=}, {self.layer_decay=}, {self.head_rate=}"
            )
        if self.student_layers < 1 or self.pair_width < 1 or (self.student_width or 1) < 1:
            raise InputError(f"sizes must be at least 1, however: {self}")
        if self.wide_buckets < 0:
            raise InputError(f"wide_buckets must be at least 0, however: {self.wide_buckets}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextCopying:
    """How the copies of a text are made that a teacher labels for its student.

    Attributes:
        mask_probability: chance of each token of a copy to be masked.
        splice_probability: chance of a copy to be the beginning of one text and the end of
            another; pairs and spans are never spliced.
        temperature: divides the logits of both before they are compared (Hinton, Vinyals and Dean,
            "Distilling the Knowledge in a Neural Network", 2015).
        state_weight: weight of the cosine distance between the mean token states of student and
            teacher (as in Sanh et al., "DistilBERT", 2019).
    """

    mask_probability: float = 0.1
    splice_probability: float = 0.3
    temperature: float = 2.0
    state_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and a temperature that divides by nothing."""
        require_shares(self, "mask_probability", "splice_probability")
        if not self.temperature > 0 or self.state_weight < 0:
            raise InputError(
                "temperature must be above 0 and state_weight at least 0, however: "
                f"{self.temperature=}, {self.state_weight=}"
            )
