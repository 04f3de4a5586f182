"""An extension beside its base: what it saves, what it costs, and whether it is kept.

Extension + texts + score -> Study. Both bases are trained on the same bytes for bits per byte,
which needs a head; the score is of the bases as a training of the task would take them, before
that.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from spt_core.families.text.bases import Base
from spt_core.families.text.reading import open_tokenizer
from spt_core.vocabulary.bits import PairedBits, compare_bits
from spt_core.vocabulary.config import GateConfig, MaskedConfig
from spt_core.vocabulary.gate import Verdict, keep_extension
from spt_core.vocabulary.manager import Extension
from spt_core.vocabulary.masked_lm import Adapted, adapt
from spt_core.vocabulary.mining import count_words, pieces_of
from spt_core.vocabulary.probe import FrozenEncoder

_TIMED_TEXTS = 128


class Score(Protocol):
    """A task's metric of a base on held-out rows, the same rows for every base."""

    @property
    def metric(self) -> str:
        """The metric's name."""
        ...

    def __call__(self, base: Base) -> float:
        """The metric of a base."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Savings:
    """Tokens of held-out text before and after.

    `continuations` are the pieces of a word behind its first: what tokens inside words can save.
    `num_tokens` after counts phrases too.
    """

    num_words: int
    num_tokens: tuple[int, int]
    continuations: tuple[int, int]

    @property
    def tokens_per_word(self) -> tuple[float, float]:
        """Before and after, phrases included."""
        return self.num_tokens[0] / self.num_words, self.num_tokens[1] / self.num_words

    @property
    def continuations_saved(self) -> float:
        """The share of continuation pieces that are saved."""
        return 1.0 - self.continuations[1] / self.continuations[0] if self.continuations[0] else 0.0

    @property
    def saved_by_phrases(self) -> float:
        """The share of all tokens that phrases save, apart from words."""
        inside_words = self.num_words + self.continuations[1]
        return (inside_words - self.num_tokens[1]) / self.num_tokens[0]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """The before-and-after of an extension, and the verdict.

    `speed` is held-out characters per second through tokenizer and encoder, `seconds` how long
    each part of the study took. `score` are values of `metric`. `adapted` are both bases after
    training on the same bytes; the score is of neither.
    """

    extension: Extension
    savings: Savings
    bits: PairedBits
    metric: str
    score: tuple[float, float]
    adapted: tuple[Adapted, Adapted]
    size_bytes: tuple[int, int]
    speed: tuple[float, float]
    verdict: Verdict
    seconds: Mapping[str, float]

    @property
    def base(self) -> Base:
        """The base to use from now on."""
        return self.extension.base if self.verdict.kept else self.extension.parent

    @property
    def adapted_base(self) -> Base:
        """That base after its training on the texts: new rows first, then all."""
        before, after = self.adapted
        return (after if self.verdict.kept else before).base

    def facts(self) -> dict[str, Any]:
        """The figures as one flat JSON object."""
        before, after = self.savings.tokens_per_word
        return {
            "base": self.base.uri,
            "adapted_base": self.adapted_base.uri,
            "kept": self.verdict.kept,
            "reasons": list(self.verdict.reasons),
            "num_added": len(self.extension.added),
            "num_skipped": len(self.extension.skipped),
            "tokens_per_word_before": round(before, 4),
            "tokens_per_word_after": round(after, 4),
            "continuations_saved": round(self.savings.continuations_saved, 4),
            "saved_by_phrases": round(self.savings.saved_by_phrases, 4),
            "bits_per_byte_before": round(self.bits.before, 4),
            "bits_per_byte_after": round(self.bits.after, 4),
            "bits_per_byte_rise_95": [round(self.bits.low, 4), round(self.bits.high, 4)],
            "score_metric": self.metric,
            "score_before": round(self.score[0], 4),
            "score_after": round(self.score[1], 4),
            "size_bytes_before": self.size_bytes[0],
            "size_bytes_after": self.size_bytes[1],
            "characters_per_s_before": round(self.speed[0]),
            "characters_per_s_after": round(self.speed[1]),
            "seconds": dict(self.seconds),
        }


def study(
    extension: Extension,
    train: Iterable[str],
    held_out: Sequence[str],
    *,
    score: Score,
    fingerprint: str,
    storage: str,
    licences: Sequence[str] = (),
    training: MaskedConfig | None = None,
    gate: GateConfig | None = None,
    fresh: bool = False,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> Study:
    """Both bases trained on the same bytes and compared on held-out texts.

    `fingerprint` says which texts `train` are, and `licences` are theirs.
    """
    seconds: dict[str, float] = {}
    pair = (extension.parent, extension.base)
    training = training or MaskedConfig()
    start = time.monotonic()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = round(time.monotonic() - start, 1), time.monotonic()

    saved = measure_savings(*pair, held_out)
    rates = speeds(*pair, held_out)
    lap("tokens")
    adapted = [
        adapt(
            base,
            train,
            fingerprint=fingerprint,
            storage=storage,
            config=training,
            licences=licences,
            num_new=num_tokens(base) - num_tokens(extension.parent),
            fresh=fresh,
            on_step=on_step,
        )
        for base in pair
    ]
    lap("training")
    bits = compare_bits(adapted[0], adapted[1], held_out, max_tokens=training.max_tokens)
    lap("bits")
    scores = score(pair[0]), score(pair[1])
    lap("score")
    return Study(
        extension=extension,
        savings=saved,
        bits=bits,
        metric=score.metric,
        score=scores,
        adapted=(adapted[0], adapted[1]),
        size_bytes=(size_bytes(pair[0]), size_bytes(pair[1])),
        speed=rates,
        verdict=keep_extension((bits.before, bits.after), scores, score.metric, gate),
        seconds=seconds,
    )


def measure_savings(before: Base, after: Base, texts: Sequence[str]) -> Savings:
    """Words, tokens and continuation pieces of the texts under both bases."""
    one, other = open_tokenizer(before.tokenizer), open_tokenizer(after.tokenizer)
    counts = count_words(one, texts)
    pieces = [
        sum(count * len(pieces_of(tokenizer, word)) for word, count in counts.items())
        for tokenizer in (one, other)
    ]
    num_words = sum(counts.values())
    tokens = [
        sum(len(e.ids) for e in tokenizer.encode_batch(list(texts), add_special_tokens=False))
        for tokenizer in (one, other)
    ]
    return Savings(
        num_words=num_words,
        num_tokens=(tokens[0], tokens[1]),
        continuations=(pieces[0] - num_words, pieces[1] - num_words),
    )


def speeds(before: Base, after: Base, texts: Sequence[str]) -> tuple[float, float]:
    """Characters per second through tokenizer and encoder, in turns, the best of five each."""
    some = list(texts[:_TIMED_TEXTS])
    encoders = FrozenEncoder(before), FrozenEncoder(after)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(5):
        for encoder, times in zip(encoders, seconds, strict=True):
            start = time.perf_counter()
            encoder.states(some)
            times.append(time.perf_counter() - start)
    characters = sum(len(text) for text in some)
    return characters / min(seconds[0]), characters / min(seconds[1])


def num_tokens(base: Base) -> int:
    """The number of a base's tokens; it may have more embeddings."""
    return open_tokenizer(base.tokenizer).get_vocab_size(with_added_tokens=True)


def size_bytes(base: Base) -> int:
    """The bytes of weights and tokenizer."""
    weights = base.weights()
    return sum(w.numel() * w.element_size() for w in weights.values()) + len(base.tokenizer)
