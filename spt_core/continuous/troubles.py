"""What is wrong right now, by part, in words for people; gone when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal, final

What = Literal["database", "clock", "jobs", "ingest", "step"]
_LOG = logging.getLogger(__name__)


@final
class Troubles:
    """The present troubles; safe to use from several threads."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._present: dict[str, tuple[float, str]] = {}

    def tell(self, what: What, sentence: str) -> None:
        """Keep a trouble, with the time since it is there; "" ends it."""
        if not sentence:
            self.clear(what)
            return
        since, before = self._present.get(what, (self._clock(), ""))
        self._present[what] = (since, sentence)
        if not before:
            _LOG.warning("%s: %s", what, sentence)

    def clear(self, what: What) -> None:
        """End a trouble."""
        if self._present.pop(what, None) is not None:
            _LOG.info("%s: fine again", what)

    def to_json(self) -> dict[str, dict[str, object]]:
        """The troubles as plain JSON: since when (seconds since 1970) and what."""
        return {
            what: {"since": since, "what": message}
            for what, (since, message) in self._present.items()
        }
