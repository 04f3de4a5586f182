"""All benchmarks of a model as one JSON object, its table and page, and several beside each other.

results of benchmarks -> the specification's JSON -> table | page; JSONs -> side by side

What was measured under another protocol, on other rows or by other cases is not put beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType
from spt_core.errors import InputError

PROTOCOL = 4  # grows whenever a score is measured otherwise
TEMPLATE = Path(__file__).with_name("comprehensive.html.j2")
# What two results must share to be compared: the rest of the protocol may differ.
_SHARED = ("version", "task", "evaluation_fingerprint", "settings", "custom")


class Grid(NamedTuple):
    """A table for people: its title, the header, and rows of texts."""

    title: str
    header: list[str]
    rows: list[list[str]]


def summarized(
    model_name: str,
    results: Mapping[str, Sequence[BenchmarkResult]],
    protocol: Mapping[str, Any],
) -> dict[str, Any]:
    """The specification's JSON of results by industry, and beside its keys all of the facts.

    The score of an industry is the mean of those of its types, that of a type the mean of its
    benchmarks'; what was not measured is in none of them, and stands in `not_measured` with why.
    """
    types = {
        kind: _mean(
            [r.score for rows in results.values() for r in rows if r.benchmark_type == kind]
        )
        for kind in BenchmarkType
    }
    industries = {industry: _performance(rows) for industry, rows in results.items()}
    everything = [result for rows in results.values() for result in rows]
    return {
        "model_name": model_name,
        "overall_summary": {
            "overall_accuracy": _mean([*industries.values()]),
            "total_benchmarks": sum(not r.not_measured for r in everything),
            "industries_tested": len(results),
            "performance_by_industry": industries,
            "performance_by_type": {k.value: v for k, v in types.items() if v is not None},
        },
        "industry_summaries": {
            industry: {
                "num_benchmarks": sum(not r.not_measured for r in rows),
                "avg_accuracy": industries[industry],
                "avg_latency_ms": _mean([r.latency_ms for r in rows]),
                "success_rate": _success_rate(rows),
            }
            for industry, rows in results.items()
        },
        "benchmarks": [
            {"industry": str(industry), **result.to_json()}
            for industry, rows in results.items()
            for result in rows
        ],
        "not_measured": {r.task_id: r.not_measured for r in everything if r.not_measured},
        "protocol": {"version": PROTOCOL, **protocol},
    }


def grid_of(content: Mapping[str, Any]) -> Grid:
    """The benchmarks of one result as a table."""
    rows = [
        [one["benchmark_type"], one["name"], _shown(one), one["not_measured"] or one["note"]]
        for one in content["benchmarks"]
    ]
    overall = content["overall_summary"]["overall_accuracy"]
    synthetic = ", SYNTHETIC data" if content["protocol"].get("synthetic") else ""
    title = f"{content['model_name']}: overall {_figure(overall)}{synthetic}"
    return Grid(title, ["type", "benchmark", "score", "what it is"], rows)


def side_by_side(contents: Sequence[Mapping[str, Any]]) -> Grid:
    """Several results, each a column; InputError where they are not alike in what was measured."""
    if not contents:
        raise InputError("there must be a benchmark to show, however: there is none")
    first = contents[0]
    for other in contents[1:]:
        why = unlike(first, other)
        if why:
            raise InputError(
                "benchmarks are compared under one protocol on the same rows, however: "
                f"{first['model_name']} and {other['model_name']} differ in {why}"
            )
    names = {one["task_id"]: one["name"] for each in contents for one in each["benchmarks"]}
    columns = [{one["task_id"]: one for one in each["benchmarks"]} for each in contents]
    rows = [
        [name, *(_shown(column[key]) if key in column else "-" for column in columns)]
        for key, name in names.items()
    ]
    overall = [_figure(each["overall_summary"]["overall_accuracy"]) for each in contents]
    task = str(first["protocol"]["task"])
    header = ["benchmark", *(str(each["model_name"]) for each in contents)]
    return Grid(f"{task}: side by side", header, [["overall", *overall], *rows])


def unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """In what the measurements of two results differ, "" where they can be compared."""
    one, other = first["protocol"], second["protocol"]
    differing = [name for name in _SHARED if one.get(name) != other.get(name)]
    return ", ".join(name.replace("_", " ") for name in differing)


def page(contents: Sequence[Mapping[str, Any]], refused: Mapping[str, str] | None = None) -> str:
    """A page that needs nothing else: one result in full, or several side by side."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text())
    grids = [grid_of(content) for content in contents]
    if len(contents) > 1:
        grids = [side_by_side(contents), *grids]
    return template.render(
        grids=grids,
        title=grids[0].title,
        protocol=contents[0]["protocol"],
        summaries=contents[0]["industry_summaries"] if len(contents) == 1 else {},
        refused=refused or {},
    )


def settings_of(config: Any) -> dict[str, Any]:
    """The part of a benchmark's configuration that a score depends on."""
    names = ("evaluation_rows", "num_resamples", "reasoning_rows", "altered_rows", "seed")
    content = dataclasses.asdict(config)
    return {name: content[name] for name in names}


def _performance(rows: Sequence[BenchmarkResult]) -> float | None:
    by_type = [_mean([r.score for r in rows if r.benchmark_type == k]) for k in BenchmarkType]
    return _mean(by_type)


def _success_rate(rows: Sequence[BenchmarkResult]) -> float | None:
    asked = sum(result.num_cases for result in rows)
    return sum(result.num_answered for result in rows) / asked if asked else None


def _mean(values: Sequence[float | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return sum(kept) / len(kept) if kept else None


def _shown(one: Mapping[str, Any]) -> str:
    if one["not_measured"]:
        return "not measured"
    if one["score"] is None:
        latency = one["figures"].get("latency_ms", {})
        return f"p50 {latency['p50']:.3f} ms" if latency else "-"
    interval = f" [{one['low']:.3f}, {one['high']:.3f}]" if one["low"] is not None else ""
    return f"{one['score']:.3f}{interval}"


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
