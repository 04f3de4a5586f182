"""Does a function have a security weakness: which, in which lines, and what mends it?"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from industries.technology.weaknesses import (
    SEVERITIES,
    WEAKNESSES,
    Severity,
    cwe_id,
    link_to,
    weakness_of,
)
from industries.technology.weaknesses import VERSION as TABLE_VERSION
from spt_core.answers import PROBABILITY, phrases_schema, probability_schema
from spt_core.judgement import Labels, LabelScore, Phrase
from spt_core.signature import Field
from spt_core.task import IndustryType, RuleTable, Task
from spt_core.terms import term_of

FIX_FROM = 0.8  # a weakness this probable goes back to its author, a lesser one to a reviewer
NEAR_MISS = 0.5  # a weakness of this share of its threshold is reviewed, though it is not given
NUM_LINES = 5
# Where functions of common languages begin, at the margin or as methods of a class.
_FUNCTION = re.compile(
    r"^(?P<margin>[ \t]*)(?:"
    r"(?:async +)?def +\w+"
    r"|(?:export +)?(?:async +)?function\b *\w*"
    r"|(?:pub +)?fn +\w+|func +[\w(]"
    r"|(?!(?:if|else|for|while|switch|catch|return|do)\b)[A-Za-z_][\w<>\[\],:*& \t]*[ \t*&]\**"
    r"\w+[ \t]*\([^;{}()]*\)[^;{}()=]*\{"
    r")",
    re.M,
)


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the weaknesses that the policy gives, the most severe first.

    `confidence` is the calibrated probability behind the verdict: of the likeliest weakness that is
    given, or 1 less that of the likeliest when none is.
    """
    code = judgement.record["code"]
    given = [score for score in judgement.scores if score.is_given]
    vulnerabilities = [_vulnerability(code, score) for score in given]
    vulnerabilities.sort(key=lambda v: (-SEVERITIES.index(v["severity"]), -v["probability"]))
    top = judgement.scores[0].probability if judgement.scores else 0.0
    return {
        "vulnerabilities": vulnerabilities,
        "severity": vulnerabilities[0]["severity"] if vulnerabilities else "none",
        "recommendation": _recommendation(judgement),
        "looked_for": sorted(cwe_id(score.label) for score in judgement.scores),
        "confidence": round(max(s.probability for s in given) if given else 1.0 - top, 6),
    }


def lines_of(code: str, score: LabelScore) -> list[dict[str, Any]]:
    """The lines whose phrases speak most for a label, by their summed effects; counted from 1.

    A phrase that goes over several lines counts for each by its share of the characters.
    """
    effects: dict[int, float] = defaultdict(float)
    for phrase in score.reasons:
        if isinstance(phrase, Phrase) and phrase.effect > 0:
            at = phrase.start
            for part in code[phrase.start : phrase.end].splitlines(keepends=True):
                effects[code.count("\n", 0, at)] += phrase.effect * len(part) / len(phrase.text)
                at += len(part)
    lines = code.split("\n")
    ranked = sorted(effects.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"line": number + 1, "text": lines[number].rstrip("\r"), "effect": round(effect, 4)}
        for number, effect in ranked[:NUM_LINES]
    ]


def num_functions(code: str) -> int:
    """How many functions stand side by side, by how they begin; those within others do not count.

    Of what none is recognized in it is 0.
    """
    margins = [len(match["margin"].expandtabs(4)) for match in _FUNCTION.finditer(code)]
    return margins.count(min(margins, default=0))


def _vulnerability(code: str, score: LabelScore) -> dict[str, Any]:
    weakness = weakness_of(score.label)
    return {
        "cwe": cwe_id(score.label),
        "name": weakness.name,
        "url": link_to(score.label),
        "probability": round(score.probability, 6),
        "severity": weakness.severity,
        "remedy": weakness.remedy,
        "lines": lines_of(code, score),
        "evidence": score.phrases(),
        "table": TABLE_VERSION,
    }


def _recommendation(judgement: Labels) -> str:
    thresholds = judgement.policy.thresholds
    if any(s.is_given and s.probability >= FIX_FROM for s in judgement.scores):
        return "fix"
    if any(
        s.is_given or s.probability >= NEAR_MISS * thresholds.get(s.label, 1.0)
        for s in judgement.scores
    ):
        return "review"
    return "split_into_functions" if num_functions(judgement.record["code"]) > 1 else "no_finding"


