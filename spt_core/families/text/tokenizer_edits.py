"""Tokens put into a tokenizer, or left out of it: tokenizer.json -> tokenizer.json.

What is added stands in the model's own vocabulary, so that ordinary tokenization picks it, and
never changes what a text decodes to:
- WordPiece takes whole words, word starts and `##` pieces, which its longest match then prefers.
  A phrase is an entry with spaces in it; the pre-tokenizer, written out as a regular expression,
  keeps phrases whole. (An AddedToken would cut "swap™" in two, where BERT makes one word of it.)
- BPE takes merges of its own pieces, after all others, and Unigram pieces with a score; phrases
  are for WordPiece alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from spt_core.errors import InputError
from spt_core.families.text.reading import open_tokenizer

CONTINUATION = "##"
Word = tuple[str, tuple[int, int]]  # and the characters from and to that it takes up
_KINDS = ("WordPiece", "BPE", "Unigram")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Addition:
    """A token to add, as the model writes it, and the pieces that it stands for."""

    token: str
    pieces: tuple[str, ...]

    @property
    def is_phrase(self) -> bool:
        """Whether it spans several words."""
        return " " in self.token


def model_kind(tokenizer: Tokenizer) -> str:
    """WordPiece, BPE or Unigram; InputError for another model."""
    kind = type(tokenizer.model).__name__
    if kind not in _KINDS:
        raise InputError(f"a vocabulary is changed for {_KINDS}, however: the tokenizer is {kind}")
    return kind


def normalized(tokenizer: Tokenizer, text: str) -> str:
    """The text as the tokenizer's model sees it."""
    return tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text


def joined(tokenizer: Tokenizer, pieces: Sequence[str]) -> str:
    """The one token that stands for consecutive pieces of a word."""
    if model_kind(tokenizer) != "WordPiece":
        return "".join(pieces)
    return pieces[0] + "".join(piece.removeprefix(CONTINUATION) for piece in pieces[1:])


def extended(content: bytes, additions: Sequence[Addition]) -> bytes:
    """The tokenizer with the tokens added behind its own, whose ids stay."""
    tokenizer = open_tokenizer(content)
    document = _parsed(tokenizer)
    model = document["model"]
    _require_changeable(tokenizer)
    names = _by_id(tokenizer)
    _take_in(model, names)
    tokens = set(names.values())
    kind = model_kind(tokenizer)
    for addition in additions:
        if addition.token in tokens:
            continue
        if kind == "WordPiece":
            model["vocab"][addition.token] = len(tokens)
            tokens.add(addition.token)
        elif kind == "BPE":
            _add_merges(model, addition.pieces, tokens)
        else:
            _add_scored(model, addition, tokens)
    _keep_phrases_whole(document, tokenizer)
    return _checked(document, names)


def trimmed(content: bytes, used: Collection[int]) -> tuple[bytes, list[int]]:
    """The tokenizer without unused tokens, and the old id of each new one.

    Special tokens and single characters stay, so that every text still has tokens; so does what a
    kept token is merged from.
    """
    tokenizer = open_tokenizer(content)
    _require_changeable(tokenizer)
    document, names = _parsed(tokenizer), _by_id(tokenizer)
    model = document["model"]
    added = {token["content"] for token in document["added_tokens"]}
    alphabet = {name for name in names.values() if len(name) == 1}
    keep = {names[number] for number in used} | added | alphabet | {model.get("unk_token")}
    for name in names.values():
        body = name.removeprefix(CONTINUATION)
        if len(body) <= 1 or (name not in keep and " " not in name and set(name) - alphabet):
            keep.add(name)
    if model["type"] == "BPE":
        _close_merges(model, keep)
    kept = [number for number, name in sorted(names.items()) if name in keep]
    ids = {names[old]: new for new, old in enumerate(kept)}
    _take_in(model, names)
    if model["type"] == "Unigram":
        model["unk_id"] = None if model["unk_id"] is None else kept.index(model["unk_id"])
        model["vocab"] = [model["vocab"][old] for old in kept]
    else:
        model["vocab"] = ids
    for token in document["added_tokens"]:
        token["id"] = ids[token["content"]]
    _renumber(document["post_processor"], ids)
    _keep_phrases_whole(document, tokenizer)
    return _checked(document, {new: names[old] for new, old in enumerate(kept)}), kept


