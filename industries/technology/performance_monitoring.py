"""Does this service or machine behave as usual, and if not, since when and in which metrics?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import in_words, silence, unlike
from spt_core.judgement import Anomaly, Stretch
from spt_core.signature import Field, SequenceShape
from spt_core.task import IndustryType, Task

NUM_METRICS = 5
SEVERE, HIGH = 10.0, 3.0  # times the threshold
LEAST_PART = 0.05  # of the score, for a metric to be named
WINDOW_STEPS = 32
STEP_S = 60
STEPS_A_DAY = 1440
START_S = 1_767_225_600  # 2026-01-01T00:00:00
NUM_HOSTS = 2
METRICS = ("cpu", "memory", "requests", "latency_ms", "errors")
INCIDENT_STEPS = (20, 90)
INCIDENTS_A_DAY = 1.2
USUAL_SHARE = 0.3  # of the sample's time, at the beginning, in which nothing happens
LEAST_INCIDENTS = 8  # of a host, so that a small sample has some in every part
Readings = dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]


def respond(judgement: Anomaly) -> dict[str, Any]:
    """The task's answer: how far from usual, whether that is an alarm, since when and where."""
    named = [
        stretch
        for stretch in judgement.stretches
        if stretch.effect >= LEAST_PART * max(judgement.score, 1e-12)
    ][:NUM_METRICS]
    severity = _severity(judgement)
    return {
        "anomaly_score": _rounded(judgement.score),
        "is_anomaly": judgement.is_anomaly,
        "threshold": _rounded(judgement.policy.threshold),
        "contributing_metrics": [_of_metric(stretch, judgement.score) for stretch in named],
        "severity": severity,
        "started_at": _started(judgement, named) if judgement.is_anomaly else "",
        "recommendation": _recommendation(judgement, named, severity),
    }


def _severity(judgement: Anomaly) -> str:
    if not judgement.is_anomaly:
        return "none"
    times = judgement.score / max(judgement.policy.threshold, 1e-12)
    return "severe" if times >= SEVERE else "high" if times >= HIGH else "moderate"


def _started(judgement: Anomaly, named: list[Stretch]) -> str:
    """When the strongest metric left the usual within the window: its time, or its step."""
    if not named:
        return ""
    first = named[0].start
    return str(judgement.moments[first]) if judgement.moments else f"step {first} of the window"


def _of_metric(stretch: Stretch, score: float) -> dict[str, Any]:
    return {
        "metric": stretch.channel,
        "share": round(stretch.effect / max(score, 1e-12), 4),
        "last_reading": stretch.value,
        "first_step": stretch.start,
        "last_step": stretch.end - 1,
    }


def _recommendation(judgement: Anomaly, named: list[Stretch], severity: str) -> str:
    names = dict.fromkeys((*(each.channel for each in judgement.silent), *judgement.outside))
    broken = ""
    if judgement.silent:
        broken += (
            f" The window has {silence(judgement.silent)}: whether that is as usual is not known."
        )
    if judgement.outside:
        broken += (
            f" {unlike(judgement.outside)}: a changed unit or a broken probe would do that too."
        )
    if judgement.is_anomaly:
        metrics = [stretch.channel for stretch in named[:3]]
        are = "is" if len(metrics) == 1 else "are"
        what = "Page whoever is on call" if severity == "severe" else "Look"
        return f"{what}: {', '.join(metrics) or 'all metrics together'} {are} not as usual.{broken}"
    if names:
        return f"No alarm, but check {in_words([*names])}.{broken}"
    return "Nothing to do: the readings are as usual."


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def usual(steps: np.ndarray[Any, Any], draw: np.random.Generator, level: float) -> Readings:
    """Usual readings of one of the sample's hosts at some steps of its life, one a minute."""
    size = len(steps)
    day = np.sin(2 * np.pi * (steps / STEPS_A_DAY - 0.3))
    load = level * (1.0 + 0.4 * day) + draw.normal(0.0, 0.05, size)
    return {
        "cpu": np.clip(20.0 + 30.0 * load + draw.normal(0.0, 2.0, size), 0.0, 100.0),
        "memory": 50.0 + 6.0 * load + 4.0 * np.sin(2 * np.pi * steps / 360) + _noise(draw, size),
        "requests": np.maximum(100.0 * load + draw.normal(0.0, 6.0, size), 0.0),
        "latency_ms": 40.0 + 15.0 * load**2 + draw.normal(0.0, 2.0, size),
        "errors": draw.poisson(1.0 + load, size).astype(np.float64),
    }


def _noise(draw: np.random.Generator, size: int) -> np.ndarray[Any, Any]:
    return draw.normal(0.0, 0.8, size)


