"""Tools that run inside the API, as typed constructors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.messages import encode

__all__ = ["ServerTool", "web_fetch", "web_search"]


@dataclass(frozen=True, slots=True, init=False)
class ServerTool:
    """A tool that the API runs; its results come in the same turn.

    Args:
        definition: The wire's definition, with a `type` and a `name`.
    """

    name: str
    _encoded: bytes

    def __init__(self, definition: Mapping[str, Any]) -> None:
        object.__setattr__(self, "name", definition["name"])
        object.__setattr__(self, "_encoded", encode(dict(definition)))

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as it is sent, as a copy."""
        definition: dict[str, Any] = json.loads(self._encoded)
        return definition

    def __repr__(self) -> str:
        return f"ServerTool({self.definition!r})"


def web_search(
    *,
    max_uses: int | None = None,
    allowed_domains: Iterable[str] | None = None,
    blocked_domains: Iterable[str] | None = None,
    user_location: Mapping[str, str] | None = None,
    version: str = "20250305",
) -> ServerTool:
    """Searches the web.

    Args:
        max_uses: Searches in one request, 1 or more; None is no limit of ours.
        allowed_domains: Only these, without scheme; subdomains are covered.
        blocked_domains: All but these; not together with `allowed_domains`.
        user_location: Where the user is: `city`, `region`, `country` (two letters), `timezone` (as `Europe/Rome`).
        version: The date of the tool's version: `20250305`, `20260209`, `20260318`, or one to come.

    Raises:
        ConfigurationError: Both lists are given, or an option is one that the API refuses.

    Source: messages-api.md section 10.1.
    """
    options: dict[str, Any] = {
        **_limits("web_search", max_uses, allowed_domains, blocked_domains),
        "user_location": None if user_location is None else {"type": "approximate", **user_location},
    }
    return _server_tool("web_search", version, options)


def web_fetch(
    *,
    max_uses: int | None = None,
    allowed_domains: Iterable[str] | None = None,
    blocked_domains: Iterable[str] | None = None,
    citations: bool = False,
    max_content_tokens: int | None = None,
    version: str = "20250910",
) -> ServerTool:
    """Reads pages and PDFs whose address is already in the conversation.

    Args:
        max_uses: Fetches in one request, 1 or more; None is no limit of ours.
        allowed_domains: Only these, without scheme; subdomains are covered.
        blocked_domains: All but these; not together with `allowed_domains`.
        citations: Whether the answer cites passages of what was read.
        max_content_tokens: Tokens of a page that are read, about, 1 or more.
        version: The date of the tool's version: `20250910`, `20260209`, `20260309`, `20260318`, or one to come.

    Raises:
        ConfigurationError: Both lists are given, or an option is one that the API refuses.

    Source: messages-api.md section 10.2.
    """
    options: dict[str, Any] = {
        **_limits("web_fetch", max_uses, allowed_domains, blocked_domains),
        "citations": {"enabled": True} if citations else None,
        "max_content_tokens": _positive("web_fetch", "max_content_tokens", max_content_tokens),
    }
    return _server_tool("web_fetch", version, options)


def _server_tool(name: str, version: str, options: Mapping[str, Any]) -> ServerTool:
    given = {option: value for option, value in options.items() if value is not None}
    return ServerTool({"type": f"{name}_{version}", "name": name, **given})


def _limits(
    name: str, max_uses: int | None, allowed: Iterable[str] | None, blocked: Iterable[str] | None
) -> dict[str, Any]:
    if allowed is not None and blocked is not None:
        raise ConfigurationError(f"{name} takes allowed_domains or blocked_domains, not both")
    return {
        "max_uses": _positive(name, "max_uses", max_uses),
        "allowed_domains": _domains(name, "allowed_domains", allowed),
        "blocked_domains": _domains(name, "blocked_domains", blocked),
    }


def _positive(name: str, option: str, number: int | None) -> int | None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ConfigurationError(f"{name}: {option} must be a whole number of 1 or more, not {number!r}")
    return number


def _domains(name: str, option: str, domains: Iterable[str] | None) -> list[str] | None:
    if domains is None:
        return None
    listed = [domains] if isinstance(domains, str) else list(domains)
    if schemed := [domain for domain in listed if "://" in domain]:
        raise ConfigurationError(f"{name}: {option} are without a scheme, as example.com, not {schemed[0]!r}")
    return listed
