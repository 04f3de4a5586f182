"""A response's bytes with a cap on each of three sizes: on the wire, unpacked, and their ratio.

Unpacking goes piece by piece, and gives the event loop its turn between pieces.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

ACCEPT_ENCODING = "gzip, deflate"
_GZIP, _ZLIB, _BARE = 31, 15, -15  # window bits
LARGE_BYTES = 2**20
_PIECE_BYTES = 256 * 2**10
_RATIO_FROM_BYTES = 2**20  # a tiny body of one repeated word is no bomb


class BodyRefusedError(Exception):
    """The body must not be used; the sentence says why."""


class Caps(Protocol):
    """The sizes that a body may have."""

    @property
    def wire_bytes(self) -> int:
        """Bytes as sent."""
        ...

    @property
    def body_bytes(self) -> int:
        """Bytes unpacked."""
        ...

    @property
    def ratio(self) -> int:
        """Unpacked to sent."""
        ...


async def read_body(
    chunks: AsyncIterator[bytes],
    content_encoding: str,
    caps: Caps,
    grown_large: Callable[[], Awaitable[None]],
) -> bytes:
    """The whole body, unpacked; BodyRefusedError where it is too large, damaged or not asked for.

    `grown_large` is awaited once, before a body is kept that grows beyond LARGE_BYTES.
    """
    unpacker = _unpacker(content_encoding)
    num_sent, num_unpacked, is_large, pieces = 0, 0, False, list[bytes]()
    async for chunk in chunks:
        num_sent += len(chunk)
        if num_sent > caps.wire_bytes:
            raise BodyRefusedError(f"it sent more than {caps.wire_bytes // 2**20} MB")
        for piece in unpacker.feed(chunk):
            num_unpacked += len(piece)
            if num_unpacked > caps.body_bytes:
                raise BodyRefusedError(f"it unpacks to more than {caps.body_bytes // 2**20} MB")
            if num_unpacked > max(_RATIO_FROM_BYTES, caps.ratio * num_sent):
                raise BodyRefusedError(f"it unpacks to more than {caps.ratio} times its size")
            if num_unpacked > LARGE_BYTES and not is_large:
                is_large = True
                await grown_large()
            pieces.append(piece)
            if len(piece) >= _PIECE_BYTES:
                await asyncio.sleep(0)
    if not unpacker.is_whole:
        raise BodyRefusedError("its compressed data is cut off")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Identity:
    """A body that is sent as it is."""

    is_whole = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The chunk."""
        yield chunk


class _Inflate:
    """gzip (several members too) or deflate, with or without its zlib wrapper."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._engine = zlib.decompressobj(window_bits)
        self._is_started = False

    @property
    def is_whole(self) -> bool:
        """Whether the compressed data ended where it should; an empty body has none."""
        return self._engine.eof or not self._is_started

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Unpacked pieces, one at a time, so that caps act in between."""
        rest = chunk
        while rest:
            if self._engine.eof:
                if self._window_bits != _GZIP or not rest.startswith(b"\x1f\x8b"):
                    return  # padding after the end
                self._engine = zlib.decompressobj(self._window_bits)
            piece = self._unpack(rest)
            self._is_started = True
            if piece:
                yield piece
            rest = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail

    def _unpack(self, data: bytes) -> bytes:
        try:
            return self._engine.decompress(data, _PIECE_BYTES)
        except zlib.error as error:
            if not self._is_started and self._window_bits == _ZLIB:  # many servers send it bare
                self._window_bits = _BARE
                self._engine = zlib.decompressobj(_BARE)
                self._is_started = True
                return self._unpack(data)
            raise BodyRefusedError(f"its compressed data is damaged: {error}") from error


def _unpacker(content_encoding: str) -> _Identity | _Inflate:
    match content_encoding.strip().lower():
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Inflate(_GZIP)
        case "deflate":
            return _Inflate(_ZLIB)
        case other:
            raise BodyRefusedError(f"its encoding {other[:40]!r} was not asked for")
