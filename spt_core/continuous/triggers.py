"""When a model is retrained: enough relevant publications, one that waits too long, or a person.

decide(pending items of one bucket) -> Trigger | None, pure: the moment and the rules are arguments.

Whoever writes a feed must not be able to start a retraining, or to fill it: of the threshold one
source gives at most its share, and of the items that the threshold takes too. What a flood leaves
behind waits until its time is up; a person must then look at it first (`hold`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spt_core.continuous.ledger import Decide, Item, Trigger
from spt_core.continuous.monitoring import DAY_S, Monitoring
from spt_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a bucket stands: what waits, what of it counts, and since when.

    `cap` is what one source can give to the threshold; `oldest_s` is the age of the oldest item
    that waits, None for none.
    """

    bucket: str
    num_pending: int
    num_counted: int
    threshold: int
    cap: int
    by_source: Mapping[str, int]
    oldest_s: float | None
    max_wait_s: float

    def to_json(self) -> dict[str, Any]:
        """The standing as plain JSON."""
        return {**dataclasses.asdict(self), "by_source": dict(self.by_source)}

    @property
    def is_full(self) -> bool:
        """Whether the threshold is reached."""
        return self.num_counted >= self.threshold

    @property
    def is_late(self) -> bool:
        """Whether the oldest item has waited as long as it may; one from the future has."""
        return self.oldest_s is not None and not -DAY_S <= self.oldest_s < self.max_wait_s

    def words(self) -> str:
        """The standing as a sentence for people."""
        if not self.num_pending:
            return "nothing waits"
        said = f"{self.num_counted} of {self.threshold} publications"
        if self.num_counted < self.num_pending:
            name, number = max(self.by_source.items(), key=lambda source: source[1])
            said += f" ({self.num_pending} wait, but {name} has {number} and counts {self.cap})"
        assert self.oldest_s is not None, "something waits"
        waited = max(0.0, self.oldest_s) / DAY_S
        return f"{said}; the oldest waits {waited:.1f} of {self.max_wait_s / DAY_S:g} days"


def standing(
    monitoring: Monitoring, pending: Sequence[Item], now_s: float, num_sources: int
) -> Standing:
    """Where the model's bucket stands, with so many sources that could give to it."""
    by_source = Counter(item.source_id for item in pending)
    oldest = min((item.detected_at for item in pending), default=None)
    return counted(monitoring, by_source, oldest, now_s, num_sources)


def counted(
    monitoring: Monitoring,
    by_source: Mapping[str, int],
    oldest: float | None,
    now_s: float,
    num_sources: int,
) -> Standing:
    """Where the model's bucket stands, from what waits by source and since when."""
    cap = source_cap(monitoring, num_sources)
    return Standing(
        bucket=monitoring.bucket,
        num_pending=sum(by_source.values()),
        num_counted=sum(min(number, cap) for number in by_source.values()),
        threshold=monitoring.trigger_threshold,
        cap=cap,
        by_source=by_source,
        oldest_s=None if oldest is None else now_s - oldest,
        max_wait_s=monitoring.max_wait_days * DAY_S,
    )


def source_cap(monitoring: Monitoring, num_sources: int) -> int:
    """How many publications of one source count: its share, or an equal part if that is more.

    With fewer sources than a share allows for, the threshold could never be reached.
    """
    share = max(monitoring.max_source_share, 1 / max(num_sources, 1))
    return max(1, int(share * monitoring.trigger_threshold + 1e-9))


def decide_at(
    now_s: float, monitorings: Sequence[Monitoring], num_sources: Mapping[str, int]
) -> Decide:
    """What the ledger's ingest and evaluate are given; `num_sources` is by bucket.

    A bucket that is not watched any more begins nothing.
    """
    by_bucket = {monitoring.bucket: monitoring for monitoring in monitorings}

    def decide(pending: Sequence[Item]) -> Trigger | None:
        monitoring = by_bucket.get(pending[0].bucket)
        if monitoring is None:
            return None
        return trigger_of(monitoring, pending, now_s, num_sources.get(monitoring.bucket, 1))

    return decide


def trigger_of(
    monitoring: Monitoring, pending: Sequence[Item], now_s: float, num_sources: int
) -> Trigger | None:
    """The trigger that the pending items are, if they are one."""
    now = standing(monitoring, pending, now_s, num_sources)
    if now.is_full:
        return _trigger(monitoring, _shared(pending, now), f"threshold reached: {now.words()}")
    if now.is_late:
        return _trigger(
            monitoring, pending, f"time limit reached: {now.words()}", hold=_flood(monitoring, now)
        )
    return None


def manual_trigger(monitoring: Monitoring, pending: Sequence[Item], reason: str) -> Trigger:
    """The trigger that a person asks for, on everything that waits."""
    if not reason.strip():
        raise InputError("a retraining that a person asks for must have a reason, however: none")
    if not pending:
        raise InputError(
            f"a retraining needs publications that wait for it, however: {monitoring.model} has "
            "none; `python -m jobs.watch status` shows what waits"
        )
    return _trigger(monitoring, pending, reason)


def _trigger(
    monitoring: Monitoring, items: Sequence[Item], reason: str, *, hold: str = ""
) -> Trigger:
    refs = tuple(item.ref for item in items)
    return Trigger(
        bucket=monitoring.bucket,
        items=refs,
        reason=reason,
        risk_tier=monitoring.risk_tier,
        hold=hold,
    )


def _shared(pending: Sequence[Item], now: Standing) -> list[Item]:
    """The items in order of detection, of each source no more than its share of what is taken."""
    limit = _largest_limit(list(now.by_source.values()), now.cap, now.cap / now.threshold)
    taken: Counter[str] = Counter()
    chosen: list[Item] = []
    for item in pending:
        if taken[item.source_id] < limit:
            taken[item.source_id] += 1
            chosen.append(item)
    return chosen


def _largest_limit(numbers: Sequence[int], cap: int, share: float) -> int:
    """The largest number of items per source at which the largest source has its share or less.

    What is left of the share falls as the limit grows beyond what the others have, so the limits
    that are allowed have no gap, and halving finds their end.
    """
    low, high = cap, max(cap, *numbers)
    while low < high:
        limit = (low + high + 1) // 2
        total = sum(min(number, limit) for number in numbers)
        if min(max(numbers), limit) <= share * total + 1e-9:
            low = limit
        else:
            high = limit - 1
    return low


def _flood(monitoring: Monitoring, now: Standing) -> str:
    """Why a person must look at what waits first; "" where no source gives too much."""
    name, number = max(now.by_source.items(), key=lambda source: source[1])
    share = max(monitoring.max_source_share, now.cap / now.threshold)
    if number <= now.cap or number <= share * now.num_pending:
        return ""
    return (
        f"{name} gave {number} of the {now.num_pending} publications, more than its share of "
        f"{share:.0%}: look at them before they train a model"
    )
