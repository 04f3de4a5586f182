"""From the item that crosses the threshold to a job that the job system has accepted.

python -m tests.bench.bench_trigger [--trials 100] [--ray ADDRESS]

A feed on loopback publishes one relevant item, and the threshold is one. The clock starts when the
feed's server has the request that it answers with the item, and ends when `submit` has returned;
`submit_s` (Ray's own time, or that of a job system that only notes) is taken off for
`beyond_submit_s`. The pipeline runs at its default pace. Between trials the retraining is ended as
a rejected candidate, so that the bucket is free again; with --ray the job is `true`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from typing import Any

from aiohttp import web

from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.ledger import Fence, JobApi, JobStatus, Ledger
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.sources import SourcesFile
from tests.bench.results import finish
from tests.watching import MODEL, NotedJobs, Site, ask_again, rss

RULES = Monitoring(model=MODEL, keywords=("capital",), trigger_threshold=1)


class Timed:
    """A job system whose submissions are timed."""

    def __init__(self, inner: JobApi) -> None:
        self.inner = inner
        self.began: list[float] = []
        self.ended: list[float] = []

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        """Submit, and note when."""
        self.began.append(time.perf_counter())
        self.inner.submit(submission_id, payload)
        self.ended.append(time.perf_counter())

    def cause(self, submission_id: str) -> str:
        """It says nothing."""
        return ""

    def status(self, submission_id: str) -> JobStatus | None:
        """RUNNING: the bench itself ends each retraining."""
        return "RUNNING"


def finish_run(ledger: Ledger, submission_id: str) -> None:
    """Do what the training job does."""
    claim = ledger.claim_run(submission_id, host="bench")
    ledger.finish_run(claim, f"file:///{submission_id}", submission_id[-12:])


def reject(ledger: Ledger, fence: Fence) -> None:
    """Reject whatever was trained."""
    for retrain in ledger.retrains(state="TRAINED"):
        ledger.evaluated(
            fence,
            retrain.retrain_id,
            candidate_version=f"{MODEL}@1",
            champion_before="",
            evaluation_set_sha="e",
            evaluation={},
        )
        ledger.judge(fence, retrain.retrain_id, "REJECTED", verdict={"bench": True})


async def run(folder: str, num_trials: int, jobs: Timed) -> list[dict[str, float]]:
    """The trials, one after the other."""
    published, answered = 0, list[float]()

    def answer(_: web.BaseRequest) -> web.Response:
        answered.append(time.perf_counter())
        return web.Response(body=rss(*(f"Capital {n}" for n in range(published)[-25:])))

    trials: list[dict[str, float]] = []
    async with Site().up() as site:
        site.others["a"] = answer
        published = 1
        policy = FetchPolicy(guard=Guard(allow_networks=("127.0.0.1/32",)))
        options = WatchOptions(storage=folder, policy=policy)
        pipeline = ContinuousTrainingPipeline(
            SourcesFile(sources=(site.source("a"),), monitoring=(RULES,)),
            options=options,
            jobs=jobs,
            steps=(reject,),
        )
        ledger = Ledger(options.database)
        watching = asyncio.create_task(pipeline.start_monitoring())
        for trial in range(num_trials):
            while len(jobs.ended) <= trial:
                await asyncio.sleep(0.005)
            trials.append(
                {
                    "whole_s": jobs.ended[trial] - answered[-1],
                    "submit_s": jobs.ended[trial] - jobs.began[trial],
                }
            )
            last = ledger.retrains()[-1]
            assert last.seq == trial + 1
            while ledger.retrains()[-1].state == "QUEUED":
                await asyncio.sleep(0.02)
            await asyncio.to_thread(finish_run, ledger, last.submission_id or "")
            while ledger.retrains()[-1].state != "REJECTED":
                await asyncio.sleep(0.05)
            published += 1
            await asyncio.to_thread(ask_again, ledger)
        pipeline.stop()
        await watching
    return trials


def main() -> None:
    """Run the trials, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--ray", metavar="ADDRESS", help="submit to this cluster")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs: JobApi = NotedJobs()
        if given.ray:
            from cluster.submit import RayJobs  # Ray takes seconds

            jobs = RayJobs(given.ray, storage=folder, runtime_env={}, command=("true",))
        trials = asyncio.run(run(folder, given.trials, Timed(jobs)))
    beyond = sorted(one["whole_s"] - one["submit_s"] for one in trials)
    finish(
        "trigger",
        {
            "job_system": "Ray" if given.ray else "notes only",
            "trials": len(trials),
            "beyond_submit_s_median": statistics.median(beyond),
            "beyond_submit_s_p99": beyond[min(int(0.99 * len(beyond)), len(beyond) - 1)],
            "beyond_submit_s_max": beyond[-1],
            "submit_s_median": statistics.median(one["submit_s"] for one in trials),
        },
    )


if __name__ == "__main__":
    main()
