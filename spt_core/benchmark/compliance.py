"""Compliance checks of a model: named facts that a reviewer can verify, not legal advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from spt_core.artifacts import ExportedModel
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType, listed
from spt_core.model import SpecializedModel
from spt_core.policy import AlarmPolicy, DecisionPolicy, LabelPolicy, Policy, SpanPolicy
from spt_core.protected import attribute_of
from spt_core.task import ComplianceCheck, Task
from spt_core.terms import term_of

UNSPECIFIC = ("", "OTHER", "TBD", "TODO", "N/A", "?")  # codes that stand for no reason
MIN_MEASURED = 10  # held-out items of a class, below which its recall says nothing
REFUSED_BELOW = 0.05  # of the p-values of a backtest


class Fact(NamedTuple):
    """What a check saw, and whether that is as it must be."""

    passed: bool
    sentence: str


class Measured(NamedTuple):
    """What a report has measured of a model on held-out rows.

    `classes` are figures of each class (`metrics.class_figures`), `backtest` those of losses,
    `quality` the metrics with their intervals, `subgroups` figures by column of groups that have
    rows enough; of yes-or-no tasks some rows are positive.
    """

    num_rows: int
    num_positives: int
    quality: Mapping[str, Mapping[str, float]]
    classes: Sequence[Mapping[str, Any]] = ()
    backtest: Sequence[Mapping[str, Any]] = ()
    subgroups: Mapping[str, Sequence[Mapping[str, Any]]] = {}


Check = Callable[[Task, ExportedModel, Policy], Fact]
MeasuredCheck = Callable[[Measured, Policy], Fact]


def run_checks(
    task: Task, exported: ExportedModel, policy: Policy, measured: Measured | None = None
) -> dict[str, dict[str, object]]:
    """Each check of the task: whether it passed, whether promotion requires it, and the fact.

    Without what a report has measured, those of MEASURED_CHECKS are left out.
    """
    required = exported.artifact.config["compliance_requirements"] or ()
    results: dict[str, dict[str, object]] = {}
    for name in task.compliance_checks:
        if name in MEASURED_CHECKS:
            if measured is None:
                continue
            fact = MEASURED_CHECKS[name](measured, policy)
        else:
            fact = CHECKS[name](task, exported, policy)
        results[name] = {
            "passed": fact.passed,
            "required": name in required,
            "fact": fact.sentence,
        }
    return results


def compliance(model: SpecializedModel, measured: Measured | None = None) -> list[BenchmarkResult]:
    """A benchmark for each check of the model's task."""
    task, source = model.task, model.source
    if not isinstance(source, ExportedModel):
        source = ExportedModel(
            uri=source.uri, artifact=source, files={}, parity={}, probes={}, size_bytes=0
        )
    if not task.compliance_checks:
        return [_not_measured("compliance", f"{task.path} declares no compliance check")]
    checks = run_checks(task, source, model.policy, measured)
    return [
        BenchmarkResult(
            task_id=f"compliance_{name}",
            name=name.replace("_", " ").capitalize(),
            benchmark_type=BenchmarkType.COMPLIANCE,
            note=str(checks[name]["fact"]),
            score=float(bool(checks[name]["passed"])),
            figures={"required": checks[name]["required"]},
        )
        if name in checks
        else _not_measured(f"compliance_{name}", "it reads a report, and there is none")
        for name in task.compliance_checks
    ]


def _not_measured(task_id: str, why: str) -> BenchmarkResult:
    return BenchmarkResult(
        task_id=task_id,
        name=task_id.removeprefix("compliance_").replace("_", " ").capitalize(),
        benchmark_type=BenchmarkType.COMPLIANCE,
        note="",
        not_measured=why,
    )


