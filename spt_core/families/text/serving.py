"""What a replica loads of a text's model: record -> TextEncoder -> TextRuntime -> scores, phrases.

Each text is run by itself: its answer never depends on what it is asked together with, nothing is
padded, and on CPUs a batch would not be faster (see serve/README.md for the measurement). No torch
here: it would cost seconds and 300 MB that a replica never uses.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Cautions
from spt_core.artifacts import FACTS, GRAPH, ExportedModel, ModelArtifact
from spt_core.errors import InputError, nearest
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.tensorrt import Feed, GraphRuntime, Shape, Shapes, open_graph
from spt_core.families.text.config import TextConfig, TextCopying
from spt_core.families.text.evidence import Words, phrases, pooled, words_of
from spt_core.families.text.reading import (
    EncodedText,
    Lexicon,
    Mention,
    TextEncoder,
    checked_mentions,
    checked_text,
)
from spt_core.heads import HEADS
from spt_core.heads.base import Floats, Prediction, Reasons, Scores
from spt_core.judgement import Reason, Span
from spt_core.records import flatten
from spt_core.signature import Signature
from spt_core.task import Head, RuntimeName

TOKENIZER = "tokenizer.json"
PAIRS = "pairs"
OUTPUTS = ("logits", "shares", "scale")
WINDOWS_AT_ONCE = 16
PAIRS_AT_ONCE = 128  # each looks at all tokens of its window
MIN_TOKENS = 3  # of a window: a token between the special ones


class TextRuntime(Protocol):
    """Runs windows of token ids. Thread-safe, holds the weights."""

    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Calibrated logits of windows [W, K] (span: [W, T, K]), the tokens' shares, the scale [K].

        `features` are ids [W, T]; for the pair head, logits [P, K] and shares [P, T, K] of `pairs`
        [P, 5], at least one: window, first and last token of either mention. Others ignore them.
        The scale is what calibration multiplied the logits and the shares by; above 0.
        """
        ...


class OnnxTextRuntime:
    """One graph: calibrated logits, the tokens' shares of them, the scale. Thread-safe."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph)
        self._takes_pairs = PAIRS in {value.name for value in self._session.get_inputs()}

    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits, shares and scale, as TextRuntime says."""
        inputs = {INPUT: features, PAIRS: pairs} if self._takes_pairs else {INPUT: features}
        logits, shares, scale = cast(list[Any], self._session.run(None, inputs))
        return logits, shares, scale


