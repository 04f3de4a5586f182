"""What a retraining needs before it starts, and what is told of one that ended."""

from __future__ import annotations

import pytest

from spt_core.continuous.jobs import ChampionJobs, LocalJobs
from spt_core.continuous.options import WatchOptions
from spt_core.errors import InputError
from tests.watching import NotedJobs

PAYLOAD = {"bucket": "financial_services.regulatory_compliance"}


def test_a_retraining_that_no_champion_waits_for_is_refused_before_it_starts(tmp_path):
    inner = NotedJobs()
    jobs = ChampionJobs(inner, f"sqlite:///{tmp_path}/spt.db")
    with pytest.raises(InputError, match="compliance/default has none; train and deploy"):
        jobs.submit("retrain-1", PAYLOAD)
    assert not inner.submitted
    assert jobs.status("retrain-1") is None


def test_the_last_line_of_a_job_s_log_is_its_cause(tmp_path):
    jobs = LocalJobs(str(tmp_path), storage=str(tmp_path), settings={})
    assert jobs.cause("retrain-1") == ""
    jobs.log("retrain-1").write_text("starting\nerror: a rule, however: a fact\n\n")
    assert jobs.cause("retrain-1") == "error: a rule, however: a fact"


def test_a_pipeline_keeps_things_where_the_command_line_does(tmp_path, monkeypatch):
    monkeypatch.setenv("SPT_STORAGE", str(tmp_path))
    monkeypatch.delenv("SPT_DATABASE_URL", raising=False)
    assert WatchOptions().database == f"sqlite:///{tmp_path}/spt.db"
    monkeypatch.setenv("SPT_DATABASE_URL", "sqlite:///other.db")
    assert WatchOptions().database == "sqlite:///other.db"
