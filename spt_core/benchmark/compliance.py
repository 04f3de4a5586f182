"""Compliance checks of a model: named facts that a reviewer can verify, not legal advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from spt_core.artifacts import ExportedModel
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType
from spt_core.model import SpecializedModel
from spt_core.policy import DecisionPolicy, LabelPolicy, Policy
from spt_core.protected import attribute_of
from spt_core.task import ComplianceCheck, Task
from spt_core.terms import term_of

UNSPECIFIC = "OTHER"  # a code that stands for no reason


class Fact(NamedTuple):
    """What a check saw, and whether that is as it must be."""

    passed: bool
    sentence: str


Check = Callable[[Task, ExportedModel, Policy], Fact]


def run_checks(task: Task, exported: ExportedModel, policy: Policy) -> dict[str, dict[str, object]]:
    """Each check of the task: whether it passed, whether promotion requires it, and the fact."""
    required = exported.artifact.config["compliance_requirements"] or ()
    results: dict[str, dict[str, object]] = {}
    for name in task.compliance_checks:
        fact = CHECKS[name](task, exported, policy)
        results[name] = {
            "passed": fact.passed,
            "required": name in required,
            "fact": fact.sentence,
        }
    return results


def compliance(model: SpecializedModel) -> list[BenchmarkResult]:
    """A benchmark for each check of the model's task."""
    task, source = model.task, model.source
    if not isinstance(source, ExportedModel):
        source = ExportedModel(
            uri=source.uri, artifact=source, files={}, parity={}, probes={}, size_bytes=0
        )
    checks = run_checks(task, source, model.policy)
    if not checks:
        return [
            BenchmarkResult(
                task_id="compliance",
                name="Compliance",
                benchmark_type=BenchmarkType.COMPLIANCE,
                note="",
                not_measured=f"{task.path} declares no compliance check",
            )
        ]
    return [
        BenchmarkResult(
            task_id=f"compliance_{name}",
            name=name.replace("_", " ").capitalize(),
            benchmark_type=BenchmarkType.COMPLIANCE,
            note=str(check["fact"]),
            score=float(bool(check["passed"])),
            figures={"required": check["required"]},
        )
        for name, check in checks.items()
    ]


def _protected_attributes_excluded(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """12 CFR 1002.6(b): no prohibited basis is considered."""
    del policy
    named = {name.lower() for name in exported.artifact.protected}
    names = [field.name for field in exported.artifact.signature.fields]
    used = [
        name
        for name in names
        if task.protects(name) or (name.lower() in named and not task.monitors(name))
    ]
    if used:
        return Fact(False, f"protected attributes among the inputs: {', '.join(used)}")
    looked_for = ", ".join(dict.fromkeys((*task.protected, *sorted(named))))
    return Fact(
        True,
        f"looked for {looked_for.replace('_', ' ')} in the names of {len(names)} inputs: none; "
        "what no name tells was not looked for",
    )


def _adverse_action_reasons(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """Every input that can be a reason has a code, and not the one that says nothing.

    12 CFR 1002.9(b)(2) asks that an applicant for credit is told specific reasons.
    """
    del task
    if not isinstance(policy, DecisionPolicy):
        return Fact(False, "the policy gives labels, and has no reason codes")
    encoded = {column.field for column in exported.artifact.signature.columns}
    specific = {name for name, code in policy.reason_codes.items() if code != UNSPECIFIC}
    without = sorted(encoded - specific)
    if without:
        return Fact(False, f"inputs without a reason code in the policy: {', '.join(without)}")
    return Fact(True, f"each of {len(encoded)} inputs has a reason code")


def _data_licence_known(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    del task, policy
    licences = exported.artifact.licences
    if not licences:
        return Fact(False, "no licence is recorded for the training data")
    return Fact(True, f"the training data's licences: {', '.join(licences)}")


def _set_coverage_stated(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """An answer is a set of classes that says how often it holds the true one."""
    del exported
    if not isinstance(policy, LabelPolicy) or policy.coverage is None:
        return Fact(False, "the policy states no coverage of sets of classes")
    if task.coverage is not None and policy.coverage < task.coverage:
        return Fact(
            False, f"sets cover {policy.coverage:.0%}, the task asks for {task.coverage:.0%}"
        )
    return Fact(True, f"sets cover {policy.coverage:.0%}, by rows that trained nothing")


def _advice_sourced(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """What is advised for a class comes from a table that names its sources."""
    del policy
    names = exported.artifact.classes
    without = [name for name in names if term_of(name, "class") not in task.advice]
    if without:
        return Fact(False, f"classes without sourced advice: {', '.join(without)}")
    return Fact(True, f"the advice for each of {len(names)} classes names its sources")


def _sex_excluded(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """Directive 2004/113/EC, Article 5(1); Test-Achats (C-236/09): premiums and benefits."""
    del task, policy
    named = _speaking_of("sex", exported)
    if named:
        return Fact(False, f"sex among the inputs, against 2004/113/EC: {', '.join(named)}")
    return Fact(True, f"no input's name speaks of sex (2004/113/EC); {_by_group('sex', exported)}")


def _age_excluded(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """Age may be used where relevant actuarial data show a difference of risk: to be stated.

    So the UK's Equality Act 2010, Schedule 3, paragraph 20A; Article 21 of the EU's Charter.
    """
    del task, policy
    named = _speaking_of("age", exported)
    if named:
        return Fact(
            False, f"a person's age among the inputs, without actuarial data: {', '.join(named)}"
        )
    return Fact(True, f"no input's name speaks of a person's age; {_by_group('age', exported)}")


def _groups_measured(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """An image may tell what no column does: whether groups are served alike can be measured."""
    del task, policy
    named = exported.artifact.protected
    if not named:
        return Fact(False, "the data tell no group of people: there are no figures by group")
    return Fact(True, f"figures by group of {', '.join(named)} are in the report")


def _speaking_of(attribute: str, exported: ExportedModel) -> list[str]:
    fields = exported.artifact.signature.fields
    return [field.name for field in fields if attribute_of(field.name) == attribute]


def _by_group(attribute: str, exported: ExportedModel) -> str:
    columns = [n for n in exported.artifact.protected if attribute_of(n) == attribute]
    if columns:
        return f"figures by group of {', '.join(columns)} are in the report"
    return "the data tell none, so that there are no figures by group"


CHECKS: Mapping[ComplianceCheck, Check] = {
    "protected_attributes_excluded": _protected_attributes_excluded,
    "adverse_action_reasons": _adverse_action_reasons,
    "data_licence_known": _data_licence_known,
    "set_coverage_stated": _set_coverage_stated,
    "advice_sourced": _advice_sourced,
    "sex_excluded": _sex_excluded,
    "age_excluded": _age_excluded,
    "groups_measured": _groups_measured,
}