class TensorRtTextRuntime:
    """The same of a graph on a GPU. Thread-safe."""

    def __init__(self, graph: GraphRuntime) -> None:
        self._graph = graph

    def explain(
        self, features: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits, shares and scale, as TextRuntime says."""
        outputs = self._graph.run({INPUT: features, PAIRS: pairs})
        logits, shares, scale = (outputs[name] for name in OUTPUTS)
        return logits, shares, scale


class _Raw(NamedTuple):
    """What the model says of a text: logits [W, K] and shares [W, T, K], or of its pairs [P, ...].

    The logits of the span head are [W, T, K]. `scale` [K] is the calibration's.
    """

    logits: Floats
    shares: Floats
    scale: Floats


class TextPredictor:
    """The Predictor of texts.

    `facts` are the network's (see network.py): head, classes, lexicon, center and spread of values.
    """

    def __init__(
        self,
        signature: Signature,
        runtime: TextRuntime,
        *,
        words: TextEncoder,
        facts: Mapping[str, Any],
    ) -> None:
        self.runtime, self.words, self.facts = runtime, words, facts
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self.head: Head = facts["head"]
        spans = next((f for f in signature.fields if f.kind == "spans"), None)
        self._text = next(f.name for f in signature.fields if f.kind == "text")
        self._spans = None if spans is None or self.head != "pair" else spans.name
        self._names = frozenset(f.name for f in signature.fields)
        self._lexicon = Lexicon(facts["lexicon"])

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

    def predict(self, rows: Sequence[EncodedText]) -> list[Scores]:
        """The scores of each text: of it, of its pairs of mentions, or of its tokens."""
        return [self._scored(text)[0] for text in rows]

    def cautions(self, rows: Sequence[EncodedText]) -> Cautions:
        """None: any text may come."""
        del rows
        return Cautions()

    def explain(self, rows: Sequence[EncodedText]) -> Iterator[Prediction]:
        """The same, one after the other, with phrases."""
        for text in rows:
            scores, reasons = self._scored(text)
            yield Prediction({self._text: text.text}, scores, reasons)

    def _scored(self, text: EncodedText) -> tuple[Scores, Reasons]:
        if self.head == "pair":
            return self._of_pairs(text)
        raw = self._run(text)
        if self.head == "span":
            return Scores(raw.logits.reshape(-1, raw.logits.shape[-1]), _tokens(text)), _no_reasons
        logits, weights = pooled(raw.logits, raw.scale)
        is_value = self.head == "regression"
        spread = self.facts["spread"] if is_value else 1.0

        @functools.cache
        def words() -> Words:
            return words_of(text.text, text.windows, raw.shares * weights[:, None])

        def reasons(item: int, direction: Floats) -> tuple[Reason, ...]:
            del item  # a text is one
            return phrases(text.text, words(), direction * spread)

        return Scores(
            (logits * spread + self.facts["center"] if is_value else logits)[None]
        ), reasons

    def _of_pairs(self, text: EncodedText) -> tuple[Scores, Reasons]:
        mentions = tuple(Span(m.start, m.end, text.text[m.start : m.end]) for m in text.mentions)
        if not text.pairs:
            return Scores(np.empty((0, len(self.classes))), mentions), _no_reasons
        raw = self._run(text)

        @functools.cache
        def words(item: int) -> Words:
            window = text.windows[text.pairs[item].window]
            return words_of(text.text, [window], raw.shares[item][None])

        def reasons(item: int, direction: Floats) -> tuple[Reason, ...]:
            return phrases(text.text, words(item), direction)

        pairs = tuple((pair.first, pair.second) for pair in text.pairs)
        return Scores(raw.logits, mentions, pairs), reasons

    def _encoded(self, text: str, mentions: Sequence[Mention] | None) -> EncodedText:
        if self.head == "pair":
            mentions = self._lexicon.find(text) if mentions is None else mentions
            encoded = self.words.encode_pairs(text, mentions)
        else:
            (encoded,) = self.words.encode([text])
        if not any(end > start for window in encoded.windows for start, end in window.offsets):
            raise InputError(
                f"the field {self._text!r} must hold a text, however: the model's tokenizer leaves "
                "nothing of it"
            )
        return encoded

    def calls(self, text: EncodedText) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The windows [W, T] and pairs [P, 5] that the runtime is asked about, call by call."""
        features, _, pairs = self.words.batch([text])
        if self.head != "pair":
            for at in range(0, len(features), WINDOWS_AT_ONCE):
                yield features[at : at + WINDOWS_AT_ONCE], pairs
        else:
            for at in range(0, len(pairs), PAIRS_AT_ONCE):
                yield _of_pairs(features, pairs[at : at + PAIRS_AT_ONCE])

    def _run(self, text: EncodedText) -> _Raw:
        parts = [self.runtime.explain(*call) for call in self.calls(text)]
        logits, shares, (scale, *_) = zip(*parts, strict=True)
        return _Raw(
            np.concatenate(logits).astype(np.float64),
            np.concatenate(shares).astype(np.float64),
            scale.astype(np.float64),
        )


class TextServing:
    """What a replica, and whoever asks a model, needs of the family."""

    config = TextConfig
    copying = TextCopying

    def open(self, artifact: ModelArtifact, read: Callable[[str], bytes]) -> TextPredictor:
        """The predictor of an export's files."""
        return self._opened(artifact, read, OnnxTextRuntime(read(GRAPH)))

    def open_on_gpu(self, exported: ExportedModel, runtime: RuntimeName) -> TextPredictor:
        """The predictor of an export on TensorRT."""
        graph = open_graph(exported, exported.read(GRAPH), self.shapes(exported), runtime)
        return self.open_graph(exported, graph)

    def open_graph(self, exported: ExportedModel, graph: GraphRuntime) -> TextPredictor:
        """The predictor of an export whose graph something else runs."""
        return self._opened(exported.artifact, exported.read, TensorRtTextRuntime(graph))

    def shapes(self, exported: ExportedModel) -> Shapes:
        """What `calls` asks about: windows [W, T]; pairs [P, 5], each perhaps in its own window."""
        max_tokens = exported.artifact.config["network"]["max_tokens"]
        if json.loads(exported.read(FACTS))["head"] != "pair":
            greatest = (WINDOWS_AT_ONCE, max_tokens)
            return {INPUT: Shape((1, MIN_TOKENS), (1, max_tokens), greatest)}
        return {
            INPUT: Shape((1, MIN_TOKENS), (1, max_tokens), (PAIRS_AT_ONCE, max_tokens)),
            PAIRS: Shape((1, 5), (1, 5), (PAIRS_AT_ONCE, 5)),
        }

    def feeds(self, predictor: TextPredictor, rows: Iterable[EncodedText]) -> Iterator[Feed]:
        """What the graph is fed with for encoded texts."""
        for text in rows:
            for features, pairs in predictor.calls(text):
                yield {INPUT: features, PAIRS: pairs}

    def open_checkpoint(self, artifact: ModelArtifact) -> TextPredictor:
        """The predictor of a checkpoint, teacher or student."""
        from spt_core.families.text.checkpoint import open_runtime  # torch

        return self._opened(artifact, artifact.read, open_runtime(artifact))

    def probe_gap(self, predictor: TextPredictor, probes: Mapping[str, Any]) -> float:
        """How far the files' answers here are from those where they were made."""
        gaps: list[float] = []
        outputs = HEADS[predictor.head].outputs
        for record, expected in zip(probes["records"], probes["probabilities"], strict=True):
            (scores,) = predictor.predict([predictor.read(record)])
            answer = outputs(scores.values).ravel()
            gaps.append(float(np.max(np.abs(answer - expected), initial=0.0)))
        return max(gaps)

    def _opened(
        self, artifact: ModelArtifact, read: Callable[[str], bytes], runtime: TextRuntime
    ) -> TextPredictor:
        network = artifact.config["network"]
        words = TextEncoder(
            read(TOKENIZER), max_tokens=network["max_tokens"], overlap=network["window_overlap"]
        )
        facts = json.loads(read(FACTS))
        return TextPredictor(artifact.signature, runtime, words=words, facts=facts)


def _no_reasons(item: int, direction: Floats) -> tuple[Reason, ...]:
    """Nothing: tags are not explained."""
    del item, direction
    return ()


def _tokens(text: EncodedText) -> tuple[Span, ...]:
    """The tokens of all windows, padded to the longest; special ones have no characters."""
    width = max(len(window.ids) for window in text.windows)
    return tuple(
        Span(start, end, text.text[start:end])
        for window in text.windows
        for start, end in [*window.offsets, *[(0, 0)] * (width - len(window.offsets))]
    )


def _of_pairs(
    features: NDArray[np.int64], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The windows that pairs [P, 5] lie in, and the pairs with these windows' numbers."""
    windows, at = np.unique(pairs[:, 0], return_inverse=True)
    return features[windows], np.column_stack([at, pairs[:, 1:]])
