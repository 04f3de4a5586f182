"""Decide on retrained models: python -m jobs.review list | show ID | approve ID CANDIDATE ...

An approval is for one candidate: name it by its sha as `show` prints it (eight characters do).
Whoever triggered the run, or edited its labels or configuration, cannot approve it. A run that
failed or cannot be judged is given another try or is discarded, and so is one that is held. All of
this, labels and configurations are a principal's: his key is in SPT_API_KEY (jobs.keys gives them).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from cluster.settings import Settings, actor, api_key, load_settings
from jobs.access import entitled
from jobs.console import Screen
from jobs.exits import run as call
from spt_core.access import ROLES
from spt_core.continuous.gate import gate_config
from spt_core.continuous.ledger import Decision, ItemRef, Ledger, Principal, RetrainState
from spt_core.continuous.retraining import retrain_config, task_of
from spt_core.continuous.review import (
    authenticated,
    explained,
    hold_until,
    listed,
    page,
    require_role,
)
from spt_core.data.labels import Context, read_label, rule_of
from spt_core.errors import ForbiddenError, InputError
from spt_core.registry import Registry

SHORT_SHA = 8
_EPILOG = """\
examples:
  python -m jobs.keys issue rita --role reviewer                prints her key, once
  export SPT_API_KEY=...                                        the key
  python -m jobs.review list
  python -m jobs.review show technology.security_analysis-3
  python -m jobs.review approve technology.security_analysis-3 5f1c09ab --reason "looks right" \\
      --not-before 2027-01-31
  python -m jobs.review retry technology.security_analysis-3 --reason "there is memory now"
  python -m jobs.review discard technology.security_analysis-4 --reason "one source's flood"
  python -m jobs.review label cert ITEM_KEY T1055
  python -m jobs.review configure technology.security_analysis '{"gate": {"max_churn": 0.2}}'"""


class Desk(NamedTuple):
    """One call: where things are kept, and what was asked."""

    settings: Settings
    ledger: Ledger
    screen: Screen
    args: argparse.Namespace

    @property
    def principal(self) -> Principal:
        """Who holds the credential in SPT_API_KEY."""
        shown = api_key()
        if shown is None:
            raise ForbiddenError(
                "this needs a principal's credential in SPT_API_KEY, however: it is not set; "
                "see `python -m jobs.keys`"
            )
        return authenticated(self.ledger, shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    args = _parser().parse_args(arguments)
    settings = load_settings(storage=args.storage)
    desk = Desk(settings, Ledger(settings.database_url), Screen(as_json=args.json), args)
    try:
        _COMMANDS[args.command](desk)
    except ForbiddenError as error:
        if args.command != "principals":  # which has noted it
            body = {"by": "command line", "deed": f"review {args.command}", "why": str(error)}
            desk.ledger.note("access.refused", body, actor=actor())
        raise
    return 0


def _list(desk: Desk) -> None:
    reviews = listed(desk.ledger, None if desk.args.state == "any" else desk.args.state)
    rows = [
        [
            one["retrain_id"],
            one["state"],
            f"{one['candidate_version']} {one['candidate_sha'][:SHORT_SHA]}",
            one["champion_before"],
            one["deadline"] or "-",
        ]
        for one in reviews
    ]
    header = ["retraining", "state", "candidate", "against", "until"]
    desk.screen.table(f"{len(reviews)} retrainings", header, rows)
    desk.screen.result({"reviews": reviews}, "")


def _show(desk: Desk) -> None:
    registry = Registry(desk.settings.database_url)
    content = page(desk.ledger, registry, desk.args.retrain_id)
    desk.screen.result(content, "\n".join(described(content)))


def described(content: Mapping[str, Any]) -> list[str]:
    """The page of a candidate as lines for a terminal."""
    lines = [
        f"{content['retrain_id']}: {content['state']}, because {content['reason']}",
        f"candidate {content['candidate_version']}, sha {content['candidate_sha']}",
        f"against {content['champion_before'] or 'no champion'}; decide until "
        f"{content['deadline'] or '-'}",
    ]
    if content["held_until"]:
        lines.append(f"approved; its roll-out is held until {content['held_until']}")
    ended = content["discarded"]
    if ended:
        lines.append(f"{ended['at']} {ended['by']}: discarded, {ended['reason']}")
    lines += [f"  ! {reason}" for reason in content["verdict"].get("reasons", ())]
    evaluation = content["evaluation"]
    for one in evaluation.get("sets", ()):
        lines.append(
            f"{evaluation['metric']} on {one['name']} ({one['num_rows']:,} rows): "
            f"{_figure(one['champion'])} to {_figure(one['candidate'])}, difference "
            f"{_figure(one['difference'])}; {one['churn']:.1%} of the answers changed"
        )
        lines += [
            f"  {part['slice']} ({part['num_rows']:,} rows): {part['champion']:.4f} to "
            f"{part['candidate']:.4f}"
            for part in one["slices"]
        ]
    lines += [
        f"  {one['champion']} -> {one['candidate']} (true {one['true']}): "
        f"{str(one.get('record', one.get('text')))[:100]}"
        for one in evaluation.get("examples", ())
    ]
    golden = content["golden"]
    lines.append(f"golden records: {golden['num_wrong']} of {golden['num_records']} wrong")
    lines.append(f"publications ({len(content['publications'])}):")
    for one in content["publications"]:
        lines.append(
            f"  {one['detected_at'][:10]} {one['source_id']}: {one['title']} {one['url']}"
            f" [{one['label_source'] or 'no person'}: {one['label'] or '-'}]"
        )
        lines.append(f"    {_score(one)}")
    lines += [
        f"  takes effect {one['date']}: {one['phrase']!r}" for one in content["effective_dates"]
    ]
    lines += [f"lineage: {one['uri']}" for one in content["lineage"]]
    for name, did in content["cannot_approve"].items():
        lines.append(f"{name} cannot approve it: {name} {' and '.join(did)}")
    lines += [
        f"{one['at']} {one['reviewer']}: {one['decision']}, {one['reason']}"
        for one in content["decisions"]
    ]
    return lines


def _score(one: Mapping[str, Any]) -> str:
    needed = one["explanation"].get("needed")
    why = ", ".join(explained(one["explanation"])) or "no explanation is kept"
    return f"score {one['score']:g}{'' if needed is None else f' of {needed:g}'}: {why}"


def _figure(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


def _approve(desk: Desk) -> None:
    _decide(desk, "approve", hold_until(desk.args.not_before))


def _reject(desk: Desk) -> None:
    _decide(desk, "reject", 0.0)


def _decide(desk: Desk, decision: Decision, not_before: float) -> None:
    principal, args = desk.principal, desk.args
    if len(args.candidate) < SHORT_SHA:
        raise InputError(
            f"a candidate is named by {SHORT_SHA} or more characters of its sha, however: "
            f"{args.candidate!r}"
        )
    retrain = desk.ledger.retrain(args.retrain_id)
    require_role(principal, "reviewer", retrain.bucket)
    present = retrain.candidate_sha
    candidate = present if present.startswith(args.candidate) else args.candidate
    moved = desk.ledger.decide(
        args.retrain_id,
        candidate,
        decision,
        reviewer=principal,
        reason=args.reason,
        not_before=not_before,
    )
    state = desk.ledger.retrain(args.retrain_id).state
    content = {"retrain_id": args.retrain_id, "state": state, "decided_before": not moved}
    again = "" if moved else " (so decided before)"
    desk.screen.result(content, f"{args.retrain_id} is {state}{again}")


def _retry(desk: Desk) -> None:
    principal, args = desk.principal, desk.args
    require_role(principal, "operator", desk.ledger.retrain(args.retrain_id).bucket)
    desk.ledger.try_again(args.retrain_id, args.reason, actor=principal.name)
    begun = desk.ledger.retrain(args.retrain_id)
    desk.screen.result(
        {"retrain_id": begun.retrain_id, "state": begun.state, "attempt": begun.attempt},
        f"{begun.retrain_id} is {begun.state}, attempt {begun.attempt}; the watcher submits it",
    )


def _discard(desk: Desk) -> None:
    principal, args = desk.principal, desk.args
    require_role(principal, "operator", desk.ledger.retrain(args.retrain_id).bucket)
    moved = desk.ledger.discard(args.retrain_id, args.reason, actor=principal.name)
    state = desk.ledger.retrain(args.retrain_id).state
    again = "" if moved else " (so discarded before)"
    desk.screen.result(
        {"retrain_id": args.retrain_id, "state": state, "discarded_before": not moved},
        f"{args.retrain_id} is {state}{again}; its bucket is free, its publications stay with it",
    )


def _label(desk: Desk) -> None:
    principal, args = desk.principal, desk.args
    require_role(principal, "operator")
    revisions = desk.ledger.items(source_id=args.source_id, item_key=args.item_key)
    if not revisions:
        raise InputError(
            f"an item must exist to be labeled, however: {args.source_id!r} has no "
            f"{args.item_key!r}"
        )
    latest = max(revisions, key=lambda item: item.rev)
    require_role(principal, "operator", latest.bucket)
    task = task_of(latest.bucket)
    try:
        label = read_label(args.label, rule_of(task), Context(None, None))
    except InputError as error:
        raise InputError(f"a label of {task.path} must {error}") from error
    desk.ledger.label(
        ItemRef(latest.source_id, latest.item_key, latest.rev), label, actor=principal.name
    )
    content = {"item": list(latest.ref), "label": label, "by": principal.name}
    desk.screen.result(content, f"{latest.title or latest.item_key}: {label}")


def _configure(desk: Desk) -> None:
    principal, args = desk.principal, desk.args
    require_role(principal, "operator", args.bucket)
    task_of(args.bucket)
    try:
        given = json.loads(args.body)
    except ValueError as error:
        raise InputError(f"a configuration must be JSON, however: {error}") from error
    if not isinstance(given, dict):
        raise InputError("a configuration must be a JSON object, however: it is not")
    retrain_config(given.get("retraining", {}))
    gate_config(given.get("gate", {}))
    body = {**desk.ledger.configuration(args.bucket), **given}
    desk.ledger.configured(args.bucket, body, actor=principal.name)
    desk.screen.result({"bucket": args.bucket, "configuration": body}, json.dumps(body, indent=1))


def _thaw(desk: Desk) -> None:
    principal = desk.principal
    require_role(principal, "admin", desk.args.bucket)
    thawed = desk.ledger.thaw(desk.args.bucket, desk.args.reason, admin=principal)
    text = "thawed" if thawed else "was not frozen"
    desk.screen.result({"bucket": desk.args.bucket, "thawed": thawed}, f"{desk.args.bucket} {text}")


def _principals(desk: Desk) -> None:
    args, ledger = desk.args, desk.ledger
    if args.action == "list":
        principals = ledger.principals()
        desk.screen.table(
            "Principals",
            ["name", "roles"],
            [[one.name, ", ".join(one.roles)] for one in principals],
        )
        content = [{"name": one.name, "roles": list(one.roles)} for one in principals]
        desk.screen.result({"principals": content}, "")
        return
    if args.name is None:
        raise InputError(f"principals {args.action} needs a name, however: there is none")
    if args.action == "revoke":
        by = entitled(desk.settings, "admin", "revoking a principal")
        removed = ledger.remove_principal(args.name, actor=by)
        text = "revoked" if removed else "there was no such principal"
        desk.screen.result({"name": args.name, "revoked": removed}, f"{args.name}: {text}")
        return
    by = entitled(desk.settings, "admin", "naming a principal")
    if not ledger.api_keys():
        raise ForbiddenError(
            "an admin names principals, however: there is none yet; "
            "`python -m jobs.keys bootstrap NAME` makes the first"
        )
    shown = ledger.add_principal(args.name, args.role, actor=by)
    desk.screen.warn("shown this once", ": for SPT_API_KEY, and as bearer token")
    desk.screen.result({"name": args.name, "roles": args.role, "credential": shown}, shown)


_COMMANDS: Mapping[str, Callable[[Desk], None]] = {
    "list": _list,
    "show": _show,
    "approve": _approve,
    "reject": _reject,
    "retry": _retry,
    "discard": _discard,
    "label": _label,
    "configure": _configure,
    "thaw": _thaw,
    "principals": _principals,
}


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage")
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    parser = argparse.ArgumentParser(
        prog="python -m jobs.review",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[shared])

    listing = command("list", "retrainings that wait for a person")
    listing.add_argument(
        "--state", choices=["any", *get_args(RetrainState)], default="NEEDS_REVIEW"
    )
    command("show", "one candidate: publications, verdict, figures, changed answers, lineage"
            ).add_argument("retrain_id", metavar="ID")  # fmt: skip
    for name, text in (
        ("approve", "promote the candidate; the roll-out follows"),
        ("reject", "end the retraining"),
    ):
        decision = command(name, text)
        decision.add_argument("retrain_id", metavar="ID")
        decision.add_argument("candidate", metavar="CANDIDATE", help="its sha, as show prints it")
        decision.add_argument("--reason", required=True, help="why, for the audit log")
        if name == "approve":
            decision.add_argument(
                "--not-before",
                metavar="DATE",
                help="roll out on this day (UTC) or later; a time may name its offset",
            )
    for name, text in (
        ("retry", "give a run that has ended another attempt (role operator)"),
        ("discard", "end a run that is held, has failed or cannot be judged (role operator)"),
    ):
        ended = command(name, text)
        ended.add_argument("retrain_id", metavar="ID")
        ended.add_argument("--reason", required=True, help="why, for the audit log")
    label = command("label", "give the latest revision of an item a label (role operator)")
    label.add_argument("source_id", metavar="SOURCE")
    label.add_argument("item_key", metavar="ITEM_KEY")
    label.add_argument("label", metavar="LABEL", help="as the task's label column has it")
    configure = command("configure", "how a bucket is retrained and judged (role operator)")
    configure.add_argument("bucket", metavar="BUCKET", help="INDUSTRY.TASK[.MODEL_NAME]")
    configure.add_argument(
        "body", metavar="JSON", help='such as {"retraining": {"mlm_steps": 0}, "gate": {}}'
    )
    thaw = command("thaw", "let a bucket that a rollback froze go on (role admin)")
    thaw.add_argument("bucket", metavar="BUCKET")
    thaw.add_argument("--reason", required=True)
    principals = command("principals", "who may decide: add, list, revoke")
    principals.add_argument("action", choices=["add", "list", "revoke"])
    principals.add_argument("name", metavar="NAME", nargs="?")
    principals.add_argument(
        "--role", action="append", choices=ROLES, default=[], help="may be repeated"
    )
    return parser


if __name__ == "__main__":
    call(main)
