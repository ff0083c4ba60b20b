"""Origins of addresses, read strictly: what two parsers could read in two ways is no address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

from agentkit.policy.paths import LONGEST, fold

__all__ = ["Origin", "OriginPattern", "is_address", "origin_of"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_URL = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?(?:[/?#][^\\\s\x00-\x20\x7f]*)?",
    re.IGNORECASE | re.ASCII,
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LOOKS = re.compile(r"[a-z][a-z0-9+.-]+:[/\\]", re.IGNORECASE)
_BLANK = re.compile(r"[\s\x00-\x20\x7f]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an address leads: scheme and host in lower case, the port also where it is the usual one."""

    scheme: str
    host: str
    port: int


def is_address(text: str) -> bool:
    """Whether a text looks like one address, however it is spelled."""
    begin = text[:LONGEST]
    return ":" in begin and bool(_LOOKS.match(_BLANK.sub("", begin)))


def origin_of(address: str) -> Origin | None:
    """The origin, or None if there is any doubt about it. Source: faults.md, P5."""
    found = _URL.fullmatch(address) if len(address) <= LONGEST else None
    if found is None:
        return None
    scheme, host, port = found[1].lower(), _host(found[2].lower()), found[3]
    number = int(port) if port else _PORTS.get(scheme, 0)
    return None if host is None or number > 65535 else Origin(scheme, host, number)


def _host(host: str) -> str | None:
    try:
        if host.startswith("["):
            six = IPv6Address(host[1:-1])
            return str(six.ipv4_mapped or six)
        labels = host.removesuffix(".").split(".")
        if _NUMBER.fullmatch(labels[-1]):  # 2130706433, 0x7f.1 and 0177.0.0.1 are addresses to the C library
            return str(IPv4Address(host))
    except ValueError:
        return None
    return ".".join(labels) if all(labels) else None


@dataclass(frozen=True)
class OriginPattern:
    """An origin such as `https://docs.example.com`, or `https://*.example.com` for the hosts below it.

    Attributes:
        text: As it was written.
    """

    text: str

    def problem(self) -> str | None:
        """Why it is no pattern."""
        if self._origin is None:
            return 'write it as "https://docs.example.com", or "https://*.example.com" for the hosts below'
        if self.text.partition("://")[2].strip("/").partition("/")[2] or re.search(r"[?#]", self.text):
            return f'an origin has no path: write "{self._origin.scheme}://…" up to the host'
        return None

    def covers(self, address: str) -> bool:
        """Whether this is, without any doubt, an address of the origin."""
        own, other = self._origin, origin_of(address)
        if own is None or other is None or (own.scheme, own.port) != (other.scheme, other.port):
            return False
        return other.host.endswith(f".{own.host}") if self._is_wide else other.host == own.host

    def is_named_in(self, word: str) -> bool:
        """Whether the host is anywhere in a word of a command."""
        return self._origin is not None and self._origin.host in fold(word)

    def touches(self, address: str) -> bool:
        """Whether this is an address of the host, by any scheme and port, or one that can't be read with certainty."""
        own, other = self._origin, origin_of(_BLANK.sub("", address))
        if own is None or other is None or other.host == own.host:
            return True
        return self._is_wide and other.host.endswith(f".{own.host}")

    @property
    def _is_wide(self) -> bool:
        return "://*." in self.text

    @cached_property
    def _origin(self) -> Origin | None:
        """Of the host below which all hosts count, if there is a `*`."""
        return origin_of(self.text.replace("://*.", "://", 1))