def _incident(values: Readings, rows: slice, kind: int, draw: np.random.Generator) -> None:
    """Change some readings: by a leak, a slow dependency, a loop, or a metric that stands still."""
    size = len(values["cpu"][rows])
    rise = np.linspace(0.2, 1.0, size)
    if kind == 0:
        values["memory"][rows] += 25.0 * rise
    elif kind == 1:
        values["latency_ms"][rows] += 60.0 * rise
        values["errors"][rows] += draw.poisson(6.0, size)
    elif kind == 2:
        values["cpu"][rows] = np.clip(values["cpu"][rows] + 35.0, 0.0, 100.0)
    else:
        values["requests"][rows] = values["requests"][rows][0] * 0.2


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of two hosts' metrics, one reading a minute, with incidents.

    Load follows the day (amplitude 0.4) about a level of its own for each host; CPU, memory,
    requests and latency follow load with noise, errors are Poisson. In the first 30 % of the time
    nothing happens. Then incidents of 20 to 90 minutes come at random, about 1.2 a day and host, of
    a small sample at least eight that are shorter: memory
    rises by up to 25 points, or latency by up to 60 ms with 6 errors a minute more, or CPU by 35
    points, or requests stand still at a fifth. `is_anomaly` is 1 in them. `host_version` never
    changes.
    """
    draw = np.random.default_rng(seed)
    size = -(-num_rows // NUM_HOSTS)
    tables: list[dict[str, Any]] = []
    for host in range(NUM_HOSTS):
        steps = np.arange(size)
        values = usual(steps, draw, 0.8 + 0.3 * host)
        labels, free = np.zeros(size, np.int8), int(size * USUAL_SHARE)
        num_incidents = max(int(INCIDENTS_A_DAY * (size - free) / STEPS_A_DAY), LEAST_INCIDENTS)
        slots = np.array_split(np.arange(free, size), num_incidents)
        for number, slot in enumerate(slots):
            length = min(int(draw.integers(*INCIDENT_STEPS)), len(slot) // 2)
            first = int(slot[0] + draw.integers(0, max(len(slot) - length, 1)))
            rows = slice(first, first + length)
            _incident(values, rows, (number + host) % 4, draw)
            labels[rows] = 1
        tables.append({"host": np.full(size, f"host-{host + 1}"), "step": steps, **values})
        tables[-1]["is_anomaly"] = labels
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.lexsort((columns["host"], columns["step"]))[:num_rows]
    times = (START_S + columns["step"][order] * STEP_S) * 1_000_000
    return pa.table(
        {
            "host": columns["host"][order],
            "time": pa.array(times, pa.timestamp("us")),
            **{name: columns[name][order].round(3) for name in METRICS},
            "host_version": np.full(len(order), 7),
            "is_anomaly": columns["is_anomaly"][order],
        }
    )


def _example() -> list[dict[str, Any]]:
    """Half an hour of a host, in whose last ten minutes memory leaks."""
    steps = np.arange(600, 600 + WINDOW_STEPS)
    values = usual(steps, np.random.default_rng(3), 0.9)
    values["memory"][-10:] += np.linspace(4.0, 20.0, 10)
    times = np.datetime_as_string((START_S + steps * STEP_S).astype("datetime64[s]")).tolist()
    return [
        {"time": times[i], **{name: round(float(values[name][i]), 3) for name in METRICS}}
        for i in range(WINDOW_STEPS)
    ]


PERFORMANCE_MONITORING = Task(
    industry=IndustryType.TECHNOLOGY,
    name="performance_monitoring",
    title="Performance monitoring",
    description=(
        "Whether the metrics of a service or a machine are as usual, by a window of its last "
        "readings: learned from readings without incidents, with a threshold that keeps a budget "
        "of alarms a day."
    ),
    verb="detect_anomaly",
    family="series",
    head="anomalies",
    metric="vus_pr",
    label="is_anomaly",
    time="time",
    group="host",
    daily_review_capacity=1,  # alarms a day and unit that somebody can look at
    daily_volume=STEPS_A_DAY,
    fields=(
        Field(
            name="readings",
            kind="sequence",
            description="the last readings of all metrics, oldest first",
            shape=SequenceShape(
                length=WINDOW_STEPS, channels=METRICS, step=float(STEP_S), time="time", unit="host"
            ),
        ),
    ),
    answer={
        "anomaly_score": {
            "type": "number",
            "minimum": 0,
            "description": "how far the window is from usual: 1 is where one of a hundred usual "
            "windows lies",
        },
        "is_anomaly": {"type": "boolean", "description": "whether the score reaches the threshold"},
        "threshold": {"type": "number", "minimum": 0},
        "contributing_metrics": {
            "type": "array",
            "description": "the metrics that make the score, with their shares of it, the "
            "strongest first; most of it lies in the steps from `first_step` to `last_step`",
            "items": {
                "type": "object",
                "properties": {
                    "metric": {"type": "string"},
                    "share": {"type": "number"},
                    "last_reading": {"type": ["number", "null"]},
                    "first_step": {"type": "integer"},
                    "last_step": {"type": "integer"},
                },
            },
        },
        "severity": {
            "type": "string",
            "enum": ["none", "moderate", "high", "severe"],
            "description": "by the score over the threshold: high from 3, severe from 10 times it",
        },
        "started_at": {
            "type": "string",
            "description": "when the strongest metric left the usual within this window: the "
            "reading's own time, or its step; empty where there is no alarm. It may have begun "
            "before the window",
        },
        "recommendation": {
            "type": "string",
            "description": "what to do, in a sentence; of metrics that have stopped reading, or "
            "read beyond all of training, it says so",
        },
    },
    respond=respond,
    example={"readings": _example()},
    sample=sample,
    compliance_checks=("data_licence_known", "alarm_budget_kept"),
    latency_target_ms=5.0,
)
