"""Texts -> token ids: the one encoder of training, batch scoring and serving. No torch here.

A text becomes one window of ids, or several that overlap when it is long. Mentions (spans) are
found by a lexicon where a client does not supply them, and pairs of them are placed on tokens.
"""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from spt_core.errors import InputError, shown
from spt_core.signature import MAX_CHARACTERS, MAX_SPANS

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\[])|\n+")
_WORD = re.compile(r"\w+|[^\w\s]")
_CHARACTER = re.compile("(?s).[\u0300-\u036f\u1ab0-\u1aff\u20d0-\u20ff]*")  # with its accents
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u2032\u00b4\u0060"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"), None),  # invisible
}
Offsets = list[tuple[int, int]]


class TokenWindow(NamedTuple):
    """Ids with the special tokens around them, and the characters [start, end) of each token.

    Special tokens have the characters (0, 0).
    """

    ids: list[int]
    offsets: Offsets


class Mention(NamedTuple):
    """Characters [start, end) of a text that name something."""

    start: int
    end: int


class TokenPair(NamedTuple):
    """Mentions `first` and `second` (by number), their window and their first and last tokens."""

    first: int
    second: int
    window: int
    first_tokens: tuple[int, int]
    second_tokens: tuple[int, int]


class EncodedText(NamedTuple):
    """A text as windows, its mentions, and those pairs of them that lie within one window."""

    text: str
    windows: list[TokenWindow]
    mentions: tuple[Mention, ...] = ()
    pairs: tuple[TokenPair, ...] = ()


class TokenBatch(NamedTuple):
    """Several texts as arrays.

    `features` int64 [W, T], padded; `owner` int64 [W], the text of each window; `pairs` int64
    [P, 5]: window, first and last token of the first mention, first and last of the second.
    """

    features: NDArray[np.int64]
    owner: NDArray[np.int64]
    pairs: NDArray[np.int64]


class TextEncoder:
    """Encodes texts with one tokenizer. Thread-safe."""

    def __init__(self, tokenizer: bytes, *, max_tokens: int, overlap: int) -> None:
        self.tokenizer = open_tokenizer(tokenizer)
        self.prefix, self.suffix = _special(self.tokenizer)
        self.pad = _token(self.tokenizer, "[PAD]", "<pad>")
        self.unknown = _token(self.tokenizer, "[UNK]", "<unk>")
        self.mask = _token(self.tokenizer, "[MASK]", "<mask>")
        self._room, self._overlap = max_tokens - 2, overlap
        if not 0 <= overlap < self._room:
            raise InputError(
                f"windows must overlap by less than they hold, however: {max_tokens=}, {overlap=}"
            )

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Each text as windows."""
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [
            EncodedText(text, [self._window(*part) for part in self._cut(e.ids, e.offsets)])
            for text, e in zip(texts, encodings, strict=True)
        ]

    def encode_pairs(self, text: str, mentions: Sequence[Mention]) -> EncodedText:
        """A text with its mentions, and every pair of them that lies within one window.

        A text that fits in one window is one; a longer one is cut at the ends of sentences, and a
        sentence that is still too long into overlapping windows.
        """
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        parts = [(ids, offsets)]
        if len(ids) > self._room:
            parts = list(
                itertools.chain.from_iterable(
                    self._cut(*part) for part in _sentences(text, ids, offsets)
                )
            )
        windows = [self._window(*part) for part in parts]
        placed = [_placed(window.offsets, mentions) for window in windows]
        pairs: dict[tuple[int, int], TokenPair] = {}
        for number, inside in enumerate(placed):
            for (i, first), (j, second) in itertools.combinations(inside.items(), 2):
                pairs.setdefault((i, j), TokenPair(i, j, number, first, second))
        return EncodedText(text, windows, tuple(mentions), tuple(pairs[k] for k in sorted(pairs)))

    def batch(self, texts: Sequence[EncodedText]) -> TokenBatch:
        """Texts as padded arrays, their windows in order."""
        windows = [window.ids for text in texts for window in text.windows]
        counts = [len(text.windows) for text in texts]
        starts = list(itertools.accumulate(counts, initial=0))
        pairs = [
            (start + pair.window, *pair.first_tokens, *pair.second_tokens)
            for start, text in zip(starts, texts, strict=False)
            for pair in text.pairs
        ]
        return TokenBatch(
            padded(windows, self.pad),
            np.repeat(np.arange(len(texts)), counts),
            np.array(pairs, np.int64).reshape(len(pairs), 5),
        )

    def _cut(self, ids: list[int], offsets: Offsets) -> list[tuple[list[int], Offsets]]:
        if len(ids) <= self._room:
            return [(ids, offsets)]
        stride = self._room - self._overlap
        starts = range(0, len(ids) - self._overlap, stride)
        return [(ids[s : s + self._room], offsets[s : s + self._room]) for s in starts]

    def _window(self, ids: list[int], offsets: Offsets) -> TokenWindow:
        return TokenWindow(
            [self.prefix, *ids, self.suffix],
            [(0, 0), *offsets, (0, 0)],
        )


class Lexicon:
    """Finds the longest known names in a text, whole words only.

    Case, typographic apostrophes and hyphens, full width, and what is composed of several
    characters or invisible make no difference; places are those of the text as it was sent.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, set[tuple[str, ...]]] = {}
        self._longest = 1
        for name in names:
            words = tuple(word for word, _, _ in _words(name))
            if words:
                self._names.setdefault(words[0], set()).add(words)
                self._longest = max(self._longest, len(words))

    def find(self, text: str) -> list[Mention]:
        """The mentions in order; they do not overlap."""
        words = _words(text)
        mentions: list[Mention] = []
        at = 0
        while at < len(words):
            candidates = self._names.get(words[at][0], ())
            size = max((len(n) for n in candidates if self._is_at(words, at, n)), default=0)
            if size:
                mentions.append(Mention(words[at][1], words[at + size - 1][2]))
            at += max(size, 1)
        return mentions

    def _is_at(self, words: Sequence[tuple[str, int, int]], at: int, name: tuple[str, ...]) -> bool:
        return tuple(word for word, _, _ in words[at : at + len(name)]) == name


