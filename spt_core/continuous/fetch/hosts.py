"""Being polite to hosts: few requests at a time to each, with pauses of random length."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator

_MANY = 10_000


class _Host:
    """What is known of one host: its free places, and when it may be asked again."""

    __slots__ = ("free", "next_at", "num_users", "turn")

    def __init__(self, size: int) -> None:
        self.free = asyncio.Semaphore(size)
        self.turn = asyncio.Lock()
        self.next_at = 0.0
        self.num_users = 0


class HostLimits:
    """At most `at_a_time` requests to a host together, their starts `pause_s` or more apart."""

    def __init__(self, *, at_a_time: int, pause_s: float) -> None:
        self._at_a_time, self._pause_s = at_a_time, pause_s
        self._hosts: dict[str, _Host] = {}
        self._random = random.Random()

    @contextlib.asynccontextmanager
    async def turn(self, host: str) -> AsyncGenerator[None]:
        """Wait for this host's turn and hold a place while asking it."""
        state = self._hosts.setdefault(host, _Host(self._at_a_time))
        state.num_users += 1
        try:
            async with state.free:
                async with state.turn:  # a pause begins when a request really did
                    while (wait_s := state.next_at - time.monotonic()) > 0:
                        await asyncio.sleep(wait_s)
                    pause_s = self._pause_s * (1 + self._random.random())
                    state.next_at = time.monotonic() + pause_s
                yield
        finally:
            state.num_users -= 1
            if len(self._hosts) > _MANY:
                self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        for host in [h for h, k in self._hosts.items() if not k.num_users and k.next_at < now]:
            del self._hosts[host]
