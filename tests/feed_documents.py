"""Documents for the feed tests: fixtures of other parsers with what they expect, and hostile ones.

Fixtures are read from `SPT_DATA_HOME/feeds/robustness`; the hostile ones are made here.
"""

from __future__ import annotations

import codecs
import dataclasses
import gzip
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ARCHIVES = (
    "feedparser-tests.tar.gz",
    "gofeed-testdata.tar.gz",
    "miniflux-testdata.tar.gz",
    "rome.tar.gz",
    "rss-parser.tar.gz",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document, how many items it must give (None: nobody says) and the titles that are known.

    `at_least` is for documents whose fixture only speaks of some of their items.
    """

    name: str
    body: bytes
    expected: int | None = None
    at_least: int = 0
    titles: tuple[tuple[int, str], ...] = ()
    headers: str = ""


def fixtures(folder: Path) -> Iterator[Document]:
    """Every file of the archives, with the fixture's own expectation."""
    for archive in ARCHIVES:
        with tarfile.open(folder / archive) as files:
            bodies = {
                member.name: files.extractfile(member).read()
                for member in files.getmembers()
                if member.isreg()
            }
        for name, body in bodies.items():
            found = Document(name=f"{archive.partition('.')[0]}/{name}", body=body)
            if archive.startswith("feedparser"):
                yield _asserted(found)
            else:
                yield _beside(found, name, bodies)


def write(folder: Path, documents: Iterable[Document]) -> list[dict[str, Any]]:
    """Write documents as files; what is expected of each, with its path."""
    folder.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, Any]] = []
    for number, document in enumerate(documents):
        path = folder / f"{number}.document"
        path.write_bytes(document.body)
        told = dataclasses.asdict(dataclasses.replace(document, body=b""))
        index.append({**told, "body": "", "path": str(path)})
    return index


def _beside(document: Document, name: str, bodies: dict[str, bytes]) -> Document:
    """The expectation in the JSON file that lies beside an input."""
    stem = name.rpartition(".")[0]
    place = stem.replace("input/", "output/") + ".json"
    if name.endswith(".json"):
        place = f"{stem}_expected.json"
    if place not in bodies or place == name:
        return document
    try:
        content: Any = json.loads(bodies[place])
    except ValueError:
        return document
    content = content.get("feed", content)
    listed = content.get("items", content.get("entries")) or []
    titles = tuple(
        (number, item["title"])
        for number, item in enumerate(listed)
        if isinstance(item.get("title"), str) and _is_plain(item["title"])
    )
    return dataclasses.replace(document, expected=len(listed), titles=titles)


_COUNT = re.compile(r"len\(entries\)\s*==\s*(\d+)")
_INDEX = re.compile(r"entries\[(\d+)\]")
_TITLE = re.compile(r"^\s*(?:not bozo and )?entries\[(\d+)\]\['title'\] == u?'([^'\\]+)'\s*$")


def _asserted(document: Document) -> Document:
    """The expectation in the assertion of a feedparser test, where it is a simple one."""
    body = document.body
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if body.startswith(mark):
            body = body.decode(encoding, "replace").encode()
            break
    text = body[:4000].decode("utf-8", "replace")
    expect = re.search(r"Expect:\s*(.*?)-->", text, re.DOTALL)
    headers = re.search(r"Header:\s*Content-type:\s*(.*)", text, re.IGNORECASE)
    if expect is None:
        return document
    said = " ".join(expect[1].split())
    count, title = _COUNT.search(said), _TITLE.match(said)
    indices = [int(number) for number in _INDEX.findall(said)]
    return dataclasses.replace(
        document,
        expected=int(count[1]) if count else None,
        at_least=max(indices) + 1 if indices and "len(entries" not in said else 0,
        titles=((int(title[1]), title[2]),) if title and _is_plain(title[2]) else (),
        headers=headers[1].strip() if headers else "",
    )


def _is_plain(text: str) -> bool:
    return not re.search(r"[<>&\\]", text) and text.isascii()


