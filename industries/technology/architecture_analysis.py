"""Which design pattern does a class take part in, if any, and by which of its words?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import (
    class_probabilities,
    class_probabilities_schema,
    phrases_schema,
    probability_schema,
)
from spt_core.judgement import Labels
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NONE = "None"
ACCEPT_FROM = 0.8
NUM_ALTERNATIVES = 3
CLASSES_PER_PROJECT = 10
# What to look at where a class takes part in a pattern (Gamma, Helm, Johnson and Vlissides, "Design
# Patterns", 1994, name the consequences).
ADVICE: Mapping[str, str] = {
    "AbstractFactory": "a new kind of product changes every factory: see whether kinds are stable",
    "Adapter": "see that it adapts alone, and does not gather behaviour of its own",
    "Builder": "see that an object cannot be used before it is complete",
    "Decorator": "see that order of wrapping does not matter, or is said",
    "Facade": "see that it does not become the place where everything is done",
    "FactoryMethod": "see that subclasses differ by more than what they create",
    "Memento": "see that nobody but the originator reads the state",
    "Observer": "see that observers are taken off again, and what happens if one fails",
    "Prototype": "see that copies share no state that changes",
    "Proxy": "see that it answers as the real object does, errors included",
    "Singleton": "see whether its state can be passed instead: it hides what tests must set",
    "Visitor": "a new kind of element changes every visitor: see whether kinds are stable",
}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the pattern that the policy gives, else the most probable one."""
    best = judgement.best
    others = [score for score in judgement.scores if score.label != best.label]
    is_sure = best.probability >= ACCEPT_FROM
    return {
        "pattern": best.label,
        "alternatives": class_probabilities("pattern", others[:NUM_ALTERNATIVES]),
        "evidence": best.phrases(),
        "recommendation": _advice(best.label, is_sure=is_sure),
        "confidence": round(best.probability, 6),
    }


def _advice(pattern: str, *, is_sure: bool) -> str:
    """What to look at; of a pattern that ADVICE lacks, an architect says it."""
    is_none = pattern.casefold() == NONE.casefold()
    if not is_none and pattern not in ADVICE:
        return f"have an architect look at it: the table says nothing of {pattern}"
    advice = ADVICE.get(pattern, "no pattern to look after")
    return advice if is_sure else f"have an architect confirm it; {advice}"


# Of each pattern: the body of a class that has it; {T}, {A}, {B} are names, {n} a number.
BODIES: Mapping[str, tuple[str, ...]] = {
    "Singleton": (
        "private static {T} {a}; private {T}() {{}} public static {T} get{B}() "
        "{{ if ({a} == null) {a} = new {T}(); return {a}; }}",
        "private static final {T} {a} = new {T}({n}); public static {T} {b}() {{ return {a}; }}",
    ),
    "Observer": (
        "private List<{A}> {a}; void add({A} x) {{ {a}.add(x); }} "
        "void changed() {{ for ({A} x : {a}) x.update({n}); }}",
        "void register({A} x) {{ {a}.add(x); }} void fire() {{ {a}.forEach(x -> x.on{B}()); }}",
    ),
    "Builder": (
        "private int {a}; {T} with{B}(int v) {{ {a} = v; return this; }} "
        "{A} build() {{ return new {A}({a}); }}",
        "{T} {a}(String v) {{ this.{b} = v; return this; }} "
        "{A} create() {{ return new {A}(this); }}",
    ),
    "Proxy": (
        "private {A} {a}; public int {b}() {{ if ({a} == null) {a} = load({n}); "
        "return {a}.{b}(); }}",
        "private final {A} {a}; public void {b}() {{ check({n}); {a}.{b}(); }}",
    ),
    "Visitor": (
        "void visit({A} x) {{ {a} += x.{b}(); }} void visit({B} x) {{ {a} -= {n}; }}",
        "public void accept({A} v) {{ v.visit(this); {a}({n}); }}",
    ),
    NONE: (
        "private int {a}; public int get{B}() {{ return {a}; }} "
        "public void set{B}(int v) {{ {a} = v; }}",
        "static int {a}(int x) {{ return x * {n}; }} static int {b}(int x) {{ return x + {n}; }}",
        "public {A} {a}(List<{A}> all) {{ return all.get({n}); }}",
    ),
}
WORDS = ("order", "account", "node", "page", "ticket", "sensor", "route", "batch", "shape", "token")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of small Java classes, 10 of each project, whose patterns are known.

    Each has a body of BODIES, with names of WORDS and numbers that are drawn apart from the
    pattern: no name tells it, as names do in real classes. All patterns are alike frequent, None
    twice as much.
    """
    draw = np.random.default_rng(seed)
    names = list(BODIES)
    weights = np.array([2.0 if name == NONE else 1.0 for name in names])
    labels = [str(name) for name in draw.choice(names, num_rows, p=weights / weights.sum())]
    texts: list[str] = []
    for label in labels:
        words = [f"{_pick(WORDS, draw)}{_pick(WORDS, draw).title()}" for _ in range(3)]
        body = _pick(BODIES[label], draw).format(
            T=words[0].capitalize(),
            A=words[1].capitalize(),
            B=words[2].capitalize(),
            a=words[1],
            b=words[2],
            n=int(draw.integers(2, 1000)),
        )
        texts.append(f"public class {words[0].capitalize()} {{ {body} }}")
    projects = [f"project-{row // CLASSES_PER_PROJECT:04d}" for row in range(num_rows)]
    return pa.table({"text": texts, "project": projects, "pattern": labels})


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


ARCHITECTURE_ANALYSIS = Task(
    industry=IndustryType.TECHNOLOGY,
    name="architecture_analysis",
    title="Architecture analysis: design patterns",
    description=(
        "The design pattern that a class takes part in, by which of its words, and what to look "
        "at. Classes often name their pattern: what is left without names is told beside it."
    ),
    verb="analyze_architecture",
    family="text",
    head="single_label",
    label="pattern",
    group="project",
    fields=(
        Field(
            name="text",
            kind="text",
            description="the source of one class; upper and lower case are alike, and its first "
            "part alone is read where it is long",
        ),
    ),
    answer={
        "pattern": {"type": "string", "description": f"its name, or {NONE}"},
        "alternatives": class_probabilities_schema("pattern", "the next most probable patterns"),
        "evidence": phrases_schema(
            "places of the code that speak for the pattern, strongest first"
        ),
        "recommendation": {"type": "string", "description": "what to look at, by a stated table"},
        "confidence": probability_schema("calibrated probability of the pattern"),
    },
    respond=respond,
    example={
        "text": "public class PageToken { private static PageToken page; private PageToken() {} "
        "public static PageToken get() { if (page == null) page = new PageToken(); return page; } }"
    },
    sample=sample,
    metric="macro_f1",
    compliance_checks=("data_licence_known", "classes_measured"),
    latency_target_ms=20.0,
    size_target_mb=25.0,
    case_matters=True,
)
