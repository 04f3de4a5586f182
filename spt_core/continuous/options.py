"""What the operator of a watcher decides: where things are kept, whom it may ask, how often."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from spt_core.artifacts import as_uri
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.errors import InputError

DEFAULT_STORAGE = "spt_storage"


def _storage() -> str:
    """Where the command line keeps things, so that its status tells of this pipeline."""
    return os.environ.get("SPT_STORAGE") or DEFAULT_STORAGE  # noqa: TID251  as cluster.settings


def _database_url() -> str:
    return os.environ.get("SPT_DATABASE_URL") or ""  # noqa: TID251


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """Where the pipeline keeps things, and what its operator allows; no source can set any of it.

    Args:
        storage: storage root, handed to the jobs; SPT_STORAGE or ./spt_storage, as of a job.
        database_url: SQLite or Postgres, SPT_DATABASE_URL or "", which is `spt.db` below a local
            storage root.
        actor: under whose name sources and monitoring are configured.
        policy: how sources are asked, as whom, and which private networks may be.
        secrets: by source id, the value of the header that its API wants for a key.
        lease_ttl_s: after how long another watcher takes over from one that is gone.
        tick_s: how often the database is asked what is due.
        batch_size: answers in one transaction at most.
        batch_wait_s: how long an answer waits for others to join its transaction.
        drive_s: how often jobs are looked after.
        evaluate_s: how often time limits are.
    """

    storage: str = dataclasses.field(default_factory=_storage)
    database_url: str = dataclasses.field(default_factory=_database_url)
    actor: str = "ContinuousTrainingPipeline"
    policy: FetchPolicy = FetchPolicy()
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    lease_ttl_s: float = 30.0
    tick_s: float = 1.0
    batch_size: int = 64
    batch_wait_s: float = 0.25
    drive_s: float = 2.0
    evaluate_s: float = 15.0

    @property
    def database(self) -> str:
        """The database's URL."""
        root = as_uri(self.storage)
        if not self.database_url and not root.startswith("file://"):
            raise InputError(
                "a storage root that is not local needs a database, however: no database_url is "
                "given"  # the root may hold a key
            )
        return self.database_url or f"sqlite:///{root.removeprefix('file://')}/spt.db"
