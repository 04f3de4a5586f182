"""Short ways to the states of a retraining that the tests begin from."""

from typing import Any

from spt_core.continuous.ledger import Fence, Item, Ledger, Retrain, Source, SourceResult, Trigger
from tests.chaos.ledger.world import MODEL, sha

BUCKET = "rules"


class Clock:
    """Stands still until it is moved; Postgres does not look at it."""

    def __init__(self) -> None:
        self.now_s = 1.7e9
        self.deadline_s = 1e10  # of reviews

    def __call__(self) -> float:
        return self.now_s


def source(name: str, **values: Any) -> Source:
    return Source(source_id=name, kind="rss", url=f"https://{name}.example/feed", **values)


def item(key: str, text: str = "text", **values: Any) -> Item:
    values = {"source_id": "sec", "bucket": BUCKET, **values}
    return Item(item_key=key, content_sha=sha(text), text=text, **values)


def answer(*items: Item, name: str = "sec", etag: str = '"1"') -> SourceResult:
    return SourceResult(source=source(name, etag=etag, state="OK"), items=items)


def all_of_them(pending: Any) -> Trigger:
    return Trigger(bucket=BUCKET, items=tuple(i.ref for i in pending), reason="a test")


def never(pending: Any) -> None:
    return None


def begin(ledger: Ledger, fence: Fence, key: str = "1") -> Retrain:
    """A retraining that is QUEUED."""
    (begun,) = ledger.ingest(fence, [answer(item(key))], all_of_them).retrains
    return begun


def train(ledger: Ledger, fence: Fence, begun: Retrain) -> Retrain:
    """The retraining once it is TRAINED."""
    submission = begun.submission_id or ""
    ledger.submitted(fence, submission)
    claim = ledger.claim_run(submission, host=f"job {submission}")
    ledger.finish_run(claim, f"file:///{submission}", sha(submission))
    ledger.trained(fence, submission)
    return ledger.retrain(begun.retrain_id)


def evaluate(
    ledger: Ledger,
    fence: Fence,
    begun: Retrain,
    *,
    version: int = 2,
    before: int = 1,
    evaluation_set_sha: str = "e",
) -> Retrain:
    """The retraining once it is EVALUATED."""
    ledger.evaluated(
        fence,
        begun.retrain_id,
        candidate_version=f"{MODEL}@{version}",
        champion_before=f"{MODEL}@{before}",
        evaluation_set_sha=evaluation_set_sha,
        evaluation={"f1": 0.5},
    )
    return ledger.retrain(begun.retrain_id)


def ask(ledger: Ledger, fence: Fence, clock: Clock, key: str = "1") -> Retrain:
    """A retraining that NEEDS_REVIEW within a day."""
    begun = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence, key)))
    ledger.judge(
        fence,
        begun.retrain_id,
        "NEEDS_REVIEW",
        verdict={"risk": "high"},
        deadline=clock.deadline_s,
    )
    return ledger.retrain(begun.retrain_id)
