"""Retraining jobs as processes of this machine: the ledger's job interface without a cluster.

submit(id) -> sh -> python -m jobs.retrain --submission-id id

The job outlives whoever submitted it. Three files per id say where it stands to whoever asks later:
`.lock` is locked as long as the job lives (whatever kills it), `.started` says that it began, and
`.code` holds its exit code. One job runs at a time, the others wait for the file `turn`: two
trainings would share this machine's memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from spt_core.continuous.ledger import JobApi, JobStatus
from spt_core.continuous.retraining import model_of
from spt_core.errors import ConflictError, InputError, UnavailableError
from spt_core.registry import CHAMPION, Registry

RETRAIN: tuple[str, ...] = (sys.executable, "-m", "jobs.retrain")
_ROOT = Path(__file__).parents[2]
# Settings come by standard input, as other users can read a command line.
_SCRIPT = (
    'while IFS= read -r line; do [ "$line" = . ] && whole=1 && break; export "$line"; done; '
    '[ "$whole" ] || exit 75; '  # who submitted it was killed halfway: it will be submitted again
    'name=$1; turn=$2; shift 2; { exec 9>> "$turn"; flock 9 || exit 75; '
    ': > "$name.started"; "$@" < /dev/null; '
    'echo $? > "$name.tmp" && mv "$name.tmp" "$name.code"; } &'  # nobody's child, no zombie
)


def job_command(submission_id: str, storage: str, command: Sequence[str] = RETRAIN) -> list[str]:
    """What runs a submission, wherever it runs."""
    return [*command, "--submission-id", submission_id, "--storage", storage]


@final
class ChampionJobs:
    """A job system that takes retrainings of models alone that have a champion to be compared with.

    Another one is refused before it starts: it waits, and is told, until there is one.
    """

    def __init__(self, jobs: JobApi, database_url: str) -> None:
        self.jobs, self._database_url = jobs, database_url

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        """Start the job; InputError where its model has no champion."""
        require_champion(self._database_url, model_of(payload["bucket"]))
        self.jobs.submit(submission_id, payload)

    def status(self, submission_id: str) -> JobStatus | None:
        """Where the job stands."""
        return self.jobs.status(submission_id)

    def cause(self, submission_id: str) -> str:
        """Why it has no result."""
        return self.jobs.cause(submission_id)


def require_champion(database_url: str, model: str) -> None:
    """Refuse to retrain a model that has no champion."""
    registry = Registry(database_url)
    if model not in registry.names() or CHAMPION not in registry.aliases(model):
        raise InputError(
            f"a retraining must have a champion to start from, however: {model} has none; train "
            "and deploy one (python -m jobs.pipeline)"
        )


@final
class LocalJobs:
    """One process per submission, below a folder that keeps their logs.

    `settings` are environment variables that a job needs beside those of this process.
    """

    def __init__(
        self,
        folder: str,
        *,
        storage: str,
        settings: Mapping[str, str],
        command: Sequence[str] = RETRAIN,
    ) -> None:
        self._folder = Path(folder).absolute()
        self._storage, self._settings, self._command = storage, settings, command

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        """Start the job; ConflictError when it was started before."""
        del payload  # the job reads it in the ledger
        if shutil.which("flock") is None:
            raise UnavailableError(
                "a job waits its turn by the command flock, however: it is not installed "
                "(it is part of util-linux)"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        name = self._folder / submission_id
        with self._locked(submission_id) as lock:
            if lock is None or self._file(submission_id, "started").exists():
                raise ConflictError(f"a job runs once, however: {submission_id!r} already exists")
            lines = "".join(f"{key}={value}\n" for key, value in self._settings.items())
            with self._file(submission_id, "log").open("ab") as log:
                subprocess.run(
                    [
                        *("/bin/sh", "-c", _SCRIPT, "sh", str(name), str(self._folder / "turn")),
                        *job_command(submission_id, self._storage, self._command),
                    ],
                    cwd=_ROOT,
                    input=f"{lines}.\n".encode(),
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),  # the lock lives as long as a process that holds it
                    start_new_session=True,  # Ctrl-C of a watcher ends no training
                    check=True,
                )

    def status(self, submission_id: str) -> JobStatus | None:
        """Where the job stands; None for one that was never started."""
        code = self._file(submission_id, "code")
        if not self._file(submission_id, "lock").exists():
            return None
        with self._locked(submission_id) as lock:
            is_started = self._file(submission_id, "started").exists()
            if code.exists():
                return "SUCCEEDED" if code.read_text().strip() == "0" else "FAILED"
            if lock is None:
                return "RUNNING" if is_started else "PENDING"
            return "FAILED" if is_started else None

    def cause(self, submission_id: str) -> str:
        """The last line of the job's log."""
        log = self._file(submission_id, "log")
        if not log.exists():
            return ""
        lines = log.read_bytes()[-4000:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def log(self, submission_id: str) -> Path:
        """Where the job's output is."""
        return self._file(submission_id, "log")

    @contextlib.contextmanager
    def _locked(self, submission_id: str) -> Generator[int | None]:
        """The job's lock if nobody holds it, else None."""
        descriptor = os.open(self._file(submission_id, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held: int | None = descriptor
        except BlockingIOError:
            held = None
        try:
            yield held
        finally:
            os.close(descriptor)

    def _file(self, submission_id: str, kind: str) -> Path:
        return self._folder / f"{submission_id}.{kind}"
