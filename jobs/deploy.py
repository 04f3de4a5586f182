"""Put a registered version into service, change its policy, or go back: python -m jobs.deploy ...

Where a service runs (`make run`, `python -m cluster up`, a cluster in RAY_ADDRESS), it follows
without a restart, and the command returns. Else one is started here with everything that the
registry says should serve, and runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.checks import require_replica_ports, require_replicas, room
from cluster.lifecycle import ray_session, stop_serve
from cluster.settings import REPLICA_CPUS, actor, load_settings, read_replicas
from jobs.console import Screen
from jobs.exits import run as call
from jobs.service import (
    asked,
    require_service,
    rolled_out,
    serve_until_interrupted,
    shown,
)
from spt_core.data.splits import load_splits
from spt_core.errors import InputError, NotFoundError
from spt_core.heads import HEADS
from spt_core.policy import Policy, policy_from_json
from spt_core.registry import CHAMPION, ModelVersion, Registry, ref_of
from spt_core.rollout import replicas_within
from spt_core.task import find

_EPILOG = """\
examples:
  python -m jobs.deploy financial_services/fraud_detection
  python -m jobs.deploy financial_services/fraud_detection --version 7 --replicas 2
  python -m jobs.deploy financial_services/fraud_detection --replicas 1..4
  python -m jobs.deploy financial_services/fraud_detection --variant edge
  python -m jobs.deploy financial_services/fraud_detection --rollback
  python -m jobs.registry show financial_services/fraud_detection --json > p.json
  (edit its "policy": thresholds; or costs and capacity, from which new thresholds are then made)
  python -m jobs.deploy financial_services/fraud_detection --policy p.json"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Roll one version out, ask it a question, and serve until Ctrl-C where nobody else does."""
    args = _parser().parse_args(arguments)
    find(args.task)  # a misspelled task is told from one without versions
    settings = load_settings(storage=args.storage)
    screen = Screen(as_json=args.json)
    registry = Registry(settings.database_url)
    bounds = None if args.replicas is None else read_replicas(args.replicas, "--replicas")
    require_service(settings)
    version = chosen_version(registry, f"{args.task}/{args.name}", args)
    with ray_session(settings):
        try:
            if bounds is not None:
                if settings.is_named:
                    require_replicas(bounds[0], num_cpus=REPLICA_CPUS, room=room(settings))
                else:
                    require_replica_ports(bounds[0])
            deployment = rolled_out(
                screen,
                settings,
                registry,
                version,
                num_replicas=None if bounds is None else replicas_within(*bounds),
                reason="rollback" if args.rollback else "",
            )
            question = asked(settings, version)
            content = {"version": version.ref, "deployment": deployment.to_json(), **question}
            screen.result(content, f"\n{shown(question)}")
            if settings.ray_address is None and not args.once:
                serve_until_interrupted(screen, settings)
        finally:
            if settings.ray_address is None:
                stop_serve()
    return 0


def chosen_version(registry: Registry, name: str, args: argparse.Namespace) -> ModelVersion:
    """The version that the flags mean; one with another policy is registered first."""
    variant = "" if args.variant is None else f":{args.variant}"
    if args.rollback:
        return registry.get(f"{name}@{previous_champion(registry, name)}{variant}")
    if args.version is not None or args.policy is not None:
        version = registry.get(f"{name}@{args.version or CHAMPION}{variant}")
    else:
        version = registry.get(f"{registry.versions(name)[-1].ref}{variant}")
    if args.policy is None:
        return version
    if version.variant:
        return registry.add_variant(
            registry.get(ref_of(version.name, version.version)),
            version.variant,
            version.exported,
            refitted(version, read_policy(args.policy)),
            version.report,
            created_by=f"jobs.deploy by {actor()}",
            report_uri=version.report_uri,
        )
    return registry.add(
        version.exported,
        refitted(version, read_policy(args.policy)),
        version.report,
        created_by=f"jobs.deploy by {actor()}",
        report_uri=version.report_uri,
    )


def refitted(version: ModelVersion, policy: Policy) -> Policy:
    """The policy; with new numbers where only what they come from was edited."""
    old = version.policy
    if policy.kind != old.kind:
        raise InputError(
            f"the policy of {version.ref} is of the kind {old.kind}, however: this one is of the "
            f"kind {policy.kind}"
        )
    from spt_core.scoring import policy_outcomes  # ray, which --help does without

    exported = version.exported
    head = HEADS[find(exported.artifact.task).head]
    splits = exported.artifact.splits
    return head.refitted(policy, old, lambda: policy_outcomes(exported, load_splits(splits)))


def previous_champion(registry: Registry, name: str) -> int:
    """The champion before the present one; a version that was gone back from does not count."""
    line: list[int] = []
    for change in registry.history(name):
        if change.alias != CHAMPION:
            continue
        if change.to_version in line:
            del line[line.index(change.to_version) :]
        line.append(change.to_version)
    if len(line) < 2:
        raise NotFoundError(
            f"a rollback needs an earlier champion, however: {name} has "
            f"{'none before @' + str(line[0]) if line else 'had none'}; name one with --version"
        )
    return line[-2]


def read_policy(path: str) -> Policy:
    """The policy in a JSON file: a policy itself, or what `jobs.registry show --json` prints."""
    try:
        content: Any = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"--policy must name a JSON file, however: {path}: {error}") from error
    if isinstance(content, dict) and "policy" in content:
        content = content["policy"]
    if not isinstance(content, dict):
        raise InputError(f"a policy must be a JSON object, however: {path} holds something else")
    return policy_from_json(content)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.deploy",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="INDUSTRY/TASK")
    parser.add_argument("--name", metavar="MODEL_NAME", default="default")
    parser.add_argument(
        "--variant",
        metavar="TARGET",
        help="the version's model for a deployment target, such as edge (jobs.distill --targets)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version", metavar="N|ALIAS", help="a version or an alias (default: the latest version)"
    )
    which.add_argument("--rollback", action="store_true", help="the champion before this one")
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="a JSON policy: deploy it with that version's model, as a new version",
    )
    parser.add_argument(
        "--replicas",
        metavar="N|MIN..MAX",
        help="so many, or by load and latency target (default: as there are, SPT_REPLICAS, one)",
    )
    parser.add_argument("--once", action="store_true", help="end after one answer, do not serve")
    parser.add_argument("--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    call(main)
