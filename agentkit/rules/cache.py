"""What the API refuses about cache marks: how many, in which order, and where.

Source: messages-api.md 15.10 and section 17; api-errors.md B (Anthropic.SDK#50, claude-code-cache-fix#44,
vellum-assistant#23414).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.rules.texts import Problem

__all__ = ["check_marks", "marks"]

_MOST = 4
_NOT_CACHED = ("thinking", "redacted_thinking")


def check_marks(body: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems of the marks of a request with each other."""
    found = list(marks(body))
    automatic = body.get("cache_control")
    number = len(found) + (automatic is not None)
    if number > _MOST:
        text = f"A maximum of {_MOST} blocks with cache_control may be provided. Found {number}."
        yield Problem("cache_marks", "cache_control", text)
    yield from _target(body["messages"], automatic)
    short = False
    for path, block in found:
        ttl = _ttl(block["cache_control"])
        if block.get("text") == "":
            yield Problem("cache_empty", path, f"{path}.text: cache_control cannot be set for empty text blocks")
        if short and ttl == "1h":
            text = (
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks "
                "are processed in the following order: `tools`, `system`, `messages`."
            )
            yield Problem("cache_order", f"{path}.cache_control.ttl", f"{path}.cache_control.ttl: {text}")
        short = short or ttl == "5m"


def _target(messages: list[Mapping[str, Any]], automatic: Mapping[str, Any] | None) -> Iterator[Problem]:
    """The mark at the top level goes to the last block that can have one."""
    content = messages[-1]["content"] if messages else ""
    blocks = [block for block in content if _is_cached(block)] if isinstance(content, list) else []
    own = blocks[-1].get("cache_control") if blocks else None
    if automatic is not None and own is not None and _ttl(automatic) != _ttl(own):
        text = (
            f"Top-level cache_control has ttl='{_ttl(automatic)}' but the target block already has cache_control with "
            f"ttl='{_ttl(own)}'"
        )
        yield Problem("cache_target", "cache_control", text)


def _is_cached(block: Mapping[str, Any]) -> bool:
    return block["type"] not in _NOT_CACHED and block.get("text") != ""


def _ttl(mark: Mapping[str, Any]) -> str:
    return mark.get("ttl") or "5m"


def marks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every tool and block that has a cache mark and where it is, in the order of the prompt."""
    yield from _marked("tools", body.get("tools"))
    yield from _marked("system", body.get("system"))
    for at, message in enumerate(body["messages"]):
        yield from _marked(f"messages.{at}.content", message["content"])


def _marked(path: str, blocks: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for at, block in enumerate(blocks) if isinstance(blocks, list) else ():
        if block.get("type") == "tool_result":
            yield from _marked(f"{path}.{at}.tool_result.content", block.get("content"))
        if block.get("cache_control") is not None:
            yield f"{path}.{at}", block
