"""CSV as programs write it: a file's first bytes -> Dialect; its bytes -> blocks of whole records.

Arrow parses the blocks (formats.py). What it would not see is told from the bytes beforehand: the
encoding, the delimiter, a first line `sep=;`, and a stray quote, which opens a cell that nothing
closes and would take the lines behind it for that cell's text. Such a line is written anew, with
the quote as the character that it is.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from spt_core.errors import InputError

HEAD_BYTES = 1 << 20
DELIMITERS = (",", ";", "\t", "|")
MAX_CELL_LINES = 10_000  # of one cell; a quote that is open for longer is a stray one
MAX_STRAY_QUOTES = 8  # of one line; a line with more is left as it is
MIN_LONGER = 0.95  # of the rows, that end in one delimiter more than the header
_HEAD_RECORDS = 500
_MIN_COLUMNS = 4  # from here on, lines that all have as many cells are rows by that alone
_QUOTE = '"'
_LITERAL = "\ue000"  # stands for a quote that is a character, while a line is taken apart
_SEP_LINE = re.compile(r"sep=(.)\s*$", re.IGNORECASE)
_ESCAPED = re.compile(rb"\\([\\\"])")
_LETTER, _DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"\d")


class Dialect(NamedTuple):
    """How a file is written.

    `start` is where its rows begin, in bytes of the UTF-8 text behind a byte order mark;
    `has_backslashes` says that quotes within quotes are escaped by one, not doubled, and it itself
    by another. Where rows end in one delimiter more than the header, the last name is of nothing.
    The cells of `wordless` columns (their numbers) hold digits and no letters: numbers, dates.
    """

    encoding: str
    delimiter: str
    has_backslashes: bool
    names: tuple[str, ...]
    start: int
    wordless: tuple[int, ...] = ()


class Block(NamedTuple):
    """Whole records as UTF-8, and how many of their lines had a stray quote.

    `has_long_cells` says that a cell may go over several lines.
    """

    content: bytes
    num_mended: int = 0
    has_long_cells: bool = False


def dialect_of(head: bytes, uri: str, rest: Iterable[bytes] = ()) -> Dialect:
    """The dialect of a file that begins with `head` (all of it, if it is short).

    Where all of that is ASCII, `rest`, what follows it, tells the encoding.
    """
    encoding = _encoding_of(head)
    if encoding == "utf-8" and head.isascii():
        encoding = _encoding_behind(rest)
    is_whole = len(head) < HEAD_BYTES
    text = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = io.StringIO(text, newline="").readlines()
    if not is_whole and len(lines) > 1:
        lines.pop()  # the last one is cut
    skipped = 0
    while skipped < len(lines) and not lines[skipped].strip():
        skipped += 1
    if skipped == len(lines):
        raise InputError(f"a corpus must have rows, however: {uri} is empty")
    named = _SEP_LINE.fullmatch(lines[skipped].strip("\r\n"))
    if named:
        skipped += 1
    body = "".join(lines[skipped:])
    delimiters = (named[1],) if named else DELIMITERS
    backslashes = (False, True) if '\\"' in body else (False,)
    tries = [_Attempt(body, mark, escaped) for mark in delimiters for escaped in backslashes]
    best = max(tries, key=lambda attempt: attempt.fit)
    before = sum(len(line.encode()) for line in lines[:skipped])
    header = "".join(body.splitlines(keepends=True)[: best.header_lines])
    return Dialect(
        encoding=encoding,
        delimiter=best.delimiter,
        has_backslashes=best.has_backslashes,
        names=best.names,
        start=before + len(header.encode()),
        wordless=best.wordless(),
    )


class _Attempt:
    """The first records as one delimiter and escape would have them."""

    def __init__(self, body: str, delimiter: str, has_backslashes: bool) -> None:
        self.delimiter, self.has_backslashes = delimiter, has_backslashes
        text = _unescaped(body.encode()).decode() if has_backslashes else body
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = next((record for record in reader if record), [])
        self.header_lines = reader.line_num
        self.names = tuple(_name(name, place) for place, name in enumerate(header))
        self.records: list[list[str]] = []
        try:
            for record in reader:
                if record:
                    self.records.append(record)
                if len(self.records) == _HEAD_RECORDS:
                    break
        except csv.Error:  # a cell beyond the reader's limit: a quote that nothing closes
            pass
        width = len(self.names)
        longer = sum(len(record) == width + 1 and not record[-1].strip() for record in self.records)
        if longer and longer >= MIN_LONGER * len(self.records):
            self.names += (_name("", width),)
        # It costs a reading of all, and tells escapes by backslashes alone.
        self.num_stray = _num_stray(text, delimiter) if '\\"' in body else 0

    @property
    def fit(self) -> tuple[float, int, int]:
        """The share of records as wide as the header, its width, and fewer stray quotes."""
        width = len(self.names)
        same = sum(len(record) == width for record in self.records)
        share = same / len(self.records) if self.records else 1.0
        # Records of one cell fit whatever the delimiter: they win where nothing else fits at all.
        return (0.0 if width == 1 else round(share, 1), width, -self.num_stray)

    def wordless(self) -> tuple[int, ...]:
        """The columns whose cells nearly all hold digits and no letters."""
        width = len(self.names)
        rows = [record for record in self.records if len(record) == width]
        columns: list[int] = []
        for place in range(width):
            cells = [record[place] for record in rows if record[place].strip()]
            plain = sum(bool(_DIGIT.search(c)) and not _LETTER.search(c) for c in cells)
            if cells and plain >= 0.95 * len(cells):
                columns.append(place)
        return tuple(columns)


def _num_stray(text: str, delimiter: str) -> int:
    """How many quotes are of no cell that one opens and one closes."""
    mark = re.escape(delimiter)
    cell = rf'(?:\A|(?<=[{mark}\r\n]))"[^"]*+(?:""[^"]*+)*+"(?=[{mark}\r\n]|\Z)'
    return re.sub(cell, "", text).count(_QUOTE)


def blocks(stream: io.BufferedIOBase, dialect: Dialect, size: int) -> Iterator[Block]:
    """A file's records behind its header as UTF-8, about `size` bytes at a time."""
    held = escape = b""
    is_first = True
    for part in _utf8(stream, dialect.encoding, size):
        if is_first:
            held = (held + part).removeprefix(codecs.BOM_UTF8)
            if len(held) < dialect.start:
                continue
            part, held, is_first = held[dialect.start :], b"", False
        if dialect.has_backslashes:  # its last ones may belong to what follows
            part = escape + part
            whole = part.rstrip(b"\\")
            part, escape = _unescaped(whole), part[len(whole) :]
        block, held = _whole_records(held + part, dialect, is_last=False)
        if block.content:
            yield block
    if (held or escape) and not is_first:
        yield _whole_records(held + escape, dialect, is_last=True)[0]


