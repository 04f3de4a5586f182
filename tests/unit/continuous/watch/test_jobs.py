"""Retrainings as processes of this machine: once per id, known to whoever asks later."""

import os
import signal
import subprocess
import sys
import time

import pytest

from spt_core.continuous.jobs import LocalJobs
from spt_core.errors import ConflictError

pytestmark = pytest.mark.slow  # processes

NAME = "retrain-rules-1-a1-0123456789ab"


def jobs(tmp_path, code="", **settings):
    # A command without Python's start, which takes long on a busy machine.
    return LocalJobs(
        str(tmp_path),
        storage="file:///s",
        settings=settings,
        command=("/bin/sh", "-c", code, "retrain"),
    )


def ended(made, name=NAME, *, to):
    deadline = time.monotonic() + 20
    while (status := made.status(name)) != to:
        assert time.monotonic() < deadline, status
        time.sleep(0.01)


def test_a_job_is_started_with_its_id_storage_and_settings(tmp_path):
    made = jobs(tmp_path, 'echo "$@" "$SPT_DATABASE_URL"', SPT_DATABASE_URL="sqlite:///a b.db")
    made.submit(NAME, {})
    ended(made, to="SUCCEEDED")
    assert made.log(NAME).read_text() == (
        f"--submission-id {NAME} --storage file:///s sqlite:///a b.db\n"
    )


def test_a_job_that_fails_says_so(tmp_path):
    made = jobs(tmp_path, "exit 3")
    made.submit(NAME, {})
    ended(made, to="FAILED")


def test_an_id_runs_once_whatever_became_of_it(tmp_path):
    (work := tmp_path / "work").mkdir()
    made = jobs(tmp_path, f"echo once; while [ ! -e {work}/go ]; do sleep 0.05; done")
    assert made.status(NAME) is None
    made.submit(NAME, {})
    ended(made, to="RUNNING")
    with pytest.raises(ConflictError, match="already exists"):
        jobs(tmp_path, "echo twice").submit(NAME, {})
    (work / "go").touch()
    ended(made, to="SUCCEEDED")
    with pytest.raises(ConflictError, match="already exists"):
        made.submit(NAME, {})
    assert made.log(NAME).read_text() == "once\n"


def test_a_job_that_is_killed_with_its_shell_has_failed(tmp_path):
    made = jobs(tmp_path, "echo $$ shell; sleep 60")
    made.submit(NAME, {})
    deadline = time.monotonic() + 20
    while len(told := made.log(NAME).read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert made.status(NAME) == "RUNNING"
    os.killpg(os.getpgid(int(told[0])), signal.SIGKILL)
    ended(made, to="FAILED")


def test_a_job_outlives_who_submitted_it(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from spt_core.continuous.jobs import LocalJobs\n"
        f"jobs = LocalJobs({str(tmp_path)!r}, storage='s', settings={{}},"
        " command=('/bin/sh', '-c', 'sleep 0.3; echo whole'))\n"
        f"jobs.submit({NAME!r}, {{}}); os.kill(os.getpid(), 9)"
    )
    ran = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert ran.returncode == -9
    made = jobs(tmp_path)
    assert made.status(NAME) in ("PENDING", "RUNNING", "SUCCEEDED")
    ended(made, to="SUCCEEDED")
    assert made.log(NAME).read_text() == "whole\n"


def test_a_submission_that_was_cut_off_leaves_nothing_and_may_be_made_again(tmp_path):
    made = jobs(tmp_path, "echo whole")
    (tmp_path / f"{NAME}.lock").touch()  # killed before the job was started
    assert made.status(NAME) is None
    made.submit(NAME, {})
    ended(made, to="SUCCEEDED")


def test_jobs_of_this_machine_wait_for_each_other(tmp_path):
    (work := tmp_path / "work").mkdir()
    made = jobs(tmp_path, f"echo $$; while [ ! -e {work}/go ]; do sleep 0.05; done")
    made.submit(NAME, {})
    ended(made, to="RUNNING")
    later = NAME.replace("rules-1", "rules-2")
    made.submit(later, {})
    time.sleep(0.3)
    assert made.status(later) == "PENDING"
    with pytest.raises(ConflictError, match="already exists"):
        made.submit(later, {})
    os.killpg(os.getpgid(int(made.log(NAME).read_text())), signal.SIGKILL)  # which frees the turn
    ended(made, NAME, to="FAILED")
    ended(made, later, to="RUNNING")
    (work / "go").touch()
    ended(made, later, to="SUCCEEDED")
