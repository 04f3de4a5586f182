"""Classes of a record: one of several, one of several in order, or any number of them.

scores (calibrated logits [N, K]) -> probabilities -> the labels that the policy gives
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spt_core.heads import metrics
from spt_core.heads.base import Floats, Prediction, Reasons, Scores, Summary, Truth
from spt_core.heads.conformal import conformal_quantile
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.judgement import Labels, LabelScore
from spt_core.policy import LabelPolicy, Policy
from spt_core.task import Task

MIN_POSITIVES = 50  # of a class, before it gets a threshold of its own: fewer fit noise
LOWEST_THRESHOLD = 0.05
MIN_GAIN = 0.005  # in F1, below which a threshold on single labels is noise
NUM_EXPLAINED = 3  # of the most probable labels; those that are given always are

_F1: Mapping[str, OutcomeMetric] = {
    "macro_f1": OutcomeMetric(metrics.macro_f1),
    "macro_f1_frequent": OutcomeMetric(metrics.macro_f1_frequent),
    "micro_f1": OutcomeMetric(metrics.micro_f1),
}
_SINGLE: Mapping[str, OutcomeMetric] = {
    **_F1,
    "accuracy": OutcomeMetric(metrics.accuracy),
    "log_loss": OutcomeMetric(metrics.class_log_loss, True),
}
_MULTI: Mapping[str, OutcomeMetric] = {
    **_F1,
    "any_label_f1": OutcomeMetric(metrics.any_label_f1),
    "accuracy": OutcomeMetric(metrics.accuracy),
    "log_loss": OutcomeMetric(metrics.label_log_loss, True),
}


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits over the last axis."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """The probability of each logit for itself."""
    return np.exp(-np.logaddexp(0.0, -logits))


def rank_probabilities(cuts: Floats) -> Floats:
    """Probabilities [..., K] of ordered classes from logits of lying above each cut [..., K-1]."""
    above = np.minimum.accumulate(sigmoid(cuts), axis=-1)
    ends = np.ones((*cuts.shape[:-1], 1))
    return -np.diff(np.concatenate([ends, above, 0.0 * ends], axis=-1))


def choice_direction(probabilities: Floats, k: int) -> Floats:
    """d log-odds of class k / d logits [K] under a softmax."""
    others = -probabilities / max(1.0 - probabilities[k], 1e-9)
    others[k] = 1.0
    return others


def label_direction(probabilities: Floats, k: int) -> Floats:
    """d log-odds of label k / d logits [K] where each label has a logit of its own."""
    return np.eye(len(probabilities))[k]


def rank_direction(cuts: Floats, k: int) -> Floats:
    """d log-odds of ordered class k / d logits of the cuts [K - 1]."""
    above = sigmoid(cuts)
    slopes, probability = above * (1.0 - above), rank_probabilities(cuts)[k]
    direction = np.zeros(len(cuts))
    if k > 0:
        direction[k - 1] = slopes[k - 1]
    if k < len(cuts):
        direction[k] = -slopes[k]
    return direction / max(probability * (1.0 - probability), 1e-9)


class ClassHead:
    """What the heads share whose items have classes: of records, pairs and spans."""

    metrics: Mapping[str, OutcomeMetric]

    def metrics_under(self, policy: Policy) -> Mapping[str, OutcomeMetric]:
        """The same, and what a policy of sets says: how many hold the true class, their size."""
        if not isinstance(policy, LabelPolicy) or policy.coverage is None:
            return self.metrics
        return {**self.metrics, **set_metrics(policy)}

    def curves(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """None."""
        del outcomes
        return {}

    def by_class(self, outcomes: Outcomes) -> list[dict[str, Any]]:
        """Of every class."""
        return metrics.class_figures(outcomes)

    def said(self, outcomes: Outcomes, *, of_labels: bool = False) -> list[tuple[str, ...]]:
        """The names of its classes, sorted."""
        return named(outcomes.classes, outcomes.labels if of_labels else outcomes.given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelHead(ClassHead):
    """The AnswerHead of classes.

    `squash` makes probabilities of scores [N, K], `direction` says how the log-odds of a class
    change with the scores [K] of one item: d log-odds of class k / d scores.
    """

    metrics: Mapping[str, OutcomeMetric]
    squash: Callable[[Floats], Floats]
    direction: Callable[[Floats, int], Floats]
    is_multi: bool = False
    is_ordered: bool = False
    noun: str = "with a label"
    is_of_record: bool = True

    def outputs(self, scores: Floats) -> Floats:
        """The classes' probabilities."""
        return self.squash(scores)

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """One item a row; a class that the model does not know is all zero."""
        probabilities = self.squash(np.concatenate([row.values for row in scores]))
        return self.decided(task, classes, truth, probabilities, policy)

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """1 for each class that a row has."""
        del task
        values = truth.table[truth.label].to_pylist()
        named = [json.loads(value) for value in values] if self.is_multi else [[v] for v in values]
        return indicators(named, classes)

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Of the classes' probabilities."""
        return outcomes(
            classes,
            self.truths(task, classes, truth),
            outputs,
            of_labels(policy).decide(classes, outputs),
            groups=truth.groups,
            negative_class=known_negative(task, classes),
        )

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """At the most probable class, or at even odds where several may be."""
        if self.is_ordered:  # one more class than cuts
            targets = np.eye(len(classes))[targets.sum(1).astype(int)]
        probabilities = self.squash(scores)
        given = scores > 0 if self.is_multi else most_probable(probabilities)
        return outcomes(
            classes, targets, probabilities, given, negative_class=known_negative(task, classes)
        )

    def default_policy(self, task: Task, classes: Sequence[str]) -> LabelPolicy:
        """Even odds for each label, or the most probable one."""
        thresholds = dict.fromkeys(classes or task.classes, 0.5) if self.is_multi else {}
        return LabelPolicy(thresholds=thresholds, most_probable=not self.is_multi)

    def policy(self, task: Task, outcomes: Outcomes) -> LabelPolicy:
        """The policy of best F1, with sets of the task's coverage."""
        policy = self._best(task, outcomes)
        if task.coverage is None:
            return policy
        return with_sets(policy, outcomes, task.coverage)

    def _best(self, task: Task, outcomes: Outcomes) -> LabelPolicy:
        classes, labels, probabilities = outcomes.classes, outcomes.labels, outcomes.probabilities
        if self.is_multi:
            return fit_thresholds(classes, labels, probabilities)
        negative = None if self.is_ordered else known_negative(task, classes)
        return fit_balance(classes, labels, probabilities, negative)

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """As it was written; a set's threshold anew where its coverage alone was edited."""
        new, old = of_labels(edited), of_labels(before)
        if new.coverage in (None, old.coverage) or new.set_threshold != old.set_threshold:
            return new
        return with_sets(new, outcomes(), new.coverage)

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Labels:
        """Every label, most probable first; those that are given, and the first few, with why."""
        del task
        scores = prediction.scores.values[0]
        probabilities = self.squash(scores)
        point = scores if self.is_ordered else probabilities
        decided = of_labels(policy)
        given = decided.given(dict(zip(classes, probabilities.tolist(), strict=True)))
        order = np.argsort(-probabilities, kind="stable").tolist()
        explained = {
            *order[:NUM_EXPLAINED],
            *(k for k, name in enumerate(classes) if name in given),
        }
        if decided.coverage is not None:
            explained.update(np.flatnonzero(decided.sets(probabilities[None])[0]).tolist())
        return Labels(
            prediction.record,
            label_scores(
                classes,
                probabilities,
                order,
                given,
                explained,
                0,
                prediction.reasons,
                lambda k: self.direction(point, k),
            ),
            decided,
            prediction.outside(),
            prediction.unseen(),
            prediction.silent(),
            prediction.vocabulary,
            prediction.novel(),
        )

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """The probability of the likeliest label that is not the negative one."""
        return likeliest(task, classes, self.squash(scores.values))

    def summary(self, judgement: Labels) -> Summary:
        """The labels that are given, and the likeliest one's probability."""
        labels = tuple(sorted(score.label for score in judgement.scores if score.is_given))
        return Summary(labels, judgement.scores[0].probability if judgement.scores else 0.0)


