"""What the API refuses about tools: one by one, with each other, with calls from code and with MCP servers.

Everything here may trust the shapes that `fields` has looked at. Tools, versions and options that are not known pass.

Source: messages-api.md sections 10 to 12. The words are the API's where a docstring says whose requests got them, else
those of its documentation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agentkit.rules.schemas import cycle
from agentkit.rules.texts import Problem
from agentkit.support import SERVER_TOOLS, model_of

__all__ = ["check_tool", "check_tools", "is_server_tool", "runs_on_server"]

_SERVER_TOOL = re.compile(
    r"mcp_toolset|(web_search|web_fetch|code_execution|tool_search_tool_regex|tool_search_tool_bm25|advisor)(_\d{8})?"
)
_CLIENT_TOOL = re.compile(r"custom|(bash|text_editor|memory|computer)_\d{8}")
_FIRST_CONNECTOR = "mcp-client-2025-04-04"
# Which want the toolset in its place. Source: messages-api.md section 4.
_NO_COMPUTER = ("claude-opus-5-5", "claude-sonnet-5-5")


def check_tool(tool: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """The problems that a tool has by itself.

    Args:
        tool: Its definition.
        path: Where it is, such as `tools.0`.
    """
    name, kind, version = tool.get("name"), *_versioned(tool)
    if tool.get("allowed_domains") is not None and tool.get("blocked_domains") is not None:
        yield Problem("domains", path, "Only one of allowed_domains or blocked_domains may be set.")
    for option, since in SERVER_TOOLS[kind].since.items() if kind else ():
        if version < since and tool.get(option) is not None:
            text = f"{path}.{tool['type']}.{option}: Extra inputs are not permitted"
            yield Problem("option_version", f"{path}.{tool['type']}.{option}", text)
    if tool.get("defer_loading") and tool.get("cache_control"):
        text = (  # anthropics/claude-code#30920
            f"Tool '{name}' cannot have both defer_loading=true and cache_control set. Tools with defer_loading cannot "
            "use prompt caching."
        )
        yield Problem("deferred_cached", path, text)
    if tool.get("defer_loading") and str(tool.get("type")).startswith("tool_search_tool_"):
        yield Problem("tool_search_deferred", path, "The tool search tool itself cannot have defer_loading=true.")


def check_tools(body: Mapping[str, Any], betas: Collection[str] | None = None) -> Iterator[Problem]:
    """The problems of the tools of a request.

    Args:
        body: The request.
        betas: Names in the `anthropic-beta` header; None: not known.
    """
    tools: list[dict[str, Any]] = body.get("tools", [])
    for at, tool in enumerate(tools):
        yield from check_tool(tool, f"tools.{at}")
        yield from _called_from_code(f"tools.{at}", tool)
        if tool.get("type") == "computer_20251124" and body["model"].startswith(_NO_COMPUTER):
            text = f"tools.{at}: 'computer_20251124' is not supported for this model. Use 'computer_toolset_20260801'."
            yield Problem("computer_model", f"tools.{at}", text)
    yield from _programmatic_model(body["model"], tools)
    yield from _programmatic_choice(body.get("tool_choice", {}), tools)
    yield from _mcp(tools, body.get("mcp_servers"), betas)


def is_server_tool(tool: Mapping[str, Any]) -> bool:
    """Whether the API runs it, as far as its type is known."""
    return _SERVER_TOOL.fullmatch(str(tool.get("type"))) is not None


def runs_on_server(tool: Mapping[str, Any]) -> bool:
    """Whether the API runs it, or code of the API calls it, or it is of a type that is not known."""
    return _CLIENT_TOOL.fullmatch(str(tool.get("type") or "custom")) is None or bool(_code_callers(tool))


def _versioned(tool: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and version of a server tool, two empty strings where one of them is not known."""
    kind, _, version = str(tool.get("type")).rpartition("_")
    known = kind in SERVER_TOOLS and version in SERVER_TOOLS[kind].dates
    return (kind, version) if known else ("", "")


