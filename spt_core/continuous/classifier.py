"""A registered text model that says how relevant a publication is, by one of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from spt_core.errors import InputError, nearest
from spt_core.judgement import Labels, Phrase
from spt_core.registry import Registry
from spt_core.task import labels_publications

if TYPE_CHECKING:
    from spt_core.model import SpecializedModel

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


def open_classifier(reference: str, label: str, *, database_url: str) -> Classifier:
    """The classifier that a monitoring names: `industry/task/model_name@version`, and its label."""
    if reference.count("/") != 2 or "@" not in reference:
        raise InputError(
            "a classifier must be a registered model (industry/task/model_name@version), however: "
            f"{reference!r}"
        )
    from spt_core.model import SpecializedModel  # its runtime's memory is for who needs it

    version = Registry(database_url).get(reference)
    return ModelClassifier(SpecializedModel(version.exported, policy=version.policy), label)
