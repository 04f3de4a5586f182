"""Candidate tokens of a corpus by what they save: texts -> [Candidate].

A candidate is a run of pieces of a word (a whole word, its start, or a continuation that many words
share) or a phrase. Greedy: the one that saves most tokens is taken, its occurrences are used up,
and what overlaps with them counts for less.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from tokenizers import Tokenizer

from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.tokenizer_edits import (
    Addition,
    Word,
    extended,
    joined,
    normalized,
    takes_phrases,
    word_splitter,
)

K = TypeVar("K", bound=Hashable)
LONGEST_PHRASE = 4
MAX_WORDS = 300_000  # different words that are looked into, the most frequent
MAX_RUNS = 500_000  # runs of words that are looked into for phrases
LONGEST_WORD = 12  # pieces; what has more is a hash or a path, not a word
_Place = tuple[int, int]  # an item and a position in it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A token worth adding: how often it would be used, and the tokens that this saves."""

    addition: Addition
    num_uses: int
    tokens_saved: int


def count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word stands in the texts, as the tokenizer's model sees words."""
    counts: Counter[str] = Counter()
    split = word_splitter(tokenizer)
    for text in texts:
        counts.update(word for word, _ in split(normalized(tokenizer, text)))
    return counts


def pieces_of(tokenizer: Tokenizer, word: str) -> tuple[str, ...]:
    """The pieces into which the tokenizer's model cuts a word."""
    return tuple(token.value for token in tokenizer.model.tokenize(word))


def mine_words(
    content: bytes, counts: Counter[str], *, min_uses: int, limit: int
) -> list[Candidate]:
    """Words, word starts and continuations that save most, in `min_uses` places or more."""
    tokenizer = open_tokenizer(content)
    cut = {word: pieces_of(tokenizer, word) for word, _ in counts.most_common(MAX_WORDS)}
    unknown = getattr(tokenizer.model, "unk_token", None)
    words = [
        word
        for word, pieces in cut.items()
        if 1 < len(pieces) <= LONGEST_WORD and unknown not in pieces
    ]
    places: dict[tuple[str, tuple[str, ...]], list[_Place]] = defaultdict(list)
    for number, word in enumerate(words):
        pieces = cut[word]
        for start in range(len(pieces) - 1):
            for end in range(start + 2, len(pieces) + 1):
                run = pieces[start:end]
                places[joined(tokenizer, run), run].append((number, start))
    weights = [counts[word] for word in words]
    chosen = _greedy(
        places, {key: len(key[1]) for key in places}, weights, min_uses=min_uses, limit=limit
    )
    candidates = [
        Candidate(
            addition=Addition(token=token, pieces=run),
            num_uses=uses,
            tokens_saved=uses * (len(run) - 1),
        )
        for (token, run), uses in chosen
    ]
    return _without_harm(content, candidates, {word: len(pieces) for word, pieces in cut.items()})


def mine_phrases(
    content: bytes, texts: Iterable[str], *, min_uses: int, limit: int
) -> list[Candidate]:
    """Phrases of 2 to 4 plain words that save most; none begins or ends with a stop word."""
    tokenizer = open_tokenizer(content)
    if not takes_phrases(tokenizer) or limit == 0:
        return []
    split = word_splitter(tokenizer)
    runs = (run for text in texts for run in plain_runs(normalized(tokenizer, text), split))
    lines = list(itertools.islice(runs, MAX_RUNS))
    frequent = Counter(word for line in lines for word in line)
    places: dict[tuple[str, ...], list[_Place]] = defaultdict(list)
    for number, line in enumerate(lines):
        for start in range(len(line) - 1):
            for end in range(start + 2, min(start + LONGEST_PHRASE, len(line)) + 1):
                if frequent[line[end - 1]] < min_uses:
                    break
                if {line[start], line[end - 1]} & ENGLISH_STOP_WORDS:
                    continue
                places[line[start:end]].append((number, start))
    places = {phrase: at for phrase, at in places.items() if len(at) >= min_uses}
    cut = {word: pieces_of(tokenizer, word) for phrase in places for word in phrase}
    spans = {phrase: len(phrase) for phrase in places}
    sizes = {phrase: sum(len(cut[word]) for word in phrase) for phrase in places}
    chosen = _greedy(places, spans, [1] * len(lines), min_uses=min_uses, limit=limit, sizes=sizes)
    return [
        Candidate(
            addition=Addition(
                token=" ".join(phrase),
                pieces=tuple(piece for word in phrase for piece in cut[word]),
            ),
            num_uses=uses,
            tokens_saved=uses * (sizes[phrase] - 1),
        )
        for phrase, uses in chosen
        if is_plain_phrase(tokenizer, phrase)
    ]


