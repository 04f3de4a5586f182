"""Which addresses may be asked: the rules for a URL, for a name's records, and for a connection.

A source names a URL; the operator names the networks and ports. The URL is checked at every hop,
every record of a name must be public or none is used, and the socket factory looks once more at
the address that is really connected, which catches literals and names that change their answer.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from spt_core.continuous.url import MAX_URL_LENGTH, Address, address_literal, malformed_url
from spt_core.errors import InputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


_FORBIDDEN_V4 = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",  # a cloud's platform service on a public number
    )
)
# Only this block is handed out to hosts; inside it, what carries or stands for other addresses.
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_FORBIDDEN_V6 = tuple(
    ipaddress.ip_network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, benchmarking and other special purposes
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "3ffe::/16",
    )
)


class ForbiddenAddressError(OSError):
    """A connection was refused before a packet left: the address is not a public one."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """What the operator allows: ports for everyone, and networks that are not public.

    `allow_networks` is for a company's own feed server and for tests; on these networks any port
    may be asked. No source can set it.
    """

    allow_networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = (80, 443, 8080, 8443)
    networks: tuple[Network, ...] = dataclasses.field(init=False, default=())

    def __post_init__(self) -> None:
        """Read the networks."""
        try:
            read = tuple(ipaddress.ip_network(network) for network in self.allow_networks)
        except ValueError as error:
            raise InputError(
                f"allow_networks must hold networks such as 10.1.0.0/16, however: {error}"
            ) from error
        object.__setattr__(self, "networks", read)
        object.__setattr__(self, "allow_networks", tuple(self.allow_networks))
        object.__setattr__(self, "ports", tuple(self.ports))  # what is judged is remembered by them

    def url_problem(self, url: str) -> str:
        """Why this URL must not be asked; empty when it may."""
        if len(url) > MAX_URL_LENGTH:  # nothing to be remembered
            return malformed_url(url)
        return _url_problem(self, url)

    def allows(self, address: Address) -> bool:
        """Whether the operator opened this address's network."""
        return any(address in network for network in self.networks)

    def address_problem(self, text: str, port: int) -> str:
        """Why this address and port must not be connected; empty when they may be."""
        return _address_problem(self, text, port)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for exactly this address, or ForbiddenAddressError; aiohttp's last step."""
        family, kind, protocol, _, address = info
        problem = (
            self.address_problem(str(address[0]), int(address[1]))
            if family in (socket.AF_INET, socket.AF_INET6)
            else "it is no internet address"
        )
        if problem:
            raise ForbiddenAddressError(f"the connection was refused: {problem}")
        return socket.socket(family=family, type=kind, proto=protocol)


class GuardedResolver(AbstractResolver):
    """A resolver in which one forbidden record poisons the whole answer."""

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner, self._guard = inner, guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The name's records, every one of which may be connected."""
        records = await self._inner.resolve(host, port, family)
        for record in records:
            problem = self._guard.address_problem(record["host"], port)
            if problem:
                raise ForbiddenAddressError(f"the name {host} was refused: {problem}")
        return records

    async def close(self) -> None:
        """Close the resolver inside."""
        await self._inner.close()


@functools.lru_cache(maxsize=4096)  # the same sources are asked again and again
def _url_problem(guard: Guard, url: str) -> str:
    problem = malformed_url(url)
    if problem:
        return problem
    parts = urlsplit(url)
    host = parts.hostname or ""
    literal = address_literal(host)
    if literal is not None and not guard.allows(literal):
        return f"its host is the address {host}; a source must name a host"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port not in guard.ports and not guard.networks:
        return f"its port is {port}; allowed are {', '.join(map(str, guard.ports))}"
    return ""


@functools.lru_cache(maxsize=4096)
def _address_problem(guard: Guard, text: str, port: int) -> str:
    address = address_literal(text.partition("%")[0])
    if address is None:
        return f"{text!r} is no address"
    if guard.allows(address):
        return ""
    kind = forbidden_kind(address)
    if kind:
        return f"{address} is {kind}"
    if port and port not in guard.ports:
        return f"port {port} is not allowed"
    return ""


def forbidden_kind(address: Address) -> str:
    """What makes an address one that must not be asked; empty for a public one."""
    if isinstance(address, ipaddress.IPv4Address):
        if any(address in network for network in _FORBIDDEN_V4):
            return "not a public address"
        return ""
    if address.ipv4_mapped is not None:
        return "an IPv4 address inside IPv6"
    if address not in _GLOBAL_V6 or any(address in network for network in _FORBIDDEN_V6):
        return "not a public address"
    return ""