SINGLE_LABEL = LabelHead(metrics=_SINGLE, squash=softmax, direction=choice_direction)
MULTI_LABEL = LabelHead(metrics=_MULTI, squash=sigmoid, direction=label_direction, is_multi=True)
ORDINAL = LabelHead(
    metrics={"mean_rank_error": OutcomeMetric(metrics.rank_error, True), **_SINGLE},
    squash=rank_probabilities,
    direction=rank_direction,
    is_ordered=True,
)


def label_scores(
    classes: Sequence[str],
    probabilities: Floats,
    order: Sequence[int],
    given: frozenset[str],
    explained: set[int],
    item: int,
    reasons: Reasons,
    direction: Callable[[int], Floats],
) -> tuple[LabelScore, ...]:
    """The classes' scores in an order, of which some are explained."""
    return tuple(
        LabelScore(
            classes[k],
            float(probabilities[k]),
            classes[k] in given,
            reasons(item, direction(k)) if k in explained else (),
        )
        for k in order
    )


def likeliest(task: Task, classes: Sequence[str], probabilities: Floats) -> float:
    """The highest probability [N, K] of a class but the negative one; NaN if there is none."""
    counted = [k for k, name in enumerate(classes) if name != task.negative_class]
    candidates = probabilities[:, counted]
    return float(candidates.max()) if candidates.size else float("nan")


