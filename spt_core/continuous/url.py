"""What makes a URL one that nobody should ask, whoever the operator is; without any network."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_LENGTH = 2048
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\<>\"^`{|}\s]")
_HOST = re.compile(r"(?=.{1,253}\.?$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}\.?")
_NUMERIC_LABEL = re.compile(r"0x[0-9a-f]*|[0-9]+")


def malformed_url(url: str) -> str:
    """What is wrong with a URL whoever asks it; empty when nothing is."""
    if not url or len(url) > MAX_URL_LENGTH:
        return f"it must have 1 to {MAX_URL_LENGTH} characters"
    if not url.isascii() or _UNSAFE.search(url):
        return "it holds a character that a URL must encode (space, backslash, control, non-ASCII)"
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in ("http", "https") or not separator:
        return "it must start with http:// or https://"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return "it holds a user name or password"
    if "%" in authority:
        return "its host holds an escape"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        return f"it is malformed: {error}"
    if authority.endswith(":") or port == 0:
        return "its port is not 1 to 65535"
    return _host_problem(host)


def address_literal(host: str) -> Address | None:
    """The address that a host is written as, if it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_problem(host: str) -> str:
    if not host:
        return "it has no host"
    if address_literal(host) is not None:
        return ""  # whether this address may be asked is the operator's matter
    if ":" in host or not _HOST.fullmatch(host):
        return f"its host {host[:80]!r} is not a name"
    if _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return f"its host {host[:80]!r} is a number in disguise"
    return ""
