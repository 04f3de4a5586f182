"""DomainVocabularyManager: Base + an industry's terms or texts -> Base with tokens of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spt_core.artifacts import (
    as_uri,
    code_fingerprint,
    digest,
    has_manifest,
    read_manifest,
    write_manifest,
)
from spt_core.errors import InputError
from spt_core.families.text.bases import Base, extended_base, find_base, load_base, trimmed_base
from spt_core.families.text.config import DEFAULT_BASE
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.tokenizer_edits import Addition, extended
from spt_core.task import IndustryType, industry_named
from spt_core.vocabulary.config import VocabularyConfig
from spt_core.vocabulary.embeddings import fit_to_contexts, from_pieces
from spt_core.vocabulary.mining import count_words, mine_phrases, mine_words
from spt_core.vocabulary.terms import Skipped, Term, checked_terms, count_uses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """A token that was added: the term as given or mined, and its uses in the texts, if known."""

    term: str
    token: str
    num_pieces: int
    num_uses: int | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """An extended base beside the one that it was made from, and what was added and skipped.

    The base of an extension that adds nothing is its parent.
    """

    industry: IndustryType
    base: Base
    parent: Base
    added: tuple[Added, ...]
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `extension_from_json` reads back."""
        return dataclasses.asdict(self)


def extension_from_json(content: Mapping[str, Any]) -> Extension:
    """The Extension that `to_json` wrote."""
    return Extension(
        industry=IndustryType(content["industry"]),
        base=load_base(content["base"]["uri"]),
        parent=load_base(content["parent"]["uri"]),
        added=tuple(Added(**added) for added in content["added"]),
        skipped=tuple(Skipped(*skipped) for skipped in content["skipped"]),
    )


