"""Markup to plain text, and raw bytes to bytes that a strict XML parser can take."""

from __future__ import annotations

import codecs
import html
import re

import nh3

# Of HTML, and of the two languages within it: any other word behind a < is text.
_NAMES = (
    "a abbr acronym address applet area article aside audio b base basefont bdi bdo big blink "
    "blockquote body br button canvas caption center cite code col colgroup data datalist dd del "
    "details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame "
    "frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label legend "
    "li link main map mark marquee math menu meta meter nav nobr noframes noscript object ol "
    "optgroup option output p param picture plaintext pre progress q rp rt ruby s samp script "
    "search section select slot small source span strike strong style sub summary sup svg table "
    "tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr xmp g "
    "path circle rect line polygon polyline ellipse use defs mi mo mn ms mrow mfrac msup msub"
)
_ANY_NAME = "|".join(sorted(_NAMES.split(), key=len, reverse=True))
_TAG = re.compile(
    rf"<(?=/?(?:\w+:)?(?:{_ANY_NAME})(?:[\s/>]|$)|!--|!doctype|!\[CDATA\[|\?xml)", re.IGNORECASE
)
_NO_TAG = re.compile(f"<(?!{_TAG.pattern[4:]}", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BLOCK_END = re.compile(r"<(?=[bB][rR]\b|/(?:[pP]|[dD][iI][vV]|[lL][iI]|[tT][rR]|[hH][1-6])\b)")
_MAX_ROUNDS = 3  # markup escaped twice is common, more often is not

_CONTROL_BYTES = bytes(b for b in range(32) if b not in (9, 10, 13))
_WIDE_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE_STARTS = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_DECLARATION = re.compile(rb"^\s*<\?xml\s[^>]{0,200}\?>")
_DECLARED = re.compile(rb"""encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")


def plain_text(markup: str) -> str:
    """The text of a piece of HTML: no tag that HTML knows, no control character.

    What else follows a < is text: "versions <v2.3".
    """
    text = markup
    if "<" in text or "&" in text:
        for _ in range(_MAX_ROUNDS):
            text = _BLOCK_END.sub("\n<", _NO_TAG.sub("&lt;", text))
            text = html.unescape(nh3.clean(text, tags=set()))
            if not _TAG.search(text):
                break
        else:
            text = _TAG.sub("", text)
    return tidied(text)


def tidied(text: str) -> str:
    """A text that is no markup: every character but those of control, runs of spaces made one."""
    if text.isprintable():  # one line, nothing to strike out
        return " ".join(text.split())
    if not text.replace("\n", " ").isprintable():
        text = _CONTROL.sub("", text)
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def one_line(text: str) -> str:
    """The text with every run of white space made one space, without control characters."""
    if not text.isprintable():
        text = _CONTROL.sub("", text)
    return " ".join(text.split())


def readable_bytes(body: bytes) -> bytes:
    """The document in an encoding of single bytes, without byte order mark and control bytes."""
    for mark, encoding in _WIDE_BOMS:
        if body.startswith(mark):
            return _narrow(body[len(mark) :], encoding)
    body = body.removeprefix(codecs.BOM_UTF8)
    for start, encoding in _WIDE_STARTS:
        if body.startswith(start):
            return _narrow(body, encoding)
    if declared_encoding(body).startswith(("iso-2022", "hz", "utf-7")):
        return body  # escape bytes are part of these encodings
    return body.translate(None, _CONTROL_BYTES)


def starts_json(body: bytes) -> bool:
    """Whether the document begins as a JSON object or list."""
    return body[:200].lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] in (b"{", b"[")


def declared_encoding(body: bytes) -> str:
    """The encoding in the XML declaration, lower case; empty without one."""
    declaration = _DECLARATION.match(body[:400])
    match = _DECLARED.search(declaration[0]) if declaration else None
    return match[1].decode("ascii").lower() if match else ""


def html_title(body: bytes) -> str:
    """The title of a web page, for a message."""
    match = re.search(rb"(?is)<title[^>]{0,100}>(.{0,200}?)</title", body[:20_000])
    return " ".join(match[1].decode("utf-8", "replace").split())[:80] if match else ""


def charset(content_type: str) -> str:
    """The encoding that a Content-Type header names, or nothing."""
    match = _CHARSET.search(content_type)
    return match[1] if match else ""


def without_declaration(body: bytes) -> bytes:
    """The document without its XML declaration."""
    return _DECLARATION.sub(b"", body[:400], count=1) + body[400:]


def _narrow(body: bytes, encoding: str) -> bytes:
    text = body.decode(encoding, "replace").encode("utf-8", "replace")
    return without_declaration(text).translate(None, _CONTROL_BYTES)
