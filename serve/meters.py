"""What a replica's requests come to, for Prometheus: counted in memory, handed to Ray now and then.

A figure handed to Ray costs microseconds, and a request has a dozen; so they are added up here, and
every FLUSH_S seconds the sums go out. Histograms are gauges of their cumulative counts with the
usual names (`_bucket` with `le`, `_sum`, `_count`): Ray's own histogram takes single values alone.

| metric | labels | what |
|---|---|---|
| spt_requests | task, version, status | answers by HTTP status |
| spt_request_seconds | task, version, stage | `receive` the body; then `answer` |
| spt_scores | task, version | the answers' probability, or their confidence |
| spt_recommendations | task, version, recommendation | MAX_VALUES words, then `other` |
| spt_refused_requests | why | what the gate turned away: missing, wrong, expired, role, ... |
| spt_keys_age_seconds | | how long ago a process has read the API keys |
| spt_input_cautions | version, kind | answers to what no training row had |

A version is the whole reference, or "none" before one was asked.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, final

from ray.util import metrics

FLUSH_S = 5.0
MAX_VALUES = 12
MAX_VERSIONS = 4
SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
)
SCORES = tuple(number / 20 for number in range(1, 21))
STAGES = ("receive", "answer")
_WORD = re.compile(r"[A-Za-z][A-Za-z _-]{0,31}")
_OF_A_VERSION = ("task", "version")


class Metric(NamedTuple):
    """A metric as Ray is told of it; a histogram has bounds."""

    description: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


METRICS: Mapping[str, Metric] = {
    "spt_requests": Metric("answers by HTTP status", (*_OF_A_VERSION, "status")),
    "spt_request_seconds": Metric("seconds of requests", (*_OF_A_VERSION, "stage"), SECONDS),
    "spt_scores": Metric("probability or confidence of answers", _OF_A_VERSION, SCORES),
    "spt_recommendations": Metric("what was recommended", (*_OF_A_VERSION, "recommendation")),
    "spt_refused_requests": Metric("requests that the gate turned away", ("why",)),
    "spt_input_cautions": Metric("answers to what no training row had", ("version", "kind")),
    "spt_keys_age_seconds": Metric("how long ago this process read the API keys", ()),
}


def exported_names(name: str, metric: Metric) -> tuple[str, ...]:
    """What Prometheus sees of a metric."""
    if metric.bounds:
        return tuple(f"ray_{name}_{part}" for part in ("bucket", "sum", "count"))
    return (f"ray_{name}" if name.endswith("_seconds") else f"ray_{name}_total",)


class Histogram:
    """Counts of values up to each bound, and of those above all."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.sum = bounds, 0.0
        self.counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Sink(Protocol):
    """Where sums go."""

    def count(self, name: str, number: int, labels: Mapping[str, str]) -> None:
        """So many more."""
        ...

    def histogram(self, name: str, value: Histogram, labels: Mapping[str, str]) -> None:
        """The counts as they are now."""
        ...


@final
class RaySink:
    """Ray's metrics of this process; made with the first sum."""

    def __init__(self) -> None:
        self._counters: dict[str, metrics.Counter] = {}
        self._gauges: dict[str, metrics.Gauge] = {}

    def count(self, name: str, number: int, labels: Mapping[str, str]) -> None:
        """So many more."""
        counter = self._counters.get(name)
        if counter is None:
            metric = METRICS[name]
            counter = metrics.Counter(name, metric.description, metric.labels)
            self._counters[name] = counter
        counter.inc(number, dict(labels))

    def histogram(self, name: str, value: Histogram, labels: Mapping[str, str]) -> None:
        """The counts as they are now."""
        total = 0
        for bound, count in zip((*value.bounds, None), value.counts, strict=True):
            total += count
            le = "+Inf" if bound is None else repr(bound)
            self._gauge(f"{name}_bucket", name, ("le",)).set(total, {**labels, "le": le})
        self._gauge(f"{name}_sum", name).set(value.sum, dict(labels))
        self._gauge(f"{name}_count", name).set(total, dict(labels))

    def level(self, name: str, value: float) -> None:
        """A value as it is now."""
        self._gauge(name, name).set(value)

    def _gauge(self, name: str, of: str, more: tuple[str, ...] = ()) -> metrics.Gauge:
        gauge = self._gauges.get(name)
        if gauge is None:
            metric = METRICS[of]
            gauge = metrics.Gauge(name, metric.description, (*metric.labels, *more))
            self._gauges[name] = gauge
        return gauge


class _Sums:
    """Of one version."""

    def __init__(self) -> None:
        self.seconds = {stage: Histogram(SECONDS) for stage in STAGES}
        self.scores = Histogram(SCORES)
        self.statuses: Counter[int] = Counter()
        self.recommendations: Counter[str] = Counter()
        self.cautions: Counter[str] = Counter()
        self.words: set[str] = set()


@final
class Meters:
    """The sums of one task's replica; of one event loop, which hands them to the sink."""

    def __init__(self, task: str, sink: Sink | None = None) -> None:
        self._task, self._sink = task, sink if sink is not None else RaySink()
        self._versions: dict[str, _Sums] = {}
        self._is_waiting = False

    def add(
        self,
        ref: str,
        status: int,
        *,
        receive_s: float,
        answer_s: float,
        answers: Iterable[Mapping[str, Any]] = (),
        cautions: Iterable[str] = (),
    ) -> None:
        """Count one request with what was answered, and the kinds of its cautions."""
        sums = self._versions.get(ref)
        if sums is None:
            sums = self._version(ref)
        sums.statuses[status] += 1
        sums.seconds["receive"].add(receive_s)
        sums.seconds["answer"].add(answer_s)
        for kind in cautions:
            sums.cautions[kind] += 1
        for answer in answers:
            score = answer.get(_score_field(answer))
            if isinstance(score, int | float):
                sums.scores.add(score)
            word = answer.get("action", answer.get("recommendation"))
            if isinstance(word, str):
                sums.recommendations[self._bounded(sums, word)] += 1
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Hand over what has come since the last time."""
        self._is_waiting = False
        for ref, sums in self._versions.items():
            if not sums.statuses:
                continue
            labels = {"task": self._task, "version": ref or "none"}
            for status, number in sums.statuses.items():
                self._sink.count("spt_requests", number, {**labels, "status": str(status)})
            for word, number in sums.recommendations.items():
                self._sink.count("spt_recommendations", number, {**labels, "recommendation": word})
            for kind, number in sums.cautions.items():
                of = {"version": ref or "none", "kind": kind}
                self._sink.count("spt_input_cautions", number, of)
            for stage, seconds in sums.seconds.items():
                self._sink.histogram("spt_request_seconds", seconds, {**labels, "stage": stage})
            self._sink.histogram("spt_scores", sums.scores, labels)
            sums.statuses.clear()
            sums.recommendations.clear()
            sums.cautions.clear()

    def _version(self, ref: str) -> _Sums:
        if len(self._versions) == MAX_VERSIONS:
            del self._versions[next(iter(self._versions))]
        return self._versions.setdefault(ref, _Sums())

    def _bounded(self, sums: _Sums, word: str) -> str:
        """The word, or `other` for a sentence and for one too many."""
        if word in sums.words:
            return word
        if len(sums.words) < MAX_VALUES and _WORD.fullmatch(word):
            sums.words.add(word)
            return word
        return "other"


def _score_field(answer: Mapping[str, Any]) -> str:
    """The answer's probability, which tasks name by what it is of, or else its confidence."""
    return next((name for name in answer if name.endswith("_probability")), "confidence")
