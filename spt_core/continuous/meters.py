"""What a watcher counts and measures; the same names in process and in Prometheus.

| meter | labels | what |
|---|---|---|
| spt_watch_polls | outcome | polls of sources |
| spt_watch_items | kind | items: new, revised, known |
| spt_watch_retrainings | | retrainings that began |
| spt_watch_loop_lag_s | | how late the event loop's timers were, the longest of the last 10 s |
| spt_watch_lease_epoch | | epoch of the lease that is held; 0 while it is not |
| spt_watch_pending | bucket | publications that wait for a retraining |
| spt_watch_runs | state | retrainings in each state |
| spt_watch_outbox_age_s | | how long the oldest effect on the outside has been waiting |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, final

Count = Literal["spt_watch_polls", "spt_watch_items", "spt_watch_retrainings"]
Level = Literal[
    "spt_watch_loop_lag_s",
    "spt_watch_lease_epoch",
    "spt_watch_pending",
    "spt_watch_runs",
    "spt_watch_outbox_age_s",
]


class Meter(NamedTuple):
    """What a meter is, for people, and its one label if it has one."""

    description: str
    label: str = ""


COUNTS: Mapping[Count, Meter] = {
    "spt_watch_polls": Meter("polls of sources", "outcome"),
    "spt_watch_items": Meter("items of sources", "kind"),
    "spt_watch_retrainings": Meter("retrainings that began"),
}
LEVELS: Mapping[Level, Meter] = {
    "spt_watch_loop_lag_s": Meter("the longest that a timer of the event loop was late, of 10 s"),
    "spt_watch_lease_epoch": Meter("epoch of the lease that is held, 0 while it is not"),
    "spt_watch_pending": Meter("publications that wait for a retraining", "bucket"),
    "spt_watch_runs": Meter("retrainings in each state", "state"),
    "spt_watch_outbox_age_s": Meter("age of the oldest effect that is still to be made"),
}


class Meters(Protocol):
    """Takes figures from any thread; `label` is the value of the meter's label."""

    def add(self, meter: Count, number: float = 1.0, label: str = "") -> None:
        """Count more."""
        ...

    def set(self, meter: Level, value: float, label: str = "") -> None:
        """The value now."""
        ...


@final
class Counters:
    """Meters in memory: `values["spt_watch_polls"]["changed"]`."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, meter: Count, number: float = 1.0, label: str = "") -> None:
        """Count more."""
        self.values[meter][label] += number

    def set(self, meter: Level, value: float, label: str = "") -> None:
        """The value now."""
        self.values[meter][label] = value

    def to_json(self) -> dict[str, dict[str, float]]:
        """The values as plain JSON."""
        return {name: dict(labels) for name, labels in self.values.items()}
