"""Whose turn it is: a host that hangs must keep no other host's sources from being asked."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from urllib.parse import urlsplit

from spt_core.continuous.ledger import Source
from spt_core.continuous.poll import is_adopted


class Turns:
    """Lets `at_a_time` sources of each host go on at once; the others of that host wait here."""

    def __init__(self, at_a_time: int) -> None:
        self._at_a_time = at_a_time
        self._busy = Counter[str]()
        self._waiting: dict[str, deque[Source]] = defaultdict(deque)

    def begin(self, source: Source) -> bool:
        """Whether the source may be asked now; if not, an `end` of its host gives it back."""
        host = _host(source)
        if self._busy[host] >= self._at_a_time:
            self._waiting[host].append(source)
            return False
        self._busy[host] += 1
        return True

    def end(self, source: Source) -> Source | None:
        """The next source of that host, whose turn begins, or None."""
        host = _host(source)
        if host in self._waiting:
            following = self._waiting[host].popleft()
            if not self._waiting[host]:
                del self._waiting[host]
            return following
        self._busy[host] -= 1
        if not self._busy[host]:
            del self._busy[host]
        return None


def _host(source: Source) -> str:
    return urlsplit(source.redirect_target if is_adopted(source) else source.url).netloc.lower()