# Of each weakness: functions as they were and as they were mended, {a}, {b} and {f} being names.
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "CWE-22": (
        (
            "def {f}({a}):\n    {b} = os.path.join(ROOT, {a})\n    return open({b}).read()\n",
            "def {f}({a}):\n    {b} = safe_join(ROOT, {a})\n    return open({b}).read()\n",
        ),
        (
            "def {f}(self, {a}):\n    return send_file(self.{b} + '/' + {a})\n",
            "def {f}(self, {a}):\n    return send_from_directory(self.{b}, {a})\n",
        ),
    ),
    "CWE-78": (
        (
            "def {f}({a}):\n    {b} = 'ping -c 1 ' + {a}\n    os.system({b})\n",
            "def {f}({a}):\n    {b} = ['ping', '-c', '1', {a}]\n    subprocess.run({b})\n",
        ),
        (
            "def {f}({a}):\n    return subprocess.check_output('tar xf %s' % {a}, shell=True)\n",
            "def {f}({a}):\n    return subprocess.check_output(['tar', 'xf', {a}])\n",
        ),
    ),
    "CWE-79": (
        (
            "def {f}({a}):\n    {b} = request.args['{a}']\n    return '<b>' + {b}\n",
            "def {f}({a}):\n    {b} = escape(request.args['{a}'])\n    return '<b>' + {b}\n",
        ),
        (
            "function {f}({a}) {{\n  {b}.innerHTML = {a};\n}}\n",
            "function {f}({a}) {{\n  {b}.textContent = {a};\n}}\n",
        ),
    ),
    "CWE-89": (
        (
            "def {f}(db, {a}):\n    {b} = 'SELECT * FROM users WHERE id = ' + {a}\n"
            "    return db.execute({b})\n",
            "def {f}(db, {a}):\n    {b} = 'SELECT * FROM users WHERE id = ?'\n"
            "    return db.execute({b}, ({a},))\n",
        ),
        (
            "def {f}(cur, {a}):\n    cur.execute('DELETE FROM {b} WHERE name = \"%s\"' % {a})\n",
            "def {f}(cur, {a}):\n    cur.execute('DELETE FROM {b} WHERE name = %s', ({a},))\n",
        ),
    ),
    "CWE-416": (
        (
            "void {f}(struct {a} *{b}) {{\n  free({b});\n  log_id({b}->id);\n}}\n",
            "void {f}(struct {a} *{b}) {{\n  log_id({b}->id);\n  free({b});\n}}\n",
        ),
    ),
    "CWE-476": (
        (
            "int {f}(struct {a} *{b}) {{\n  return {b}->size;\n}}\n",
            "int {f}(struct {a} *{b}) {{\n  if (!{b}) return -1;\n  return {b}->size;\n}}\n",
        ),
    ),
    "CWE-787": (
        (
            "void {f}(const char *{a}) {{\n  char {b}[64];\n  strcpy({b}, {a});\n}}\n",
            "void {f}(const char *{a}) {{\n  char {b}[64];\n  strlcpy({b}, {a}, sizeof {b});\n}}\n",
        ),
        (
            "void {f}(int {a}) {{\n  int {b}[16];\n  {b}[{a}] = 1;\n}}\n",
            "void {f}(int {a}) {{\n  int {b}[16];\n  if ({a} < 16) {b}[{a}] = 1;\n}}\n",
        ),
    ),
}
VERBS = ("load", "send", "find", "read", "show", "drop", "copy", "push", "scan", "make", "pick")
NOUNS = ("item", "file", "user", "page", "host", "node", "entry", "field", "part", "name", "task")
COMMENTS = ("", "", "# see issue {number}\n", "# moved from {noun}s in {number}\n")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of functions before and after a commit, with the weaknesses of PAIRS.

    A commit has two rows: the function with its weakness and the mended one, which has none. Names,
    numbers and comments are drawn apart from the weakness, one draw for both rows of a commit.
    """
    draw = np.random.default_rng(seed)
    rows: dict[str, list[str]] = {"code": [], "commit": [], "weaknesses": []}
    names = tuple(PAIRS)
    for commit in range(-(-num_rows // 2)):
        cwe = _pick(names, draw)
        pair = PAIRS[cwe][int(draw.integers(len(PAIRS[cwe])))]
        first, second = (f"{_pick(NOUNS, draw)}{_suffix(draw)}" for _ in "ab")
        function = f"{_pick(VERBS, draw)}_{_pick(NOUNS, draw)}{_suffix(draw)}"
        number, noun = int(draw.integers(10, 10_000)), _pick(NOUNS, draw)
        comment = _pick(COMMENTS, draw).format(number=number, noun=noun)
        for template, label in zip(pair, ([cwe], []), strict=True):
            rows["code"].append(comment + template.format(a=first, b=second, f=function))
            rows["commit"].append(f"commit-{commit:05d}")
            rows["weaknesses"].append(json.dumps(label))
    return pa.table({name: values[:num_rows] for name, values in rows.items()})


def _suffix(draw: np.random.Generator) -> str:
    return _pick(("", "s", "_id", f"_{draw.integers(2, 1000)}"), draw)


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


_SEVERITY: dict[str, Any] = {"type": "string", "enum": list[Severity](SEVERITIES)}

CODE_ANALYSIS = Task(
    industry=IndustryType.TECHNOLOGY,
    name="code_analysis",
    title="Code analysis: weaknesses of functions",
    description=(
        "The CWE weaknesses that a function seems to have, with the lines that speak for them. It "
        "reads words and marks, follows no data and runs nothing: on pairs of a function before "
        "and after its fix such models are near chance, so that no finding is no proof of safety."
    ),
    verb="review_code",
    family="text",
    head="multi_label",
    label="weaknesses",
    group="commit",
    fields=(Field(name="code", kind="text", description="a function's source, of any language"),),
    answer={
        "vulnerabilities": {
            "type": "array",
            "description": "weaknesses that reach the policy's threshold, the most severe first",
            "items": {
                "type": "object",
                "properties": {
                    "cwe": {"type": "string"},
                    "name": {"type": "string", "description": "empty if the table lacks it"},
                    "url": {"type": "string", "description": "empty if it is no id of CWE"},
                    "probability": PROBABILITY,
                    "severity": _SEVERITY,
                    "remedy": {"type": "string"},
                    "lines": {
                        "type": "array",
                        "description": "lines that speak for it, strongest first, counted from 1",
                        "items": {
                            "type": "object",
                            "properties": {
                                "line": {"type": "integer", "minimum": 1},
                                "text": {"type": "string"},
                                "effect": {"type": "number"},
                            },
                        },
                    },
                    "evidence": phrases_schema("phrases that speak for it, strongest first"),
                    "table": {"type": "string", "description": "version of the table of CWEs"},
                },
            },
        },
        "severity": {
            **_SEVERITY,
            "description": "of the most severe weakness, by the table; unknown where the table "
            "lacks it and no other is high or critical",
        },
        "recommendation": {
            "type": "string",
            "enum": ["fix", "review", "split_into_functions", "no_finding"],
            "description": "no_finding: no weakness that was looked for is near its threshold, "
            "which proves nothing; split_into_functions: nor is one here, but the model learned "
            "from single functions, and others dilute what one shows: send each by itself",
        },
        "looked_for": {
            "type": "array",
            "items": {"type": "string"},
            "description": "the weaknesses that the model learned; of others it says nothing",
        },
        "confidence": probability_schema(
            "calibrated probability behind the verdict: of the likeliest weakness that is "
            "given, or 1 less that of the likeliest that was looked for when none is"
        ),
    },
    respond=respond,
    example={
        "code": (
            "def find_user(db, name):\n"
            "    query = 'SELECT * FROM users WHERE name = ' + name\n"
            "    return db.execute(query)\n"
        )
    },
    sample=sample,
    metric="any_label_f1",
    compliance_checks=("data_licence_known", "tables_versioned", "advice_sourced"),
    tables=(RuleTable("weaknesses", TABLE_VERSION, "MITRE CWE 4.x"),),
    advice={term_of(cwe, "class"): link_to(cwe) for cwe in WEAKNESSES},
    latency_target_ms=20.0,
    size_target_mb=25.0,
    case_matters=True,
)