def _parsed(tokenizer: Tokenizer) -> dict[str, Any]:
    return json.loads(tokenizer.to_str())


def _by_id(tokenizer: Tokenizer) -> dict[int, str]:
    names = {number: name for name, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    if sorted(names) != list(range(len(names))):
        raise InputError("a tokenizer's ids must have no gaps to be changed, however: they have")
    return names


def _require_changeable(tokenizer: Tokenizer) -> None:
    """With a token for each character, no choice of pieces can end in an unknown word."""
    if model_kind(tokenizer) != "WordPiece":
        return
    if tokenizer.model.continuing_subword_prefix != CONTINUATION:
        raise InputError(
            "a WordPiece tokenizer must mark continuations by ##, however: it does not"
        )
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for name in vocabulary.keys() - special:
        body = name.removeprefix(CONTINUATION)
        later = body if name != body else body[1:]
        missing = [c for c in later if c != " " and CONTINUATION + c not in vocabulary]
        if missing:
            raise InputError(
                "a WordPiece vocabulary must have a ## token for each character to be changed, "
                f"however: {name!r} holds {missing[0]!r}, and {CONTINUATION + missing[0]!r} is none"
            )


def _take_in(model: dict[str, Any], names: Mapping[int, str]) -> None:
    """Give the model all tokens: those outside it would be numbered anew when it grows."""
    if model["type"] == "Unigram":
        inside = len(model["vocab"])
        lowest = min(score for _, score in model["vocab"])
        model["vocab"] += [[names[number], lowest] for number in range(inside, len(names))]
    else:
        model["vocab"].update({name: number for number, name in names.items()})


def _add_merges(model: dict[str, Any], pieces: Sequence[str], tokens: set[str]) -> None:
    left = pieces[0]
    for right in pieces[1:]:
        whole = left + right
        if whole not in tokens:
            model["vocab"][whole] = len(tokens)
            model["merges"].append([left, right])
            tokens.add(whole)
        left = whole


def _add_scored(model: dict[str, Any], addition: Addition, tokens: set[str]) -> None:
    """A score a little above that of its pieces, and in the range that there was."""
    scores = dict(model["vocab"])
    total = sum(scores[piece] for piece in addition.pieces)
    model["vocab"].append([addition.token, max(total + 0.01, min(scores.values()))])
    tokens.add(addition.token)


def _close_merges(model: dict[str, Any], keep: set[str]) -> None:
    """Keep what kept tokens are merged from, and no merge of others."""
    first: dict[str, tuple[str, str]] = {}
    for left, right in model["merges"]:
        first.setdefault(left + right, (left, right))
    waiting = list(keep)
    while waiting:
        for part in first.get(waiting.pop(), ()):
            if part not in keep:
                keep.add(part)
                waiting.append(part)
    model["merges"] = [
        [left, right]
        for left, right in model["merges"]
        if left in keep and right in keep and left + right in keep
    ]


def _renumber(processor: dict[str, Any] | None, ids: Mapping[str, int]) -> None:
    """New ids in what puts special tokens around a text."""
    if processor is None:
        return
    for inner in processor.get("processors", ()):
        _renumber(inner, ids)
    if isinstance(processor.get("special_tokens"), dict):
        for name, token in processor["special_tokens"].items():
            token["ids"] = [ids[part] for part in token.get("tokens", [name])]
    for side in ("sep", "cls"):
        if side in processor:
            processor[side] = [processor[side][0], ids[processor[side][0]]]


def _checked(document: Mapping[str, Any], names: Mapping[int, str]) -> bytes:
    """The tokenizer as the library writes it; the tokens named must have their ids."""
    tokenizer = Tokenizer.from_str(json.dumps(document))
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    assert all(vocabulary[name] == number for number, name in names.items())
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    return tokenizer.to_str().encode()


# Phrases of a WordPiece tokenizer


def takes_phrases(tokenizer: Tokenizer) -> bool:
    """Whether phrases can be tokens: of WordPiece behind BERT's splitting into words."""
    splitting = _parsed(tokenizer)["pre_tokenizer"] or {}
    return model_kind(tokenizer) == "WordPiece" and (
        splitting.get("type") == "BertPreTokenizer" or splitting == _splitting(_phrases(tokenizer))
    )


def _phrases(tokenizer: Tokenizer) -> list[str]:
    return sorted(name for name in tokenizer.get_vocab(with_added_tokens=False) if " " in name)


def word_splitter(tokenizer: Tokenizer) -> Callable[[str], list[Word]]:
    """What cuts a normalized text into words and where they are, phrases taken apart."""
    if tokenizer.pre_tokenizer is None:
        return lambda text: [(text, (0, len(text)))]
    splitting = BertPreTokenizer() if takes_phrases(tokenizer) else tokenizer.pre_tokenizer
    return splitting.pre_tokenize_str


def _keep_phrases_whole(document: dict[str, Any], before: Tokenizer) -> None:
    if document["model"]["type"] != "WordPiece":
        return
    phrases = sorted(name for name in document["model"]["vocab"] if " " in name)
    if phrases and not takes_phrases(before):
        raise InputError(
            "phrases can be tokens behind BERT's splitting into words, however: this tokenizer "
            "splits in another way"
        )
    if phrases:
        document["pre_tokenizer"] = _splitting(phrases)
    elif _phrases(before):
        document["pre_tokenizer"] = {"type": "BertPreTokenizer"}


def _splitting(phrases: Sequence[str]) -> dict[str, Any]:
    """BertPreTokenizer, but for phrases, the longest first."""
    space, mark = _character_classes()
    word = f"[^{space}{mark}]"
    pattern = f"(?:{_either(phrases)})(?!{word})|{word}+|[{mark}]"
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Removed",
        "invert": True,
    }


