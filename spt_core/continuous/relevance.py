"""How relevant a publication is to the models that are watched for, and why.

score = sum of what is found, each keyword and term once, however often it is there:

| found | in the title | in the text |
|---|---|---|
| a keyword | 2 | 1 |
| a term | 1 | 0.5 |
| the classifier, if one is configured | its weight x probability | |

A publication belongs to the model of its industry whose `min_score` it reaches by the largest
factor (the first named of equals), else to none. The explanation lands with the item: what was
found, where, and what it adds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from spt_core.continuous.classifier import Classifier
from spt_core.continuous.ledger import Item
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.phrases import Phrases, words
from spt_core.task import IndustryType

MAX_TEXT = 20_000  # characters that are read of a text: what matters stands at its beginning
MAX_REASONS = 20
_ADDS = {"keyword": (2.0, 1.0), "term": (1.0, 0.5)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One thing that was found and what it adds to the score."""

    what: str
    name: str
    where: str
    adds: float

    def to_json(self) -> dict[str, Any]:
        """The reason as plain JSON."""
        return {"what": self.what, "name": self.name, "where": self.where, "adds": self.adds}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A publication's score for one model, with every reason; relevant from `needed`."""

    model: str
    bucket: str
    score: float
    needed: float
    reasons: tuple[Reason, ...]

    @property
    def is_relevant(self) -> bool:
        """Whether the score is enough."""
        return self.score >= self.needed

    def to_json(self) -> dict[str, Any]:
        """The explanation that is kept with the item; `others` counts reasons left out."""
        shown = sorted(self.reasons, key=lambda reason: -abs(reason.adds))[:MAX_REASONS]
        return {
            "model": self.model,
            "score": self.score,
            "needed": self.needed,
            "reasons": [reason.to_json() for reason in shown],
            "others": len(self.reasons) - len(shown),
        }


class Relevance:
    """The scores of publications for every model that is watched for. Thread-safe, no state."""

    def __init__(
        self, monitorings: Sequence[Monitoring], classifiers: Mapping[str, Classifier]
    ) -> None:
        self._by_industry: dict[IndustryType, list[_Watched]] = {}
        for monitoring in monitorings:
            watched = _Watched(monitoring, classifiers.get(monitoring.bucket))
            self._by_industry.setdefault(monitoring.industry, []).append(watched)

    def rated(self, item: Item, industry: IndustryType) -> Item:
        """The item with its score, explanation, and the bucket that it is relevant to."""
        scores = self.scores(item, industry)
        if not scores:
            return item
        best = max(scores, key=lambda score: score.score / score.needed)
        return dataclasses.replace(
            item,
            score=best.score,
            bucket=best.bucket if best.is_relevant else "",
            explanation=json.dumps(best.to_json(), ensure_ascii=False),
        )

    def scores(self, item: Item, industry: IndustryType) -> list[Score]:
        """The item's score for each model of the industry."""
        watched = self._by_industry.get(industry)
        if not watched:
            return []
        filed = " ".join(json.loads(item.categories)) if item.categories else ""
        text = f"{item.text[:MAX_TEXT]}\n{filed}"
        title = words(item.title)
        body = words(text)
        return [one.score(title, body, f"{item.title}\n{text}") for one in watched]


class _Watched:
    """One monitoring, its phrases ready to be found."""

    def __init__(self, monitoring: Monitoring, classifier: Classifier | None) -> None:
        self._monitoring, self._classifier = monitoring, classifier
        self._bucket = monitoring.bucket
        self._phrases = {
            "keyword": Phrases(monitoring.keywords),
            "term": Phrases(set(monitoring.terms) - set(monitoring.keywords)),
        }

    def score(self, title: Sequence[str], body: Sequence[str], text: str) -> Score:
        """The score of a publication's words."""
        reasons: list[Reason] = []
        for what, phrases in self._phrases.items():
            in_title, in_text = _ADDS[what]
            places = dict.fromkeys(phrases.within(body), ("text", in_text))
            places |= dict.fromkeys(phrases.within(title), ("title", in_title))
            reasons += [
                Reason(what=what, name=name, where=where, adds=adds)
                for name, (where, adds) in places.items()
            ]
        if self._classifier is not None:
            reasons.append(self._classified(self._classifier, text))
        return Score(
            model=self._monitoring.model,
            bucket=self._bucket,
            score=round(sum(reason.adds for reason in reasons), 6),
            needed=self._monitoring.min_score,
            reasons=tuple(reasons),
        )

    def _classified(self, classifier: Classifier, text: str) -> Reason:
        judged = classifier.judge(text)
        effects = ", ".join(f"{phrase!r} {effect:+.2f}" for phrase, effect in judged.reasons)
        return Reason(
            what="classifier",
            name=f"p = {judged.probability:.3f}",
            where=effects or "no phrase that it knows",
            adds=round(self._monitoring.classifier_weight * judged.probability, 6),
        )
