"""Jobs by the clock, against a job API in memory that answers as Ray's does."""

from __future__ import annotations

from enum import StrEnum

import pytest

from jobs import submit
from spt_core.errors import InputError, MachineError, UnavailableError


class Status(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class MemoryJobs:
    """Jobs that end as `ends` says, after one look; `num_away` calls find nobody."""

    def __init__(self, ends: Status = Status.SUCCEEDED, num_away: int = 0) -> None:
        self.ends, self.num_away = ends, num_away
        self.submitted: dict[str, str] = {}
        self.looks: dict[str, int] = {}

    def submit_job(self, *, entrypoint: str, submission_id: str) -> str:
        self._answer()
        if submission_id in self.submitted:
            raise RuntimeError(
                "Request failed with status code 500: ... ValueError: Job with submission_id "
                f"{submission_id} already exists. Please use a different submission_id."
            )
        self.submitted[submission_id] = entrypoint
        return submission_id

    def get_job_status(self, job_id: str) -> Status:
        self._answer()
        if job_id not in self.submitted:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist.")
        self.looks[job_id] = self.looks.get(job_id, 0) + 1
        return self.ends if self.looks[job_id] > 1 else Status.PENDING

    def get_job_logs(self, job_id: str) -> str:
        return "line one\nthe bucket is gone\n"

    def _answer(self) -> None:
        if self.num_away:
            self.num_away -= 1
            raise ConnectionError("Failed to connect to Ray at address: http://head:8265.")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "POLL_S", 0.0)


def called(monkeypatch: pytest.MonkeyPatch, jobs: MemoryJobs, *words: str) -> int:
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda address: jobs)
    return submit.main(["--address", "http://head:8265", *words])


def test_a_job_is_submitted_as_it_was_typed_and_followed_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = MemoryJobs()
    words = ["--id", "b-1", "--json", "--", "python", "-m", "jobs.registry", "backup", "a b"]
    assert called(monkeypatch, jobs, *words) == 0
    assert jobs.submitted == {"b-1": "python -m jobs.registry backup 'a b'"}
    assert capsys.readouterr().out == '{"id": "b-1", "status": "SUCCEEDED"}\n'


def test_the_same_id_again_follows_the_job_that_has_it() -> None:
    jobs = MemoryJobs()
    assert submit.submitted(jobs, "b-1", "first")
    assert not submit.submitted(jobs, "b-1", "second")
    assert jobs.submitted == {"b-1": "first"}


def test_a_job_that_fails_fails_this_and_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MachineError, match=r"the job b-1 must succeed, however: FAILED"):
        called(monkeypatch, MemoryJobs(Status.FAILED), "--id", "b-1", "--", "false")
    assert "the bucket is gone" in capsys.readouterr().err


def test_a_head_that_is_away_is_waited_for() -> None:
    jobs = MemoryJobs(num_away=3)
    assert submit.submitted(jobs, "b-1", "true")
    assert submit.end_of(jobs, "b-1") == "SUCCEEDED"


def test_a_head_that_stays_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "AWAY_S", -1.0)
    with pytest.raises(UnavailableError, match=r"must answer within .* Failed to connect"):
        submit.end_of(MemoryJobs(num_away=1), "b-1")


def test_a_cluster_that_forgot_its_jobs_is_said_at_once() -> None:
    with pytest.raises(MachineError, match="must remember its jobs"):
        submit.end_of(MemoryJobs(), "b-1")


@pytest.mark.parametrize("name", ["a/b", "a b", "", "x" * 101])
def test_an_id_that_could_be_no_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="a submission id must have 1 to 100 letters"):
        submit.main(["--address", "http://head:8265", "--id", name, "--", "true"])
