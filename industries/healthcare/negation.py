"""Which words of a complaint a negation denies; in doubt none, so that urgency errs upwards.

"denies fever and stiff_neck; slurred speech" -> tokens -> where a denied phrase can begin

Narrower than NegEx (Chapman et al., Journal of Biomedical Informatics 34:301, 2001), whose
negations reach over five words: "not vomiting, slurred speech" must stay a sign.
"""

from __future__ import annotations

import re

MAX_ITEM_WORDS = 4  # of what a list denies beside a sign: "no fever at night or stiff neck"
_DENY = frozenset({"deny", "denies", "denied", "denying"})
_NEGATIONS = _DENY | {"no", "without", "not", "never", "nor", "neither"}
# They deny what comes next, not a list: in "not waking or unresponsive" the second is a sign.
_OF_ONE = frozenset({"not", "never"})
_HAVE = frozenset({"have", "having", "had", "has"})
# Before a negation they turn it round: "does not deny chest pain".
_TURNING = _NEGATIONS | {"cannot", "longer"}
# Between a negation and what it denies: "no history of a stroke", "denies having any chest pain".
_BETWEEN = _HAVE | frozenset(
    (
        *("a", "an", "any", "the", "of", "in", "been", "known", "prior", "previous"),
        *("sign", "signs", "symptom", "symptoms", "evidence", "history", "episode", "episodes"),
    )
)
# After what is denied, without a change of the meaning; "no chest pain at rest" is another one.
_AFTER = frozenset(
    (
        *("now", "today", "currently", "either", "whatsoever", "reported", "noted", "present"),
        *("seen", "observed", "symptoms", "signs", "activity", "ideation", "intent"),
    )
)
_EXCEPTIONS = frozenset({"except", "unless", "until", "till"})
# They begin another clause, which the negation does not reach.
_CLAUSES = _EXCEPTIONS | frozenset(
    (
        *("but", "however", "although", "though", "yet", "still", "now", "then", "with", "since"),
        *("when", "while", "which", "that", "who", "because", "so", "as", "after", "before", "is"),
        *("are", "was", "were", "i", "my", "there", "it", "he", "she", "they", "started", "new"),
        *("developed", "complains", "reports", "sudden", "suddenly", "has", "had", "having"),
    )
)
_OR = frozenset({"or", "nor"})
_AND = frozenset({"and", "&", "+"})
_JOINS = _OR | _AND
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]")


def tokens_of(text: str) -> tuple[str, ...]:
    """The words and marks of a text in lower case, _ parting words; "isn't" is "is", "not".

    "Can't" is "cannot", as tables write it, and "won't" is "will not".
    """
    plain = text.lower().replace("\u2019", "'").replace("can't", "cannot")
    plain = plain.replace("won't", "will not").replace("n't", " not")
    return tuple(_TOKEN.findall(plain))


def denied_starts(tokens: tuple[str, ...]) -> set[int]:
    """Where phrases begin that a negation denies: directly, or as a part of one list under it.

    "And" continues a list only after "denies"; a comma does only in a list that such a word
    closes: "denies fever, chest pain and stiff neck", "no fever, chest pain or stiff neck".
    """
    return {start for place in range(len(tokens)) for start in _reached(tokens, place)}


def is_whole(tokens: tuple[str, ...], end: int) -> bool:
    """Whether nothing after a phrase makes it another one, as in "no chest pain relief"."""
    at = _skipped(tokens, end, _AFTER)
    if tokens[at : at + 2] in (("at", "all"), ("at", "present")):
        at += 2
    after = _skipped(tokens, at, {","})
    if after == len(tokens):
        return True
    ends = _JOINS | _NEGATIONS | {"but", "however"}
    is_end = after > at or not tokens[at][0].isalnum() or tokens[at] in ends
    return is_end and tokens[after] not in _EXCEPTIONS


def _reached(tokens: tuple[str, ...], place: int) -> set[int]:
    """Where what the word at a place denies begins; empty where the word denies nothing."""
    word = tokens[place]
    if word not in _NEGATIONS or (place and tokens[place - 1] in _TURNING):
        return set()
    start = _skipped(tokens, place + 1, _BETWEEN)
    reached = {start}
    if word in _OF_ONE and _HAVE.isdisjoint(tokens[place + 1 : start]):
        return reached
    joins = _JOINS if word in _DENY else _OR
    open_items, is_closing = set[int](), False
    while True:
        end = _end_of_item(tokens, start)
        if not 0 < end - start <= MAX_ITEM_WORDS:
            return reached
        if is_closing:
            reached |= open_items | {start}
        else:
            open_items.add(start)
        after = _skipped(tokens, end, {","})
        has_join = after < len(tokens) and tokens[after] in joins
        if end == len(tokens) or not (has_join or (tokens[end] == "," and not is_closing)):
            return reached
        is_closing = is_closing or has_join
        start = _skipped(tokens, after + has_join, _BETWEEN - _HAVE)


def _end_of_item(tokens: tuple[str, ...], start: int) -> int:
    ends = _CLAUSES | _JOINS | _NEGATIONS
    for at in range(start, len(tokens)):
        if tokens[at] in ends or not tokens[at][0].isalnum():
            return at
    return len(tokens)


def _skipped(tokens: tuple[str, ...], at: int, words: frozenset[str] | set[str]) -> int:
    while at < len(tokens) and tokens[at] in words:
        at += 1
    return at