class DomainVocabularyManager:
    """Extends and trims the vocabulary of a base encoder."""

    def __init__(
        self,
        base: str | Base = DEFAULT_BASE,
        storage: str = "specialized_models",
        *,
        config: VocabularyConfig | None = None,
        licences: Sequence[str] = (),
    ) -> None:
        self._storage = as_uri(storage)
        self.base = find_base(base, self._storage) if isinstance(base, str) else base
        self._config = config or VocabularyConfig()
        self._licences = tuple(licences)

    def extend_vocabulary(
        self,
        *,
        industry: IndustryType,
        new_terms: Sequence[str],
        context_examples: Iterable[str] | None = None,
    ) -> Extension:
        """The base with a token for each term; with examples, for each term that they use."""
        examples = None if context_examples is None else _checked(context_examples)
        given, skipped = self._given(new_terms, examples)
        return self._extension(industry, given, skipped, examples)

    def extend_from_texts(
        self,
        *,
        industry: IndustryType,
        texts: Iterable[str],
        fingerprint: str,
        new_terms: Sequence[str] = (),
        fresh: bool = False,
    ) -> Extension:
        """The base with tokens for the terms that the texts use, and for what is mined of them.

        `texts` are iterated several times; `fingerprint` says which they are, so that a finished
        extension of the same texts and code is used again, unless it is to be `fresh`.
        """
        name = [self.base.uri, industry, fingerprint, dataclasses.asdict(self._config)]
        name += [list(new_terms), self._licences, code_fingerprint()]
        uri = f"{self._storage}/extensions/{digest(name)}"
        if fresh or not has_manifest(uri):
            extension = self._extend_from_texts(industry, texts, new_terms)
            write_manifest(uri, extension.to_json())
        return extension_from_json(read_manifest(uri))

    def _extend_from_texts(
        self, industry: IndustryType, texts: Iterable[str], new_terms: Sequence[str]
    ) -> Extension:
        config = self._config
        given, skipped = self._given(new_terms, texts)
        content = extended(self.base.tokenizer, [addition for addition, _ in given])
        counts = count_words(open_tokenizer(content), texts)
        words = mine_words(
            content,
            counts,
            min_uses=config.min_uses,
            limit=config.max_new_tokens - len(given),
        )
        with_words = extended(content, [word.addition for word in words])
        phrases = mine_phrases(
            with_words,
            texts,
            min_uses=config.min_phrase_uses,
            limit=min(config.max_phrases, config.max_new_tokens - len(given) - len(words)),
        )
        mined = [
            (
                candidate.addition,
                Added(
                    term=candidate.addition.token,
                    token=candidate.addition.token,
                    num_pieces=len(candidate.addition.pieces),
                    num_uses=candidate.num_uses,
                ),
            )
            for candidate in (*words, *phrases)
        ]
        return self._extension(industry, [*given, *mined], skipped, texts)

    def trim(self, texts: Iterable[str]) -> Base:
        """The base without the tokens that the texts never use; every text still has tokens."""
        tokenizer = open_tokenizer(self.base.tokenizer)
        used = {number for text in texts for number in tokenizer.encode(text).ids}
        return trimmed_base(self.base, used, storage=self._storage)

    def _given(
        self, terms: Sequence[str], texts: Iterable[str] | None
    ) -> tuple[list[tuple[Addition, Added]], list[Skipped]]:
        if isinstance(terms, str):
            raise InputError(
                f"new_terms must be a list of texts, however: {terms!r:.60} is one text"
            )
        limit = self._config.max_new_tokens
        candidates, skipped = checked_terms(self.base.tokenizer, terms)
        if texts is None:
            if len(candidates) > limit:
                raise InputError(
                    f"at most {limit:,} tokens can be added, however: {len(candidates):,} terms "
                    "are given; give context_examples, and those that are used most are taken"
                )
            return [_pair(term, None) for term in candidates], skipped
        uses = count_uses(self.base.tokenizer, candidates, texts)
        candidates.sort(key=lambda term: -_gain(term, uses[term.addition.token]))
        unused = [term for term in candidates if not uses[term.addition.token]]
        skipped += [Skipped(term.text, "the context examples do not use it") for term in unused]
        candidates = [term for term in candidates if uses[term.addition.token]]
        skipped += [
            Skipped(term.text, f"others save more, and max_new_tokens is {limit:,}")
            for term in candidates[limit:]
        ]
        return [_pair(term, uses[term.addition.token]) for term in candidates[:limit]], skipped

    def _extension(
        self,
        industry: IndustryType,
        added: Sequence[tuple[Addition, Added]],
        skipped: Sequence[Skipped],
        texts: Iterable[str] | None,
    ) -> Extension:
        industry = industry_named(industry)
        base, config = self.base, self._config
        if added:
            content = extended(base.tokenizer, [addition for addition, _ in added])
            weights = from_pieces(base, content, [addition for addition, _ in added])
            if texts is not None:
                weights = fit_to_contexts(
                    base, content, weights, texts, num_steps=config.context_steps, seed=config.seed
                )
            base = extended_base(
                base,
                content,
                weights,
                name=f"{base.name}+{industry}",
                storage=self._storage,
                licences=self._licences,
            )
        return Extension(
            industry=industry,
            base=base,
            parent=self.base,
            added=tuple(fact for _, fact in added),
            skipped=tuple(skipped),
        )


def _checked(examples: Iterable[str]) -> list[str]:
    """The examples as a list, which is iterated several times."""
    texts = [examples] if isinstance(examples, str) else list(examples)
    odd = [text for text in texts if isinstance(examples, str) or type(text) is not str]
    if odd:
        raise InputError(f"context_examples must be a list of texts, however: {odd[0]!r:.60}")
    return [text.encode(errors="replace").decode() for text in texts]


def _pair(term: Term, uses: int | None) -> tuple[Addition, Added]:
    return term.addition, Added(
        term=term.text,
        token=term.addition.token,
        num_pieces=len(term.addition.pieces),
        num_uses=uses,
    )


def _gain(term: Term, uses: int) -> int:
    return uses * (len(term.addition.pieces) - 1)
