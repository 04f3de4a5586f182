"""Give, list, rotate and revoke API keys: python -m jobs.keys bootstrap | issue | list | ...

The first admin is made by `bootstrap`, which works once. From then on this, principals, aliases and
deployments need a key in SPT_API_KEY (or in the file that SPT_API_KEY_FILE names, mode 0600), and
each change and each refusal leaves an audit entry. A key is shown once; its SHA-256 is kept.
Replicas see a change within 5 seconds, without a restart.
"""

from __future__ import annotations

import argparse
import collections
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cluster.settings import Settings, actor, api_key, load_settings
from jobs.access import entitled
from jobs.console import Screen
from jobs.exits import run as call
from spt_core.access import EVERY_TASK, MEANING, ROLES, Key, covers, digest, id_of
from spt_core.continuous.ledger import Ledger
from spt_core.continuous.ledger.audit import stamp
from spt_core.errors import ForbiddenError, InputError, NotFoundError, nearest
from spt_core.task import all_tasks

NUM_REFUSED = 50
_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_EPILOG = """\
examples:
  python -m jobs.keys bootstrap ada                                  the first admin, once
  export SPT_API_KEY=...                                             what that printed
  python -m jobs.keys issue web-shop --role client --task financial_services/fraud_detection \\
      --expires 90d --requests-per-s 200
  python -m jobs.keys issue olga --role operator
  python -m jobs.keys rotate 5f1c09ab12cd --overlap 24h              by its holder, or an admin
  python -m jobs.keys revoke 5f1c09ab12cd"""


class Desk(NamedTuple):
    """One call: where things are kept, and what was asked."""

    settings: Settings
    ledger: Ledger
    screen: Screen
    args: argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    args = _parser().parse_args(arguments)
    settings = load_settings(storage=args.storage)
    desk = Desk(settings, Ledger(settings.database_url), Screen(as_json=args.json), args)
    _COMMANDS[args.command](desk)
    return 0


def _bootstrap(desk: Desk) -> None:
    text = desk.ledger.bootstrap(desk.args.name, actor=actor())
    _shown(desk, text)


def _issue(desk: Desk) -> None:
    args = desk.args
    by = entitled(desk.settings, "admin", "giving a key")
    _require_bootstrap(desk)
    expires_s = None if args.expires is None else time.time() + seconds(args.expires)
    tasks = [checked_task(text) for text in args.task or [EVERY_TASK]]
    if args.name not in {principal.name for principal in desk.ledger.principals()}:
        desk.ledger.name_principal(args.name, args.role, actor=by)
    text = desk.ledger.issue_key(
        args.name,
        roles=args.role,
        actor=by,
        tasks=tasks,
        expires_s=expires_s,
        requests_per_s=args.requests_per_s,
    )
    _shown(desk, text)


def _list(desk: Desk) -> None:
    now_s, keys = time.time(), desk.ledger.api_keys()
    rows = [
        [
            key.key_id,
            key.principal,
            ", ".join(key.roles) or "-",
            ", ".join(key.tasks),
            "-" if key.requests_per_s is None else f"{key.requests_per_s:g}/s",
            "-" if key.expires_s is None else stamp(key.expires_s),
            key.state(now_s),
        ]
        for key in keys
    ]
    header = ["key", "principal", "roles", "tasks", "limit", "ends", "state"]
    desk.screen.table(f"{len(keys)} keys", header, rows)
    desk.screen.result({"keys": [_content(key, now_s) for key in keys]}, "")


def _revoke(desk: Desk) -> None:
    by = entitled(desk.settings, "admin", "revoking a key")
    was_open = desk.ledger.revoke_key(desk.args.key_id, actor=by)
    text = "revoked" if was_open else "was revoked before"
    content = {"key_id": desk.args.key_id, "revoked_before": not was_open}
    desk.screen.result(content, f"{desk.args.key_id}: {text}")


def _rotate(desk: Desk) -> None:
    args, shown = desk.args, api_key()
    own = None if shown is None else desk.ledger.holder(shown)
    if own is not None and own.key_id == args.key_id:
        by = own.principal  # whoever holds a key may put another in its place, for the same
    else:
        by = entitled(desk.settings, "admin", "rotating another's key")
    text = desk.ledger.rotate_key(
        args.key_id,
        actor=by,
        overlap_s=seconds(args.overlap),
        expires_s=None if args.expires is None else time.time() + seconds(args.expires),
    )
    _shown(desk, text)


