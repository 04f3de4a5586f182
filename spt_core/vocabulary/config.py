"""How a vocabulary is extended, trained on raw text, compared and judged; checked up front."""

from __future__ import annotations

import dataclasses

from spt_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VocabularyConfig:
    """How a vocabulary is extended.

    Args:
        max_new_tokens: tokens that are added at most.
        min_uses: uses in the texts below which a mined word or piece is not worth a token.
        max_phrases: mined phrases at most; given phrases do not count.
        min_phrase_uses: uses below which a mined phrase is not worth a token.
        context_steps: steps in which new embeddings are fitted to the texts; 0 leaves their
            pieces' mean.
        seed: of the texts' order in these steps.
    """

    max_new_tokens: int = 10_000
    min_uses: int = 3
    max_phrases: int = 100
    min_phrase_uses: int = 20
    context_steps: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that make no vocabulary."""
        for name in ("max_new_tokens", "min_uses", "min_phrase_uses"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, however: {getattr(self, name)}")
        for name in ("max_phrases", "context_steps"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, however: {getattr(self, name)}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MaskedConfig:
    """How to train on raw text.

    Args:
        num_steps: how often the weights change; texts start again when they are used up.
        step_bytes: UTF-8 bytes of text in a step.
        first_steps: steps in which only the head and new embeddings are trained.
        max_tokens: tokens of a window; texts are packed into windows.
        learning_rate: of the encoder after the first steps.
        head_rate: the rate of the head, and of new embeddings in the first steps, as a multiple.
        masked_share: the share of words that are masked.
        shuffled_texts: texts that are shuffled among each other at a time.
        save_steps: steps between states from which a killed run goes on.
        seed: of order, masks, dropout and the fresh head.
    """

    num_steps: int = 150
    step_bytes: int = 12_000
    first_steps: int = 50
    max_tokens: int = 128
    learning_rate: float = 1e-4
    head_rate: float = 10.0
    weight_decay: float = 0.01
    masked_share: float = 0.2
    shuffled_texts: int = 20_000
    save_steps: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no run could honour."""
        for name in ("num_steps", "step_bytes", "shuffled_texts", "save_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, however: {getattr(self, name)}")
        if not 0 <= self.first_steps <= self.num_steps:
            raise InputError(
                "first_steps must be between 0 and num_steps, however: "
                f"{self.first_steps=}, {self.num_steps=}"
            )
        if self.max_tokens < 8 or not 0 < self.masked_share < 1:
            raise InputError(
                "max_tokens must be at least 8 and masked_share in (0, 1), however: "
                f"{self.max_tokens=}, {self.masked_share=}"
            )
        if not self.learning_rate > 0 or not self.head_rate > 0 or self.weight_decay < 0:
            raise InputError(
                "rates must be above 0 and weight_decay at least 0, however: "
                f"{self.learning_rate=}, {self.head_rate=}, {self.weight_decay=}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """By how much an extension may be worse than its base.

    Args:
        max_bits_rise: how far held-out bits per byte may rise.
        max_score_drop: how far the task's metric may fall; an error or a loss, whose unit is the
            label's, may rise by this share of the base's.
    """

    max_bits_rise: float = 0.02
    max_score_drop: float = 0.02

    def __post_init__(self) -> None:
        """Refuse margins below 0."""
        if self.max_bits_rise < 0 or self.max_score_drop < 0:
            raise InputError(f"margins must be at least 0, however: {self}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """How a vocabulary is extended, compared and judged.

    `term_lists` are files of terms, one a line or a column of CSV; of these, and of what is mined,
    the terms that the training texts use are taken. For the score both bases are fine-tuned on up
    to `score_rows` training rows, `score_epochs` times, and measured on as many validation rows,
    with each of `score_seeds` seeds.
    """

    extension: VocabularyConfig = dataclasses.field(default_factory=VocabularyConfig)
    training: MaskedConfig = dataclasses.field(default_factory=MaskedConfig)
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    term_lists: tuple[str, ...] = ()
    score_rows: int = 2000
    score_epochs: int = 2
    score_seeds: int = 2

    def __post_init__(self) -> None:
        """Refuse a score of nothing."""
        for name in ("score_rows", "score_epochs", "score_seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, however: {getattr(self, name)}")