def indicators(names: Sequence[Sequence[str]], classes: Sequence[str]) -> Floats:
    """1 where a row [N] names a class [K]; a name that is no class counts for nothing."""
    places = {name: number for number, name in enumerate(classes)}
    matrix = np.zeros((len(names), len(classes)))
    for row, of_row in enumerate(names):
        for name in of_row:
            if name in places:
                matrix[row, places[name]] = 1.0
    return matrix


def named(classes: Sequence[str], indicators: Floats) -> list[tuple[str, ...]]:
    """The names of each item's classes [N, K], sorted."""
    return [tuple(sorted(classes[k] for k in np.flatnonzero(row).tolist())) for row in indicators]


def most_probable(probabilities: Floats) -> Floats:
    """1 for the most probable class of each item [N, K]."""
    return np.eye(probabilities.shape[1])[probabilities.argmax(1)]


def known_negative(task: Task, classes: Sequence[str]) -> str | None:
    """The class that says "nothing", if the model knows it."""
    return task.negative_class if task.negative_class in classes else None


def of_labels(policy: Policy) -> LabelPolicy:
    """The policy, which must be one of labels: whoever opened the model has checked it."""
    assert isinstance(policy, LabelPolicy), "labels are decided by thresholds"
    return policy


def with_sets(policy: LabelPolicy, of: Outcomes, coverage: float) -> LabelPolicy:
    """The policy with sets of classes that hold the true one of a share of rows to come.

    Split conformal prediction: a class is in the set from the probability on that the true class of
    all but 1 - coverage of the rows reaches (Sadinle, Lei and Wasserman, "Least Ambiguous
    Set-Valued Classifiers With Bounded Error Levels", JASA 2019). It holds for rows that are
    exchangeable with these, on average over them and not for each class or kind of row. Rows whose
    class the model does not know are in no set, and count.
    """
    true = (of.labels * of.probabilities).sum(1)
    threshold = -conformal_quantile(-true, of.groups, coverage, "a set")
    return dataclasses.replace(
        policy, coverage=coverage, set_threshold=max(threshold, 0.0), version=""
    )