def _unescaped(content: bytes) -> bytes:
    """Quotes that are escaped by a backslash doubled, and escaped backslashes alone."""
    return _ESCAPED.sub(lambda match: b'""' if match[1] == b'"' else b"\\", content)


def _utf8(stream: io.BufferedIOBase, encoding: str, size: int) -> Iterator[bytes]:
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("replace")
    while part := stream.read(size):
        yield part if decoder is None else decoder.decode(part).encode()


def _encoding_of(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 3 and head[place::2].count(0) > 0.4 * len(head[place::2]):
            return name
    try:  # a head may end within a character, a file may not
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        if not _has_utf8(head):
            return "cp1252"  # what Windows programs write where they do not write UTF-8
    return "utf-8"


def _encoding_behind(parts: Iterable[bytes]) -> str:
    """The encoding by the first part that is not ASCII: a name with an umlaut may come late."""
    for part in parts:
        if part.isascii():
            continue
        start = next(place for place, byte in enumerate(part) if byte < 0x80 or byte >= 0xC0)
        try:  # it may begin and end within a character
            codecs.getincrementaldecoder("utf-8")().decode(part[start:])
        except UnicodeDecodeError:
            return "utf-8" if _has_utf8(part) else "cp1252"
        return "utf-8"
    return "utf-8"


def _has_utf8(head: bytes) -> bool:
    """Whether any character beyond ASCII is written in UTF-8."""
    return any(char > "\x7f" and char != "\ufffd" for char in head.decode(errors="replace"))


def _name(name: str, place: int) -> str:
    """A column's name on one line; a nameless one is called as pandas calls it."""
    return " ".join(name.split()) or f"Unnamed: {place}"


def _whole_records(content: bytes, dialect: Dialect, *, is_last: bool) -> tuple[Block, bytes]:
    """The whole records that the content begins with, and the rest."""
    if b"\n" not in content and b"\r" in content:  # lines end as they did on a Macintosh
        content = content.replace(b"\r", b"\n")
    if is_last and not content.endswith(b"\n"):
        content += b"\n"
    end = content.rfind(b"\n") + 1
    whole, rest = content[:end], content[end:]
    array = np.frombuffer(whole, np.uint8)
    quotes = np.flatnonzero(array == ord(_QUOTE))
    if _are_closed_in_lines(array, quotes, ord(dialect.delimiter)):
        return Block(whole), rest
    mended, num_mended, place = _mended(whole, array, quotes, dialect, is_last=is_last)
    return Block(mended, num_mended, has_long_cells=True), whole[place:] + rest


def _are_closed_in_lines(array: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether quotes open and close cells in turns, each pair on one line: nothing to look into."""
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before = array[np.maximum(opening - 1, 0)]
    after = array[np.minimum(closing + 1, len(array) - 1)]
    is_open = (before == delimiter) | (before == ord("\n")) | (opening == 0)
    is_close = (after == delimiter) | (after == ord("\n")) | (after == ord("\r"))
    if not (is_open.all() and is_close.all()):
        return False
    lines = np.cumsum(array == ord("\n"), dtype=np.int32)
    return bool((lines[opening] == lines[closing]).all())


def _mended(
    content: bytes, array: np.ndarray, quotes: np.ndarray, dialect: Dialect, *, is_last: bool
) -> tuple[bytes, int, int]:
    """The records of whole lines, how many were written anew, and where an open one begins."""
    ends = np.flatnonzero(array == ord("\n"))
    lines = _Lines(content, ends)
    written: list[bytes] = []
    done = num_mended = 0
    for number in _suspects(array, quotes, ends, ord(dialect.delimiter)):
        if number < done:
            continue
        last = _last_line(lines, lines.text(number), number, dialect)
        if last is None and not is_last and len(ends) - number <= MAX_CELL_LINES:
            written.append(content[lines.start(done) : lines.start(number)])
            return b"".join(written), num_mended, lines.start(number)
        if last is not None and _is_record(lines.texts(number, last), dialect):
            written.append(content[lines.start(done) : lines.start(last + 1)])
            done = last + 1
            continue
        record, last = _with_literal_quotes(lines, number, dialect)
        if record:
            written.append(content[lines.start(done) : lines.start(number)])
            written.append(record.encode(*_BYTES))
            done, num_mended = last + 1, num_mended + 1
    written.append(content[lines.start(done) :])
    return b"".join(written), num_mended, len(content)


_BYTES = ("utf-8", "surrogateescape")  # lines that are no UTF-8 are told apart later


class _Lines(NamedTuple):
    """The lines of a text by number."""

    content: bytes
    ends: np.ndarray

    def start(self, number: int) -> int:
        """Where a line begins."""
        return 0 if number == 0 else int(self.ends[number - 1]) + 1

    def text(self, number: int) -> str:
        """A line with its end."""
        return self.content[self.start(number) : int(self.ends[number]) + 1].decode(*_BYTES)

    def texts(self, first: int, last: int) -> list[str]:
        """The lines from one to another, both included."""
        return [self.text(number) for number in range(first, last + 1)]


def _suspects(array: np.ndarray, quotes: np.ndarray, ends: np.ndarray, delimiter: int) -> list[int]:
    """The lines that may not end where a record does: whose quotes do not come in pairs.

    Or that hold one within a cell, or where other than as many open cells as close some.
    """
    line_of = np.searchsorted(ends, quotes)
    padded = np.concatenate([[ord("\n")], array, [ord("\n")]])
    before, after = padded[quotes], padded[quotes + 2]
    opens = np.isin(before, (delimiter, ord("\n")))
    closes = np.isin(after, (delimiter, ord("\n"), ord("\r")))
    is_paired = (before == ord(_QUOTE)) | (after == ord(_QUOTE))
    size = len(ends)
    is_suspect = np.bincount(line_of, minlength=size) % 2 == 1
    is_suspect |= np.bincount(line_of, opens, size) != np.bincount(line_of, closes, size)
    is_suspect[line_of[~opens & ~closes & ~is_paired]] = True
    return np.flatnonzero(is_suspect).tolist()


def _last_line(lines: _Lines, first_text: str, number: int, dialect: Dialect) -> int | None:
    """The line on which the record ends that begins on this one, whose text may be another now.

    None if it is not among them.
    """
    _, is_open = _openings(first_text, dialect.delimiter, is_open=False)
    for last in range(number, min(number + MAX_CELL_LINES, len(lines.ends))):
        if last > number:
            _, is_open = _openings(lines.text(last), dialect.delimiter, is_open=is_open)
        if not is_open:
            return last
    return None


def _openings(line: str, delimiter: str, *, is_open: bool) -> tuple[list[int], bool]:
    """Where quotes stand that open a cell, and whether one is open behind the line."""
    places: list[int] = []
    is_start = not is_open
    place, size = 0, len(line)
    while place < size:
        char = line[place]
        if is_open:
            if char == _QUOTE and line[place + 1 : place + 2] == _QUOTE:
                place += 1
            elif char == _QUOTE:
                is_open = False
        elif char == _QUOTE and is_start:
            places.append(place)
            is_open = True
        is_start = not is_open and char == delimiter
        place += 1
    return places, is_open


def _is_record(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether lines are one record, and not rows that a stray quote has joined."""
    if not _is_sound(lines, dialect):
        return False
    return len(lines) == 1 or not _are_rows(lines, dialect)


def _is_sound(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether lines are one record as wide as the header, its quotes closed where cells end."""
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    try:
        records = list(reader)
    except csv.Error:
        return False
    return len(records) == 1 and len(records[0]) == len(dialect.names)


def _are_rows(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether lines that a quoted cell spans look like rows of their own, not like its text.

    Each must have as many cells as there are columns, no letters where no other row has some, and
    digits in most of those columns; where all columns have words, the number of cells alone tells,
    if it is not a small one.
    """
    width = len(dialect.names)
    if not dialect.wordless and width < _MIN_COLUMNS:
        return False
    for line in lines:
        cells = line.rstrip("\r\n").split(dialect.delimiter)
        if len(cells) != width:
            return False
        numbers = [cells[place] for place in dialect.wordless]
        if any(_LETTER.search(number) for number in numbers):
            return False
        if 2 * sum(bool(_DIGIT.search(number)) for number in numbers) < len(numbers):
            return False
    return True


def _with_literal_quotes(lines: _Lines, number: int, dialect: Dialect) -> tuple[str, int]:
    """The record that begins on a line, its first opening quotes being characters.

    As few as make it one, "" if none do; and the line on which it ends.
    """
    text = lines.text(number)
    for _ in range(MAX_STRAY_QUOTES):
        places, _ = _openings(text, dialect.delimiter, is_open=False)
        if not places:
            break
        text = text[: places[0]] + _LITERAL + text[places[0] + 1 :]
        last = _last_line(lines, text, number, dialect)
        if last is None:
            continue
        texts = [text, *lines.texts(number + 1, last)]
        if _is_record(texts, dialect):
            cells = next(csv.reader(texts, delimiter=dialect.delimiter))
            return _written((c.replace(_LITERAL, _QUOTE) for c in cells), dialect.delimiter), last
    return "", number


def _written(cells: Iterable[str], delimiter: str) -> str:
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return output.getvalue()