NUM_ITEMS = 25
_ITEM = (
    "<item><title>Rule {n}</title><link>https://regulator.example/r/{n}</link>"
    "<guid>urn:rule:{n}</guid><description>Text of rule {n}</description></item>\n"
)


def feed(
    items: str | None = None, *, head: str = "", prolog: str = '<?xml version="1.0"?>'
) -> bytes:
    """An RSS feed of 25 items, or with other content."""
    inner = "".join(_ITEM.format(n=n) for n in range(NUM_ITEMS)) if items is None else items
    return (
        f"{prolog}\n<rss version='2.0'><channel><title>Rules</title>{head}\n{inner}"
        "</channel></rss>\n"
    ).encode()


def hostile() -> Iterator[Document]:
    """What a stranger might send; with `huge`, 200 documents; `expected` where it is known."""
    yield from _entities()
    yield from _bytes_inside()
    yield from _cut_off()
    yield from _lying()
    yield from _sloppy()
    yield from _json()


def _entities() -> Iterator[Document]:
    laughs = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
    )
    declared = {
        "laughs": (laughs, "&a9;"),
        "laughs-in-attribute": (laughs, '<link href="&a9;"/>'),
        "quadratic": (f'<!ENTITY q "{"x" * 50_000}">', "&q;" * 2000),
        "file": ('<!ENTITY f SYSTEM "file:///etc/passwd">', "&f;"),
        "http": ('<!ENTITY f SYSTEM "http://127.0.0.1:1/secret">', "&f;"),
        "parameter": ('<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;', "x"),
        "recursive": ('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;"),
        "harmless": ('<!ENTITY c "Commission">', "&c;"),
        "external-subset": ('<!ENTITY % d SYSTEM "http://127.0.0.1:1/d.dtd">%d;', "&x;"),
        "element": ("<!ELEMENT rss ANY>", "x"),
    }
    for name, (subset, use) in declared.items():
        for root in ("rss", "feed", "x"):
            prolog = f'<?xml version="1.0"?><!DOCTYPE {root} [{subset}]>'
            items = f"<item><title>{use}</title></item>"
            yield Document(
                name=f"entities/{name}-{root}", body=feed(items, prolog=prolog), expected=1
            )
    netscape = (
        '<!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://my.netscape.com/r.dtd">'
    )
    yield Document(name="entities/netscape", body=feed(prolog=netscape), expected=NUM_ITEMS)


def _bytes_inside() -> Iterator[Document]:
    whole = feed()
    for part in range(20):
        at = len(whole) * part // 20
        at = whole.index(b"Text of", at) if part < 19 else len(whole) - 30
        for number in (0, 1, 8, 11, 27):
            if number in (0, 27) or part % 5 == 0:
                body = whole[:at] + bytes([number]) + whole[at:]
                yield Document(name=f"bytes/{number}-{part}", body=body, expected=NUM_ITEMS)
    for name, junk in (("latin", b"\xe9\xe8"), ("half-utf8", b"\xc3"), ("ff", b"\xff\xfe\xfd")):
        body = whole.replace(b"Rule 7<", b"Rule 7" + junk + b"<")
        yield Document(name=f"bytes/{name}", body=body, expected=NUM_ITEMS)
    yield Document(name="bytes/nuls-before", body=b"\0" * 64 + whole, expected=NUM_ITEMS)
    yield Document(name="bytes/nuls-after", body=whole + b"\0" * 64, expected=NUM_ITEMS)


def _cut_off() -> Iterator[Document]:
    whole = feed()
    for part in range(1, 25):
        yield Document(
            name=f"cut/{part}", body=whole[: len(whole) * part // 25], expected=NUM_ITEMS
        )
    yield Document(name="cut/comment", body=whole.replace(b"<item>", b"<!--<item>", 1))
    yield Document(
        name="cut/cdata", body=whole.replace(b"Rule 3<", b"<![CDATA[Rule 3<", 1), expected=NUM_ITEMS
    )


def _lying() -> Iterator[Document]:
    text = feed().decode().replace('<?xml version="1.0"?>', "")
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        yield Document(name=f"lying/{encoding}", body=text.encode(encoding), expected=NUM_ITEMS)
        declared = f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode(encoding)
        yield Document(name=f"lying/{encoding}-says-utf-8", body=declared, expected=NUM_ITEMS)
    for encoding in ("utf-8", "iso-8859-1", "windows-1252", "koi8-r", "no-such", "utf-16", "utf-7"):
        declared = f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode()
        yield Document(name=f"lying/declares-{encoding}", body=declared, expected=NUM_ITEMS)
    page = b"<!DOCTYPE html><html><head><title>Access denied</title></head><body>No</body></html>"
    others = {
        "html": page,
        "html-upper": page.upper(),
        "html-after-comments": b"<!-- x -->" * 200 + page,
        "xhtml": b'<?xml version="1.0"?>' + page,
        "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50,
        "pdf": b"%PDF-1.7\n" + b"1 0 obj <</Type /Catalog>>\n" * 100,
        "gzip": gzip.compress(feed()),
        "zip": b"PK\x03\x04" + b"\0" * 500,
        "plain": b"We are down for maintenance.",
        "empty": b"",
        "white": b" \r\n\t" * 500,
        "bom-alone": codecs.BOM_UTF8,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>',
        "soap": b'<s:Envelope xmlns:s="x"><s:Body/></s:Envelope>',
        "path": b"/etc/passwd",
        "url": b"http://127.0.0.1:1/feed",
        "no-items": feed(""),
    }
    for name, body in others.items():
        yield Document(name=f"lying/{name}", body=body, expected=0)


def _sloppy() -> Iterator[Document]:
    whole = feed()
    changes = {
        "ampersand": (b"Rule 5<", b"Rule 5 & more<"),
        "nbsp": (b"Rule 5<", b"Rule&nbsp;5<"),
        "bare-less": (b"Rule 5<", b"Rule 5 < 6<"),
        "unclosed-title": (b"Rule 5</title>", b"Rule 5"),
        "unclosed-item": (b"Text of rule 5</description></item>", b"Text of rule 5</description>"),
        "crossed": (b"Rule 5</title>", b"<b><i>Rule 5</b></i></title>"),
        "prefix": (b"<guid>urn:rule:5", b"<nope:a/><guid>urn:rule:5"),
        "attribute-twice": (b"<guid>urn:rule:5", b'<guid a="1" a="2">urn:rule:5'),
        "charref": (b"Rule 5<", b"Rule &#0;5&#x1f;<"),
        "big-charref": (b"Rule 5<", b"Rule &#99999999999;<"),
        "script": (b"Rule 5<", b"<script>alert(1)</script>Rule 5<"),
        "escaped-script": (b"Rule 5<", b"&lt;script&gt;alert(1)&lt;/script&gt;Rule 5<"),
        "twice-escaped": (b"Rule 5<", b"&amp;lt;script&amp;gt;alert(1)&amp;lt;/script&amp;gt;<"),
        "javascript-link": (b"https://regulator.example/r/5<", b"javascript:alert(1)<"),
        "upper": (b"<item><title>Rule 5", b"<ITEM><title>Rule 5"),
        "xinclude": (
            b"<item><title>Rule 5",
            b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>'
            b"<item><title>Rule 5",
        ),
        "stylesheet": (b"<rss", b'<?xml-stylesheet href="http://127.0.0.1:1/x.xsl"?><rss'),
        "item-in-cdata": (b"Text of rule 5", b"<![CDATA[<item>not one</item>]]>"),
        "item-in-comment": (b"Text of rule 5", b"<!-- <item>not one</item> -->"),
        "junk-before": (b"<?xml", b"\r\n\r\n<?xml"),
        "junk-after": (b"</rss>", b"</rss><script>x</script>"),
        "two-roots": (b"</rss>", b"</rss><rss></rss>"),
    }
    for name, (old, new) in changes.items():
        body = whole.replace(old, new, 1)
        if name == "upper":
            body = body.replace(b"rule 5</description></item>", b"rule 5</description></ITEM>")
        yield Document(name=f"sloppy/{name}", body=body, expected=NUM_ITEMS)


def huge() -> Iterator[Document]:
    """Documents of megabytes; they take seconds to write and to read."""
    mega = 2**20
    one = "<item><title>{}</title></item>"
    shapes = {
        "50mb-text": lambda: feed(one.format("x" * 50 * mega)),
        "50mb-items": lambda: feed("<item/>" * (50 * mega // 7)),
        "50mb-white": lambda: feed(" " * 50 * mega),
        "15mb-text": lambda: feed(one.format("x" * 15 * mega)),
        "15mb-items": lambda: feed("<item/>" * (15 * mega // 7)),
        "15mb-tags": lambda: feed(f"<item>{'<a/>' * (15 * mega // 4)}</item>"),
        "15mb-attributes": lambda: feed(f"<item {_attributes(mega)}></item>"),
        "15mb-comments": lambda: feed("<!---->" * (2 * mega)),
        "15mb-open-comments": lambda: feed("<!--" * (3 * mega)),
        "15mb-open-cdata": lambda: feed("<![CDATA[" * mega),
        "15mb-less": lambda: b"<" * 15 * mega,
        "15mb-escaped": lambda: feed(one.format("&lt;b&gt;" * mega)),
        "15mb-entities": lambda: feed(one.format("&nbsp;" * (2 * mega))),
        "15mb-broken": lambda: feed("<item><title>a & b</title></item>" * 15_000),
        "deep": lambda: feed("<a>" * 100_000),
        "deep-item": lambda: feed(f"<item><description>{'<b>' * 50_000}"),
        "deep-closed": lambda: feed(f"<item>{'<b>' * 5000}{'</b>' * 5000}</item>"),
        "namespaces": lambda: feed("".join(f'<a xmlns:n{n}="u{n}"/>' for n in range(20_000))),
        "long-name": lambda: feed(f"<{'n' * mega}/>"),
        "long-attribute": lambda: feed(f"<item><link href='{'x' * mega}'/></item>"),
        "long-guid": lambda: feed(f"<item><guid>{'x' * mega}</guid></item>"),
        "many-categories": lambda: feed(f"<item>{'<category>x</category>' * 50_000}</item>"),
        "misnested": lambda: feed(f"<item><description>{'&lt;b&gt;&lt;p&gt;' * 30_000}"),
    }
    for name, make in shapes.items():
        yield Document(name=f"huge/{name}", body=make())
    open_lists = f'{{{_JSON_FEED}, "items": [{"[]," * (5 * mega)}[]]}}'
    yield Document(name="huge/15mb-json", body=open_lists.encode())


def _attributes(number: int) -> str:
    return " ".join(f"a{n}=''" for n in range(number))


_JSON_FEED = '"version": "https://jsonfeed.org/version/1.1"'


def _json() -> Iterator[Document]:
    bodies = {
        "deep-list": b"[" * 200_000,
        "deep-object": b'{"a":' * 100_000,
        "closed-deep": b"[" * 900 + b"]" * 900,
        "nan": b'{"items": [NaN]}',
        "big-number": b'{"items": ' + b"9" * 100_000 + b"}",
        "twice": b'{"items": [], "items": 3}',
        "half": f'{{{_JSON_FEED}, "items": [{{"id": "1"}}'.encode(),
        "bad-utf8": b'{"items": ["\xff\xfe"]}',
        "null": b"null",
        "items-object": f'{{{_JSON_FEED}, "items": {{"a": 1}}}}'.encode(),
        "numbers": f'{{{_JSON_FEED}, "items": [1, 2, null]}}'.encode(),
    }
    for name, body in bodies.items():
        yield Document(name=f"json/{name}", body=body)
    good = f'{{{_JSON_FEED}, "items": [{{"id": "1", "title": "<b>x</b>"}}, {{"id": 2}}]}}'.encode()
    yield Document(name="json/good", body=good, expected=2)
