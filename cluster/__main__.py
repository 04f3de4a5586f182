"""A Ray of this machine that stays: python -m cluster up | down | status

`up` starts a head with its dashboard, and returns. From then on every job of this machine with the
same SPT_HTTP_PORT joins it without being told: `make run` trains there, deploys, and returns, while
the service stays up; `python -m jobs.deploy` from any terminal changes it without a restart.
RAY_ADDRESS, where it is set, names another cluster and wins. `down` ends what `up` has started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.settings import load_settings, service_port
from spt_core.errors import InputError, SptError

_EPILOG = """\
examples:
  python -m cluster up                              # all processors of this machine
  make run; python -m jobs.deploy INDUSTRY/TASK --policy p.json
  python -m cluster status
  python -m cluster down

several machines (each has this checkout and Python, and the storage is shared):
  python -m cluster up --host 10.0.0.1              # prints the line for the others
  RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=COPY_OF_THE_TOKEN \\
      python -m cluster up --address 10.0.0.1:8004 --host 10.0.0.2
Jobs then use the processors of all; the service stays on the first, on its loopback."""
USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 1 for `status` where nothing runs or something is wrong."""
    args = _parser().parse_args(arguments)
    return {"up": _up, "down": _down, "status": _status}[args.verb](args)


def _up(args: argparse.Namespace) -> int:
    # Ray takes a second, which --help need not wait for.
    from cluster.local import Plan, down, join, up
    from cluster.state import recorded

    plan = Plan(
        num_cpus=args.cpus or max(os.cpu_count() or 2, 2),
        num_gpus=args.gpus,
        num_workers=args.workers,
        host=args.host,
    )
    if args.address is not None:
        if args.host == "127.0.0.1":
            raise InputError("a node must say where others reach it, however: --host is not given")
        state = join(load_settings(storage=args.storage), args.address, plan)
        _say(args, {"address": state.address}, f"this machine is a node of {state.address}")
        return 0
    state = recorded(service_port())
    if state is not None and state.trouble:
        down(service_port())
        sys.stderr.write(f"cleared what was left of an earlier cluster: {state.trouble}\n")
    settings = load_settings(storage=args.storage)
    state = up(settings, plan)
    token = _token_line(state.host, state.address, settings.http_port)
    _say(
        args,
        {"address": state.address, "dashboard": state.dashboard, "storage": state.storage},
        f"the cluster of port {settings.http_port} is up: jobs of this machine join it; "
        f"`python -m cluster status` shows it\ndashboard: {state.dashboard}\n{token}".rstrip(),
    )
    return 0


def _token_line(host: str, address: str, port: int) -> str:
    if host == "127.0.0.1":
        return ""
    from cluster.state import private_folder

    return (
        f"another machine, with a copy of {private_folder(port)}/token: RAY_AUTH_MODE=token "
        f"RAY_AUTH_TOKEN_PATH=... python -m cluster up --address {address} --host ITS_ADDRESS"
    )


def _down(args: argparse.Namespace) -> int:
    from cluster.lifecycle import ray_session, stop_serve
    from cluster.local import down
    from cluster.state import recorded

    port = service_port()
    state = recorded(port)
    trouble = "" if state is None else state.trouble  # before it is ended
    if state is not None and state.kind == "cluster" and not trouble and not args.now:
        with contextlib.suppress(SptError), ray_session(load_settings(storage=state.storage)):
            stop_serve()  # requests that are under way are answered, where Ray still does
    ended = down(port)
    what = f"ended {len(ended)} processes" if ended else "nothing ran"
    why = f" ({trouble})" if trouble else ""
    _say(args, {"ended": ended}, f"{what} of port {port}{why}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from cluster.status import lines, status

    content = status(service_port())
    _say(args, content, "\n".join(lines(content)))
    return 0 if content["state"] == "runs" and not content["troubles"] else 1


def _say(args: argparse.Namespace, content: Mapping[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(content) if args.json else text) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="up | down | status", required=True)
    start = verbs.add_parser("up", help="start the cluster, or join another machine's")
    start.add_argument("--cpus", type=int, metavar="N", help="of a node (default: the machine's)")
    start.add_argument("--gpus", type=int, default=0, metavar="N", help="of a node (default: 0)")
    start.add_argument(
        "--workers", type=int, default=0, metavar="N", help="further nodes on this machine"
    )
    start.add_argument(
        "--host", default="127.0.0.1", metavar="IP", help="where other machines reach this one"
    )
    start.add_argument("--address", metavar="HOST:PORT", help="join the head there as a worker")
    start.add_argument("--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage")
    end = verbs.add_parser("down", help="end what `up` has started, and what a killed one left")
    end.add_argument("--now", action="store_true", help="do not wait for requests under way")
    look = verbs.add_parser("status", help="nodes, models, ports, and what is wrong")
    for verb in (start, end, look):
        verb.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SptError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(130)
