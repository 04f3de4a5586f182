"""A retraining as a job of a real cluster, as far as the ledger goes: claim, work, beat, finish.

Its lock shows whether two of one id ever work at the same time.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import sys
import time
from pathlib import Path

from spt_core.continuous.ledger import Ledger
from spt_core.errors import ConflictError
from tests.chaos.ledger.world import Jobs, sha

CLAIM_TTL_S, LONGEST_WORK_S = 4.0, 2.0


def main() -> int:
    """0 when the result is stored, 1 when the ledger refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submission-id", required=True)
    parser.add_argument("--storage", required=True, help="the world's folder")
    args = parser.parse_args()
    folder, name = Path(args.storage), args.submission_id
    ledger, jobs = Ledger((folder / "url").read_text()), Jobs(folder / "jobs.log")
    jobs.record("start", name)
    try:
        claim = ledger.claim_run(name, ttl_s=CLAIM_TTL_S)
        lock = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            jobs.record("overlap", name)
        end = time.monotonic() + random.uniform(0.0, LONGEST_WORK_S)
        while time.monotonic() < end:
            ledger.beat(claim)
            time.sleep(0.2)
        ledger.finish_run(claim, f"file:///results/{name}", sha(name))
    except ConflictError as error:
        jobs.record("refused", name, why=str(error))
        return 1
    jobs.record("work", name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