def _words(text: str) -> list[tuple[str, int, int]]:
    """Words and marks of a text in their plain form, and the characters [start, end) of each."""
    if text.isascii():
        return [(m.group().lower(), m.start(), m.end()) for m in _WORD.finditer(text)]
    plain: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in _CHARACTER.finditer(text):
        written = match.group().translate(_TYPOGRAPHY)
        for char in unicodedata.normalize("NFKC", written).translate(_TYPOGRAPHY).lower():
            plain.append(char)
            starts.append(match.start())
            ends.append(match.end())
    return [
        (m.group(), starts[m.start()], ends[m.end() - 1]) for m in _WORD.finditer("".join(plain))
    ]


def open_tokenizer(content: bytes) -> Tokenizer:
    """The tokenizer, without padding and truncation of its own."""
    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # a text that spells [SEP] has no separator in it
    return tokenizer


def checked_text(value: object, name: str) -> str:
    """The text of a field; InputError for one that no model can read."""
    if not isinstance(value, str):
        raise InputError(f"the field {name!r} must be a text, however: it is {shown(value)}")
    if len(value) > MAX_CHARACTERS:
        raise InputError(
            f"the field {name!r} must have at most {MAX_CHARACTERS:,} characters, however: it has "
            f"{len(value):,}; send it in parts"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the field {name!r} must be Unicode text, however: character {error.start} is half of "
            "a surrogate pair"
        ) from error
    if not any(not c.isspace() and (c.isprintable() or c == "\u200d") for c in value):
        raise InputError(
            f"the field {name!r} must hold a text, however: it is empty or has no visible character"
        )
    return value


def checked_mentions(value: object, name: str, text: str) -> list[Mention]:
    """The spans of a field, `[{"start": 0, "end": 7}, ...]`, in order."""
    if not isinstance(value, list) or not all(isinstance(span, Mapping) for span in value):
        raise InputError(f"the field {name!r} must be a list of objects with start and end")
    if len(value) > MAX_SPANS:
        raise InputError(
            f"the field {name!r} takes at most {MAX_SPANS} spans, however: it has {len(value)}"
        )
    mentions: list[Mention] = []
    for span in cast(list[Mapping[str, Any]], value):
        start, end = span.get("start"), span.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
            raise InputError(
                f"a span of {name!r} must satisfy 0 <= start < end <= {len(text)}, however: "
                f"{start!r}, {end!r}"
            )
        mentions.append(Mention(start, end))
    return sorted(set(mentions))


def padded(rows: Sequence[Sequence[int] | NDArray[np.int32]], pad: int) -> NDArray[np.int64]:
    """Rows of ids [W, T], the shorter ones filled up."""
    width = max((len(row) for row in rows), default=0)
    matrix = np.full((len(rows), width), pad, np.int64)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = row
    return matrix


def _special(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids that the tokenizer puts before and behind a text."""
    ids = tokenizer.encode("").ids
    if len(ids) != 2:
        raise InputError(
            "a tokenizer must put one token before and one behind a text, however: it makes "
            f"{len(ids)} of an empty one"
        )
    return ids[0], ids[1]


def _token(tokenizer: Tokenizer, *names: str) -> int:
    for name in names:
        token_id = tokenizer.token_to_id(name)
        if token_id is not None:
            return token_id
    raise InputError(f"a tokenizer must have one of the tokens {names}, however: it has neither")


def _sentences(text: str, ids: list[int], offsets: Offsets) -> list[tuple[list[int], Offsets]]:
    starts = [start for start, _ in offsets]
    cuts = [bisect.bisect_left(starts, m.end()) for m in _SENTENCE_END.finditer(text)]
    bounds = sorted({0, *cuts, len(ids)})
    return [(ids[a:b], offsets[a:b]) for a, b in itertools.pairwise(bounds)]


def _placed(offsets: Offsets, mentions: Sequence[Mention]) -> dict[int, tuple[int, int]]:
    """The first and last token of each mention that lies in the window as a whole."""
    real = [(i, s, e) for i, (s, e) in enumerate(offsets) if e > s]
    positions: dict[int, tuple[int, int]] = {}
    for number, mention in enumerate(mentions):
        inside = [i for i, s, e in real if s < mention.end and e > mention.start]
        if inside and real[0][1] <= mention.start and mention.end <= real[-1][2]:
            positions[number] = (inside[0], inside[-1])
    return positions
