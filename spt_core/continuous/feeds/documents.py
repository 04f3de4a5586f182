"""Documents on disk or from a source -> Parsed, whatever they are; archives give their members."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from spt_core.continuous.feeds.kinds import ON_DISK, parse
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.rss import NotStrictError
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.values import MAX_BODY_BYTES, Parsed, Poll, degraded
from spt_core.errors import InputError

INLINE_BYTES = 128 * 2**10  # a few milliseconds; larger ones are parsed in another process
MAX_MEMBERS = 100_000


def parse_document(
    body: bytes, content_type: str, source: Source, poll: Poll, pool: ParserPool
) -> Parsed:
    """What a source's answer holds: here when it is small and well-formed, else in the pool."""
    if len(body) <= INLINE_BYTES:
        try:
            return parse(body, content_type, source, poll)
        except NotStrictError:
            pass
    return pool.parse(body, content_type, source, poll)


async def parse_in_loop(
    body: bytes, content_type: str, source: Source, poll: Poll, pool: ParserPool
) -> Parsed:
    """What `parse_document` returns, without blocking the event loop for long."""
    if len(body) <= INLINE_BYTES:
        try:
            return parse(body, content_type, source, poll)
        except NotStrictError:
            pass
    return await pool.parse_soon(body, content_type, source, poll)


def parse_unknown(body: bytes, pool: ParserPool) -> Parsed:
    """What a document holds of which nothing but its bytes is known."""
    return parse_document(body, "", ON_DISK, Poll(url=ON_DISK.url), pool)


def documents(path: Path) -> Iterator[tuple[str, bytes | Parsed]]:
    """Each document of a file, folder or archive with its name; a Parsed where it is unreadable.

    A document is read no further than the size that is refused anyway.
    """
    if path.is_dir():
        for below in sorted(path.rglob("*")):
            if below.is_file() and not below.is_symlink():
                yield from documents(below)
        return
    try:
        with path.open("rb") as file:
            if path.name.endswith((".tar.gz", ".tgz", ".tar")):
                yield from _members(file, str(path), gzipped=not path.name.endswith(".tar"))
            elif path.name.endswith(".gz"):
                yield str(path), _unpacked(file)
            else:
                yield str(path), _read(file)
    except OSError as error:
        raise InputError(
            f"a path must be a readable file or folder, however: {path}: {error.strerror or error}"
        ) from error


def _members(file: BinaryIO, name: str, *, gzipped: bool) -> Iterator[tuple[str, bytes | Parsed]]:
    try:
        with tarfile.open(fileobj=file, mode="r|gz" if gzipped else "r|") as archive:
            for number, member in enumerate(archive):
                if number >= MAX_MEMBERS:
                    yield name, degraded("unknown", f"more than {MAX_MEMBERS:,} members")
                    return
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:  # a folder, link or device: nothing is ever written to disk
                    continue
                inner = f"{name}!{member.name}"
                if member.name.endswith(".gz"):
                    yield inner, _unpacked(io.BytesIO(content.read(MAX_BODY_BYTES)))
                else:
                    yield inner, _read(content)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield name, degraded("unknown", f"the archive is damaged: {str(error)[:100]}")


def _unpacked(file: BinaryIO) -> bytes | Parsed:
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _read(unpacked)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return degraded("unknown", f"the file is no whole gzip: {str(error)[:100]}")


def _read(file: IO[bytes] | gzip.GzipFile) -> bytes:
    return file.read(MAX_BODY_BYTES + 1)
