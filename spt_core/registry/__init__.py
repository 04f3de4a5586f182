"""The model registry: which versions exist, which one each alias means, what is deployed.

exported + policy + report -> Registry.add -> ModelVersion; set_alias and deploy move by
compare-and-set. SQLite by default, Postgres by URL; README.md tells why it is built this way.
"""

from spt_core.registry.lease import Lease, process_owner
from spt_core.registry.registry import Registry, require_compatible
from spt_core.registry.values import (
    CHAMPION,
    DEFAULT_MODEL_NAME,
    AliasChange,
    Check,
    Deployment,
    DeploymentState,
    ModelVersion,
    alias_change_from_json,
    compliance,
    deployment_from_json,
    failed_compliance,
    ref_of,
    version_from_json,
)

__all__ = [
    "CHAMPION",
    "DEFAULT_MODEL_NAME",
    "AliasChange",
    "Check",
    "Deployment",
    "DeploymentState",
    "Lease",
    "ModelVersion",
    "Registry",
    "alias_change_from_json",
    "compliance",
    "deployment_from_json",
    "failed_compliance",
    "process_owner",
    "ref_of",
    "require_compatible",
    "version_from_json",
]
