"""How mentions of a text belong together: a class for every pair of them.

scores are logits [P, K] of the pairs that lie within one window
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spt_core.heads import labels, metrics
from spt_core.heads.base import Floats, Prediction, Scores, Summary, Truth
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.judgement import LabelScore, Pairs, PairScores
from spt_core.policy import LabelPolicy, Policy
from spt_core.task import Task


class PairHead(labels.ClassHead):
    """The AnswerHead of pairs."""

    metrics: Mapping[str, OutcomeMetric] = {
        "micro_f1": OutcomeMetric(metrics.micro_f1),
        "any_label_f1": OutcomeMetric(metrics.any_label_f1),
        "macro_f1": OutcomeMetric(metrics.macro_f1),
        "log_loss": OutcomeMetric(metrics.class_log_loss, True),
    }
    noun = "with a label"
    is_of_record = False

    def outputs(self, scores: Floats) -> Floats:
        """The classes' probabilities."""
        return labels.softmax(scores)

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """An item for each pair of mentions; one in no common window is of the negative class."""
        negative = np.eye(len(classes))[list(classes).index(str(task.negative_class))]
        distributions: list[Floats] = []
        for row in scores:
            placed = dict(zip(row.pairs, labels.softmax(row.values), strict=True))
            pairs = itertools.combinations(range(len(row.spans)), 2)
            distributions += [placed.get(pair, negative) for pair in pairs]
        probabilities = np.array(distributions).reshape(-1, len(classes))
        return self.decided(task, classes, truth, probabilities, policy)

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """The class of each pair of mentions."""
        return np.concatenate(pair_labels(truth, task, classes))

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Of the classes' probabilities."""
        true = pair_labels(truth, task, classes)
        return outcomes(
            classes,
            np.concatenate(true),
            outputs,
            labels.of_labels(policy).decide(classes, outputs),
            groups=np.repeat(truth.groups, [len(row) for row in true]),
            negative_class=labels.known_negative(task, classes),
        )

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """At the most probable class."""
        probabilities = labels.softmax(scores)
        given = labels.most_probable(probabilities)
        return outcomes(classes, targets, probabilities, given, negative_class=task.negative_class)

    def default_policy(self, task: Task, classes: Sequence[str]) -> LabelPolicy:
        """The most probable class."""
        del task, classes
        return LabelPolicy(thresholds={}, most_probable=True)

    def policy(self, task: Task, outcomes: Outcomes) -> LabelPolicy:
        """The balance between the negative class and the others that gives the best F1."""
        return labels.fit_balance(
            outcomes.classes, outcomes.labels, outcomes.probabilities, task.negative_class
        )

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """As it was written: thresholds come from nothing that a policy holds."""
        del before, outcomes
        return edited

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Pairs:
        """Every pair within a window; a class that is given, and says something, with why."""
        scores, decided = prediction.scores, labels.of_labels(policy)
        pair_scores: list[PairScores] = []
        for item, (first, second) in enumerate(scores.pairs):
            probabilities = labels.softmax(scores.values[item])
            given = decided.given(dict(zip(classes, probabilities.tolist(), strict=True)))

            def direction(k: int, of: Floats = probabilities) -> Floats:
                return labels.choice_direction(of, k)

            scored = labels.label_scores(
                classes,
                probabilities,
                np.argsort(-probabilities, kind="stable").tolist(),
                given,
                {k for k, n in enumerate(classes) if n in given and n != task.negative_class},
                item,
                prediction.reasons,
                direction,
            )
            pair_scores.append(PairScores(scores.spans[first], scores.spans[second], scored))
        return Pairs(prediction.record, scores.spans, tuple(pair_scores), decided)

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """The highest probability of any pair's label that is not the negative one."""
        return labels.likeliest(task, classes, labels.softmax(scores.values))

    def summary(self, judgement: Pairs) -> Summary:
        """Each pair with the label that it is given, and the least sure one's probability."""
        choices = [(pair, _given(pair)) for pair in judgement.pairs]
        named = sorted(f"{p.first.text} + {p.second.text}: {s.label}" for p, s in choices)
        return Summary(tuple(named), min((s.probability for _, s in choices), default=0.0))


def pair_labels(truth: Truth, task: Task, classes: Sequence[str]) -> list[Floats]:
    """The true classes [pairs, K] of each row's pairs of mentions."""
    assert task.spans_field is not None, "a pair task has spans"
    negative = str(task.negative_class)
    targets: list[Floats] = []
    for value, spans in zip(
        truth.table[truth.label].to_pylist(),
        truth.table[task.spans_field.name].to_pylist(),
        strict=True,
    ):
        named = {(i, j): name for i, j, name in json.loads(value)}
        pairs = itertools.combinations(range(len(json.loads(spans))), 2)
        targets.append(labels.indicators([[named.get(pair, negative)] for pair in pairs], classes))
    return targets


def _given(pair: PairScores) -> LabelScore:
    return next((score for score in pair.scores if score.is_given), pair.scores[0])
