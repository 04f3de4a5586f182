"""Weaknesses of code: the wording, the lines, the table of CWEs, the pairs of the sample."""

import json

import pytest

from industries.technology.code_analysis import PAIRS, lines_of, num_functions
from industries.technology.weaknesses import (
    SEVERITIES,
    WEAKNESSES,
    cwe_id,
    link_to,
    weakness_of,
)
from spt_core.judgement import Labels, LabelScore, Phrase
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("technology/code_analysis")
CODE = "def f(a):\n    q = 'SELECT ' + a\n    return db.execute(q)\n"


def phrase(text, effect):
    at = CODE.index(text)
    return Phrase(at, at + len(text), text, effect)


REASONS = (phrase("'SELECT ' + a", 3.0), phrase("execute", 1.0), phrase("def", -2.0))


def answer(told, threshold=0.5):
    policy = LabelPolicy(thresholds=dict.fromkeys(told, threshold), most_probable=False)
    given = policy.given(told)
    scores = [LabelScore(n, p, n in given, REASONS) for n, p in told.items()]
    scores.sort(key=lambda score: -score.probability)
    return TASK.respond(Labels({"code": CODE}, tuple(scores), policy))


def test_a_weakness_is_named_with_its_lines_its_severity_and_what_mends_it():
    given = answer({"CWE-89": 0.9, "CWE-79": 0.1})
    (vulnerability,) = given["vulnerabilities"]
    assert vulnerability["name"] == "SQL Injection"
    assert [line["line"] for line in vulnerability["lines"]] == [2, 3]
    assert vulnerability["lines"][0]["text"] == "    q = 'SELECT ' + a"
    assert [phrase["text"] for phrase in vulnerability["evidence"]] == ["'SELECT ' + a", "execute"]
    assert "bind values" in vulnerability["remedy"]
    assert (given["severity"], given["recommendation"]) == ("critical", "fix")
    assert given["confidence"] == 0.9


def test_a_line_is_shown_without_the_end_of_windows_lines():
    code = "a = 1\r\nb = eval(a)\r\n"
    score = LabelScore("CWE-95", 0.9, True, (Phrase(code.index("eval"), len(code), "eval", 1.0),))
    assert [(line["line"], line["text"]) for line in lines_of(code, score)] == [(2, "b = eval(a)")]


def test_the_most_severe_weakness_comes_first_and_decides():
    given = answer({"CWE-476": 0.7, "CWE-787": 0.6})
    assert [v["cwe"] for v in given["vulnerabilities"]] == ["CWE-787", "CWE-476"]
    assert (given["severity"], given["recommendation"]) == ("critical", "review")


@pytest.mark.parametrize(("probability", "said"), [(0.1, "no_finding"), (0.3, "review")])
def test_no_finding_is_said_only_where_no_weakness_is_near(probability, said):
    given = answer({"CWE-22": probability})
    assert (given["vulnerabilities"], given["severity"]) == ([], "none")
    assert given["recommendation"] == said


def test_a_phrase_over_two_lines_counts_for_both_by_its_characters():
    text = "a\n    return"
    score = LabelScore("CWE-89", 0.9, True, (phrase(text, 12.0),))
    assert [(line["line"], line["effect"]) for line in lines_of(CODE, score)] == [
        (3, 10.0),
        (2, 2.0),
    ]


def test_a_weakness_that_the_table_lacks_is_of_unknown_severity_and_left_to_a_person():
    assert "add it" in weakness_of("CWE-9999").remedy
    given = answer({"CWE-9999": 0.7, "CWE-476": 0.9})
    assert [v["severity"] for v in given["vulnerabilities"]] == ["unknown", "medium"]
    assert given["severity"] == "unknown"
    assert answer({"CWE-9999": 0.7, "CWE-22": 0.6})["severity"] == "high"
    assert "unknown" in TASK.answer["severity"]["enum"]
    assert {weakness.severity for weakness in WEAKNESSES.values()} < {*SEVERITIES} - {"unknown"}
    assert set(PAIRS) <= set(WEAKNESSES)


