"""Held-out bits per byte of two bases whose vocabularies differ: the same words for both.

A share of the words is masked, all pieces of a word together, and predicted from left to right: in
pass j the first j pieces are given and piece j is asked for. The bits of all pieces of all words
are divided by the words' UTF-8 bytes. The number of masks tells how many pieces a word has, so the
measure is a little kind to the smaller vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.errors import InputError
from spt_core.families.text.reading import open_tokenizer, padded
from spt_core.vocabulary.alignment import Unit, aligned, parts
from spt_core.vocabulary.masked_lm import Adapted, MaskedLanguageModel
from spt_core.vocabulary.raw_text import MASKS, PADS, token_of

_BATCH = 32
_NUM_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PairedBits:
    """Bits per byte before and after, and the 95 % interval of the difference over texts."""

    before: float
    after: float
    low: float
    high: float
    num_words: int
    num_bytes: int

    @property
    def rise(self) -> float:
        """After less before; below 0 is better."""
        return self.after - self.before

    def to_json(self) -> dict[str, Any]:
        """A JSON object of the same facts."""
        return dataclasses.asdict(self)


class _Item(NamedTuple):
    """Ids with special tokens, and the tokens [from, to) of each word that is asked for."""

    ids: list[int]
    words: list[tuple[int, int]]


def compare_bits(
    before: Adapted,
    after: Adapted,
    texts: Iterable[str],
    *,
    num_parts: int = 1000,
    masked_share: float = 0.15,
    max_tokens: int = 128,
    seed: int = 0,
) -> PairedBits:
    """Bits per byte of both on up to `num_parts` parts of the texts, drawn at random."""
    order = np.random.default_rng(seed)
    some = [(i, p) for i, text in enumerate(texts) for p in parts(text) if p.strip()]
    some = [some[i] for i in order.permutation(len(some))[:num_parts]]
    one, other = open_tokenizer(before.base.tokenizer), open_tokenizer(after.base.tokenizer)
    alignments = aligned(one, other, [part for _, part in some], max_tokens=max_tokens)
    names = (one.token_to_id(name) for name in ("[UNK]", "<unk>"))
    unknown = {number for number in names if number is not None}
    owners: list[int] = []
    sizes: list[int] = []
    items: tuple[list[_Item], list[_Item]] = [], []
    for (owner, _), item in zip(some, alignments, strict=True):
        asked = [u for u in item.units if _is_word(item.text, u, item.before, unknown)]
        asked = [unit for unit in asked if order.random() < masked_share] or asked[:1]
        owners += [owner] * len(asked)
        sizes += [len(item.text[unit.start : unit.end].encode()) for unit in asked]
        items[0].append(_Item(item.before, [unit.before for unit in asked]))
        items[1].append(_Item(item.after, [unit.after for unit in asked]))
    if not sizes:
        raise InputError("bits per byte need held-out words, however: the texts have none")
    bits = [_bits(*pair) for pair in zip((before, after), items, strict=True)]
    return _paired(np.array(owners), np.array(sizes), *bits)


def _is_word(text: str, unit: Unit, ids: Sequence[int], unknown: set[int]) -> bool:
    in_vocabulary = not unknown.intersection(ids[unit.before[0] : unit.before[1]])
    return in_vocabulary and any(character.isalnum() for character in text[unit.start : unit.end])


@torch.inference_mode()
def _bits(adapted: Adapted, items: Sequence[_Item]) -> NDArray[np.float64]:
    """The bits of each word asked for, in order."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = MaskedLanguageModel(adapted.base)
    model.load_state_dict(adapted.head(), strict=False)
    model.eval().to(device)
    tokenizer = open_tokenizer(adapted.base.tokenizer)
    mask, pad = token_of(tokenizer, MASKS), token_of(tokenizer, PADS)
    starts = np.concatenate([[0], np.cumsum([len(item.words) for item in items])])
    bits = np.zeros(starts[-1])
    passes = max((stop - start for item in items for start, stop in item.words), default=0)
    for given in range(passes):
        asked = [i for i, it in enumerate(items) if any(b - a > given for a, b in it.words)]
        asked.sort(key=lambda i: len(items[i].ids))
        for at in range(0, len(asked), _BATCH):
            some = asked[at : at + _BATCH]
            ids = padded([_masked(items[i], given, mask) for i in some], pad)
            width = ids.shape[1]
            words = [
                (starts[i] + n, row * width + a + given, items[i].ids[a + given])
                for row, i in enumerate(some)
                for n, (a, b) in enumerate(items[i].words)
                if b - a > given
            ]
            numbers, places, targets = (torch.tensor(column) for column in zip(*words, strict=True))
            features = torch.from_numpy(ids).to(device)
            logits = model(features, features != pad, places.to(device)).float()
            chosen = logits.log_softmax(1).gather(1, targets.to(device).unsqueeze(1)).squeeze(1)
            bits[numbers.numpy()] -= chosen.cpu().double().numpy() / math.log(2)
    return bits


def _masked(item: _Item, given: int, mask: int) -> list[int]:
    ids = list(item.ids)
    for start, stop in item.words:
        ids[start + given : stop] = [mask] * max(stop - start - given, 0)
    return ids


def _paired(
    owners: NDArray[np.int64],
    sizes: NDArray[np.int64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
) -> PairedBits:
    """Sums over all words, and an interval by drawing texts again."""
    _, inverse = np.unique(owners, return_inverse=True)
    table = np.stack([np.bincount(inverse, column) for column in (before, after, sizes)], 1)
    chance = np.random.default_rng(0)
    counts = chance.multinomial(
        len(table), np.full(len(table), 1 / len(table)), size=_NUM_RESAMPLES
    )
    sums = counts @ table
    low, high = np.quantile((sums[:, 1] - sums[:, 0]) / sums[:, 2], [0.025, 0.975])
    total = int(sizes.sum())
    return PairedBits(
        before=float(before.sum() / total),
        after=float(after.sum() / total),
        low=float(low),
        high=float(high),
        num_words=len(sizes),
        num_bytes=total,
    )
