"""Brings the job system to where the ledger wants it, and the ledger to what the jobs have done.

outbox -> submit (at least once, one id) -> SUBMITTED -> claim's result -> TRAINED, or FAILED

`drive` is one pass, the same at the start and ever after: whatever an earlier leader had begun is
found again in the outbox, in the claims, and by asking the job system.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol

from spt_core.continuous.ledger.ledger import Ledger
from spt_core.continuous.ledger.retrain import SUBMIT
from spt_core.continuous.ledger.transaction import Fence
from spt_core.continuous.ledger.values import OutboxEntry, Retrain
from spt_core.errors import ConflictError, FencedError

JobStatus = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
MAX_ATTEMPTS = 3


class JobApi(Protocol):
    """A job system, such as Ray's. Any exception means that the outcome is not known.

    `submit` may be repeated with an id: one that exists must not be started again. `status` is None
    for an id that the system does not know.
    """

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        """Start the job, or raise; an id that exists raises too."""
        ...

    def status(self, submission_id: str) -> JobStatus | None:
        """Where the job stands; raises when the system cannot be asked."""
        ...

    def cause(self, submission_id: str) -> str:
        """Why a job that ended has no result, in its own words; "" where it says nothing."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Driven:
    """What one pass moved: submissions that were accepted, trained, failed, and errors to retry."""

    submitted: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def drive(
    ledger: Ledger, fence: Fence, jobs: JobApi, *, max_attempts: int = MAX_ATTEMPTS
) -> Driven:
    """One pass over the outbox and the jobs under way; FencedError when we lead no more."""
    accepted, errors = _submit_all(ledger, fence, jobs)
    trained: list[str] = []
    failed: list[str] = []
    for retrain in ledger.retrains(state="SUBMITTED"):
        try:
            end = _follow(ledger, fence, jobs, retrain)
        except (FencedError, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001  the job system's, whatever it is: next pass
            errors.append(f"{retrain.submission_id}: {_short(error)}")
            continue
        if end == "TRAINED":
            trained.append(retrain.submission_id or "")
        elif end == "FAILED":
            failed.append(retrain.submission_id or "")
    _try_again(ledger, fence, max_attempts)
    return Driven(
        submitted=tuple(accepted),
        trained=tuple(trained),
        failed=tuple(failed),
        errors=tuple(errors),
    )


def _submit_all(ledger: Ledger, fence: Fence, jobs: JobApi) -> tuple[list[str], list[str]]:
    accepted: list[str] = []
    errors: list[str] = []
    for entry in ledger.claim_effects(fence, [SUBMIT]):
        error = _submit(ledger, fence, jobs, entry)
        if error:
            ledger.effect_failed(fence, entry, error)
            errors.append(f"{entry.key}: {error}")
        elif _is_present(ledger, entry):
            ledger.submitted(fence, entry.key)
            accepted.append(entry.key)
        else:
            ledger.effect_done(fence, entry)
    return accepted, errors


def _submit(ledger: Ledger, fence: Fence, jobs: JobApi, entry: OutboxEntry) -> str:
    """Submit, unless a run has shown that it was; "" when the job system has it."""
    if not _is_present(ledger, entry) or _has_run(ledger, entry.key):
        return ""
    ledger.check(fence)
    try:
        jobs.submit(entry.key, dict(entry.payload))
    except Exception as error:  # noqa: BLE001  Ray has no error of its own for an id that exists
        try:
            is_submitted = jobs.status(entry.key) is not None
        except Exception as unknown:  # noqa: BLE001
            return f"{_short(error)}; then {_short(unknown)}"
        return "" if is_submitted else _short(error)
    return ""


def _follow(ledger: Ledger, fence: Fence, jobs: JobApi, retrain: Retrain) -> str:
    """The state that a submitted run has come to."""
    submission = retrain.submission_id or ""
    claim = ledger.run_claim(submission)
    if claim is not None and claim.result_uri:
        ledger.trained(fence, submission)
        return "TRAINED"
    status = jobs.status(submission)
    if status in ("PENDING", "RUNNING"):
        return "SUBMITTED"
    try:
        if status is None:
            ledger.resubmit(fence, submission)
            return "SUBMITTED"
        said = jobs.cause(submission)
        reason = f"the job ended as {status} without a result"
        ledger.failed(fence, submission, f"{reason}: {said[:300]}" if said else reason)
    except FencedError:
        raise
    except ConflictError:  # a live claim, or a result that came meanwhile: ask again next time
        return "SUBMITTED"
    return "FAILED"


def _try_again(ledger: Ledger, fence: Fence, max_attempts: int) -> None:
    for retrain in ledger.retrains(state="FAILED"):
        if retrain.attempt < max_attempts and not ledger.obstacle(retrain.bucket):
            try:
                ledger.queue_again(fence, retrain.retrain_id, f"attempt {retrain.attempt} failed")
            except FencedError:
                raise
            except ConflictError:  # a person was quicker
                continue


def _is_present(ledger: Ledger, entry: OutboxEntry) -> bool:
    """Whether the entry is for its retraining's present attempt."""
    retrain = ledger.retrain(str(entry.payload["retrain_id"]))
    return retrain.submission_id == entry.key and retrain.state in ("QUEUED", "SUBMITTED")


def _has_run(ledger: Ledger, submission: str) -> bool:
    claim = ledger.run_claim(submission)
    return claim is not None and bool(claim.result_uri)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:300]}"