def _callers(tool: Mapping[str, Any]) -> list[str]:
    given = tool.get("allowed_callers")
    if isinstance(given, list):
        return [str(caller) for caller in given]
    kind, version = _versioned(tool)
    since = SERVER_TOOLS[kind].programmatic if kind else None
    return ["code_execution_20260120"] if since and version >= since else ["direct"]


def _code_callers(tool: Mapping[str, Any]) -> list[str]:
    return [caller for caller in _callers(tool) if caller.startswith("code_execution_")]


def _called_from_code(path: str, tool: Mapping[str, Any]) -> Iterator[Problem]:
    """What a tool of ours must be so that code may call it. Source: messages-api.md section 11.

    That section wants a code_execution tool beside it; recorded requests without one were accepted.
    """
    callers = _code_callers(tool)
    if callers and tool.get("type") == "mcp_toolset":
        yield Problem("programmatic_mcp", path, "Tools of the MCP connector cannot be called programmatically.")
    if not callers or is_server_tool(tool):
        return
    if tool.get("strict"):
        yield Problem("programmatic_strict", path, "strict=true cannot be used with programmatic tool calling.")
    if cycle(tool.get("input_schema", {})):
        yield Problem("programmatic_recursive", f"{path}.custom.input_schema", "Circular $ref detected")


def _programmatic_model(model: str, tools: list[dict[str, Any]]) -> Iterator[Problem]:
    """Got by many with Haiku 4.5, such as agents that moved their web search to version 20260209."""
    known = model_of(model)
    names = [str(tool.get("name")) for tool in tools if _code_callers(tool)]
    if known and known.programmatic is False and names:
        text = (
            f"'{model}' does not support programmatic tool calling. The following tools have `allowed_callers` that "
            f'require it: {", ".join(names)}. Explicitly set `allowed_callers=["direct"]` on these tools, or use a '
            "model that supports programmatic tool calling."
        )
        yield Problem("programmatic_model", "tools", text)


def _programmatic_choice(choice: Mapping[str, Any], tools: list[dict[str, Any]]) -> Iterator[Problem]:
    """Source: messages-api.md section 11."""
    ours = [tool for tool in tools if _code_callers(tool) and not is_server_tool(tool)]
    if ours and choice.get("disable_parallel_tool_use"):
        text = "disable_parallel_tool_use cannot be used with programmatic tool calling."
        yield Problem("programmatic_parallel", "tool_choice.disable_parallel_tool_use", text)
    for tool in tools:
        forced = choice.get("type") == "tool" and choice.get("name") == tool.get("name")
        if forced and "direct" not in _callers(tool):
            text = f"Tool '{tool.get('name')}' cannot be forced: its allowed_callers leave \"direct\" out."
            yield Problem("programmatic_forced", "tool_choice", text)


def _mcp(tools: list[dict[str, Any]], servers: Any, betas: Collection[str] | None) -> Iterator[Problem]:
    """Source: messages-api.md section 12; the text on servers: several, who saw it live."""
    listed = [server for server in servers if isinstance(server, dict)] if isinstance(servers, list) else []
    names = [server.get("name") for server in listed]
    used: list[Any] = []
    for at, tool in enumerate(tools):
        name = tool.get("mcp_server_name")
        if tool.get("type") != "mcp_toolset":
            continue
        if name in used:
            text = f"MCP server '{name}' is referenced by more than one mcp_toolset"
            yield Problem("mcp_toolset_twice", f"tools.{at}", text)
        elif name not in names:
            yield Problem("mcp_server_unknown", f"tools.{at}", f"MCP server '{name}' is not defined in mcp_servers")
        used.append(name)
    # The first beta of the connector had no toolsets, but a tool_configuration.
    for at, name in enumerate(names) if betas is not None and _FIRST_CONNECTOR not in betas else ():
        if name not in used and "tool_configuration" not in listed[at]:
            text = f"MCP server '{name}' is defined but not referenced by any mcp_toolset in tools"
            yield Problem("mcp_server_unused", f"mcp_servers.{at}", text)
