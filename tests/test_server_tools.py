"""Constructors of tools that run inside the API, their versions, and how they get into a request."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Client
from agentkit.errors import ConfigurationError
from agentkit.request import Request
from agentkit.server_tools import (
    McpServer,
    ServerTool,
    advisor,
    code_execution,
    mcp_server,
    mcp_toolset,
    tool_search,
    web_fetch,
    web_search,
    with_tools,
)
from agentkit.support import ANTHROPIC, COMETAPI, GENERIC, LOCAL, Provider, model_of

MARK = {"type": "ephemeral", "ttl": "1h"}
DOCS = mcp_server("https://mcp.example/sse?key=very-secret-1", "docs", authorization_token="very-secret-2")
SOURCES = {"user_input": {"type": "all"}, "client_tool_results": {"type": "none"}}


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@pytest.mark.parametrize(
    ("tool", "definition"),
    [
        (web_search(), {"type": "web_search_20250305", "name": "web_search"}),
        (
            web_search(max_uses=5, allowed_domains=["example.com", "b.example/path"], user_location={"city": "Rome"}),
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "max_uses": 5,
                "allowed_domains": ["example.com", "b.example/path"],
                "user_location": {"type": "approximate", "city": "Rome"},
            },
        ),
        (
            web_search(blocked_domains=("a.example",), version="20260318"),
            {"type": "web_search_20260318", "name": "web_search", "blocked_domains": ["a.example"]},
        ),
        (
            web_search(response_inclusion="excluded", allowed_callers="direct", strict=True, cache_control=MARK),
            {
                "type": "web_search_20260318",
                "name": "web_search",
                "response_inclusion": "excluded",
                "allowed_callers": ["direct"],
                "strict": True,
                "cache_control": MARK,
            },
        ),
        (web_fetch(), {"type": "web_fetch_20250910", "name": "web_fetch"}),
        (
            web_fetch(
                max_uses=1, blocked_domains="a.example", citations=True, max_content_tokens=9, version="20991231"
            ),
            {
                "type": "web_fetch_20991231",
                "name": "web_fetch",
                "max_uses": 1,
                "blocked_domains": ["a.example"],
                "citations": {"enabled": True},
                "max_content_tokens": 9,
            },
        ),
        (web_fetch(allowed_domains=[]), {"type": "web_fetch_20250910", "name": "web_fetch", "allowed_domains": []}),
        (web_fetch(use_cache=False), {"type": "web_fetch_20260309", "name": "web_fetch", "use_cache": False}),
        (
            web_fetch(url_sources=SOURCES, defer_loading=True, version="20260318"),
            {"type": "web_fetch_20260318", "name": "web_fetch", "url_sources": SOURCES, "defer_loading": True},
        ),
        (
            web_fetch(use_cache=True, response_inclusion="later", version="20991231"),
            {"type": "web_fetch_20991231", "name": "web_fetch", "use_cache": True, "response_inclusion": "later"},
        ),
        (code_execution(), {"type": "code_execution_20250522", "name": "code_execution"}),
        (
            code_execution(version="20260521", cache_control=MARK),
            {"type": "code_execution_20260521", "name": "code_execution", "cache_control": MARK},
        ),
        (tool_search(), {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}),
        (tool_search("bm25"), {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}),
        (
            advisor("claude-opus-5", max_uses=2, max_tokens=1024, caching={"type": "ephemeral"}),
            {
                "type": "advisor_20260301",
                "name": "advisor",
                "model": "claude-opus-5",
                "max_uses": 2,
                "max_tokens": 1024,
                "caching": {"type": "ephemeral"},
            },
        ),
    ],
)
def test_definition(tool: ServerTool, definition: dict[str, Any]) -> None:
    assert tool.definition == definition
    assert json.dumps(tool.definition) == json.dumps(definition)
    assert tool.name == definition["name"]


BOTH = "Only one of allowed_domains or blocked_domains may be set; leave one of the two out"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: web_search(allowed_domains=["a"], blocked_domains=["b"]), f"web_search: {BOTH}"),
        (lambda: web_fetch(allowed_domains=[], blocked_domains=[]), f"web_fetch: {BOTH}"),
        (lambda: web_search(max_uses=0), "web_search: max_uses must be a whole number of 1 or more, not 0"),
        (lambda: web_search(max_uses=True), "web_search: max_uses must be"),
        (lambda: web_fetch(max_uses=2.5), "web_fetch: max_uses must be"),  # type: ignore[arg-type]
        (lambda: web_fetch(max_content_tokens=-1), "web_fetch: max_content_tokens must be"),
        (lambda: web_search(allowed_domains=["https://a.example"]), "web_search: allowed_domains are without a scheme"),
        (lambda: web_fetch(blocked_domains="http://a.example"), "web_fetch: blocked_domains are without a scheme"),
        (
            lambda: web_fetch(use_cache=True, version="20250910"),
            "web_fetch.web_fetch_20250910.use_cache: Extra inputs are not permitted; leave it out, or use a later",
        ),
        (lambda: tool_search("later"), "tool_search: there are regex and bm25, not 'later'"),  # type: ignore[arg-type]
        (lambda: tool_search(defer_loading=True), "tool_search_tool_regex: The tool search tool itself cannot have"),
        (
            lambda: code_execution(defer_loading=True, cache_control=MARK),
            "code_execution: Tool 'code_execution' cannot have both defer_loading=true and cache_control set.",
        ),
        (lambda: advisor("m", max_tokens=1023), "advisor: max_tokens must be a whole number of 1024 or more, not 1023"),
        (lambda: advisor("m", max_uses=0), "advisor: max_uses must be"),
        (lambda: mcp_server("docs --stdio", "docs"), "mcp_server 'docs': the API reaches servers at an https://"),
    ],
)
def test_refused(make: Callable[[], ServerTool], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).startswith(text)


def test_a_misspelt_option_is_no_option() -> None:
    with pytest.raises(TypeError, match=r"^code_execution\(\) has no option 'verison'$"):
        code_execution(verison="20250825")  # type: ignore[call-arg]


def test_it_is_a_frozen_value() -> None:
    tool = web_search(max_uses=1)
    assert tool == web_search(max_uses=1) != web_search()
    assert len({tool, web_search(max_uses=1), web_search()}) == 2
    tool.definition["max_uses"] = 2
    assert tool.definition["max_uses"] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        tool.name = "other"  # type: ignore[misc]
    assert repr(tool) == "ServerTool({'type': 'web_search_20250305', 'name': 'web_search', 'max_uses': 1})"


NEWEST = ["web_search_20260318", "web_fetch_20260318", "code_execution_20260521"]
OLDEST = ["web_search_20250305", "web_fetch_20250910", "code_execution_20250522"]


@pytest.mark.parametrize(
    ("model", "provider", "kinds"),
    [
        ("claude-sonnet-4-6", ANTHROPIC, NEWEST),
        ("claude-opus-4-5-20251101", ANTHROPIC, NEWEST),
        # Known not to do, and not known to do, calls from code.
        ("claude-haiku-4-5", ANTHROPIC, [*OLDEST[:2], NEWEST[2]]),
        ("claude-opus-5-5", ANTHROPIC, [*OLDEST[:2], NEWEST[2]]),
        ("claude-next", ANTHROPIC, OLDEST),
        ("claude-sonnet-4-6", COMETAPI, OLDEST),
        ("claude-sonnet-4-6", GENERIC, OLDEST),
        ("claude-sonnet-4-6", None, OLDEST),
    ],
)
def test_the_version_follows_model_and_provider(model: str, provider: Provider | None, kinds: list[str]) -> None:
    tools = [web_search(), web_fetch(), code_execution()]
    assert [tool.settled(model_of(model), provider).definition["type"] for tool in tools] == kinds


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        (web_search(version="20260209"), "web_search_20260209"),
        (web_search(version="20991231"), "web_search_20991231"),
        (web_search(allowed_callers=["direct"]), "web_search_20260318"),
        (web_search(allowed_callers=["direct", "code_execution_20260120"]), "web_search_20250305"),
        (web_fetch(use_cache=True, allowed_callers=("direct",)), "web_fetch_20260318"),
        (web_fetch(use_cache=True), "web_fetch_20260318"),
        (tool_search(), "tool_search_tool_regex_20251119"),
    ],
)
def test_the_version_on_a_model_without_calls_from_code(tool: ServerTool, kind: str) -> None:
    settled = tool.settled(model_of("claude-haiku-4-5"), ANTHROPIC)
    assert settled.definition == tool.definition | {"type": kind}
    assert settled.settled(model_of("claude-sonnet-4-6"), ANTHROPIC) is settled


def test_an_mcp_server_does_not_show() -> None:
    assert repr(DOCS) == "McpServer(name='docs')"
    kit = mcp_toolset(DOCS)
    assert "secret" not in repr(kit)
    assert kit.definition == {"type": "mcp_toolset", "mcp_server_name": "docs"}
    assert DOCS.definition == {
        "type": "url",
        "url": "https://mcp.example/sse?key=very-secret-1",
        "name": "docs",
        "authorization_token": "very-secret-2",
    }
    assert mcp_server("http://a.example", "a").definition == {"type": "url", "url": "http://a.example", "name": "a"}
    assert isinstance(DOCS, McpServer)


def test_a_toolset_says_which_tools() -> None:
    kit = mcp_toolset(
        "docs", default_config={"enabled": False}, configs={"find": {"enabled": True}}, cache_control=MARK
    )
    assert kit.definition == {
        "type": "mcp_toolset",
        "mcp_server_name": "docs",
        "default_config": {"enabled": False},
        "configs": {"find": {"enabled": True}},
        "cache_control": MARK,
    }
    assert (kit.name, kit.mcp_server, kit.betas) == ("mcp_toolset docs", None, ("mcp-client-2025-11-20",))


def test_what_tools_need_gets_into_the_request() -> None:
    given = Request("claude-sonnet-4-6", 100, betas=("mine",), params={"mcp_servers": [{"type": "url", "name": "b"}]})
    tools: list[Any] = [
        {"type": "bash_20250124", "name": "bash"},
        web_search(),
        advisor("claude-opus-5"),
        mcp_toolset(DOCS),
        mcp_toolset("b"),
    ]
    request = with_tools(given, tools, ANTHROPIC)
    assert [tool["type"] for tool in request.tools] == [
        "bash_20250124",
        "web_search_20260318",
        "advisor_20260301",
        "mcp_toolset",
        "mcp_toolset",
    ]
    assert request.betas == ("mine", "advisor-tool-2026-03-01", "mcp-client-2025-11-20")
    assert request.params == {"mcp_servers": [{"type": "url", "name": "b"}, DOCS.definition]}
    assert given.params == {"mcp_servers": [{"type": "url", "name": "b"}]}
    assert with_tools(given, [mcp_toolset("b", version="2026-09-15")], None).betas == (
        "mine",
        "mcp-client-2026-09-15",
    )


def test_a_beta_in_a_header_counts() -> None:
    old = {"mcp_servers": [{"type": "url", "url": "https://a.example", "name": "a"}]}
    request = Request("m", 100, params=old, headers={"Anthropic-Beta": "other, mcp-client-2025-04-04"})
    assert with_tools(request, [], None).params == old


# The agent: model and provider are known.


def client(provider: Provider) -> Client:
    return Client(api_key="a-key-of-a-test", base_url="https://api.example", provider=provider.name)


def tools_of(agent: Agent, **options: Any) -> list[str]:
    return [tool.get("type", "custom") for tool in agent.preview("Hi", **options).body["tools"]]


def test_an_agent_settles_versions() -> None:
    agent = Agent("claude-sonnet-4-6", tools=[web_search(), add], client=client(ANTHROPIC))
    assert tools_of(agent) == ["web_search_20260318", "custom"]
    assert tools_of(agent, client=client(COMETAPI)) == ["web_search_20250305", "custom"]
    assert tools_of(agent, tools=[web_fetch()]) == ["web_fetch_20260318"]
    assert tools_of(agent, tools=[web_fetch()], client=client(COMETAPI)) == ["web_fetch_20250910"]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({"ANTHROPIC_API_KEY": "a-key-of-a-test"}, "web_search_20260318"),
        ({"COMETAPI_KEY": "a-key-of-a-test"}, "web_search_20250305"),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}, "web_search_20250305"),
        ({}, "web_search_20250305"),
    ],
)
def test_without_a_client_the_environment_decides(
    names: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "COMETAPI_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert tools_of(Agent("claude-sonnet-4-6", tools=[web_search()])) == [kind]


def test_an_agent_sends_mcp_servers() -> None:
    agent = Agent("claude-sonnet-4-6", tools=[mcp_toolset(DOCS)], client=client(ANTHROPIC))
    body = agent.preview("Hi").body
    assert body["mcp_servers"] == [DOCS.definition]
    assert "secret" not in repr(agent)
    assert "mcp_servers" not in agent.preview("Hi", tools=[add]).body


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "claude-opus-5-5",
            {"tools": [add], "tool_choice": {"type": "tool", "name": "add"}},
            r'tool_choice with claude-opus-5-5: type "tool" and "any" are not supported.*; use tool_choice of',
        ),
        ("claude-opus-5", {"extra_body": {"temperature": 0}}, r"temperature with claude-opus-5: .*; leave it out"),
        ("claude-haiku-4-5", {"effort": "low"}, r"output_config.effort with claude-haiku-4-5: .*; leave effort out"),
        (
            "claude-haiku-4-5",
            {"tools": [web_search(version="20260318")]},
            r'with claude-haiku-4-5: .*; set allowed_callers=\["direct"\], or use another model',
        ),
        ("m", {"tools": [mcp_toolset("docs")]}, r"tools.0 \(docs\) with m: MCP server 'docs' is not defined.*; give"),
        ("m", {"tools": [web_search(), web_search()]}, "two tools have the name 'web_search'"),
    ],
)
def test_an_agent_refuses_what_can_not_work(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Agent(model, **options)


def test_a_run_refuses_what_can_not_work() -> None:
    agent = Agent("claude-haiku-4-5", tools=[web_search()], client=client(ANTHROPIC))
    with pytest.raises(ConfigurationError, match=r"tools.0 \(web_search\) with .*'local' runs no server tools"):
        agent.preview("Hi", client=client(LOCAL))
    with pytest.raises(ConfigurationError, match="does not support programmatic tool calling"):
        agent.preview("Hi", tools=[web_search(version="20260209")])


def test_what_is_to_come_passes() -> None:
    later = {"type": "later_tool_20991231", "name": "later", "option": {"a": 1}}
    extra = {"later": True, "thinking": {"type": "later"}, "tool_choice": {"type": "later"}}
    agent = Agent("claude-opus-5-5", tools=[later, web_search(version="20991231")], extra_body=extra)
    assert agent.preview("Hi").body["later"] is True