@functools.cache
def _character_classes() -> tuple[str, str]:
    """What BertPreTokenizer takes for space and for punctuation, asked of it itself."""
    candidates = [
        chr(code)
        for code in itertools.chain(range(0xD800), range(0xE000, 0x110000))
        if code < 128 or unicodedata.category(chr(code))[0] in "MPSZ" or chr(code).isspace()
    ]
    spaces: list[int] = []
    marks: list[int] = []
    for start in range(0, len(candidates), 1000):
        some = candidates[start : start + 1000]
        pieces = BertPreTokenizer().pre_tokenize_str("".join(f"a{c}" for c in some) + "a")
        ends = {begin: end for _, (begin, end) in pieces}
        for number, character in enumerate(some):
            at = 2 * number + 1
            if ends.get(at) == at + 1:
                marks.append(ord(character))
            elif at not in ends and at + 1 in ends:
                spaces.append(ord(character))
    return _ranges(spaces), _ranges(marks)


def _ranges(codes: Iterable[int]) -> str:
    """Code points as the inside of a character class."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in ranges)


def _either(phrases: Sequence[str]) -> str:
    """A pattern of any of the phrases, by their common beginnings, so that it stays fast."""
    tree: dict[str, Any] = {}
    for phrase in phrases:
        node = tree
        for character in phrase:
            node = node.setdefault(character, {})
        node[""] = {}
    return _rendered(tree)


def _rendered(node: Mapping[str, Any]) -> str:
    ways = [_escaped(c) + _rendered(after) for c, after in node.items() if c]
    if not ways:
        return ""
    if len(ways) == 1 and "" not in node:
        return ways[0]
    return f"(?:{'|'.join(ways)})" + ("?" if "" in node else "")


def _escaped(character: str) -> str:
    return character if character.isalnum() or character == " " else f"\\x{{{ord(character):x}}}"