def set_metrics(policy: LabelPolicy) -> Mapping[str, OutcomeMetric]:
    """The share of rows whose set holds the true class, and the mean number of classes in one."""

    def coverage(of: Outcomes) -> float:
        held = (policy.sets(of.probabilities) & (of.labels > 0)).any(1)
        return float(np.average(held, weights=of.weights))

    def size(of: Outcomes) -> float:
        return float(np.average(policy.sets(of.probabilities).sum(1), weights=of.weights))

    return {"set_coverage": OutcomeMetric(coverage), "mean_set_size": OutcomeMetric(size, True)}


def fit_thresholds(classes: Sequence[str], labels: Floats, probabilities: Floats) -> LabelPolicy:
    """The policy of best F1 where several labels may be given; labels and probabilities [N, K].

    Each class' threshold is the one of best F1 for it. A class with fewer than MIN_POSITIVES items
    would fit noise: it takes the threshold of best F1 over all classes' decisions pooled, as the
    probabilities expect it, which have to be calibrated (Lipton, Elkan and Naryanaswamy, "Optimal
    Thresholding of Classifiers to Maximize F1 Measure", ECML 2014). None is below
    LOWEST_THRESHOLD.
    """
    pooled = probabilities.ravel()
    shared = _best_threshold(pooled, pooled) if labels.any() else 0.5
    rare = labels.sum(0) < MIN_POSITIVES
    thresholds = {
        name: shared if rare[k] else _best_threshold(labels[:, k], probabilities[:, k])
        for k, name in enumerate(classes)
    }
    return LabelPolicy(thresholds=thresholds, most_probable=False)


def fit_balance(
    classes: Sequence[str], labels: Floats, probabilities: Floats, negative_class: str | None
) -> LabelPolicy:
    """The policy of best F1 where the most probable class is given.

    A negative class competes with the others, and one threshold moves the balance: on it (it must
    be surer to be given) or on all the others (they must), whichever gives the best F1 over the
    other classes; none if that gains under MIN_GAIN, or if no class is negative.
    """
    plain = LabelPolicy(thresholds={}, most_probable=True)
    if negative_class is None or not len(labels):
        return plain
    others = [name for name in classes if name != negative_class]
    candidates = [
        LabelPolicy(
            thresholds={name: float(t) for name in names},
            most_probable=True,
            fallback=negative_class,
        )
        for names in ([negative_class], others)
        for t in np.arange(0.3, 1.0, 0.05).round(2)
    ]
    counted = np.array([name != negative_class for name in classes])
    best = max(candidates, key=lambda p: _decision_f1(p, classes, labels, probabilities, counted))
    gain = _decision_f1(best, classes, labels, probabilities, counted) - _decision_f1(
        plain, classes, labels, probabilities, counted
    )
    return best if gain >= MIN_GAIN else plain


def _best_threshold(labels: Floats, probabilities: Floats) -> float:
    """The threshold of best F1 over decisions [N], halfway to the next lower probability.

    Labels are 0 or 1, or how probable a 1 is: then it is F1 of the expected numbers.
    """
    if not labels.sum():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked, true_positives = probabilities[order], labels[order].cumsum()
    f1 = 2 * true_positives / (np.arange(1, len(order) + 1) + labels.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = 0.0  # equal probabilities cannot be told apart
    at = int(f1.argmax())
    lower = ranked[at + 1] if at + 1 < len(ranked) else 0.0
    return float(max((ranked[at] + lower) / 2, LOWEST_THRESHOLD))


def _decision_f1(
    policy: LabelPolicy,
    classes: Sequence[str],
    labels: Floats,
    probabilities: Floats,
    counted: Any,
) -> float:
    given = policy.decide(classes, probabilities)[:, counted]
    true = labels[:, counted]
    total = true.sum() + given.sum()
    return float(2 * (true * given).sum() / total) if total else 0.0
