"""A base that has read the new publications: tokens for their terms, then masked-language training.

Base + new texts + old texts -> Base. A term gets a token if it is used often enough and the base
cuts it into four or more pieces; its embedding begins as the pieces' mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from spt_core.artifacts import digest
from spt_core.families.text.bases import Base, find_base
from spt_core.families.text.reading import open_tokenizer
from spt_core.task import Task
from spt_core.vocabulary import DomainVocabularyManager, VocabularyConfig
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.masked_lm import adapt
from spt_core.vocabulary.mining import count_words, pieces_of

MIN_PIECES = 4
MAX_CONTEXT_STEPS = 50
OnStep = Callable[[Mapping[str, float]], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GrowthConfig:
    """How far a base follows new texts; 0 tokens or steps leave that out."""

    max_new_tokens: int
    min_term_uses: int
    mlm_steps: int


class Grown(NamedTuple):
    """The base to train from, the terms that it has a token for, and the loss of its training."""

    base: str
    added: tuple[str, ...]
    losses: tuple[float, ...]


def grown(
    base: str,
    new: Sequence[str],
    old: Sequence[str],
    *,
    task: Task,
    config: GrowthConfig,
    storage: str,
    licences: Sequence[str] = (),
    on_step: OnStep | None = None,
) -> Grown:
    """The base after the new texts and as many old ones."""
    start = find_base(base, storage)
    terms = new_terms(start.tokenizer, new, config)
    extended, added = start, tuple[str, ...]()
    if terms:
        manager = DomainVocabularyManager(
            start,
            storage,
            config=VocabularyConfig(
                max_new_tokens=config.max_new_tokens,
                context_steps=min(config.mlm_steps, MAX_CONTEXT_STEPS),
            ),
            licences=licences,
        )
        extension = manager.extend_vocabulary(
            industry=task.industry, new_terms=terms, context_examples=new
        )
        extended, added = extension.base, tuple(one.term for one in extension.added)
    if not config.mlm_steps or not new:
        return Grown(base if extended is start else extended.uri, added, ())
    texts = [*new, *old[: len(new)]]
    adapted = adapt(
        extended,
        texts,
        fingerprint=digest(texts),
        storage=storage,
        licences=licences,
        config=_masked(extended, config.mlm_steps),
        num_new=len(added),
        on_step=on_step,
    )
    return Grown(adapted.base.uri, added, adapted.losses)


def new_terms(tokenizer: bytes, texts: Sequence[str], config: GrowthConfig) -> list[str]:
    """Words that are used often enough and cut into many pieces, those that save most first."""
    if not config.max_new_tokens:
        return []
    opened = open_tokenizer(tokenizer)
    gains: dict[str, int] = {}
    for word, uses in count_words(opened, texts).items():
        num_pieces = len(pieces_of(opened, word))
        if uses >= config.min_term_uses and num_pieces >= MIN_PIECES and word.isalpha():
            gains[word] = uses * (num_pieces - 1)
    return sorted(gains, key=lambda word: (-gains[word], word))[: config.max_new_tokens]


def _masked(base: Base, num_steps: int) -> MaskedConfig:
    longest = int(base.config.get("max_position_embeddings", 128))
    return MaskedConfig(
        num_steps=num_steps, first_steps=num_steps // 3, max_tokens=min(128, longest)
    )