def _protected_attributes_excluded(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """12 CFR 1002.6(b): no prohibited basis is considered."""
    del policy
    named = {name.lower() for name in exported.artifact.protected if not task.monitors(name)}
    names = [field.name for field in exported.artifact.signature.fields]
    used = [name for name in names if task.protects(name) or name.lower() in named]
    if used:
        return Fact(False, f"protected attributes among the inputs: {', '.join(used)}")
    looked_for = ", ".join(dict.fromkeys((*task.protected, *sorted(named))))
    monitored = [name for name in names if task.monitors(name)]
    beside = f"inputs that the task monitors: {', '.join(monitored)}; " if monitored else ""
    return Fact(
        True,
        f"looked for {looked_for.replace('_', ' ')} in the names of {len(names)} inputs: none; "
        f"{beside}what no name tells was not looked for",
    )


def _adverse_action_reasons(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """Every input that can be a reason has a code, and none that says nothing.

    12 CFR 1002.9(b)(2) asks that an applicant for credit is told specific reasons.
    """
    del task
    if not isinstance(policy, DecisionPolicy):
        return Fact(False, "the policy gives labels, and has no reason codes")
    encoded = {column.field for column in exported.artifact.signature.columns}
    codes = policy.reason_codes
    specific = {name for name, code in codes.items() if code.strip().upper() not in UNSPECIFIC}
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
    if policy.set_threshold is None:
        return Fact(
            False, f"no rows measured from which probability on sets cover {policy.coverage:.0%}"
        )
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


def _tables_versioned(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """Which edition of a table an answer drew on can be told later, and whose rows those are."""
    del exported, policy
    without = [table.name for table in task.tables if not (table.version and table.source)]
    if without or not task.tables:
        return Fact(False, f"tables without a version and a source: {listed(without) or 'all'}")
    named = [f"{table.name} {table.version} ({table.source})" for table in task.tables]
    return Fact(True, f"tables that answers draw on: {'; '.join(named)}")


def _tables_reviewed(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """A professional answers for what is advised."""
    del exported, policy
    without = [f"{t.name} {t.version}" for t in task.tables if not t.reviewed_by]
    if without or not task.tables:
        return Fact(False, f"tables that nobody has reviewed: {listed(without) or 'all'}")
    named = [f"{table.name} {table.version} by {table.reviewed_by}" for table in task.tables]
    return Fact(True, f"tables that answers draw on were reviewed: {'; '.join(named)}")


def _recall_measured(task: Task, exported: ExportedModel, policy: Policy) -> Fact:
    """How much of each type of span is missed was counted, where held-out rows have it at all."""
    if not isinstance(policy, SpanPolicy):
        return Fact(False, "the policy counts no spans")
    names = task.classes or exported.artifact.classes
    counts = {name: policy.support.get(name, 0) for name in names}
    few = [f"{name} ({count})" for name, count in counts.items() if 0 < count < MIN_MEASURED]
    absent = [name for name, count in counts.items() if not count]
    unknown = f"; nothing is known of {', '.join(absent)}, which no row has" if absent else ""
    if few or len(absent) == len(counts):
        return Fact(
            False,
            f"types with fewer than {MIN_MEASURED} held-out spans: {listed(few) or 'all'}{unknown}",
        )
    recalls = ", ".join(
        f"{name} {policy.recalled.get(name, 0) / count:.2f}"
        for name, count in counts.items()
        if count
    )
    return Fact(True, f"recall on held-out spans: {recalls}{unknown}")


def _classes_measured(measured: Measured, policy: Policy) -> Fact:
    """Each class has held-out items enough for its recall to say something."""
    del policy
    counts = {str(row["label"]): int(row["support"]) for row in measured.classes}
    if not counts:
        others = measured.num_rows - measured.num_positives
        counts = {"yes": measured.num_positives, "no": others}
    few = [f"{name} ({count})" for name, count in counts.items() if count < MIN_MEASURED]
    if few:
        return Fact(False, f"classes with fewer than {MIN_MEASURED} held-out items: {listed(few)}")
    least = min(counts.values())
    return Fact(True, f"each of {len(counts)} classes has {least:,} held-out items or more")


def _backtest_held(measured: Measured, policy: Policy) -> Fact:
    """No level of the task is refused by Kupiec's test, Christoffersen's, or Basel's red zone.

    Each test refuses a right model in up to about 5 of 100 backtests.
    """
    del policy
    rows = measured.backtest
    if not rows:
        return Fact(False, "nothing was backtested: the held-out rows do not say when they were")
    refused = [f"{reason} at {row['level']:.0%}" for row in rows for reason in _refusals(row)]
    decided = f"refused by {', '.join(refused)}: " if refused else "no test refuses the model: "
    return Fact(not refused, decided + "; ".join(_backtested(row) for row in rows))


def _refusals(row: Mapping[str, Any]) -> list[str]:
    apart = row["independence_p"]
    reasons = {
        "Kupiec's test": row["kupiec_p"] < REFUSED_BELOW,
        "Christoffersen's test of independence": apart is not None and apart < REFUSED_BELOW,
        "Basel's red zone": row["zone"] == "red",
    }
    return [reason for reason, is_so in reasons.items() if is_so]


def _backtested(row: Mapping[str, Any]) -> str:
    """What was counted at a level, and the p-values of it."""
    apart = (
        "independence not judged, as no series has two exceedances"
        if row["independence_p"] is None
        else f"independence p = {row['independence_p']:.3f} "
        f"by {row['num_judged']} of {row['num_series']} series, those with two exceedances or more"
    )
    zone = f", {row['zone']} zone" if row["zone"] else ""
    return (
        f"{row['exceedances']} of {row['num_days']} days beyond {row['level']:.0%} "
        f"({row['expected']:.1f} expected, p = {row['kupiec_p']:.3f}; {apart}{zone})"
    )


def _alarm_budget_kept(measured: Measured, policy: Policy) -> Fact:
    """False alarms on held-out readings are not above the budget of the policy, for all we know."""
    figure = measured.quality.get("false_alarms_per_day")
    if not isinstance(policy, AlarmPolicy) or figure is None:
        return Fact(False, "false alarms a day were not measured")
    return Fact(
        figure["low"] <= policy.alarms_per_day,
        f"{figure['value']:.3g} false alarms a day [{figure['low']:.3g}, {figure['high']:.3g}], "
        f"of a budget of {policy.alarms_per_day:g}",
    )


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


def _groups_measured(measured: Measured, policy: Policy) -> Fact:
    """An image may tell what no column does: whether groups are served alike was measured."""
    del policy
    if not measured.subgroups:
        return Fact(False, "the data tell no group of people: there are no figures by group")
    counts = {name: len(rows) for name, rows in measured.subgroups.items()}
    compared = [f"{name} ({count} groups)" for name, count in counts.items() if count > 1]
    if not compared:
        few = ", ".join(counts)
        return Fact(False, f"no two groups have held-out rows enough to be compared: {few}")
    return Fact(True, f"figures by group of {', '.join(compared)} are in the report")


def _speaking_of(attribute: str, exported: ExportedModel) -> list[str]:
    fields = exported.artifact.signature.fields
    return [field.name for field in fields if attribute_of(field.name) == attribute]


def _by_group(attribute: str, exported: ExportedModel) -> str:
    columns = [n for n in exported.artifact.protected if attribute_of(n) == attribute]
    if columns:
        return f"{', '.join(columns)} is carried beside them, for figures by group alone"
    return "the data tell none, so that there are no figures by group"


CHECKS: Mapping[ComplianceCheck, Check] = {
    "protected_attributes_excluded": _protected_attributes_excluded,
    "adverse_action_reasons": _adverse_action_reasons,
    "data_licence_known": _data_licence_known,
    "set_coverage_stated": _set_coverage_stated,
    "advice_sourced": _advice_sourced,
    "sex_excluded": _sex_excluded,
    "age_excluded": _age_excluded,
    "tables_versioned": _tables_versioned,
    "tables_reviewed": _tables_reviewed,
    "recall_measured": _recall_measured,
}
# Of what a report has measured, which a model alone does not tell.
MEASURED_CHECKS: Mapping[ComplianceCheck, MeasuredCheck] = {
    "classes_measured": _classes_measured,
    "groups_measured": _groups_measured,
    "backtest_held": _backtest_held,
    "alarm_budget_kept": _alarm_budget_kept,
}