def is_plain_phrase(tokenizer: Tokenizer, words: Sequence[str]) -> bool:
    """Whether a phrase of these words decodes to the same text as one token and as its pieces."""
    phrase = " ".join(words)
    if len(phrase) > tokenizer.model.max_input_chars_per_word:
        return False
    pieces = [piece for word in words for piece in pieces_of(tokenizer, word)]
    if tokenizer.model.unk_token in pieces or not all(word.isalnum() for word in words):
        return False
    decode = tokenizer.decoder.decode
    return decode(["x", phrase, "x"]) == decode(["x", *pieces, "x"])


def plain_runs(whole: str, split: Callable[[str], list[Word]]) -> Iterator[tuple[str, ...]]:
    """The longest runs of plain words of a normalized text with one space between them."""
    run: list[str] = []
    last = -1
    for word, (start, end) in split(whole):
        if not word.isalnum() or whole[last:start] != " ":
            if len(run) > 1:
                yield tuple(run)
            run = []
        if word.isalnum():
            run.append(word)
        last = end
    if len(run) > 1:
        yield tuple(run)


def _greedy(
    places: Mapping[K, Sequence[_Place]],
    spans: Mapping[K, int],
    weights: Sequence[int],
    *,
    min_uses: int,
    limit: int,
    sizes: Mapping[K, int] | None = None,
) -> list[tuple[K, int]]:
    """Keys by what they save, and how often each is used where no earlier one is.

    `spans` are the positions that a key takes up, `sizes` the tokens that it replaces. Gains only
    fall as positions are used up, so the top of the heap is recounted until it stays the top.
    """
    sizes = sizes or spans
    taken: set[_Place] = set()

    def free(key: K) -> list[_Place]:
        span, positions, last = spans[key], [], (-1, -1)
        for item, start in places[key]:
            overlaps = item == last[0] and start < last[1]
            if not overlaps and not any((item, start + i) in taken for i in range(span)):
                positions.append((item, start))
                last = (item, start + span)
        return positions

    heap = [
        (-(sizes[key] - 1) * sum(weights[item] for item, _ in at), number, key)
        for number, (key, at) in enumerate(places.items())
        if sum(weights[item] for item, _ in at) >= min_uses
    ]
    heapq.heapify(heap)
    chosen: list[tuple[K, int]] = []
    while heap and len(chosen) < limit:
        _, number, key = heapq.heappop(heap)
        at = free(key)
        uses = sum(weights[item] for item, _ in at)
        if uses < min_uses:
            continue
        gain = -(sizes[key] - 1) * uses
        if heap and gain > heap[0][0]:
            heapq.heappush(heap, (gain, number, key))
            continue
        chosen.append((key, uses))
        taken.update((item, start + i) for item, start in at for i in range(spans[key]))
    return chosen


def _without_harm(
    content: bytes, candidates: list[Candidate], sizes: Mapping[str, int]
) -> list[Candidate]:
    """Without tokens that make a word of the corpus longer, which a longest match can do."""
    while candidates:
        tokenizer = open_tokenizer(extended(content, [c.addition for c in candidates]))
        added = {candidate.addition.token for candidate in candidates}
        harmful = set[str]()
        for word, before in sizes.items():
            pieces = pieces_of(tokenizer, word)
            if len(pieces) > before:
                harmful |= added.intersection(pieces)
        if not harmful:
            break
        candidates = [
            candidate for candidate in candidates if candidate.addition.token not in harmful
        ]
    return candidates