# https://cwe.mitre.org/top25/archive/2023/2023_top25_list.html and 2024/2024_cwe_top25.html
TOP_25 = {
    2023: (
        *(787, 79, 89, 416, 78, 20, 125, 22, 352, 434, 862, 476, 287, 190, 502, 77, 119, 798, 918),
        *(306, 362, 269, 94, 863, 276),
    ),
    2024: (
        *(79, 787, 89, 352, 22, 125, 78, 416, 862, 434, 94, 20, 77, 287, 269, 502, 200, 863, 918),
        *(119, 476, 798, 190, 400, 306),
    ),
}


@pytest.mark.parametrize("year", [2023, 2024])
def test_the_table_holds_the_most_dangerous_weaknesses_of_a_year(year):
    assert len(set(TOP_25[year])) == 25
    assert {f"CWE-{number}" for number in TOP_25[year]} <= set(WEAKNESSES)


@pytest.mark.parametrize(
    ("cwe", "severity"),
    [
        *(("CWE-77", "critical"), ("CWE-94", "critical"), ("CWE-502", "critical")),
        *(("CWE-89", "critical"), ("CWE-798", "high"), ("CWE-22", "high"), ("CWE-79", "high")),
        *(("CWE-400", "medium"), ("CWE-476", "medium"), ("CWE-1333", "unknown")),
    ],
)
def test_a_severity_is_that_of_the_usual_consequence(cwe, severity):
    assert weakness_of(cwe).severity == severity


@pytest.mark.parametrize(
    "label",
    [
        *("CWE-89", "CWE-089", "cwe-89", "CWE 89", "CWE89", "89", " 89 "),
        *("CWE-89: SQL Injection", "CWE-89 SQL Injection"),
    ],
)
def test_an_id_is_known_however_it_is_written(label):
    (vulnerability,) = answer({label: 0.9})["vulnerabilities"]
    assert (vulnerability["cwe"], vulnerability["name"]) == ("CWE-89", "SQL Injection")
    assert vulnerability["url"] == "https://cwe.mitre.org/data/definitions/89.html"


def test_a_label_that_is_no_id_has_no_page():
    assert (cwe_id("buffer overflow"), link_to("buffer overflow")) == ("buffer overflow", "")
    assert (weakness_of("CWE-0").severity, link_to("CWE-0")) == ("unknown", "")
    assert link_to("CWE-79,CWE-89") == ""


def test_a_commit_of_the_sample_has_the_weak_function_and_the_mended_one():
    table = TASK.sample(400, 0)
    rows = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    labels = [json.loads(label) for _, _, label in rows]
    for at in range(0, 400, 2):
        (before, commit, _), (after, same, _) = rows[at : at + 2]
        assert commit == same
        assert before != after
        assert (len(labels[at]), labels[at + 1]) == (1, [])
    assert {name for label in labels for name in label} == set(PAIRS)


C = """static int *size_of(struct item *a)
{
  if (a) {
    return a->size;
  }
}
"""
JAVA = """class Items {
    public List<String> find(String name) throws IOException {
        for (String a : all) { log(a); }
        return all;
    }
    private void drop(int id) {
        all.remove(id);
    }
}
"""


@pytest.mark.parametrize(
    ("code", "num"),
    [
        (CODE, 1),
        ("def f():\n    def g():\n        pass\n    return g\n", 1),
        (CODE + "\n\nasync def g():\n    pass\n", 2),
        ("class A:\n    def f(self):\n        pass\n\n    def g(self):\n        pass\n", 2),
        (C, 1),
        (C + "void f(void) {\n  size_of(0);\n}\n", 2),
        (JAVA, 2),
        ("function f(a) {\n  if (a) { g(a); }\n}\nfunction g(a) {\n}\n", 2),
        ("SELECT * FROM users WHERE id = 1", 0),
    ],
)
def test_functions_side_by_side_are_counted(code, num):
    assert num_functions(code) == num


def test_no_finding_is_about_what_was_looked_for_and_of_one_function():
    policy = LabelPolicy(thresholds={"cwe-089": 0.5, "CWE-79": 0.5}, most_probable=False)
    scores = (LabelScore("cwe-089", 0.1, False), LabelScore("CWE-79", 0.05, False))
    alone = TASK.respond(Labels({"code": CODE}, scores, policy))
    assert (alone["recommendation"], alone["looked_for"]) == ("no_finding", ["CWE-79", "CWE-89"])
    several = TASK.respond(Labels({"code": CODE + "\n" + CODE}, scores, policy))
    assert several["recommendation"] == "split_into_functions"
