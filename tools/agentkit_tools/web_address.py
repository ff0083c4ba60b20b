"""Addresses of the web, parsed strictly, and the guard that says which of them may be reached."""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import quote

import anyio

from agentkit import ConfigurationError, ToolError

__all__ = ["Address", "Guard", "Resolve", "is_public", "parse_address"]

Resolve: TypeAlias = "Callable[[str, int], Awaitable[list[str]]]"
"""Name and port → all addresses of the name."""
_Network: TypeAlias = "IPv4Network | IPv6Network"

_PORTS = {"http": 80, "https": 443}
_LONGEST = 4096
# One grammar for all, in ASCII: what is checked is what is connected to.
_URL = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?([/?][^#]*)?(?:#.*)?", re.IGNORECASE | re.ASCII
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a page is.

    Attributes:
        scheme: http or https.
        host: A name in lower case and ASCII, or an IP address without brackets.
        port: 1 to 65535.
        target: Path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def netloc(self) -> str:
        """Host and port as they are written, a usual port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Such as `https://docs.example.com`."""
        return f"{self.scheme}://{self.netloc}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def parse_address(url: str) -> Address:
    """The address that a text is, if there is no doubt about it.

    Raises:
        ToolError: It is none, or one that two parsers could read in two ways. The text is for the model.

    Source: faults.md P5.
    """
    if len(url) > _LONGEST:
        raise ToolError(f"The address has more than {_LONGEST:,} characters.")
    if re.search(r"[\x00-\x20\x7f-\xa0\\\s]", url):
        raise ToolError("The address has a space, a backslash or a control character: write a space as %20.")
    found = _URL.fullmatch(url)
    if found is None:
        raise ToolError(
            "That is no address that can be fetched: it begins with http:// or https://, has no user name or password, "
            "and its host is ASCII (xn--… for others)."
        )
    scheme, host, port, target = found.groups()
    scheme = scheme.lower()
    number = int(port) if port else _PORTS[scheme]
    if not 0 < number < 65536:
        raise ToolError(f"There is no port {port}.")
    path = quote(target or "/", safe="%/?:@!$&'()*+,;=-._~[]")
    return Address(scheme, _host(host.lower()), number, path if path.startswith("/") else f"/{path}")


def _host(host: str) -> str:
    """As it is connected to: an IP address in its one usual form, or a name."""
    try:
        if host.startswith("["):
            return str(IPv6Address(host[1:-1]))
        labels = host.removesuffix(".").split(".")
        if _NUMBER.fullmatch(labels[-1]):  # the C library reads 2130706433, 0x7f.1 and 0177.0.0.1 as addresses
            return str(IPv4Address(host))
    except ValueError:
        raise ToolError(
            "The address has an IP address of an unusual form: write it as 192.0.2.1 or [2001:db8::1]."
        ) from None
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ToolError("The address has a host whose name can't be right.")
    return ".".join(labels)


# Besides what `is_global` refuses, which changes with the version of Python.
# Source: faults.md P2; IANA's registries of special-purpose addresses.
_DENIED: dict[int, list[_Network]] = {
    4: [
        *map(IPv4Network, ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"]),
        *map(IPv4Network, ["172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"]),
        *map(IPv4Network, ["192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"]),
        *map(IPv4Network, ["198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"]),
    ],
    # Of IPv6 only 2000::/3 is in use. In it: Teredo and others of the IETF, documentation, 6to4, documentation.
    6: [*map(IPv6Network, ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"])],
}
_IN_USE = IPv6Network("2000::/3")
# Where clouds hand out credentials: never reached, whatever is allowed besides.
_METADATA = {
    *map(ip_address, ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"]),
    *map(ip_address, ["fd00:ec2::254", "fd20:ce::254"]),
}
_ISATAP = (0x00005EFE, 0x02005EFE)
# Names for the inside of a network, whatever their addresses are. Source: RFC 6761, RFC 6762, RFC 8375, RFC 9476.
_INSIDE = {
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "localdomain",
    "alt",
    "onion",
}
_INSIDE |= {"home.arpa", "metadata.goog", "ipv4only.arpa"}


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public internet, by all that can be seen in it."""
    if address in _METADATA or not address.is_global:
        return False
    if isinstance(address, IPv6Address):
        isatap = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
        if address not in _IN_USE or address.scope_id is not None or isatap:
            return False
    return not any(address in network for network in _DENIED[address.version])


class Guard:
    """Which addresses may be reached: public ones, on ports 80 and 443, and what the host adds.

    Args:
        origins: If any, only these, such as `https://docs.example.com`; one with a port allows that port.
        networks: IP networks that may be reached although they are not public, such as `10.1.0.0/16`.
        ports: That may be connected to.
        resolve: Finds the addresses of a name.

    Raises:
        ConfigurationError: An origin or a network is none, or a network is too large to be meant.
    """

    def __init__(
        self,
        origins: Iterable[str] | None = None,
        networks: Iterable[str] = (),
        *,
        ports: Iterable[int] = (80, 443),
        resolve: Resolve | None = None,
    ) -> None:
        self._origins = None if origins is None else frozenset(map(_origin, _listed("origins", origins)))
        self._networks = [_network(text) for text in _listed("allow_addresses", networks)]
        self._ports = frozenset(ports)
        self._resolve = resolve or _resolve

    def check(self, address: Address) -> None:
        """Refuses what can be refused before a name is looked up.

        Raises:
            ToolError: It is refused; the text is for the model.
        """
        if self._origins is not None:
            if address.origin not in self._origins:
                allowed = ", ".join(sorted(self._origins))
                raise ToolError(f"{address.origin} may not be fetched, only these: {allowed}")
        elif address.port not in self._ports:
            raise ToolError(f"Port {address.port} may not be connected to, only 80 and 443.")

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, each of which may be connected to.

        Raises:
            ToolError: One of them may not, or there are none.
        """
        try:
            found = [ip_address(host)]
        except ValueError:
            # Duplicates would be tried twice.
            found = list(dict.fromkeys(map(ip_address, await self._resolve(host, port))))
        if not found:
            raise ToolError(f"There is no host {host}.")
        if not all(map(self._may_reach, found)) or (_is_inside(host) and not all(map(self._is_added, found))):
            raise ToolError(f"{host} is not on the public internet: it may not be fetched.")
        return list(map(str, found))

    def _may_reach(self, address: IPv4Address | IPv6Address) -> bool:
        return is_public(address) or self._is_added(address)

    def _is_added(self, address: IPv4Address | IPv6Address) -> bool:
        return address not in _METADATA and any(address in network for network in self._networks)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _is_inside(host: str) -> bool:
    labels = host.split(".")
    single = len(labels) == 1 and ":" not in host
    return single or labels[-1] in _INSIDE or ".".join(labels[-2:]) in _INSIDE


def _listed(name: str, given: Iterable[str]) -> list[str]:
    if isinstance(given, str):
        raise ConfigurationError(f"{name} must be a list: [{given!r}]")
    return list(given)


def _origin(text: str) -> str:
    try:
        address = parse_address(text)
    except ToolError as error:
        raise ConfigurationError(f"origins: {text!r} is none: {error}") from None
    if address.target != "/":
        raise ConfigurationError(f"origins: {text!r} has a path: an origin is {address.origin}")
    return address.origin


def _network(text: str) -> _Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ConfigurationError(f"allow_addresses: {text!r} is no IP network such as 10.1.0.0/16: {error}") from None
    if network.prefixlen < (8 if network.version == 4 else 32):
        raise ConfigurationError(f"allow_addresses: {text} is too large: name the networks of your intranet")
    return network