def _refused(desk: Desk) -> None:
    """The latest entries of the audit log about refusals, newest last."""
    entries = collections.deque(
        (entry for entry in desk.ledger.audit() if entry.event == "access.refused"), NUM_REFUSED
    )
    columns = ("by", "who", "address", "method", "path", "deed", "status", "why")
    rows = [
        [entry.at, *(str(entry.body.get(name) or "-") for name in columns)] for entry in entries
    ]
    desk.screen.table(f"{len(rows)} refusals", ["at", *columns], rows)
    content = [{"at": entry.at, "actor": entry.actor, **entry.body} for entry in entries]
    desk.screen.result({"refused": content}, "")


_COMMANDS: Mapping[str, Callable[[Desk], None]] = {
    "bootstrap": _bootstrap,
    "issue": _issue,
    "list": _list,
    "revoke": _revoke,
    "rotate": _rotate,
    "refused": _refused,
}


def checked_task(text: str) -> str:
    """INDUSTRY, INDUSTRY/TASK or INDUSTRY/TASK/MODEL_NAME of a task that exists, or EVERY_TASK."""
    paths = all_tasks()
    if text == EVERY_TASK or covers(paths, text) or any(covers([text], path) for path in paths):
        return text
    names = {*paths, *(path.partition("/")[0] for path in paths)}
    raise NotFoundError(f"there is no task or industry {text!r}; {nearest(text, names)}")


def seconds(text: str) -> float:
    """The seconds of a duration such as 90d, 24h, 30min or 45s."""
    match = re.fullmatch(r"(\d{1,6})(s|min|h|d)", text)
    if match is None:
        raise InputError(
            f"a duration must be a number with s, min, h or d, such as 90d, however: {text!r}"
        )
    return float(int(match[1]) * _UNITS_S[match[2]])


def _require_bootstrap(desk: Desk) -> None:
    if not desk.ledger.api_keys():
        raise ForbiddenError(
            "an admin gives keys, however: there is none yet; "
            "`python -m jobs.keys bootstrap NAME` makes the first"
        )


def _shown(desk: Desk, text: str) -> None:
    key = desk.ledger.holder(text)
    desk.screen.warn("shown this once", ": for SPT_API_KEY, and as bearer token of HTTP requests")
    content = {"key": text, "key_id": id_of(digest(text))}
    if key is not None:
        content |= {"principal": key.principal, "roles": list(key.roles), "tasks": list(key.tasks)}
    desk.screen.result(content, text)


def _content(key: Key, now_s: float) -> dict[str, Any]:
    from spt_core.continuous.ledger.keys import described

    return {**described(key), "state": key.state(now_s)}


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage")
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    parser = argparse.ArgumentParser(
        prog="python -m jobs.keys",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[shared])

    roles = "; ".join(f"{role}: {MEANING[role]}" for role in ROLES)
    bootstrap = command("bootstrap", "the first admin's key; works once")
    bootstrap.add_argument("name", metavar="NAME")
    issue = command("issue", "a new key of a principal, who is named if he is new (role admin)")
    issue.add_argument("name", metavar="NAME")
    issue.add_argument(
        "--role", action="append", choices=ROLES, required=True, help=f"may be repeated. {roles}"
    )
    issue.add_argument(
        "--task",
        action="append",
        metavar="INDUSTRY[/TASK[/MODEL_NAME]]",
        help="what it may ask or change; may be repeated (default: every task)",
    )
    issue.add_argument("--expires", metavar="DURATION", help="such as 90d (default: never)")
    issue.add_argument(
        "--requests-per-s", type=float, metavar="N", help="of one replica (default: no limit)"
    )
    command("refused", f"the last {NUM_REFUSED} refusals: who, what, when, why; never a key")
    command("list", "all keys: whose, what for, until when; never their text")
    revoke = command("revoke", "end a key (role admin)")
    revoke.add_argument("key_id", metavar="KEY_ID")
    rotate = command("rotate", "another key for the same; by its holder, or with the role admin")
    rotate.add_argument("key_id", metavar="KEY_ID")
    rotate.add_argument(
        "--overlap", metavar="DURATION", default="24h", help="how long the old one works on (24h)"
    )
    rotate.add_argument("--expires", metavar="DURATION", help="of the new one (default: never)")
    return parser


if __name__ == "__main__":
    call(main)
