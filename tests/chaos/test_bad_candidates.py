"""Three bad candidates that passed the gate, each taken back from a service under load.

One raises errors on some texts, one is slow on long ones, one is surely wrong. The windows are of
10 s: golden records decide at once, errors from 200 requests on, latency after three windows.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spt_core.artifacts import FACTS, ExportedModel, as_uri, write_bytes, write_manifest
from spt_core.continuous.ledger import Ledger, Retrain, fence_of
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.families.text.exporting import probes_of
from spt_core.families.text.serving import TOKENIZER
from spt_core.model import open_answerer
from spt_core.policy import LabelPolicy
from spt_core.registry import Registry
from tests.kept_exports import kept_export
from tests.live_service import LiveService
from tests.publications import BUCKET, MODEL, SECURITY, artifact, begun, item, trained

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ROUTE = f"/v1/{SECURITY}"
POLICY = LabelPolicy(thresholds={}, most_probable=True)
LONG = "The loader decodes a payload that it hides in memory . " * 40
TEXTS = ["The bank is safe", "A loader hides", "It writes a file", "kaboom in memory", LONG]
GOLDEN = [f"It hides {word}" for word in ("a file", "memory", "the payload", "an account")]
NUM_CLIENTS = 4
PAUSE_S = 0.02
BASELINE_S = 12.0
LIMIT_S = 60.0  # after the end of its first window


def changed(model: ExportedModel, name: str, **contents: Callable[[Any], Any]) -> ExportedModel:
    """The export in a folder of its own, with files that a function has changed."""
    uri, files = f"{model.uri.rpartition('/')[0]}/{name}", dict[str, str]()
    for file in model.files:
        content = model.read(file)
        change = contents.get(file.partition(".")[0])
        if change is not None:
            content = json.dumps(change(json.loads(content))).encode()
        files[file] = write_bytes(f"{uri}/{file}", content)
    made = dataclasses.replace(model, uri=uri, files=files)
    write_manifest(uri, made.to_json())
    return made


def raising(model: ExportedModel) -> ExportedModel:
    """A word of its tokenizer has no embedding."""

    def change(content: Any) -> Any:
        vocabulary = content["model"]["vocab"]
        vocabulary["kaboom"] = len(vocabulary) + 1000
        return content

    assert TOKENIZER == "tokenizer.json"
    return changed(model, "raising", tokenizer=change)


def slow(model: ExportedModel) -> ExportedModel:
    """It cuts a text into windows of six tokens, one token apart."""
    network = {**model.artifact.config["network"], "max_tokens": 8, "window_overlap": 5}
    config = {**model.artifact.config, "network": network}
    made = changed(model, "slow")
    made = dataclasses.replace(made, artifact=dataclasses.replace(model.artifact, config=config))
    predictor: Any = open_answerer(made, POLICY).predictor
    made = dataclasses.replace(made, probes=probes_of(predictor, made.probes["records"]))
    write_manifest(made.uri, made.to_json())
    return made


def wrong(model: ExportedModel) -> ExportedModel:
    """Its classes are named in another order."""
    assert FACTS == "facts.json"
    return changed(
        model, "wrong", facts=lambda c: {**c, "classes": [*c["classes"][1:], c["classes"][0]]}
    )


class World:
    """A service with a champion, and a ledger in which candidates are promoted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"sqlite:///{folder}/spt.db"
        self.registry, self.ledger = Registry(self.url), Ledger(self.url)
        champion = kept_export(artifact(folder, 0))
        answerer = open_answerer(champion, POLICY)
        self.golden = [
            {
                "record": {"text": text},
                "labels": list(answerer.head.summary(answerer.judge({"text": text})).labels),
                "candidate_right": True,
            }
            for text in GOLDEN
        ]
        for model in (champion, raising(champion), slow(champion), wrong(champion)):
            self.registry.add(model, POLICY, {}, created_by="test")
        self.ledger.add_principal("ada", ["admin"], actor="olga")

    def promoted(self, number: int) -> Retrain:
        """A retraining whose candidate the gate lets pass."""
        with self.ledger.lead("gate:1:1") as lease:
            fence = fence_of(lease)
            made = begun(self.ledger, fence, item(str(number), f"text {number}"))
            candidate = self.registry.get(f"{MODEL}@{number}")
            made = trained(self.ledger, fence, made, self.folder, candidate, golden=self.golden)
            judged = drive_verdicts(self.ledger, fence, self.registry, now_s=time.time())
        assert judged.verdicts[made.retrain_id].state == "PROMOTED"
        return made

    def thaw(self) -> None:
        (ada,) = self.ledger.principals()
        self.ledger.thaw(BUCKET, "the next case", admin=ada)


class Client(threading.Thread):
    """Asks every text in turn, counts (version, status); a request without an answer is lost."""

    def __init__(self, port: int, stopped: threading.Event) -> None:
        super().__init__()
        self.port, self.stopped = port, stopped
        self.seen = Counter[tuple[str, int]]()
        self.lost: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        number = 0
        while not self.stopped.is_set():
            body = json.dumps({"text": TEXTS[number % len(TEXTS)]})
            number += 1
            try:
                connection.request("POST", ROUTE, body)
                response = connection.getresponse()
                response.read()
                ref = response.getheader("x-model-version") or ""
                self.seen[ref.rpartition("@")[2], response.status] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.lost.append(repr(error))
            time.sleep(PAUSE_S)
        connection.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[LiveService]:
    with LiveService(str(world.folder)) as live:
        live.call("promote", f"{MODEL}@1", 1)
        assert as_uri(world.folder).startswith("file://")
        yield live


@pytest.mark.parametrize(
    ("number", "fact"),
    [(4, "golden records are answered"), (2, "requests failed"), (3, "p99 was")],
    ids=["surely wrong", "raises errors", "slow"],
)
def test_a_bad_candidate_is_taken_back_in_time(
    world: World,
    service: LiveService,
    number: int,
    fact: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = threading.Event()
    clients = [Client(service.port, stopped) for _ in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        time.sleep(BASELINE_S)
        made = world.promoted(number)
        deployed_s, taken_s, reason = 0.0, 0.0, ""
        deadline = time.monotonic() + 240
        while not taken_s and time.monotonic() < deadline:
            rolled = service.call("rollouts")
            assert not rolled["errors"], rolled
            if rolled["deployed"]:
                deployed_s = time.monotonic()
            if rolled["rolled_back"]:
                taken_s, reason = time.monotonic(), rolled["rolled_back"][made.retrain_id]
            time.sleep(0.5)
        time.sleep(1)
    finally:
        stopped.set()
        for client in clients:
            client.join()
    seen = sum((client.seen for client in clients), Counter[tuple[str, int]]())
    lost = [error for client in clients for error in client.lost]
    with capsys.disabled():
        print(  # noqa: T201  # the figures that this test is for
            f"\n{reason}: back {max(taken_s - deployed_s, 0):.1f} s after its deployment; "
            f"{sum(seen.values()):,} requests, {len(lost)} lost; {dict(seen)}"
        )
    assert fact in reason
    assert taken_s - deployed_s <= 10 + LIMIT_S
    assert world.ledger.retrain(made.retrain_id).state == "ROLLED_BACK"
    assert world.registry.aliases(MODEL)["champion"] == 1
    assert BUCKET in world.ledger.frozen()
    assert lost == []
    assert {version for version, status in seen if status != 200} <= {str(number)}
    answer = service.ask(ROUTE, {"text": TEXTS[3]})
    assert (answer.status, answer.headers["x-model-version"]) == (200, f"{MODEL}@1")
    world.thaw()
