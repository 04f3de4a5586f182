"""Records with a text -> answers.

record -> TextEncoder -> TextRuntime -> TextJudgement (scores with phrases, policy) -> the answer

Each text is run by itself: its answer never depends on what it is asked together with, nothing is
padded, and on CPUs a batch would not be faster (see serve/README.md for the measurement).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering.evidence import (
    Words,
    choice_direction,
    label_direction,
    phrases,
    pooled,
    rank_direction,
    rank_probabilities,
    sigmoid,
    softmax,
    words_of,
)
from spt_core.answering.tags import spans_of
from spt_core.encoder import flatten
from spt_core.errors import InputError, nearest
from spt_core.policy import LabelPolicy
from spt_core.runtime.base import TextRuntime
from spt_core.signature import Signature
from spt_core.task import LabelScore, PairJudgement, Span, Task, TextJudgement
from spt_core.tokens import (
    EncodedText,
    Lexicon,
    Mention,
    TextEncoder,
    checked_mentions,
    checked_text,
)

WINDOWS_AT_ONCE = 16
PAIRS_AT_ONCE = 128  # each looks at all tokens of its window
NUM_EXPLAINED = 3  # of the most probable labels; those that are given always are

Floats = NDArray[np.float64]


class _Raw(NamedTuple):
    """What the model says of a text: logits [W, K] and shares [W, T, K], or of its pairs [P, ...].

    The logits of the span head are [W, T, K]. `scale` [K] is the calibration's.
    """

    logits: Floats
    shares: Floats
    scale: Floats


class TextAnswerer:
    """Everything between a text and its answer, looked up once. Thread-safe.

    This is the one path for `model.answer(...)`, batch scoring and HTTP.
    """

    def __init__(
        self,
        task: Task,
        signature: Signature,
        runtime: TextRuntime,
        policy: LabelPolicy,
        *,
        words: TextEncoder,
        facts: Mapping[str, Any],
    ) -> None:
        self.task, self.signature, self.policy = task, signature, policy
        self.runtime, self.words, self.facts = runtime, words, facts
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        spans = next((f for f in signature.fields if f.kind == "spans"), None)
        self._text = next(f.name for f in signature.fields if f.kind == "text")
        self._spans = None if spans is None or task.head != "pair" else spans.name
        self._names = frozenset(f.name for f in signature.fields)
        self._lexicon = Lexicon(facts["lexicon"])

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one record; raises InputError with one sentence about a bad one."""
        return self.task.respond(self.judge(self.read(record)))

    def answers(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers to several records; the error names the bad record, before any is run."""
        texts: list[EncodedText] = []
        for number, record in enumerate(records):
            try:
                texts.append(self.read(record))
            except InputError as error:
                raise InputError(f"record {number}: {error}") from error
        return [self.task.respond(self.judge(text)) for text in texts]

    def score(self, table: pa.Table) -> NDArray[np.floating[Any]]:
        """One figure [B] of each row, as `headline` says."""
        return np.array([self.headline(self.judge(text)) for text in self.encode(table)])

    def table(self, table: pa.Table) -> tuple[NDArray[np.floating[Any]], list[dict[str, Any]]]:
        """Headlines [B] and answers of typed rows, for batch scoring."""
        judgements = [self.judge(text) for text in self.encode(table)]
        scores = np.array([self.headline(judgement) for judgement in judgements])
        return scores, [self.task.respond(judgement) for judgement in judgements]

    def headline(self, judgement: TextJudgement) -> float:
        """The value; else the probability of the likeliest label that is not the negative one.

        Of pairs, the highest of all; NaN where the text has none, and for spans.
        """
        if judgement.value is not None:
            return judgement.value
        scores = [score for pair in judgement.pairs for score in pair.scores]
        found = [
            score.probability
            for score in (*judgement.scores, *scores)
            if score.label != self.task.negative_class
        ]
        return max(found, default=float("nan"))

    def read(self, record: Mapping[str, Any]) -> EncodedText:
        """A request's text as windows, with its mentions given or found."""
        flat = flatten(record)
        if not self._names.issuperset(flat):
            extra = next(name for name in flat if name not in self._names)
            raise InputError(
                f"a record may hold only the model's fields, however: {extra!r} is none of them; "
                f"{nearest(extra, self._names)}"
            )
        if self._text not in flat:
            raise InputError(f"the field {self._text!r} is required, however: it is missing")
        text = checked_text(flat[self._text], self._text)
        given = flat.get(self._spans) if self._spans is not None else None
        mentions = None
        if self._spans is not None and given is not None:
            mentions = checked_mentions(given, self._spans, text)
        return self._encoded(text, mentions)

    def encode(self, table: pa.Table) -> list[EncodedText]:
        """The texts of typed rows; spans are JSON, and found where they are absent or null."""
        texts: list[str] = table[self._text].to_pylist()
        given: list[str | None] = [None] * len(texts)
        if self._spans is not None and self._spans in table.column_names:
            given = table[self._spans].to_pylist()
        return [
            self._encoded(
                text,
                None
                if spans is None
                else [Mention(span["start"], span["end"]) for span in json.loads(spans)],
            )
            for text, spans in zip(texts, given, strict=True)
        ]

    def judge(self, text: EncodedText) -> TextJudgement:
        """What the model and its policy say of a text."""
        judgement = TextJudgement(text.text, (), None, (), (), self.policy)
        match self.task.head:
            case "pair":
                spans = tuple(
                    Span(m.start, m.end, text.text[m.start : m.end]) for m in text.mentions
                )
                return judgement._replace(spans=spans, pairs=self._pairs(text, spans))
            case "span":
                tags = softmax(self._run(text).logits)
                return judgement._replace(
                    spans=spans_of(text.text, text.windows, tags, self.classes)
                )
            case "regression":
                return judgement._replace(value=self.probabilities(text).item())
            case _:
                return judgement._replace(scores=self._scores(text))

    def probabilities(self, text: EncodedText) -> Floats:
        """Of a text [1, K] (regression: its value), its pairs [P, K], its tokens' tags [N, K]."""
        if self.task.head == "pair":
            return (
                softmax(self._run(text).logits) if text.pairs else np.empty((0, len(self.classes)))
            )
        raw = self._run(text)
        if self.task.head == "span":
            return softmax(raw.logits).reshape(-1, raw.logits.shape[-1])
        logits, _ = pooled(raw.logits, raw.scale)
        if self.task.head == "regression":
            return (logits * self.facts["spread"] + self.facts["center"])[None]
        return _PROBABILITIES[self.task.head](logits)[None]

    def _scores(self, text: EncodedText) -> tuple[LabelScore, ...]:
        raw, head = self._run(text), self.task.head
        logits, weights = pooled(raw.logits, raw.scale)
        probabilities = _PROBABILITIES[head](logits)
        words = words_of(text.text, text.windows, raw.shares * weights[:, None])
        point = logits if head == "ordinal" else probabilities

        def direction(k: int) -> Floats:
            return _DIRECTIONS[head](point, k)

        return self._labels(text.text, probabilities, words, direction)

    def _pairs(self, text: EncodedText, spans: Sequence[Span]) -> tuple[PairJudgement, ...]:
        if not text.pairs:
            return ()
        raw = self._run(text)
        found: list[PairJudgement] = []
        for pair, logits, shares in zip(text.pairs, raw.logits, raw.shares, strict=True):
            probabilities = softmax(logits)
            words = words_of(text.text, [text.windows[pair.window]], shares[None])

            def direction(k: int, of: Floats = probabilities) -> Floats:
                return choice_direction(of, k)

            scores = self._labels(text.text, probabilities, words, direction)
            found.append(PairJudgement(spans[pair.first], spans[pair.second], scores))
        return tuple(found)

    def _labels(
        self, text: str, probabilities: Floats, words: Words, direction: Callable[[int], Floats]
    ) -> tuple[LabelScore, ...]:
        """Every label, most probable first; those that are given, and the first few, with why."""
        order = np.argsort(-probabilities, kind="stable").tolist()
        named = dict(zip(self.classes, probabilities.tolist(), strict=True))
        given = self.policy.given(named)
        explained = {k for k in order[:NUM_EXPLAINED] if self.task.head != "pair"}
        explained |= {
            k
            for k, name in enumerate(self.classes)
            if name in given and (self.task.head != "pair" or name != self.task.negative_class)
        }
        return tuple(
            LabelScore(
                self.classes[k],
                float(probabilities[k]),
                self.classes[k] in given,
                phrases(text, words, direction(k)) if k in explained else (),
            )
            for k in order
        )

    def _encoded(self, text: str, mentions: Sequence[Mention] | None) -> EncodedText:
        if self.task.head == "pair":
            found = self._lexicon.find(text) if mentions is None else mentions
            made = self.words.encode_pairs(text, found)
        else:
            (made,) = self.words.encode([text])
        if not any(end > start for window in made.windows for start, end in window.offsets):
            raise InputError(
                f"the field {self._text!r} must hold a text, however: the model's tokenizer leaves "
                "nothing of it"
            )
        return made

    def _run(self, text: EncodedText) -> _Raw:
        batch = self.words.batch([text])
        if self.task.head != "pair":
            parts = [
                self.runtime.explain(batch.features[at : at + WINDOWS_AT_ONCE], batch.pairs)
                for at in range(0, len(batch.features), WINDOWS_AT_ONCE)
            ]
        else:
            parts = [
                self.runtime.explain(
                    *_of_pairs(batch.features, batch.pairs[at : at + PAIRS_AT_ONCE])
                )
                for at in range(0, len(batch.pairs), PAIRS_AT_ONCE)
            ]
        logits, shares, (scale, *_) = zip(*parts, strict=True)
        return _Raw(
            np.concatenate(logits).astype(np.float64),
            np.concatenate(shares).astype(np.float64),
            scale.astype(np.float64),
        )


def _of_pairs(
    features: NDArray[np.int64], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The windows that pairs [P, 5] lie in, and the pairs with these windows' numbers."""
    windows, at = np.unique(pairs[:, 0], return_inverse=True)
    return features[windows], np.column_stack([at, pairs[:, 1:]])


_PROBABILITIES: Mapping[str, Callable[[Floats], Floats]] = {
    "single_label": softmax,
    "multi_label": sigmoid,
    "ordinal": rank_probabilities,
}
_DIRECTIONS: Mapping[str, Callable[[Floats, int], Floats]] = {
    "single_label": choice_direction,
    "multi_label": label_direction,
    "ordinal": rank_direction,
}
