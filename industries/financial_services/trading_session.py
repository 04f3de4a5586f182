"""Event in, decision out: one instrument's features and an opened model in one process."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from industries.financial_services.trading import answer
from spt_core.answering import Answerer
from spt_core.data.market import Event, MarketFeatures
from spt_core.errors import InputError
from spt_core.heads.labels import of_labels
from spt_core.signature import Signature


class TradingSession:
    """Decides after each event of one instrument; for one thread, as its features are.

    Over HTTP a record is a row of features, and what they remember stays with the client: here both
    are in one process, and the answer is the one that the same row gets there. What a decision
    rests on is not worked out, since no answer of the task tells it, and arrays of three numbers
    are not made. InputError for features of another horizon than that of the training rows.
    """

    def __init__(self, answerer: Answerer, signature: Signature, features: MarketFeatures) -> None:
        seen = signature.field("horizon_s").seen
        if seen is not None and not seen[0] <= np.float32(features.horizon_s) <= seen[1]:
            raise InputError(
                "features must have the horizon of the model, however: theirs is "
                f"{features.horizon_s:g} s, the model's {seen[0]:g} s"
            )
        self.features = features
        self._predictor, self._classes = answerer.predictor, answerer.classes
        self._policy = of_labels(answerer.policy)
        self._names = tuple(field.name for field in signature.fields)

    def decide(self, event: Event) -> dict[str, Any] | None:
        """The task's answer after an event; None while the features warm up.

        InputError, one sentence, for an event that `MarketFeatures.update` refuses: it changes
        nothing, and the next one is answered as if it had not been.
        """
        record = self.features.update(event)
        if record is None:
            return None
        predictor = self._predictor
        row = predictor.read({name: record.get(name) for name in self._names})
        ((values,),) = (scores.values.tolist() for scores in predictor.predict((row,)))
        highest = max(values)
        raised = [math.exp(value - highest) for value in values]
        total = sum(raised)
        probabilities = {
            name: part / total for name, part in zip(self._classes, raised, strict=True)
        }
        given = self._policy.given(probabilities) or probabilities
        direction = max(given, key=probabilities.__getitem__)
        return answer(record, probabilities, direction, lambda: predictor.cautions((row,)).outside)
