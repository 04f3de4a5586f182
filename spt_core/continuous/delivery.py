"""How a candidate comes into service: the specification's cicd_config -> a bucket's configuration.

| key | what it drives |
|---|---|
| automated_testing | the gate decides by itself; false: a person on every candidate |
| performance_regression_threshold | the gate rejects a larger relative loss |
| compliance_validation_required | the gate rejects for any check that failed or was not made |
| human_review_threshold | `high_risk_changes`: a person decides on these; `all_changes`: on all |
| rollback_strategy | `automatic_on_failure`: a bad version is taken back; `manual`: it is told |
| monitoring_integration | prometheus, grafana: kuberay; mlflow, wandb: follow retrainings |

The same keys are the `[cicd]` table of a sources file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from spt_core.continuous.gate import GateConfig
from spt_core.continuous.live_rules import LiveRules
from spt_core.errors import InputError
from spt_core.task import Tracker
from spt_core.validation import validated

ReviewThreshold = Literal["high_risk_changes", "all_changes"]
RollbackStrategy = Literal["automatic_on_failure", "manual"]
Integration = Literal["prometheus", "grafana", "mlflow", "wandb"]
_TRACKERS: Mapping[Integration, Tracker] = {"mlflow": "mlflow", "wandb": "wandb"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """The specification's cicd_config, key by key."""

    automated_testing: bool = True
    performance_regression_threshold: float = 0.05
    compliance_validation_required: bool = False
    human_review_threshold: ReviewThreshold = "high_risk_changes"
    rollback_strategy: RollbackStrategy = "automatic_on_failure"
    monitoring_integration: tuple[Integration, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a threshold that is no share, and an integration that is named twice."""
        if not 0 <= self.performance_regression_threshold <= 1:
            raise InputError(
                "performance_regression_threshold must be in [0, 1], however: "
                f"{self.performance_regression_threshold}"
            )
        if len(set(self.monitoring_integration)) < len(self.monitoring_integration):
            raise InputError(
                "monitoring_integration must name each integration once, however: "
                f"{', '.join(self.monitoring_integration)}"
            )

    @property
    def gate(self) -> GateConfig:
        """When a candidate is rejected, and when a person decides."""
        return GateConfig(
            max_regression=self.performance_regression_threshold,
            compliance_required=self.compliance_validation_required,
            validation_required=not self.automated_testing
            or self.human_review_threshold == "all_changes",
        )

    @property
    def live_rules(self) -> LiveRules:
        """When a version that serves is taken back."""
        return LiveRules(takes_back=self.rollback_strategy == "automatic_on_failure")

    @property
    def trackers(self) -> tuple[Tracker, ...]:
        """What follows retrainings."""
        return tuple(_TRACKERS[one] for one in self.monitoring_integration if one in _TRACKERS)

    def configured(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """A bucket's configuration under this one; what it does not say stays as it was."""
        gate = dataclasses.asdict(self.gate)
        stated = ("max_regression", "compliance_required", "validation_required")
        gate = {**before.get("gate", {}), **{name: gate[name] for name in stated}}
        retraining = {**before.get("retraining", {}), "trackers": list(self.trackers)}
        rules = {"takes_back": self.live_rules.takes_back}
        return {**before, "gate": gate, "live_rules": rules, "retraining": retraining}


def from_cicd_config(content: Mapping[str, Any], where: str = "cicd_config") -> Delivery:
    """The delivery that the specification's dictionary says; InputError names what is odd."""
    return validated(Delivery, content, where)
