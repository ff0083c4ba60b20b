"""What an MCP server says of a tool → its name, description and effects here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_types import Tool as Offered

from agentkit.errors import ConfigurationError
from agentkit.terminal import safe

__all__ = ["description_of", "effects_of", "name_of", "named"]

_LONGEST_NAME = 64  # Source: messages-api.md section 9
_DESCRIPTION_CAP = 8000  # characters
_HIDDEN_CAP = 2000
_UNDECLARED = frozenset({"write", "net", "untrusted"})  # Source: faults.md, U5
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


def name_of(server: str, tool: str) -> str:
    """`server__tool`, in letters that the API takes; a longer one ends with a digest of the whole."""
    whole = f"{server}__{tool}"
    name = _FOREIGN.sub("_", whole)
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}_{hashlib.sha256(whole.encode(errors='replace')).hexdigest()[:8]}"


def description_of(tool: Offered, hidden: Sequence[Any]) -> str:
    """What the model reads: what the server wrote, without what can't be seen, and not without end.

    Args:
        tool: The tool.
        hidden: What of its schema the API can't be told otherwise.
    """
    text = safe(tool.description or tool.title or "").strip()
    text = text if len(text) <= _DESCRIPTION_CAP else f"{text[:_DESCRIPTION_CAP]}…"
    for rule in hidden:
        said = json.dumps(rule, ensure_ascii=False)
        if len(said) <= _HIDDEN_CAP:
            text = f"{text}\n\nThe input must also fit this schema: {safe(said)}".strip()
    return text


def effects_of(tool: Offered, declared: str | Sequence[str] | None, *, is_trusted: bool) -> dict[str, Any]:
    """The options of a `Tool` that say what a call may do.

    What a server says of itself only adds to what it may do, unless it is trusted. Source: faults.md, U5.

    Args:
        tool: The tool.
        declared: What the operator says: that holds.
        is_trusted: Whether the server's annotations are believed.
    """
    said = tool.annotations
    is_destructive = bool(said and said.destructive_hint)
    if declared is not None:
        effects = {declared} if isinstance(declared, str) else set(declared)
        return {"effect": effects | ({"write"} if is_destructive else set()), "needs_approval": is_destructive}
    if not (is_trusted and said):
        return {"effect": _UNDECLARED, "needs_approval": is_destructive}
    if not said.read_only_hint:
        return {
            "effect": _UNDECLARED,
            "needs_approval": is_destructive,
            "idempotent": bool(said.idempotent_hint),
        }
    is_closed = said.open_world_hint is False
    return {"effect": {"read", "untrusted"} | (set() if is_closed else {"net"})}


def named(tools: Mapping[str, Offered], server: str) -> dict[str, str]:
    """The API's name of each tool.

    Raises:
        ConfigurationError: Two have the same.
    """
    names: dict[str, str] = {}
    for tool in tools:
        name = name_of(server, tool)
        if name in names.values():
            other = next(other for other, its in names.items() if its == name)
            raise ConfigurationError(
                f"MCP server {server!r}: the tools {safe(other)!r} and {safe(tool)!r} would both be {name}: "
                "choose one with only=[…]"
            )
        names[tool] = name
    return names
