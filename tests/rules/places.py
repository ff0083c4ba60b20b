"""Places of a request, and what a request is like: for the changes that the rules are tested with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bodies import Body
from histories import Block, Message, text


def content(message: Message) -> list[Block]:
    """The blocks of a message, which has a list from now on."""
    if isinstance(message["content"], str):
        message["content"] = [text(message["content"])]
    blocks: list[Block] = message["content"]
    return blocks


def blocks(body: Body, role: str, *kinds: str) -> Iterator[tuple[list[Block], int]]:
    """Where blocks of such types are in messages of a role."""
    for message in body["messages"]:
        if message["role"] == role:
            found = content(message)
            yield from ((found, at) for at, block in enumerate(found) if not kinds or block["type"] in kinds)


def block(body: Body, role: str, *kinds: str) -> Block | None:
    for found, at in blocks(body, role, *kinds):
        return found[at]
    return None


def custom(body: Body) -> Body | None:
    """A tool of ours that is not strict."""
    for tool in body.get("tools", []):
        if tool.get("type") in (None, "custom") and not tool.get("strict"):
            found: Body = tool
            return found
    return None


def typed(body: Body, kind: str) -> Body | None:
    for tool in body.get("tools", []):
        if str(tool.get("type")).startswith(kind):
            found: Body = tool
            return found
    return None


def shown(body: Body) -> int:
    """How many tools are not deferred."""
    return sum(not tool.get("defer_loading") for tool in body.get("tools", []))


def compiled(body: Body) -> Body | None:
    """A schema that is compiled: of a strict tool, or of the output format."""
    for tool in body.get("tools", []):
        if tool.get("strict"):
            strict: Body = tool["input_schema"]
            return strict
    given = body.get("output_config", {}).get("format") or body.get("output_format")
    return given["schema"] if given else None


def part(body: Body, kind: str) -> Body | None:
    """A property of such a type in a compiled schema."""
    for each in ((compiled(body) or {}).get("properties") or {}).values():
        if isinstance(each, dict) and each.get("type") == kind:
            return each
    return None


def search(body: Body) -> Body | None:
    return typed(body, "web_search_20250305")


def is_of(body: Body, *families: str) -> bool:
    name: str = body["model"]
    return name.startswith(families)


def is_4_5(body: Body) -> bool:
    return is_of(body, "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5")


def thinks(body: Body) -> str:
    kind: str = body.get("thinking", {}).get("type", "")
    return kind


def enabled(body: Body) -> bool:
    return thinks(body) == "enabled"


def with_format(body: Body) -> bool:
    return bool(body.get("output_config", {}).get("format") or body.get("output_format"))


def has_tools(body: Body) -> bool:
    return custom(body) is not None


def ends_with_user(body: Body) -> bool:
    return bool(body["messages"][-1]["role"] == "user")


def plain(body: Body) -> bool:
    """Nothing in it depends on the model."""
    return absent("thinking", "temperature", "top_p", "top_k", "output_config")(body) and ends_with_user(body)


def ungated(body: Body) -> bool:
    """Nothing in it needs a beta."""
    return absent("output_format", "mcp_servers", "context_management")(body) and "task_budget" not in str(body)


def is_marked(body: Body) -> bool:
    return "cache_control" in str(body)


def is_mixed(body: Body) -> bool:
    return "server_tool_use" in str(body["messages"])


def is_forced(body: Body) -> bool:
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


def absent(*names: str) -> Callable[[Body], bool]:
    return lambda body: body.keys().isdisjoint(names)


def negated(condition: Callable[[Body], object]) -> Callable[[Body], bool]:
    return lambda body: not condition(body)
