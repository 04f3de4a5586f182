"""The whole story on one machine, in minutes: python -m jobs.watch demo

publications -> trigger -> Ray job -> gate -> review -> roll-out -> another answer over HTTP;
then a planted bad model and its rollback, with a client that asks all the time.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from cluster import watcher
from cluster.lifecycle import ray_session, require_free_ports, stop_serve
from cluster.local import local_cluster
from cluster.settings import Settings, load_settings
from jobs.console import Screen, Stage
from jobs.demo.champion import ASSIGNMENTS, TASK, first_model
from jobs.demo.site import FEEDS, QUESTION, TOPIC, Site, first_wave, second_wave
from jobs.evidence import written
from jobs.service import rolled_out
from spt_core.access import Role
from spt_core.continuous import WatchOptions
from spt_core.continuous.evidence import collected
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.ledger import Ledger, Retrain, RetrainState, Transition
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.sources import SourcesFile
from spt_core.continuous.steps import on_cluster
from spt_core.errors import SptError
from spt_core.registry import DEFAULT_MODEL_NAME, Registry
from spt_core.rollout import route
from spt_core.task import IndustryType

OPERATOR, REVIEWER = "olga", "rita"
PEOPLE: Mapping[str, Role] = {OPERATOR: "operator", REVIEWER: "reviewer"}
ASK_PAUSE_S, LOOK_S = 0.1, 0.5
ANSWER_S, ROLL_OUT_S, RETRAIN_S = 30.0, 120.0, 600.0
MONITORING = Monitoring(
    model=f"{TASK}/{DEFAULT_MODEL_NAME}",
    keywords=("contract term", "renews", "consent"),
    trigger_threshold=18,  # a feed gives PER_FEED: it takes all three
)
BUCKET_CONFIGURATION = {
    "retraining": {
        "recipe": "smoke",
        "assignments": ASSIGNMENTS,
        "taxonomy": {TOPIC: "ch"},
        "mlm_steps": 8,
        "min_term_uses": 6,
    },
    "gate": {"validation_required": True},
}
T = TypeVar("T")


class DemoError(SptError):
    """The story came out otherwise than it must."""


def demo(args: argparse.Namespace) -> int:
    """Tell the story; 0 when every part of it came true."""
    storage = args.storage or tempfile.mkdtemp(prefix="spt-demo-")
    start, screen = time.monotonic(), Screen(as_json=args.json)
    screen.say(f"all data here is SYNTHETIC; what comes of it is kept in {storage}")
    settings = load_settings(storage=storage)
    require_free_ports(settings)
    with contextlib.ExitStack() as stack:
        with screen.stage("Ray") as stage:
            stage.say("starting a cluster of one node")
            head = stack.enter_context(local_cluster(settings))
            settings = load_settings(storage=storage)
            stack.enter_context(ray_session(settings))
            stage.say(f"a cluster of one node; its dashboard: {head.dashboard}")
        outcome = _Story(screen, settings, as_json=args.json).play()
    seconds = round(time.monotonic() - start, 1)
    screen.result(
        {**outcome, "seconds": seconds, "storage": storage},
        f"{outcome['num_requests']:,} requests, {outcome['num_lost']} without an answer; "
        f"{seconds:.0f} s in all; evidence: {outcome['evidence']}",
    )
    return 0


class _Story:
    """Who takes part, and the parts in their order."""

    def __init__(self, screen: Screen, settings: Settings, *, as_json: bool) -> None:
        self._screen, self._settings, self._as_json = screen, settings, as_json
        self._ledger = Ledger(settings.database_url)
        self._registry = Registry(settings.database_url)
        self._keys: dict[str, str] = {}

    def play(self) -> dict[str, Any]:
        """The parts; what came out."""
        screen, settings = self._screen, self._settings
        first = first_model(settings, as_json=self._as_json)
        rolled_out(screen, settings, self._registry, first, reason="the demo's first model")
        for name, role in PEOPLE.items():
            self._keys[name] = self._ledger.add_principal(name, [role], actor="jobs.watch demo")
        bucket = MONITORING.bucket
        self._ledger.configured(bucket, BUCKET_CONFIGURATION, actor=OPERATOR)
        address = f"{settings.http_host}:{settings.http_port}"
        with Site() as site, Client(address, route(first)) as client:
            try:
                self._watch(site)
                good = self._retrained(client, first.ref)
                back = self._taken_back(client, good)
            finally:
                watcher.stop()
        stop_serve()
        evidence = self._evidence(good)
        if client.lost:
            raise DemoError(
                f"every request must be answered, however: {len(client.lost)} were not, such as "
                f"{client.lost[0]}"
            )
        return {
            "answers": client.verdicts,
            "versions": [first.ref, good.candidate_version, back.candidate_version],
            "num_requests": sum(client.seen.values()),
            "num_lost": len(client.lost),
            "evidence": evidence,
        }

    def _watch(self, site: Site) -> None:
        """Publications at a web site, and the long-lived actor that watches it."""
        with self._screen.stage("watch") as stage:
            number = site.publish(first_wave())
            sources = [
                Source(
                    id=f"authority_{feed}",
                    name=f"The authority's {feed}",
                    industry=IndustryType.FINANCIAL_SERVICES,
                    kind="rss",
                    url=f"http://127.0.0.1:{site.port}/{feed}",
                    interval_s=60.0,
                )
                for feed in FEEDS
            ]
            options = WatchOptions(
                storage=self._settings.storage,
                database_url=self._settings.database_url,
                actor=OPERATOR,
                policy=FetchPolicy(guard=Guard(allow_networks=("127.0.0.1/32",)), host_pause_s=0.1),
                drive_s=1.0,
                evaluate_s=2.0,
            )
            plan = watcher.WatchPlan(
                file=SourcesFile(sources=tuple(sources), monitoring=(MONITORING,)),
                options=options,
                command=(sys.executable, "-m", "jobs.demo.job"),
                make_steps=on_cluster,
            )
            status = watcher.start(plan)
            stage.say(f"actor {watcher.NAME!r} is process {status['pid']}, restarted without limit")
        with self._screen.stage("trigger") as stage:
            stage.say(f"{number} publications wait at {len(FEEDS)} feeds")
            begun = _until(lambda: self._ledger.retrains()[:1], ROLL_OUT_S, "a trigger")[0]
            stage.say(f"{begun.reason}; {begun.retrain_id}")
        site.publish(second_wave())  # they wait until the first retraining has ended

    def _retrained(self, client: Client, first: str) -> Retrain:
        """The candidate, its review, its roll-out, and the answer that it changed."""
        with self._screen.stage("retrain") as stage:
            candidate = self._candidate(0, stage)
        self._approve(candidate, "the new clauses are found, and nothing else got worse")
        with self._screen.stage("roll out") as stage:
            stage.say("the watcher promotes it, every replica loads it")
            good = self._moved(candidate, "DEPLOYED", ROLL_OUT_S)
            _until(lambda: good.candidate_version in client.verdicts, ANSWER_S, "an answer")
            stage.say(f"{good.candidate_version} serves, read back as {good.deployment_id}")
        before, after = client.verdicts[first], client.verdicts[good.candidate_version]
        self._screen.say(f"  asked: {QUESTION!r}")
        self._screen.say(f"  before: {before}\n  now:    {after}")
        if before == after:
            raise DemoError(f"the answer must have changed, however: it is {after} as before")
        return good

    def _taken_back(self, client: Client, good: Retrain) -> Retrain:
        """A planted bad model, approved by a person who trusted its figures, and its rollback."""
        with self._screen.stage("plant") as stage:
            bad = self._candidate(1, stage)
        self._approve(bad, "its figures are as good as the last one's")
        with self._screen.stage("roll back") as stage:
            stage.say("golden records are asked of what serves")
            back = self._moved(bad, "ROLLED_BACK", ROLL_OUT_S)
            times = {move.to_state: self._at(move.audit_seq) for move in self._moves(back)}
            taken_s = (times["ROLLED_BACK"] - times["DEPLOYED"]).total_seconds()
            _until(lambda: client.latest == good.candidate_version, ANSWER_S, "the version before")
            reason = self._ledger.frozen()[back.bucket]
            stage.say(f"back after {taken_s:.1f} s, the bucket is frozen: {reason}")
        return back

    def _candidate(self, number: int, stage: Stage) -> Retrain:
        """The retraining of this number once the gate has asked for a person."""
        state = ""

        def judged() -> Retrain | None:
            nonlocal state
            retrains = self._ledger.retrains()[number:]
            if not retrains:
                return None
            if retrains[0].state != state:
                state = retrains[0].state
                stage.say(f"{retrains[0].submission_id}: {state}")
            if state in ("REJECTED", "FAILED"):
                raise DemoError(
                    f"the candidate must reach a person, however: {retrains[0].retrain_id} is "
                    f"{state}"
                )
            return retrains[0] if state == "NEEDS_REVIEW" else None

        retrain = _until(judged, RETRAIN_S, "a candidate")
        metric = retrain.evaluation["metric"].replace("_", " ")
        figures = retrain.evaluation["sets"][0]
        stage.say(
            f"Ray job {retrain.submission_id} made {retrain.candidate_version}; "
            f"{metric} {figures['champion']['value']:.3f} to "
            f"{figures['candidate']['value']:.3f}"
        )
        return retrain

    def _approve(self, candidate: Retrain, reason: str) -> None:
        """What `jobs.review approve` does; whoever configured the bucket could not."""
        with self._screen.stage("review") as stage:
            reviewer = self._ledger.authenticate(REVIEWER, self._keys[REVIEWER])
            self._ledger.decide(
                candidate.retrain_id,
                candidate.candidate_sha,
                "approve",
                reviewer=reviewer,
                reason=reason,
            )
            stage.say(
                f"{REVIEWER}: jobs.review approve {candidate.retrain_id} "
                f"{candidate.candidate_sha[:12]} --reason {reason!r}"
            )

    def _moved(self, retrain: Retrain, state: RetrainState, timeout_s: float) -> Retrain:
        """The retraining once it has been in a state."""
        name = retrain.retrain_id
        _until(lambda: state in {m.to_state for m in self._moves(retrain)}, timeout_s, state)
        return self._ledger.retrain(name)

    def _moves(self, retrain: Retrain) -> list[Transition]:
        return self._ledger.transitions(retrain.retrain_id)

    def _at(self, audit_seq: int) -> datetime.datetime:
        return datetime.datetime.fromisoformat(next(self._ledger.audit(after=audit_seq - 1)).at)

    def _evidence(self, good: Retrain) -> str:
        """The trail of the version that serves."""
        content = collected(self._ledger, self._registry, good.candidate_version)
        folder = f"{self._settings.storage}/evidence"
        written(content, folder)
        return f"{folder}/evidence.html"


class Client(threading.Thread):
    """Asks the question all the time; a request without a good answer is lost."""

    def __init__(self, address: str, path: str) -> None:
        super().__init__(daemon=True)
        self._address, self._path = address, path
        self._stopped = threading.Event()
        self.verdicts: dict[str, str] = {}
        self.seen = Counter[str]()
        self.lost: list[str] = []
        self.latest = ""

    def run(self) -> None:
        """Until `__exit__`."""
        connection = http.client.HTTPConnection(self._address, timeout=30)
        body = json.dumps({"text": QUESTION})
        while not self._stopped.wait(ASK_PAUSE_S):
            try:
                connection.request("POST", self._path, body)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                self.lost.append(repr(error))
                continue
            if response.status != 200:
                self.lost.append(f"HTTP {response.status}: {answer}")
                continue
            self.latest = response.headers["x-model-version"]
            self.seen[self.latest] += 1
            self.verdicts[self.latest] = _verdict(answer)
        connection.close()

    def __enter__(self) -> Self:
        """Ask from a thread."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop asking."""
        self._stopped.set()
        self.join()


def _verdict(answer: dict[str, Any]) -> str:
    risks = ", ".join(f"{r['title']} ({r['category']})" for r in answer["risk_categories"])
    return f"compliant: {str(answer['compliant']).lower()}" + (f", {risks}" if risks else "")


def _until(condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise DemoError(f"{what} must come within {timeout_s:.0f} s, however: it did not")
        time.sleep(LOOK_S)
    return value
