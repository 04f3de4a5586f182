"""A ledger, its leader and a registry whose champion is version 1, for the passes of a watcher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spt_core.continuous.ledger import Fence, Ledger, fence_of
from spt_core.registry import Registry


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1.8e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/spt.db"


@pytest.fixture
def ledger(url: str, clock: Clock) -> Ledger:
    return Ledger(url, clock=clock)


@pytest.fixture
def fence(ledger: Ledger) -> Iterator[Fence]:
    with ledger.lead("leader:1:1", ttl_s=1e9) as lease:
        yield fence_of(lease)


@pytest.fixture
def registry(url: str, ledger: Ledger) -> Registry:
    from tests.publications import MODEL, version

    made = Registry(url)
    for seed in (1, 2, 3):
        version(made, seed)
    made.set_alias(MODEL, "champion", 1, expected=None, actor="olga")
    return made
