"""Run a job on a cluster to its end: python -m jobs.submit --address URL --id ID -- COMMAND ...

For who starts jobs by the clock, as a CronJob does: the same id again follows the job that has it,
and ends as that one ends. A token comes by Ray's own variables (RAY_AUTH_MODE, RAY_AUTH_TOKEN).
"""

from __future__ import annotations

import argparse
import re
import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from jobs.console import Screen
from jobs.exits import run as call
from spt_core.errors import InputError, MachineError, UnavailableError

POLL_S = 5.0
AWAY_S = 300.0  # a head that dies is back by then
LOG_CHARACTERS = 4000
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")  # Ray names a file by it, and takes any other text too
_EXISTS, _UNKNOWN = "already exists", "does not exist"
_ENDS = ("SUCCEEDED", "FAILED", "STOPPED")
T = TypeVar("T")


class Jobs(Protocol):
    """What this asks of Ray's JobSubmissionClient, whose errors are RuntimeErrors without kinds."""

    def submit_job(self, *, entrypoint: str, submission_id: str) -> str:
        """Start the job, or raise; an id that exists raises too."""
        ...

    def get_job_status(self, job_id: str) -> Any:  # an enumeration of Ray's, which is a text
        """PENDING, RUNNING, or how it ended."""
        ...

    def get_job_logs(self, job_id: str) -> str:
        """All that it has printed."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit the job, or follow the one that has its id; 0 when it has succeeded."""
    args = _parser().parse_args(arguments)
    if not _ID.fullmatch(args.id):
        raise InputError(
            "a submission id must have 1 to 100 letters, digits, dots, dashes and underscores, "
            f"however: {args.id!r}"
        )
    from ray.job_submission import JobSubmissionClient  # seconds, which --help does without

    screen = Screen(as_json=args.json)
    jobs: Jobs = _patiently(lambda: JobSubmissionClient(args.address))
    is_new = submitted(jobs, args.id, shlex.join(args.command))
    screen.say(f"{args.id}: {'submitted' if is_new else 'exists, and is followed'}")
    status = end_of(jobs, args.id)
    if status != "SUCCEEDED":
        screen.say(jobs.get_job_logs(args.id)[-LOG_CHARACTERS:])
        raise MachineError(f"the job {args.id} must succeed, however: {status}; its log is above")
    screen.result({"id": args.id, "status": status}, f"{args.id}: {status}")
    return 0


def submitted(jobs: Jobs, submission_id: str, entrypoint: str) -> bool:
    """Whether the job is new; one that has the id already is left as it is."""

    def submit() -> bool:
        try:
            jobs.submit_job(entrypoint=entrypoint, submission_id=submission_id)
        except RuntimeError as error:
            if _EXISTS not in str(error):
                raise
            return False
        return True

    return _patiently(submit)


def end_of(jobs: Jobs, submission_id: str) -> str:
    """How the job ended: SUCCEEDED, FAILED or STOPPED."""
    while True:
        status = str(_patiently(lambda: jobs.get_job_status(submission_id)).value)
        if status in _ENDS:
            return status
        time.sleep(POLL_S)


def _patiently(ask: Callable[[], T]) -> T:
    """What the cluster says; a head that is away is waited for, a job that is gone is not."""
    deadline = time.monotonic() + AWAY_S
    while True:
        try:
            return ask()
        except (RuntimeError, ConnectionError) as error:
            if _UNKNOWN in str(error):
                raise MachineError(
                    f"a cluster must remember its jobs, however: {str(error)[:300]}"
                ) from error
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Ray's job API must answer within {AWAY_S:.0f} s, however: {str(error)[:300]}"
                ) from error
        time.sleep(POLL_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.submit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--address", required=True, metavar="URL", help="the dashboard, such as http://head:8265"
    )
    parser.add_argument("--id", required=True, help="one for each run that there should be")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what runs, after --")
    return parser


if __name__ == "__main__":
    call(main)
