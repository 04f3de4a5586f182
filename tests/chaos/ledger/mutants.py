"""Faults put into the ledger on purpose; each must be seen by one of the checks.

python -m tests.chaos.ledger.mutants              try them all
python -m tests.chaos.ledger.mutants NAME         exit code 1 when the check sees it, 0 when not

A mutant replaces text in one module before it is imported, in a process of its own.
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]
LEDGER = "spt_core.continuous.ledger"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
    """A module's text and what it is replaced by; `check` is what must see it.

    `bytecode` tells the story from every disk that a kill leaves; anything else selects unit tests.
    """

    module: str
    old: str
    new: str
    check: str = "bytecode"


_VALIDATORS = "    sources.save_polling(tx, before, [result.source for result in results])\n"
_FRESH = "    fresh = [item for result in results for item in _store(tx, result)]\n"
MUTANTS: Mapping[str, Mutant] = {
    "validators_before_items": Mutant(
        module="ingest",
        old=_FRESH + _VALIDATORS,
        new=_VALIDATORS
        + '    tx.connection.exec_driver_sql("COMMIT")\n'
        + '    tx.connection.exec_driver_sql("BEGIN IMMEDIATE")\n'
        + _FRESH,
    ),
    "validators_without_items": Mutant(
        module="ingest",
        old="        tx.connection.execute(sa.insert(ITEM), [item.to_json() for item in fresh])\n",
        new="        pass\n",
    ),
    "items_committed_before_the_trigger": Mutant(
        module="ingest",
        old="    begun = evaluate(tx, {item.bucket for item in fresh if item.bucket}, decide)\n",
        new='    tx.connection.exec_driver_sql("COMMIT")\n'
        '    tx.connection.exec_driver_sql("BEGIN IMMEDIATE")\n'
        "    begun = evaluate(tx, {item.bucket for item in fresh if item.bucket}, decide)\n",
        check="a_trigger_that_fails_leaves_nothing",
    ),
    "revisions_ignored": Mutant(
        module="ingest",
        old="        if content_sha != item.content_sha:\n",
        new="        if not content_sha:\n",
    ),
    "items_not_assigned": Mutant(
        module="ingest",
        old="    _assign(tx, begun.retrain_id, trigger.items)\n",
        new="",
    ),
    "random_submission_id": Mutant(
        module="drive",
        old="        jobs.submit(entry.key, dict(entry.payload))\n",
        new='        jobs.submit(f"{entry.key}-{id(entry)}", dict(entry.payload))\n',
    ),
    "submission_id_by_the_clock": Mutant(
        module="retrain",
        old="    submission = submission_id(now.bucket, now.seq, attempt, manifest_sha)\n",
        new="    submission = submission_id(now.bucket, now.seq, attempt, str(tx.now_s))\n",
        check="the_submission_id_says_what_is_submitted",
    ),
    "an_existing_job_is_an_error": Mutant(
        module="drive",
        old='        return "" if is_submitted else _short(error)\n',
        new="        return _short(error)\n",
    ),
    "no_outbox_for_the_submission": Mutant(
        module="retrain",
        old="        outbox.enqueue(tx, SUBMIT, submission, payload)\n",
        new="",
    ),
    "effect_done_before_it_is_made": Mutant(
        module="outbox",
        old='        values = {"tries": tries, "epoch": tx.epoch,',
        new='        values = {"done_at": tx.now_s, "tries": tries, "epoch": tx.epoch,',
    ),
    "no_fence_at_all": Mutant(
        module="transaction",
        old="    if changed.rowcount != 1:\n",
        new="    if False:\n",
        check="leader",
    ),
    "no_fence_on_deployed": Mutant(
        module="ledger",
        old="        with self._leading(fence) as tx:\n            return retrain.deployed(",
        new="        with self._writing(fence.owner) as tx:\n            return retrain.deployed(",
        check="leader",
    ),
    "no_fence_on_ingest": Mutant(
        module="ledger",
        old="        with self._leading(fence) as tx:\n            return ingest.ingest(",
        new="        with self._writing(fence.owner) as tx:\n            return ingest.ingest(",
        check="leader",
    ),
    "a_lease_that_ran_out_counts": Mutant(
        module="transaction",
        old="        LEASE.c.expires_s > now_s,\n",
        new="",
        check="leader",
    ),
    "epoch_not_compared": Mutant(
        module="transaction",
        old="        LEASE.c.epoch == fence.epoch,\n",
        new="",
        check="leader",
    ),
    "promotion_without_compare_and_set": Mutant(
        module="retrain",
        old="        bucket.require_champion(tx.connection, now, now.champion_before)\n",
        new="",
        check="champion",
    ),
    "deployment_without_read_back": Mutant(
        module="retrain",
        old="        bucket.require_champion(tx.connection, now, now.candidate_version)\n",
        new="        pass\n",
        check="champion",
    ),
    "transitions_not_checked": Mutant(
        module="retrain",
        old="    if to not in TRANSITIONS[now.state] or (only and now.state not in only):\n",
        new="    if False:\n",
        check="transition",
    ),
    "transitions_repeat": Mutant(
        module="retrain",
        old="    if repeated(tx.connection, now.retrain_id, to, key):\n        return False\n",
        new="",
        check="transition",
    ),
    "a_second_claimer_is_let_in": Mutant(
        module="claim",
        old="    if claim is not None and claim.expires > tx.now_s and claim.host != host:\n",
        new="    if False:\n",
        check="claim",
    ),
    "a_finished_run_may_run_again": Mutant(
        module="claim",
        old="    if claim is not None and claim.result_uri:\n",
        new="    if False:\n",
        check="claim",
    ),
    "a_run_at_work_counts_as_failed": Mutant(
        module="claim",
        old="    if claim is not None and claim.expires > tx.now_s:\n        raise ConflictError(\n"
        '            f"a run must be over',
        new='    if False:\n        raise ConflictError(\n            f"a run must be over',
        check="claim",
    ),
    "an_approval_is_for_any_candidate": Mutant(
        module="review",
        old="    if not candidate_sha or now.candidate_sha != candidate_sha:\n",
        new="    if False:\n",
        check="approv",
    ),
    "who_triggered_may_approve": Mutant(
        module="review",
        old="    if did:\n",
        new="    if False:\n",
        check="approv",
    ),
    "a_timeout_promotes": Mutant(
        module="review",
        old="        retrain.reject(tx, now, key=key, body={",
        new='        retrain.promote(tx, now, key=key, only="NEEDS_REVIEW", body={',
        check="in_time",
    ),
    "a_rollback_freezes_nothing": Mutant(
        module="retrain",
        old="        bucket.freeze(tx, now,",
        new='        str.format("", tx, now,',
        check="frozen",
    ),
    "the_chain_is_not_linked": Mutant(
        module="audit",
        old='        "prev": prev.hash,\n',
        new='        "prev": NO_ENTRY.hash,\n',
    ),
    "verify_trusts_the_hashes": Mutant(
        module="audit",
        old='    if row["hash"] != _hash({name: row[name] for name in row if name != "hash"}):\n',
        new="    if False:\n",
        check="audit",
    ),
    "a_key_is_compared_with_itself": Mutant(
        module="principals",
        old="    if held is None or held.principal != name:\n",
        new="    if held is None:\n",
        check="principal",
    ),
    "a_revoked_key_opens": Mutant(
        module="keys",
        old='    if not same or key.state(now_s) != "valid":\n',
        new="    if not same:\n",
        check="key",
    ),
    "a_key_keeps_roles_that_its_principal_lost": Mutant(
        module="keys",
        old="    still = roles.get(key.principal, ())\n",
        new="    still = key.roles\n",
        check="key",
    ),
}


class Mutation(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module from changed text."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = f"{LEDGER}.{mutant.module}"
        self.path = ROOT / f"{self.name.replace('.', '/')}.py"
        text = self.path.read_text()
        if text.count(mutant.old) != 1:
            raise AssertionError(f"{mutant.old!r} must be once in {self.name}, however: it is not")
        self.text = text.replace(mutant.old, mutant.new)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str) -> bytes:
        if path.endswith(".pyc"):
            raise OSError("the changed text has no bytecode of its own")
        return self.text.encode()


def is_seen(name: str) -> bool:
    """Whether the mutant's check fails on it, in a process of its own."""
    command = [sys.executable, "-m", "tests.chaos.ledger.mutants", name]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if ended.returncode not in (0, 1):
        raise AssertionError(
            f"{name} could not be tried: {ended.stdout[-800:]}{ended.stderr[-800:]}"
        )
    return ended.returncode == 1


def try_one(mutant: Mutant | None, check: str) -> int:
    """1 when the check fails on the mutant (None: on the ledger as it is), else 0."""
    if mutant is not None:
        sys.meta_path.insert(0, Mutation(mutant))
    if check == "bytecode":
        from tests.chaos.ledger import bytecode_kills  # only now: it imports the ledger

        return bytecode_kills.main(["--stop"])
    import pytest

    arguments = ["-q", "-x", "-p", "no:cacheprovider", "-m", "slow or not slow", "-k", check]
    code = pytest.main([*arguments, str(ROOT / "tests" / "unit" / "continuous" / "ledger")])
    return {0: 0, 1: 1}.get(int(code), 3)


def main() -> int:
    """Try the named mutant, or print what became of all."""
    if len(sys.argv) > 1:
        mutant = MUTANTS[sys.argv[1]]
        return try_one(mutant, mutant.check)
    started = time.monotonic()
    missed = []
    for name, mutant in MUTANTS.items():
        seen = is_seen(name)
        missed += [] if seen else [name]
        print(f"{'seen' if seen else 'NOT SEEN':9}{name} ({mutant.check})", flush=True)  # noqa: T201
    print(f"{len(MUTANTS)} mutants, {len(missed)} not seen, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
