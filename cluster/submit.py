"""Retrainings as jobs of a Ray cluster: the ledger's job interface over Ray's job API.

Ray has no error of its own for an id that exists, and never runs an id twice while its job table
lives; the ledger asks for the job's status after any error, and the job claims its id itself.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, final

from ray.job_submission import JobSubmissionClient

from spt_core.continuous.jobs import RETRAIN, job_command
from spt_core.continuous.ledger import JobStatus

ANSWER_S = 60.0  # the client waits for ever
_UNKNOWN = "does not exist"
T = TypeVar("T")


@final
class RayJobs:
    """Jobs on the cluster at an address: of its GCS, or the dashboard's URL.

    `runtime_env` says how a job finds this project and its settings.
    """

    def __init__(
        self,
        address: str,
        *,
        storage: str,
        runtime_env: Mapping[str, Any],
        command: Sequence[str] = RETRAIN,
    ) -> None:
        self._address, self._storage = address, storage
        self._runtime_env, self._command = runtime_env, command
        self._client: JobSubmissionClient | None = None

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        """Start the job, or raise; an id that exists raises too."""
        entrypoint = shlex.join(job_command(submission_id, self._storage, self._command))
        metadata = {key: str(value) for key, value in payload.items()}  # Ray takes texts only
        metadata["job_name"] = f"retrain {payload.get('bucket', submission_id)}"  # for people
        self._ask(
            lambda client: client.submit_job(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env=dict(self._runtime_env),
                metadata=metadata,
            )
        )

    def status(self, submission_id: str) -> JobStatus | None:
        """Where the job stands; None for an id that the cluster does not know."""
        try:
            status = self._ask(lambda client: client.get_job_status(submission_id))
        except RuntimeError as error:
            if _UNKNOWN in str(error):
                return None
            raise
        return status.value  # Ray's names are the ledger's

    def cause(self, submission_id: str) -> str:
        """What the cluster says of the job's end."""
        try:
            return str(self._ask(lambda client: client.get_job_info(submission_id)).message or "")
        except Exception:  # noqa: BLE001  a reason is no more than that
            return ""

    def _ask(self, call: Callable[[JobSubmissionClient], T]) -> T:
        """What the client says in time; after an error the next call connects anew."""

        def ask() -> T:
            if self._client is None:
                self._client = JobSubmissionClient(self._address)
            return call(self._client)

        try:
            return within(ANSWER_S, ask)
        except Exception:
            self._client = None
            raise


def within(seconds: float, call: Callable[[], T]) -> T:
    """What the call returns or raises; TimeoutError when that takes longer."""
    ended: list[T | BaseException] = []

    def run() -> None:
        try:
            ended.append(call())
        except BaseException as error:  # noqa: BLE001  raised again below, in the caller's thread
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise TimeoutError(f"Ray's job API must answer within {seconds:.0f} s, however: it did not")
    (end,) = ended
    if isinstance(end, BaseException):
        raise end
    return end
