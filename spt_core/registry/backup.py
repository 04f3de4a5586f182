"""All tables as one JSON-lines file, the same for SQLite and Postgres.

header (format, schema, time) | one line per row | footer (rows per table, sha256 of all before it):
a file without its footer was never finished.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from spt_core.artifacts import exists, read_bytes, write_bytes
from spt_core.errors import CorruptArtifactError, InputError
from spt_core.registry.database import Database
from spt_core.registry.tables import METADATA

FORMAT = "spt-database-1"


def dump(database: Database, uri: str, *, at: str) -> str:
    """Write the file; returns its sha256."""
    if exists(uri):
        raise InputError(f"a backup must not overwrite anything, however: {uri} exists")
    lines: list[Mapping[str, Any]] = [{"format": FORMAT, "schema": database.revision, "at": at}]
    rows: dict[str, int] = {}
    with database.read() as connection:
        for table in METADATA.sorted_tables:
            query = sa.select(table).order_by(*table.primary_key.columns)
            records = [dict(row) for row in connection.execute(query).mappings()]
            lines += [{"table": table.name, "row": row} for row in records]
            rows[table.name] = len(records)
    body = b"".join(_line(line) for line in lines)
    footer = _line({"rows": rows, "sha256": hashlib.sha256(body).hexdigest()})
    return write_bytes(uri, body + footer)


def load(database: Database, uri: str) -> dict[str, int]:
    """Insert every row of the file, all or none; returns the rows per table."""
    header, *lines = _checked_lines(read_bytes(uri), uri)
    if header.get("schema") != database.revision:
        raise InputError(
            f"a backup must have this version's schema {database.revision}, however: {uri} has "
            f"{header.get('schema')}; restore it with the version that wrote it, then open that "
            "database with this one"
        )
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in METADATA.sorted_tables}
    for line in lines:
        rows[line["table"]].append(line["row"])
    with database.write() as connection:
        held = {t.name: _count(connection, t) for t in METADATA.sorted_tables}
        if any(held.values()):
            contents = ", ".join(f"{count} rows in {name}" for name, count in held.items() if count)
            raise InputError(
                f"a backup is restored into an empty database, however: {database.shown} holds "
                f"{contents}; name a new database"
            )
        for table in METADATA.sorted_tables:
            if rows[table.name]:
                connection.execute(sa.insert(table), rows[table.name])
    return {name: len(inserted) for name, inserted in rows.items()}


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def _checked_lines(content: bytes, uri: str) -> list[dict[str, Any]]:
    """The header and the rows, once the footer has confirmed them."""
    body, _, last = content.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    footer = _parsed(last, uri)
    if footer.get("sha256") != hashlib.sha256(body).hexdigest():
        raise CorruptArtifactError(
            f"a backup must end with the sha256 of what precedes it, however: {uri} does not; it "
            "was cut off, or changed, or is no backup"
        )
    lines = [_parsed(line, uri) for line in body.splitlines()]
    if lines[0].get("format") != FORMAT:
        raise InputError(f"a backup must have the format {FORMAT}, however: {lines[0]}")
    if Counter(line["table"] for line in lines[1:]) != Counter(footer["rows"]):
        raise CorruptArtifactError(
            f"a backup must hold the rows that it counts, however: {uri} does not"
        )
    return lines


def _parsed(line: bytes, uri: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise CorruptArtifactError(
            f"a backup must be JSON lines, however: {uri} is not ({error})"
        ) from error
    if not isinstance(content, dict):
        raise CorruptArtifactError(f"a backup's lines must be objects, however: {uri} has others")
    return content


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode() + b"\n"
