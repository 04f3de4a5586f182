"""How far readings are from what is usual, and from where on that is an alarm.

scores are distances [1, 1], 0 or more; readings in a row that reach the threshold are one alarm
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.heads.base import Floats, Prediction, Scores, Summary, Truth
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.heads.volume import vus_pr
from spt_core.judgement import Anomaly
from spt_core.policy import AlarmPolicy, Policy
from spt_core.task import Task

ALARMS_PER_DAY = 1.0  # unless the task says how many there are hands for
READINGS_PER_DAY = 1440  # where readings have no time, unless the task says how many there are
START_THRESHOLD = 1.0
CURVE_POINTS = 400
DAY_S = 86_400.0
MICROS = 1e6
# Of data/corpus.py, which lies above the heads.
INSTANT, EVENTS = "__instant", "__events"
_DISTANCE = np.ones(1)


class Events(NamedTuple):
    """Stretches of items: [start, end) each, in the order of unit and time."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class AnomalyHead:
    """The AnswerHead of anomalies.

    In Outcomes `labels`, `probabilities` and `given` [N, 1] are whether a reading is anomalous, the
    score of the window that ends with it, and whether that is an alarm; items are in the order of
    unit and time.
    """

    metrics: Mapping[str, OutcomeMetric]
    noun = "anomalous"
    is_of_record = True

    def __init__(self) -> None:
        self.metrics = {
            "vus_pr": OutcomeMetric(volume),
            "event_recall": OutcomeMetric(event_recall),
            "false_alarms_per_day": OutcomeMetric(false_alarms_per_day, True),
            "detection_delay_readings": OutcomeMetric(detection_delay, True),
        }

    def metrics_under(self, policy: Policy) -> Mapping[str, OutcomeMetric]:
        """The same under any policy."""
        del policy
        return self.metrics

    def curves(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """Scores over time: of the unit with the most anomalous readings, at most a few hundred.

        A point is the greatest score of its stretch of readings, so that no alarm is lost.
        """
        true, scores = outcomes.labels[:, 0], outcomes.probabilities[:, 0]
        if not len(true):
            return {}
        units, of = np.unique(outcomes.groups, return_inverse=True)
        chosen = np.flatnonzero(of == np.bincount(of, true, len(units)).argmax())
        parts = np.array_split(chosen, min(CURVE_POINTS, len(chosen)))
        alarms = outcomes.given[:, 0]
        return {
            "reading": [float(part[0] - chosen[0]) for part in parts],
            "score": [float(scores[part].max()) for part in parts],
            "anomalous": [float(true[part].max()) for part in parts],
            "alarm": [float(alarms[part].max()) for part in parts],
        }

    def by_class(self, outcomes: Outcomes) -> list[dict[str, Any]]:
        """None."""
        del outcomes
        return []

    def said(self, outcomes: Outcomes, *, of_labels: bool = False) -> list[tuple[str, ...]]:
        """Whether it is an alarm, or anomalous."""
        flags = outcomes.labels if of_labels else outcomes.given
        return [(_word(flag),) for flag in flags[:, 0].tolist()]

    def outputs(self, scores: Floats) -> Floats:
        """The distances themselves."""
        return scores

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """One item a row, sorted by unit and time."""
        distances = np.concatenate([row.values for row in scores])
        return self.decided(task, classes, truth, distances, policy)

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """1 for an anomalous reading [N, 1]."""
        del task, classes
        return np.asarray(truth.table[truth.label], np.float64)[:, None]

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Of distances [N, 1]."""
        true = self.truths(task, classes, truth)
        units, times = _units(truth), _times(task, truth.table)
        order = np.lexsort((np.arange(len(true)) if times is None else times, units))
        given = outputs >= _alarms(policy).threshold
        of = outcomes(("anomaly",), true, outputs, given, groups=units)
        if EVENTS in truth.table.column_names:
            events = np.asarray(truth.table[EVENTS], np.float64)
            of = of._replace(clear=(events <= true[:, 0]).astype(np.float64))
        if times is None:
            step = DAY_S / (task.daily_volume or READINGS_PER_DAY)
            return of.take(order)._replace(times=np.arange(len(true)) * step)
        return of._replace(times=times).take(order)

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """Of one unit's readings in their order."""
        times = np.arange(len(targets)) * DAY_S / (task.daily_volume or READINGS_PER_DAY)
        alone = np.zeros(len(targets), np.int64)
        usual = self.default_policy(task, classes)
        of = outcomes(("anomaly",), targets, scores, scores >= usual.threshold, groups=alone)
        return of._replace(times=times)

    def default_policy(self, task: Task, classes: Sequence[str]) -> AlarmPolicy:
        """A threshold that the family's scores reach in one of a hundred usual windows."""
        del classes
        return AlarmPolicy(threshold=START_THRESHOLD, alarms_per_day=_budget(task))

    def policy(self, task: Task, outcomes: Outcomes) -> AlarmPolicy:
        """The least threshold that keeps the budget on the readings without an anomaly."""
        budget = _budget(task)
        return AlarmPolicy(threshold=_threshold(outcomes, budget), alarms_per_day=budget)

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """A new threshold where only the budget was edited."""
        new, old = _alarms(edited), _alarms(before)
        if new.alarms_per_day == old.alarms_per_day or new.threshold != old.threshold:
            return new
        threshold = _threshold(outcomes(), new.alarms_per_day)
        return AlarmPolicy(threshold=threshold, alarms_per_day=new.alarms_per_day)

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Anomaly:
        """The distance, whether it is an alarm, and the channels that make it."""
        del task, classes
        score, alarms = float(prediction.scores.values[0, 0]), _alarms(policy)
        return Anomaly(
            prediction.record,
            score,
            score >= alarms.threshold,
            prediction.reasons(0, _DISTANCE),
            alarms,
            prediction.outside(),
            prediction.silent(),
            prediction.moments,
        )

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """The distance."""
        del task, classes
        return float(scores.values[0, 0])

    def summary(self, judgement: Anomaly) -> Summary:
        """Whether it is an alarm, and the share of the threshold that the score has, at most 1."""
        share = judgement.score / max(judgement.policy.threshold, 1e-12)
        return Summary((_word(judgement.is_anomaly),), min(share, 1.0))


def volume(of: Outcomes) -> float:
    """The mean VUS-PR of the units that have both anomalies and other readings."""
    figures = [
        vus_pr(of.labels[rows, 0], of.probabilities[rows, 0])
        for rows in _rows_of_units(of)
        if 0 < of.labels[rows, 0].sum() < len(rows)
    ]
    return float(np.mean(figures)) if figures else float("nan")


def event_recall(of: Outcomes) -> float:
    """The share of anomalies with an alarm in them."""
    true, alarms = events(of, of.labels[:, 0]), np.cumsum(np.append(0, of.given[:, 0]))
    if not len(true.starts):
        return float("nan")
    return float(np.mean(alarms[true.ends] > alarms[true.starts]))


def false_alarms_per_day(of: Outcomes) -> float:
    """Alarms without an anomalous reading in them, by unit and day."""
    raised, anomalous = events(of, of.given[:, 0]), np.cumsum(np.append(0, of.labels[:, 0]))
    is_false = anomalous[raised.ends] == anomalous[raised.starts]
    return float(is_false.sum()) / max(days(of), 1e-9)


def detection_delay(of: Outcomes) -> float:
    """Readings from an anomaly's begin to its first alarm; a missed one counts its whole length."""
    true = events(of, of.labels[:, 0])
    if not len(true.starts):
        return float("nan")
    delays = [
        int(np.argmax(np.append(of.given[start:end, 0], 1.0)))
        for start, end in zip(true.starts, true.ends, strict=True)
    ]
    return float(np.mean(delays))


def events(of: Outcomes, flags: Floats) -> Events:
    """The stretches of items of one unit whose flag is 1."""
    is_on = flags > 0.5
    is_new_unit = np.diff(of.groups, prepend=-1) != 0
    begins = is_on & (is_new_unit | ~np.append(False, is_on[:-1]))
    ends = is_on & np.append(is_new_unit[1:] | ~is_on[1:], True)
    return Events(np.flatnonzero(begins), np.flatnonzero(ends) + 1)


def days(of: Outcomes) -> float:
    """How many days the items cover, unit by unit; a step that is far longer than usual is none."""
    assert of.times is not None, "anomalies know when they were"
    steps = np.diff(of.times)[np.diff(of.groups) == 0]
    if not len(steps):
        return len(of.times) / READINGS_PER_DAY
    usual = float(np.median(steps))
    return float((np.clip(steps, 0.0, 10.0 * usual).sum() + usual) / DAY_S)


def _threshold(of: Outcomes, budget: float) -> float:
    """The least threshold from which on at most the budget's alarms are raised where all is well.

    That is where no reading of the window is anomalous. A threshold t begins an alarm at each
    reading of at least t whose predecessor is below it.
    """
    is_usual = of.labels[:, 0] < 0.5
    if of.clear is not None:
        is_usual &= of.clear > 0.5
    usual = of.take(np.flatnonzero(is_usual))
    scores = usual.probabilities[:, 0]
    if not len(scores):
        return START_THRESHOLD
    allowed = int(budget * days(usual))
    is_new_unit = np.diff(usual.groups, prepend=-1) != 0
    before = np.where(is_new_unit, -np.inf, np.append(-np.inf, scores[:-1]))
    levels = np.unique(scores)
    rises = scores > before
    begun = np.searchsorted(levels, scores[rises], side="right")
    not_yet = np.searchsorted(levels, before[rises], side="right")
    changes = np.bincount(not_yet, minlength=len(levels) + 1)
    changes = changes - np.bincount(begun, minlength=len(levels) + 1)
    alarms = np.cumsum(changes)[: len(levels)]  # raised by each level as a threshold
    too_many = np.flatnonzero(alarms > allowed)
    place = int(too_many[-1]) + 1 if len(too_many) else 0
    if place == len(levels):
        return float(np.nextafter(levels[-1], np.inf))
    return float(levels[place])


def _rows_of_units(of: Outcomes) -> list[NDArray[np.int64]]:
    cuts = np.flatnonzero(np.diff(of.groups)) + 1
    return np.split(np.arange(len(of.groups)), cuts)


def _units(truth: Truth) -> NDArray[np.int64]:
    """The unit of each row: rows without one are readings of a single one."""
    alone = len(np.unique(truth.groups)) == len(truth.groups) > 1
    return np.zeros(len(truth.groups), np.int64) if alone else truth.groups


def _times(task: Task, table: pa.Table) -> Floats | None:
    """When each row's window ended, in seconds; None where the table does not say."""
    names = [name for name in (INSTANT, task.time) if name in table.column_names]
    if not names:
        return None
    column = table[names[0]]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    elif names[0] != INSTANT:  # a number that counts readings tells no days
        return None
    return np.asarray(pc.fill_null(column, 0), np.float64) / MICROS


def _budget(task: Task) -> float:
    return float(task.daily_review_capacity or ALARMS_PER_DAY)


def _word(flag: float) -> str:
    return "anomaly" if flag else "usual"


def _alarms(policy: Policy) -> AlarmPolicy:
    assert isinstance(policy, AlarmPolicy), "anomalies are decided by a threshold on their score"
    return policy
