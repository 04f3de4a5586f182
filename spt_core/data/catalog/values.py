"""PublicDataset: what the catalog says of a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pyarrow as pa

from spt_core.data.corpus import Roles


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublicDataset:
    """Where a public data set comes from, its licence and the roles of its columns.

    `files` maps each file to its sha256. `read` turns the folder's URI into a table, for formats
    that a Corpus does not take; without it the first file is the corpus. `settings` are what else
    it asks for, as --set takes it: a job that names the data set begins with them. `home` is the
    industry whose folder holds it, where that is not the task's, `folder` the folder's name, where
    that is not the set's: one folder may be read in several ways.
    """

    name: str
    task: str
    source: str
    licence: str
    files: Mapping[str, str]
    roles: Roles
    notes: str
    read: Callable[[str], pa.Table] | None = None
    synthetic: bool = False
    settings: tuple[str, ...] = ()
    home: str | None = None
    folder: str | None = None
