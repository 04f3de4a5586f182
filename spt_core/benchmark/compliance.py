"""Compliance checks of a model: named facts that a reviewer can verify, not legal advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spt_core.artifacts import ExportedModel
from spt_core.policy import DecisionPolicy, Policy
from spt_core.task import ComplianceCheck, Task

Check = Callable[[Task, ExportedModel, Policy], str]


def run_checks(task: Task, exported: ExportedModel, policy: Policy) -> dict[str, dict[str, object]]:
    """Each check of the task: whether it passed, whether promotion requires it, and the fact."""
    required = exported.artifact.config["compliance_requirements"] or ()
    results: dict[str, dict[str, object]] = {}
    for name in task.compliance_checks:
        problem = CHECKS[name](task, exported, policy)
        results[name] = {
            "passed": not problem,
            "required": name in required,
            "fact": problem or "ok",
        }
    return results


def _protected_attributes_excluded(task: Task, exported: ExportedModel, policy: Policy) -> str:
    """12 CFR 1002.6(b): no prohibited basis is considered."""
    del policy
    named = {name.lower() for name in exported.artifact.protected}
    names = [field.name for field in exported.artifact.signature.fields]
    used = [name for name in names if name.lower() in named or task.protects(name)]
    return f"protected attributes among the inputs: {used}" if used else ""


def _adverse_action_reasons(task: Task, exported: ExportedModel, policy: Policy) -> str:
    """12 CFR 1002.9(b)(2): every input that can be a reason has a statement for the applicant."""
    del task
    if not isinstance(policy, DecisionPolicy):
        return "the policy gives labels, and has no reason codes"
    encoded = {column.field for column in exported.artifact.signature.columns}
    without = sorted(encoded - set(policy.reason_codes))
    return f"inputs without a reason code in the policy: {without}" if without else ""


def _data_licence_known(task: Task, exported: ExportedModel, policy: Policy) -> str:
    del task, policy
    return "" if exported.artifact.licences else "no licence is recorded for the training data"


CHECKS: Mapping[ComplianceCheck, Check] = {
    "protected_attributes_excluded": _protected_attributes_excluded,
    "adverse_action_reasons": _adverse_action_reasons,
    "data_licence_known": _data_licence_known,
}
