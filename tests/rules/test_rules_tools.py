"""The rules of tools: one by one, with each other, called from code, and of MCP servers."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.rules.texts import Problem
from agentkit.rules.tools import check_tool, check_tools, is_server_tool

Body = dict[str, Any]

CODE = {"type": "code_execution_20260120", "name": "code_execution"}
SEARCH = {"type": "web_search_20260209", "name": "web_search"}
FROM_CODE = ["code_execution_20260120"]
LOOP = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": [{"$ref": "#"}]}}}
TREE = {"type": "object", "properties": {"$ref": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
SERVER = {"type": "url", "url": "https://mcp.example", "name": "docs"}
TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "docs"}


def ours(**fields: Any) -> Body:
    return {"name": "add", "input_schema": {"type": "object"}} | fields


def body(*tools: Body, model: str = "claude-sonnet-4-6", **fields: Any) -> Body:
    return {"model": model, "max_tokens": 100, "messages": [], "tools": list(tools)} | fields


# rule, path, end of the text, request
REFUSED: list[tuple[str, str, str, Body]] = [
    (
        "domains",
        "tools.0",
        "Only one of allowed_domains or blocked_domains may be set.",
        body({"type": "later", "name": "find", "allowed_domains": [], "blocked_domains": ["a.example"]}),
    ),
    (
        "option_version",
        "tools.0.web_search_20260209.response_inclusion",
        "tools.0.web_search_20260209.response_inclusion: Extra inputs are not permitted",
        body(SEARCH | {"response_inclusion": "full"}),
    ),
    (
        "deferred_cached",
        "tools.0",
        "Tool 'add' cannot have both defer_loading=true and cache_control set. "
        "Tools with defer_loading cannot use prompt caching.",
        body(ours(defer_loading=True, cache_control={"type": "ephemeral"})),
    ),
    (
        "tool_search_deferred",
        "tools.0",
        "The tool search tool itself cannot have defer_loading=true.",
        body({"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25", "defer_loading": True}),
    ),
    (
        "programmatic_strict",
        "tools.0",
        "strict=true cannot be used with programmatic tool calling.",
        body(ours(allowed_callers=FROM_CODE, strict=True), CODE),
    ),
    (
        "programmatic_recursive",
        "tools.0.custom.input_schema",
        "Circular $ref detected",
        body(ours(allowed_callers=FROM_CODE, input_schema=LOOP), CODE),
    ),
    (
        "programmatic_mcp",
        "tools.0",
        "Tools of the MCP connector cannot be called programmatically.",
        body(TOOLSET | {"allowed_callers": FROM_CODE}, CODE, mcp_servers=[SERVER]),
    ),
    (
        "programmatic_model",
        "tools",
        "'claude-haiku-4-5-20251001' does not support programmatic tool calling. The following tools have "
        '`allowed_callers` that require it: web_search, add. Explicitly set `allowed_callers=["direct"]` on these '
        "tools, or use a model that supports programmatic tool calling.",
        body(SEARCH, CODE, ours(allowed_callers=FROM_CODE), model="claude-haiku-4-5-20251001"),
    ),
    (
        "programmatic_parallel",
        "tool_choice.disable_parallel_tool_use",
        "disable_parallel_tool_use cannot be used with programmatic tool calling.",
        body(ours(allowed_callers=FROM_CODE), CODE, tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
    ),
    (
        "programmatic_forced",
        "tool_choice",
        "Tool 'web_search' cannot be forced: its allowed_callers leave \"direct\" out.",
        body(SEARCH, tool_choice={"type": "tool", "name": "web_search"}),
    ),
    (
        "computer_model",
        "tools.0",
        "tools.0: 'computer_20251124' is not supported for this model. Use 'computer_toolset_20260801'.",
        body({"type": "computer_20251124", "name": "computer"}, model="claude-opus-5-5"),
    ),
    (
        "mcp_server_unknown",
        "tools.0",
        "MCP server 'docs' is not defined in mcp_servers",
        body(TOOLSET),
    ),
    (
        "mcp_server_unused",
        "mcp_servers.0",
        "MCP server 'docs' is defined but not referenced by any mcp_toolset in tools",
        body(mcp_servers=[SERVER]),
    ),
    (
        "mcp_toolset_twice",
        "tools.1",
        "MCP server 'docs' is referenced by more than one mcp_toolset",
        body(TOOLSET, TOOLSET, mcp_servers=[SERVER]),
    ),
]

ACCEPTED = [
    body(),
    {"model": "m", "max_tokens": 1, "messages": []},
    body(SEARCH, {"type": "web_fetch_20260318", "name": "web_fetch", "response_inclusion": "full"}),
    body(SEARCH | {"allowed_callers": ["direct"]}, model="claude-haiku-4-5"),
    body({"type": "web_search_20250305", "name": "web_search"}, CODE, model="claude-haiku-4-5"),
    body({"type": "web_search_20991231", "name": "web_search", "response_inclusion": "all"}, model="claude-haiku-4-5"),
    body(SEARCH, model="claude-haiku-9"),
    body(SEARCH, model="claude-opus-5-5"),
    body(ours(allowed_callers=FROM_CODE, input_schema=TREE), CODE),
    body(ours(allowed_callers=FROM_CODE)),
    body(ours(allowed_callers="code"), ours(strict=True, input_schema=LOOP, name="b")),
    body(ours(allowed_callers=["direct", *FROM_CODE]), CODE, tool_choice={"type": "tool", "name": "add"}),
    body(SEARCH, tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
    body(TOOLSET, TOOLSET | {"mcp_server_name": "b"}, mcp_servers=[SERVER, SERVER | {"name": "b"}]),
    body(mcp_servers=[SERVER | {"tool_configuration": {"enabled": True}}]),
    body(mcp_servers="later"),
    body(mcp_servers=["later"]),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[0] for case in REFUSED])
def test_each_rule_refuses(rule: str, path: str, words: str, request_body: Body) -> None:
    assert list(check_tools(request_body, ())) == [Problem(rule, path, words)]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_fits_together_is_accepted(request_body: Body) -> None:
    assert list(check_tools(request_body, ())) == []


def test_the_first_connector_had_no_toolsets() -> None:
    unused = body(mcp_servers=[SERVER])
    assert list(check_tools(unused)) == list(check_tools(unused, ["mcp-client-2025-04-04"])) == []


def test_a_tool_by_itself() -> None:
    fetch = {"type": "web_fetch_20260209", "name": "web_fetch", "use_cache": False, "url_sources": {}}
    assert [problem.path for problem in check_tool(fetch, "web_fetch")] == [
        "web_fetch.web_fetch_20260209.use_cache",
        "web_fetch.web_fetch_20260209.url_sources",
    ]


@pytest.mark.parametrize(
    ("kind", "is_one"),
    [
        ("web_search_20991231", True),
        ("tool_search_tool_regex", True),
        ("mcp_toolset", True),
        ("advisor_20260301", True),
        ("bash_20250124", False),
        ("custom", False),
        (None, False),
    ],
)
def test_who_runs_it(kind: str | None, is_one: bool) -> None:
    assert is_server_tool({"type": kind}) is is_one
