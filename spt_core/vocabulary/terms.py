"""Given terms -> tokens to add, and for every other term the reason why not.

Underscores stand for spaces: `value_at_risk` is the phrase "value at risk".
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from tokenizers import Tokenizer

from spt_core.artifacts import read_bytes
from spt_core.errors import InputError
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.tokenizer_edits import (
    Addition,
    Word,
    joined,
    normalized,
    takes_phrases,
    word_splitter,
)
from spt_core.vocabulary.mining import is_plain_phrase, pieces_of, plain_runs

MAX_CHARACTERS = 100
_TERM_COLUMNS = ("name", "term", "label", "description")
_SHOWN = 60


class Skipped(NamedTuple):
    """A term that was not added, and why."""

    term: str
    reason: str


class Term(NamedTuple):
    """A term as given, its words, and the token that it becomes."""

    text: str
    words: tuple[str, ...]
    addition: Addition


def read_terms(uri: str) -> list[str]:
    """The terms of a file: one a line, or a column of a CSV or TSV file; .gz is unpacked."""
    name = uri.removesuffix(".gz")
    try:
        content = read_bytes(uri)
        text = (gzip.decompress(content) if uri.endswith(".gz") else content).decode("utf-8-sig")
        if not name.endswith((".csv", ".tsv")):
            return [line.strip() for line in text.splitlines() if line.strip()]
        return _column(uri, text, "\t" if name.endswith(".tsv") else ",")
    except UnicodeDecodeError as error:
        raise InputError(f"a list of terms must be UTF-8, however: {uri}: {error}") from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"a list of terms must be readable, however: {uri}: {error}") from error


def _column(uri: str, text: str, delimiter: str) -> list[str]:
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    columns = {column.lower(): column for column in rows.fieldnames or ()}
    column = next((columns[name] for name in _TERM_COLUMNS if name in columns), None)
    if column is None:
        raise InputError(
            f"a table of terms must have one of the columns {_TERM_COLUMNS}, however: {uri} has "
            f"{rows.fieldnames}"
        )
    return [row[column].strip() for row in rows if row[column]]


def checked_terms(content: bytes, terms: Sequence[str]) -> tuple[list[Term], list[Skipped]]:
    """The terms that can become tokens, each once, and the others with a reason."""
    tokenizer = open_tokenizer(content)
    check = _Check(tokenizer)
    by_token: dict[str, Term] = {}
    skipped: list[Skipped] = []
    for term in terms:
        if type(term) is not str:
            raise InputError(f"terms must be texts, however: {term!r:.60} is one of them")
        outcome = check.term(term)
        if isinstance(outcome, str):
            skipped.append(Skipped(_shown(term), outcome))
        elif outcome.addition.token in by_token:
            skipped.append(Skipped(_shown(term), "given twice"))
        else:
            by_token[outcome.addition.token] = outcome
    return list(by_token.values()), skipped


def count_uses(content: bytes, terms: Sequence[Term], texts: Iterable[str]) -> Counter[str]:
    """How often each term's token would stand in the texts; the longest phrase goes first."""
    tokenizer = open_tokenizer(content)
    split = word_splitter(tokenizer)
    single = {term.words[0]: term.addition.token for term in terms if len(term.words) == 1}
    phrases = {term.words: term.addition.token for term in terms if len(term.words) > 1}
    longest = max((len(words) for words in phrases), default=0)
    uses: Counter[str] = Counter()
    for text in texts:
        whole = normalized(tokenizer, text)
        uses.update(single[word] for word, _ in split(whole) if word in single)
        for run in plain_runs(whole, split) if longest else ():
            uses.update(_phrases_in(run, phrases, longest))
    return uses


def _phrases_in(
    run: Sequence[str], phrases: Mapping[tuple[str, ...], str], longest: int
) -> Iterable[str]:
    at = 0
    while at < len(run):
        sizes = range(min(longest, len(run) - at), 1, -1)
        size = next((n for n in sizes if tuple(run[at : at + n]) in phrases), 0)
        if size:
            yield phrases[tuple(run[at : at + size])]
        at += size or 1


class _Check:
    """Whether a term can become a token of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._split = tokenizer, word_splitter(tokenizer)
        self._vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self._takes_phrases = takes_phrases(tokenizer)
        self._unknown = getattr(tokenizer.model, "unk_token", None)

    def term(self, given: str) -> Term | str:
        """The term, or the reason why it cannot."""
        text = " ".join(given[: 10 * MAX_CHARACTERS].replace("_", " ").split())
        if not text:
            return "empty"
        if len(given) > MAX_CHARACTERS:
            return f"longer than {MAX_CHARACTERS} characters"
        if set(text.lower().split()) <= ENGLISH_STOP_WORDS:
            return "a stop word"
        if not text.isprintable():
            return "not plain text"
        words = self._words(text)
        if not words:
            return "nothing is left of it after the tokenizer's normalization"
        return self._phrase(text, words) if len(words) > 1 else self._word(text, words[0][0])

    def _words(self, text: str) -> list[Word]:
        """Its words; tokenizers that mark the space before a word see one there."""
        led = text if self._takes_phrases else f" {text}"
        words = self._split(normalized(self._tokenizer, led))
        return [word for word in words if word[0].strip(" \u0120\u2581")]

    def _word(self, text: str, word: str) -> Term | str:
        pieces = pieces_of(self._tokenizer, word)
        if self._unknown is not None and self._unknown in pieces:
            return "it has characters that the tokenizer does not know"
        if len(pieces) == 1:
            return "already one token"
        addition = Addition(token=joined(self._tokenizer, pieces), pieces=pieces)
        return Term(text, (word,), addition)

    def _phrase(self, text: str, word_spans: Sequence[Word]) -> Term | str:
        words = tuple(word for word, _ in word_spans)
        if not self._takes_phrases:
            return "a phrase, which only WordPiece tokenizers of the BERT kind take"
        if " ".join(words) in self._vocabulary:
            return "already one token"
        gaps = {
            second[1][0] - first[1][1]
            for first, second in zip(word_spans, word_spans[1:], strict=False)
        }
        if gaps != {1} or not is_plain_phrase(self._tokenizer, words):
            return "it has punctuation or unknown characters inside, where words always end"
        pieces = tuple(piece for word in words for piece in pieces_of(self._tokenizer, word))
        return Term(text, words, Addition(token=" ".join(words), pieces=pieces))


def _shown(term: str) -> str:
    text = term.encode(errors="replace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
