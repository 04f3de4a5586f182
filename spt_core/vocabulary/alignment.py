"""The same stretches of a text under two tokenizers: text -> [Unit].

A unit is a word, or several where one of the tokenizers takes them as a phrase: the smallest
stretch whose borders are borders of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

PART_CHARACTERS = 400


class Unit(NamedTuple):
    """Characters [start, end) of a text, and its tokens [from, to) under each tokenizer."""

    start: int
    end: int
    before: tuple[int, int]
    after: tuple[int, int]


class Aligned(NamedTuple):
    """A text, its ids under both tokenizers, and the units that lie within both."""

    text: str
    before: list[int]
    after: list[int]
    units: list[Unit]


def aligned(
    before: Tokenizer, after: Tokenizer, texts: Sequence[str], *, max_tokens: int
) -> list[Aligned]:
    """Each text under both tokenizers, special tokens around it, cut at `max_tokens`."""
    pairs = zip(before.encode_batch(list(texts)), after.encode_batch(list(texts)), strict=True)
    return [
        Aligned(
            text,
            [*a.ids[: max_tokens - 1], a.ids[-1]] if len(a.ids) > max_tokens else a.ids,
            [*b.ids[: max_tokens - 1], b.ids[-1]] if len(b.ids) > max_tokens else b.ids,
            [u for u in _units(a, b) if max(u.before[1], u.after[1]) < max_tokens],
        )
        for text, (a, b) in zip(texts, pairs, strict=True)
    ]


def parts(text: str) -> Iterator[str]:
    """A text in parts of about `PART_CHARACTERS`, cut at spaces."""
    part: list[str] = []
    size = 0
    for word in text.split(" "):
        if size + len(word) > PART_CHARACTERS and part:
            yield " ".join(part)
            part, size = [], 0
        part.append(word)
        size += len(word) + 1
    if part:
        yield " ".join(part)


def _units(before: Encoding, after: Encoding) -> list[Unit]:
    words = [(*word, 0) for word in _words(before)] + [(*word, 1) for word in _words(after)]
    units: list[Unit] = []
    spans: list[list[int]] = [[], []]
    start = end = -1
    for first, last, begin, stop, side in sorted(words):
        if first >= end and end >= 0:
            units += _unit(start, end, spans)
            spans, end = [[], []], -1
        if end < 0:
            start = first
        end = max(end, last)
        spans[side] += [begin, stop]
    return units + (_unit(start, end, spans) if end >= 0 else [])


def _unit(start: int, end: int, spans: list[list[int]]) -> list[Unit]:
    if not all(spans):  # only one of the tokenizers sees something here
        return []
    one, other = ((min(side), max(side)) for side in spans)
    return [Unit(start, end, one, other)]


def _words(encoding: Encoding) -> list[tuple[int, int, int, int]]:
    """Characters from and to, and tokens from and to, of each word."""
    words: list[tuple[int, int, int, int]] = []
    last = None
    for at, (word, (start, end)) in enumerate(
        zip(encoding.word_ids, encoding.offsets, strict=True)
    ):
        if word is None or end <= start:
            last = None
        elif word == last:
            first = words.pop()
            words.append((first[0], end, first[2], at + 1))
        else:
            words.append((start, end, at, at + 1))
            last = word
    return words
