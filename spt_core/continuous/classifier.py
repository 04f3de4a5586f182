"""A text classifier that says how relevant a publication is: a linear model, or one of our own.

A linear model is a file without code: JSON, {"format": "spt-linear-1", "bias": -2.0, "weights":
{"capital": 0.8, "liquidity coverage": 1.4}}, or safetensors with the tensors `weights` [V] and
`bias` [1], and in its metadata `format` and `vocabulary` (a JSON list of V phrases). A phrase
counts once, however often it is there: probability = sigmoid(bias + weights of the phrases found).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import safetensors.numpy as st

from spt_core.artifacts import as_uri, read_bytes
from spt_core.continuous.phrases import Phrases, words
from spt_core.errors import InputError, nearest
from spt_core.judgement import Labels, Phrase
from spt_core.registry import Registry
from spt_core.task import labels_publications

if TYPE_CHECKING:
    from spt_core.model import SpecializedModel

FORMAT = "spt-linear-1"
_MAX_HEADER_BYTES = 100 * 2**20
_NUM_REASONS = 5


class Judged(NamedTuple):
    """A probability, and the phrases behind it with their effects on its log-odds."""

    probability: float
    reasons: tuple[tuple[str, float], ...]


class Classifier(Protocol):
    """Says how probable it is that a text is relevant; the same text gives the same answer."""

    def judge(self, text: str) -> Judged:
        """The probability and its reasons, strongest first. May be called from any thread."""
        ...


class LinearClassifier:
    """Weights of words and phrases."""

    def __init__(self, bias: float, weights: Mapping[str, float]) -> None:
        bad = [phrase for phrase, weight in weights.items() if not math.isfinite(weight)]
        if not weights or bad or not math.isfinite(bias):
            raise InputError(
                "a linear model must have weights, all of them finite, however: "
                f"{len(weights)} weights, not finite: {bad[:3]}, bias {bias}"
            )
        self._bias, self._weights = bias, weights
        self._phrases = Phrases(weights)

    def judge(self, text: str) -> Judged:
        """The probability and its reasons."""
        effects = [(p, self._weights[p]) for p in self._phrases.within(words(text))]
        odds = self._bias + math.fsum(weight for _, weight in effects)
        strongest = sorted(effects, key=lambda effect: (-abs(effect[1]), effect[0]))
        return Judged(_sigmoid(odds), tuple(strongest[:_NUM_REASONS]))


class ModelClassifier:
    """One label of a text model from the registry."""

    def __init__(self, model: SpecializedModel, label: str) -> None:
        task = model.task
        if not labels_publications(task):
            raise InputError(
                "a classifier must be a text model that gives labels to a whole text, however: "
                f"{task.path} has head {task.head}"
            )
        self._answerer = model.open()
        if label not in self._answerer.classes:
            raise InputError(
                f"classifier_label must be a label of {task.path}, however: {label!r}; "
                f"{nearest(label, self._answerer.classes)}"
            )
        self._field, self._label = task.text_field.name, label

    def judge(self, text: str) -> Judged:
        """The label's calibrated probability, and the phrases that speak for and against it."""
        judgement = self._answerer.judge({self._field: text})
        assert isinstance(judgement, Labels), "the head has been checked"
        score = next(score for score in judgement.scores if score.label == self._label)
        phrases = [reason for reason in score.reasons if isinstance(reason, Phrase)]
        reasons = [(phrase.text, phrase.effect) for phrase in phrases]
        return Judged(score.probability, tuple(reasons[:_NUM_REASONS]))


def open_classifier(location: str, label: str, *, database_url: str) -> Classifier:
    """The classifier that a monitoring names: a file, or `industry/task/model_name@version`."""
    if location.count("/") == 2 and "@" in location:
        from spt_core.model import SpecializedModel  # its runtime's memory is for who needs it

        version = Registry(database_url).get(location)
        return ModelClassifier(SpecializedModel(version.exported, policy=version.policy), label)
    if label:
        raise InputError(
            "classifier_label is for a registered model, however: the classifier is the file "
            f"{location!r}, which has one output"
        )
    return read_linear(location)


def read_linear(location: str) -> LinearClassifier:
    """The linear model in a JSON or safetensors file."""
    content = read_bytes(as_uri(location))
    try:
        bias, weights = _from_json(content) if content[:1] == b"{" else _from_safetensors(content)
        return LinearClassifier(bias, weights)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"a linear model must be {FORMAT} as JSON or safetensors, however: {location!r}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _from_json(content: bytes) -> tuple[float, dict[str, float]]:
    made = json.loads(content)
    _require_format(made.get("format"))
    return float(made["bias"]), {str(k): float(v) for k, v in made["weights"].items()}


def _from_safetensors(content: bytes) -> tuple[float, dict[str, float]]:
    size = int.from_bytes(content[:8], "little")
    if size > min(len(content), _MAX_HEADER_BYTES):
        raise InputError("its header is longer than the file")
    facts: Mapping[str, str] = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    _require_format(facts.get("format"))
    vocabulary: Sequence[str] = json.loads(facts["vocabulary"])
    tensors = st.load(content)
    weights = np.asarray(tensors["weights"], np.float64)
    if weights.shape != (len(vocabulary),):
        raise InputError(f"{len(vocabulary)} phrases and weights of shape {weights.shape}")
    return float(tensors["bias"].reshape(-1)[0]), dict(
        zip(map(str, vocabulary), weights.tolist(), strict=True)
    )


def _require_format(found: object) -> None:
    if found != FORMAT:
        raise InputError(f"its format is {found!r}")


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else 1 - 1 / (1 + math.exp(odds))
