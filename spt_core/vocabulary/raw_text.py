"""Raw text as masked-language training takes it: texts -> steps -> windows of ids -> masked ids.

Text is cut into steps by bytes, not tokens: a step holds the same text whatever the tokenizer, so
that two vocabularies can be compared on the same bytes. Words are masked whole, or but for their
first pieces, which are then given: that is how `spt_core.vocabulary.bits` asks for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from spt_core.data import formats
from spt_core.data.corpus import Format
from spt_core.errors import InputError, nearest
from spt_core.families.text.reading import padded

MASKS, PADS = ("[MASK]", "<mask>"), ("[PAD]", "<pad>")
_LONGEST_PIECE = 2000  # characters of a text that are kept together


class FileTexts:
    """The texts of one column of Parquet, CSV or JSONL files, read as a stream every time."""

    def __init__(self, uris: Sequence[str], kind: Format, column: str) -> None:
        columns = formats.header(uris[0], kind)
        if column not in columns:
            raise InputError(
                f"texts must be in a column of the files, however: {column!r} is none; "
                f"{nearest(column, columns)}"
            )
        self._uris, self._column = tuple(uris), column
        self._kind: Format = kind

    def __iter__(self) -> Iterator[str]:
        """The texts in the order of the files; what is empty or no text is left out."""
        columns = [self._column] if self._kind == "parquet" else None
        for uri in self._uris:
            for raw in formats.batches(formats.Fragment(uri=uri), self._kind, columns=columns):
                if self._column in raw.table.column_names:
                    for text in raw.table[self._column].to_pylist():
                        if isinstance(text, str) and text.strip():
                            yield text


class Windows(NamedTuple):
    """Ids int64 [B, T], padded, and the word that each is of [B, T]; -1 is none (or special)."""

    ids: NDArray[np.int64]
    words: NDArray[np.int64]
    pad: int
    mask: int


def token_of(tokenizer: Tokenizer, names: tuple[str, ...]) -> int:
    """The id of the first name that the tokenizer knows."""
    ids = [tokenizer.token_to_id(name) for name in names]
    present = [number for number in ids if number is not None]
    if not present:
        raise InputError(
            f"a tokenizer must have one of {names} to be trained, however: it has none"
        )
    return present[0]


def steps(
    texts: Iterable[str], *, num_bytes: int, num_shuffled: int, seed: int
) -> Iterator[list[str]]:
    """Texts of `num_bytes` each, again and again, shuffled as a function of (seed, epoch).

    `num_shuffled` texts are shuffled among each other at a time.
    """
    some: list[str] = []
    size = 0
    for epoch in itertools.count():
        is_empty = True
        for text in _shuffled(texts, num_shuffled, (seed, epoch)):
            for part in _parts(text):
                is_empty = False
                some.append(part)
                size += len(part.encode())
                if size >= num_bytes:
                    yield some
                    some, size = [], 0
        if is_empty:
            raise InputError("training on raw text needs texts, however: there are none")


def windows_of(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> Windows:
    """Texts packed into windows of at most `max_tokens`, a separator between two."""
    first, last = tokenizer.encode("").ids
    ids: list[int] = []
    words: list[int] = []
    number = 0
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids += [*encoding.ids, last]
        words += [*(-1 if w is None else number + w for w in encoding.word_ids), -1]
        number += 1 + max((w for w in encoding.word_ids if w is not None), default=0)
    room = max_tokens - 2
    # The texts' last separator is the window's; one window there is, even of nothing.
    starts = range(0, max(len(ids) - 1, 1), room)
    pad = token_of(tokenizer, PADS)
    return Windows(
        padded([[first, *ids[s : s + room], last] for s in starts], pad),
        padded([[-1, *words[s : s + room], -1] for s in starts], -1),
        pad,
        token_of(tokenizer, MASKS),
    )


def masked(
    windows: Windows, share: float, chance: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids [B, T] with words masked, and the places that were [M], of the flattened windows.

    Half of the words that are masked keep some of their first pieces.
    """
    words = windows.words.ravel()
    positions = np.flatnonzero(words >= 0)
    if not len(positions):
        return windows.ids, positions
    starts = positions[np.r_[True, (np.diff(words[positions]) != 0) | (np.diff(positions) != 1)]]
    sizes = np.diff(np.r_[np.searchsorted(positions, starts), len(positions)])
    chosen = np.flatnonzero(chance.random(len(starts)) < share)
    if not len(chosen):
        chosen = chance.integers(0, len(starts), 1)
    given = (chance.random(len(chosen)) * sizes[chosen]).astype(np.int64)
    given *= chance.random(len(chosen)) < 0.5
    places = np.concatenate(
        [
            np.arange(starts[word] + skip, starts[word] + sizes[word])
            for word, skip in zip(chosen, given, strict=True)
        ]
    )
    ids = windows.ids.ravel().copy()
    ids[places] = windows.mask
    return ids.reshape(windows.ids.shape), places


def _shuffled(texts: Iterable[str], num: int, seed: tuple[int, int]) -> Iterator[str]:
    order = np.random.default_rng(seed)
    iterator = iter(texts)
    while block := list(itertools.islice(iterator, num)):
        yield from (block[i] for i in order.permutation(len(block)))


def _parts(text: str) -> Iterator[str]:
    """A text in parts that are not too long, cut at spaces where there are any."""
    text = text.encode(errors="replace").decode()  # half a surrogate pair is no text
    while len(text) > _LONGEST_PIECE:
        cut = text.rfind(" ", 1, _LONGEST_PIECE)
        cut = cut if cut > 0 else _LONGEST_PIECE
        yield text[:cut]
        text = text[cut:]
    if text.strip():
        yield text
