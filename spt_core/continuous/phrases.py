"""Finding phrases in texts: upper or lower case, singular or plural, hyphens or spaces."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The text's words in the form in which they are compared."""
    return [_singular(word) for word in _WORD.findall(text.casefold())]


class Phrases:
    """A set of phrases, looked up by their first word: the time does not grow with their number."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_first: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for phrase in dict.fromkeys(phrases):
            parts = tuple(words(phrase))
            if parts:
                self._by_first.setdefault(parts[0], []).append((parts, phrase))

    def within(self, text: Sequence[str]) -> list[str]:
        """The phrases that the words hold, each once, in order of their first place."""
        phrases: dict[str, None] = {}
        for at, word in enumerate(text):
            for parts, phrase in self._by_first.get(word, ()):
                if len(parts) == 1 or tuple(text[at : at + len(parts)]) == parts:
                    phrases[phrase] = None
        return list(phrases)


@functools.lru_cache(maxsize=50_000)
def _singular(word: str) -> str:
    """The word without a plural's ending, as far as three rules tell one."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and word[-2] not in "siu":
        return word[:-1]
    return word
