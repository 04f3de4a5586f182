"""A server of many feeds on loopback: one host name each, some of them slow, broken or hostile.

Run as `python -m tests.feed_server NUM_FEEDS`: it prints its port and serves until its standard
input closes. The kind of a feed follows from its number: `kind_of`.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import sys

from aiohttp.abc import AbstractResolver

SHARES = {
    "not_modified": 60,
    "unchanged": 25,
    "new_items": 10,
    "slow": 2,
    "silent": 1,
    "broken": 1,
    "hostile": 1,
}
HEALTHY = ("not_modified", "unchanged", "new_items", "slow")
SLOW_S = 2.0
_KINDS = [kind for kind, share in SHARES.items() for _ in range(share)]


class Loopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list:
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        pass


def kind_of(number: int) -> str:
    """What a feed does, spread evenly over the numbers."""
    return _KINDS[number * 37 % 100]


def feed(number: int, poll: int, num_items: int = 25) -> bytes:
    """An RSS feed of about 18 kB; with each poll one more of its items is new."""
    words = "The authority amends the reporting rules for institutions of this class. " * 8
    items = "".join(
        f"<item><title>Notice {n} of authority {number}</title>"
        f"<link>https://authority{number}.example/notices/{n}?utm_source=rss</link>"
        f"<guid>urn:authority:{number}:{n}</guid><pubDate>Tue, 03 Mar 2026 10:00:00 GMT</pubDate>"
        f"<description>&lt;p&gt;{words}&lt;/p&gt;</description></item>"
        for n in range(poll, poll + num_items)
    )
    return (
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>Authority {number}</title>'
        f"<ttl>60</ttl>{items}</channel></rss>"
    ).encode()


class Feeds:
    """What each feed answers."""

    def __init__(self) -> None:
        self._polls: dict[int, int] = {}
        self._bomb = gzip.compress(b"<rss>" + b"\0" * 40 * 2**20)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                host = head.lower().partition(b"\r\nhost: feed")[2]
                number = int(host.partition(b".")[0])
                if not await self._answer(number, head, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, number: int, head: bytes, writer: asyncio.StreamWriter) -> bool:
        poll = self._polls[number] = self._polls.get(number, -1) + 1
        kind = kind_of(number)
        headers = b'ETag: "v1"\r\nCache-Control: max-age=600\r\n'
        if kind == "not_modified" and b'if-none-match: "v1"' in head.lower():
            writer.write(b"HTTP/1.1 304 Not Modified\r\n" + headers + b"\r\n")
        elif kind == "silent":
            await asyncio.sleep(3600)
        elif kind == "hostile":
            return await self._hostile(number, writer)
        elif kind == "broken":
            bodies = (feed(number, 0)[:-400], b"<html>Blocked</html>", b"", b"\x89PNG")
            self._whole(writer, b"", bodies[number // 100 % 4])
        else:
            if kind == "slow":
                await asyncio.sleep(SLOW_S)
            body = feed(number, poll if kind == "new_items" else 0)
            if number % 2:
                headers += b"Content-Encoding: gzip\r\n"
                body = gzip.compress(body, 1)
            self._whole(writer, headers, body)
        await writer.drain()
        return True

    def _whole(self, writer: asyncio.StreamWriter, headers: bytes, body: bytes) -> None:
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n" + headers + length + body)

    async def _hostile(self, number: int, writer: asyncio.StreamWriter) -> bool:
        """A bomb, an endless body, a large feed, a redirect into the network, endless headers."""
        match number // 100 % 5:
            case 0:
                self._whole(writer, b"Content-Encoding: gzip\r\n", self._bomb)
            case 1:
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<rss>")
                while True:
                    writer.write(b"<item>" * 10_000)
                    await writer.drain()
            case 2:
                self._whole(writer, b"", feed(number, 0, num_items=9000))
            case 3:
                writer.write(
                    b"HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )
            case _:
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    writer.write(b"X-Filler: " + b"x" * 8000 + b"\r\n")
                    await writer.drain()
        await writer.drain()
        return True


async def main() -> None:
    """Serve until standard input closes."""
    server = await asyncio.start_server(Feeds().serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)  # connections that are open do not matter


if __name__ == "__main__":
    asyncio.run(main())
