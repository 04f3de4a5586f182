"""The gate: candidate and champion on the same rows -> PROMOTED, NEEDS_REVIEW or REJECTED, and why.

Pure. A regression or a failed check rejects; what is risky, or cannot be judged, is for a person.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spt_core.continuous.ledger.values import Verdict, canonical
from spt_core.errors import InputError
from spt_core.validation import validated


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """When a candidate is rejected, and when a person decides.

    Args:
        max_regression: the relative loss, overall or on a slice, above which it is rejected.
        max_churn: the share of changed answers above which a person decides.
        max_golden_misses: the share of wrong golden records above which a person decides.
        validation_required: whether a person decides in any case.
        compliance_required: whether every compliance check of the task must have been made and
            passed; else those that the training requires.
        review_days: the time that a person has; then it is rejected.
    """

    max_regression: float = 0.05
    max_churn: float = 0.1
    max_golden_misses: float = 0.1
    validation_required: bool = False
    compliance_required: bool = False
    review_days: float = 14.0

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ("max_regression", "max_churn", "max_golden_misses"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], however: {getattr(self, name)}")
        if not self.review_days > 0:
            raise InputError(f"review_days must be above 0, however: {self.review_days}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GateVerdict:
    """What is to become of a candidate; `reasons` are sentences, the deciding ones first."""

    state: Verdict
    reasons: tuple[str, ...]
    config: GateConfig

    def to_json(self) -> dict[str, Any]:
        """A JSON object; its hash is the verdict's identity."""
        return dataclasses.asdict(self)

    @property
    def sha(self) -> str:
        """sha256 of the verdict: the same facts under the same rules give the same one."""
        return hashlib.sha256(canonical(self.to_json()).encode()).hexdigest()


def gate_config(content: Mapping[str, Any]) -> GateConfig:
    """The configuration that a bucket's `gate` object holds; InputError names what is odd."""
    return validated(GateConfig, content, "a bucket's gate")


def judge(
    evaluation: Mapping[str, Any],
    config: GateConfig | None = None,
    *,
    risk_tier: str = "standard",
    high_risk_task: bool = False,
    effective: Sequence[str] = (),
) -> GateVerdict:
    """The verdict on what `compare` found.

    `effective` are dates to come on which publications take effect: a person says when it is
    rolled out.
    """
    config = config or GateConfig()
    faults = [*_faults(evaluation, config)]
    if faults:
        return GateVerdict(state="REJECTED", reasons=tuple(faults), config=config)
    risks = [*_risks(evaluation, config)]
    if risk_tier != "standard":
        risks.append(f"its trigger is of the risk tier {risk_tier!r}")
    if high_risk_task:
        risks.append("its task is marked high risk")
    if effective:
        risks.append(f"publications take effect later: {', '.join(effective)}")
    if config.validation_required:
        risks.append("this bucket's configuration requires a person's approval")
    if risks:
        return GateVerdict(state="NEEDS_REVIEW", reasons=tuple(risks), config=config)
    return GateVerdict(
        state="PROMOTED", reasons=("no regression, no failed check, no risk",), config=config
    )


def regression(champion: float, candidate: float, *, lower_is_better: bool) -> float:
    """The relative loss of quality; below 0 for a gain, 1 for a loss against a champion of 0."""
    loss = candidate - champion if lower_is_better else champion - candidate
    if loss <= 0 and champion == 0:
        return 0.0
    return loss / abs(champion) if champion else 1.0


def _faults(evaluation: Mapping[str, Any], config: GateConfig) -> Iterator[str]:
    if not evaluation.get("sets"):
        yield "champion and candidate have met on no evaluation set"
    lower = bool(evaluation.get("lower_is_better"))
    metric = str(evaluation.get("metric", "")).replace("_", " ")
    for one in evaluation.get("sets", ()):
        pair = one["champion"]["value"], one["candidate"]["value"]
        yield from _fault(f"{metric} on {one['name']}", pair, lower, config)
        for part in one["slices"]:
            where = f"{part['slice']} of {one['name']}"
            below = bool(part.get("lower_is_better", lower))
            yield from _fault(where, (part["champion"], part["candidate"]), below, config)
    if config.compliance_required and "compliance" not in evaluation:
        yield "compliance must be validated, and its checks have not been made"
    for name, check in evaluation.get("compliance", {}).items():
        if not check["passed"] and (check["required"] or config.compliance_required):
            yield f"the required compliance check {name} failed: {check['fact']}"


def _fault(where: str, pair: tuple[float, float], lower: bool, config: GateConfig) -> Iterator[str]:
    champion, candidate = pair
    if champion != champion or candidate != candidate:
        yield f"{where} must be a number for both, however: {champion} and {candidate}"
        return
    loss = regression(champion, candidate, lower_is_better=lower)
    if loss > config.max_regression:
        yield (
            f"{where} is worse by {loss:.1%} ({champion:.4f} to {candidate:.4f}), more than "
            f"{config.max_regression:.0%}"
        )


def _risks(evaluation: Mapping[str, Any], config: GateConfig) -> Iterator[str]:
    for one in evaluation["sets"]:
        if one["churn"] > config.max_churn:
            yield f"{one['churn']:.1%} of the answers on {one['name']} changed"
    golden = evaluation.get("golden", ())
    misses = sum(not one["candidate_right"] for one in golden)
    if golden and misses / len(golden) > config.max_golden_misses:
        yield f"{misses} of {len(golden)} golden records are answered wrongly"
    if not golden:
        yield "there are no golden records to watch it by"
    added = evaluation.get("vocabulary", {}).get("added", ())
    if added:
        yield f"its vocabulary is new by {len(added)} tokens, such as {', '.join(added[:3])}"
    if evaluation.get("new_classes"):
        yield f"it knows new classes: {', '.join(evaluation['new_classes'])}"
    for name, check in evaluation.get("compliance", {}).items():
        if not check["passed"] and not check["required"]:
            yield f"the compliance check {name} failed: {check['fact']}"
