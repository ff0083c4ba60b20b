"""What an agent is made of: each combination that is refused names the parameter, the model and the way out."""

from __future__ import annotations

from typing import Any

import pytest
from recordings import MISSING, PATH, messages

from agentkit.errors import ConfigurationError
from agentkit.rules.combination import check_combination
from agentkit.support import ANTHROPIC, GENERIC, LOCAL

Body = dict[str, Any]

ADD = {"name": "add", "input_schema": {"type": "object"}}
CLOSED = {"type": "object", "additionalProperties": False}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
MARK = {"type": "ephemeral"}
MODEL = "claude-sonnet-4-6"


def body(model: str = MODEL, **fields: Any) -> Body:
    return {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": "-"}]} | fields


def text(**fields: Any) -> Body:
    return {"type": "text", "text": "a"} | fields


def thinking(kind: str, model: str = MODEL, **fields: Any) -> Body:
    budget = {"budget_tokens": 2048} if kind == "enabled" else {}
    return body(model, thinking={"type": kind, **budget}, **fields)


# The text, without the model, and the request.
REFUSED: list[tuple[str, Body]] = [
    (
        'tool_choice with {}: type "tool" and "any" are not supported for this model; '
        "use tool_choice of type auto, and ask for the tool in the prompt",
        body("claude-opus-5-5", tools=[ADD], tool_choice={"type": "any"}),
    ),
    (
        "tool_choice with {}: tool_choice may only be specified while providing tools; "
        "give tools, or leave tool_choice out",
        body(tool_choice={"type": "auto"}),
    ),
    (
        "tool_choice with {}: Tool 'b' not found in provided tools; name one of the tools",
        body(tools=[ADD], tool_choice={"type": "tool", "name": "b"}),
    ),
    (
        "thinking with {}: Thinking may not be enabled when tool_choice forces tool use; "
        "use tool_choice of type auto, or leave thinking out",
        thinking("enabled", tools=[ADD], tool_choice={"type": "any"}),
    ),
    (
        'thinking.type with {}: "thinking.type.disabled" is not supported for this model; '
        "leave thinking out, or use a type that the model has: adaptive or between_tools",
        body("claude-sonnet-5-5", thinking={"type": "disabled"}),
    ),
    (
        "thinking.type with {}: adaptive thinking is not supported on this model; "
        "leave thinking out, or use a type that the model has: disabled or enabled",
        body("claude-haiku-4-5", thinking={"type": "adaptive"}),
    ),
    (
        "max_tokens with {}: `max_tokens` must be greater than `thinking.budget_tokens`. Please consult our "
        "documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
        "#max-tokens-and-context-window-size; give budget_tokens from 1024 to max_tokens - 1",
        thinking("enabled", max_tokens=2048),
    ),
    (
        "thinking.enabled.budget_tokens with {}: Input should be greater than or equal to 1024; "
        "give budget_tokens from 1024 to max_tokens - 1",
        body(thinking={"type": "enabled", "budget_tokens": 1}),
    ),
    (
        "temperature with {}: `temperature` may only be set to 1 when thinking is enabled. Please consult our "
        "documentation at https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"
        "#important-considerations-when-using-extended-thinking; leave temperature out, or thinking",
        thinking("enabled", temperature=0),
    ),
    (
        "output_config.effort with {}: This model does not support effort level 'xhigh'. Supported levels: high, low, "
        "max, medium; leave effort out, or use one that the model has",
        body(output_config={"effort": "xhigh"}),
    ),
    (
        "output_config.effort with {}: This model does not support the effort parameter; "
        "leave effort out, or use one that the model has",
        body("claude-sonnet-4-5", output_config={"effort": "low"}),
    ),
    (
        "output_config.effort with {}: thinking of type disabled takes an effort of at most high, not xhigh; "
        "lower the effort, or use thinking of type adaptive",
        body("claude-opus-5", thinking={"type": "disabled"}, output_config={"effort": "xhigh"}),
    ),
    (
        "output_config.effort with {}: thinking of type between_tools takes an effort of at most high, not max; "
        "lower the effort, or use thinking of type adaptive",
        body("claude-sonnet-5-5", thinking={"type": "between_tools"}, output_config={"effort": "max"}),
    ),
    (
        "temperature with {}: `temperature` is deprecated for this model; "
        "leave it out, and say in the prompt what you want",
        body("claude-opus-5", temperature=0.2),
    ),
    (
        "temperature with {}: `temperature` and `top_p` cannot both be specified for this model. Please use only one; "
        "leave one of the two out",
        body("claude-haiku-4-5", temperature=0.2, top_p=0.9),
    ),
    (
        "max_tokens with {0}: 64001 > 64000, which is the maximum allowed number of output tokens for {0}; "
        "lower max_tokens",
        body("claude-opus-4-5-20251101", max_tokens=64_001),
    ),
    ("tools with {}: Tool names must be unique; rename one of them", body(tools=[ADD, ADD])),
    (
        "tools with {}: At least one tool must have defer_loading=false. All tools cannot be deferred; "
        "leave defer_loading out on at least one, such as tool_search()",
        body(tools=[ADD | {"defer_loading": True}]),
    ),
    (
        "tools with {}: Too many strict tools (21). The maximum number of strict tools supported is 20. Try reducing "
        "the number of tools marked as strict; leave strict out on some",
        body(tools=[ADD | {"name": f"t{at}", "strict": True, "input_schema": CLOSED} for at in range(21)]),
    ),
    (
        "tools.0.custom (add) with {}: For 'object' type, 'additionalProperties' must be explicitly set to false; "
        "set additionalProperties to false in each object of the schema, or leave strict out",
        body(tools=[ADD | {"strict": True}]),
    ),
    (
        "cache_control with {}: A maximum of 4 blocks with cache_control may be provided. Found 5; take marks off",
        body(system=[text(cache_control=MARK)] * 5),
    ),
    (
        "system.0 with {}: system.0.text: cache_control cannot be set for empty text blocks; take the mark off",
        body(system=[text(text="", cache_control=MARK)]),
    ),
    (
        "tools.0 (web_search) with {}: The provider 'local' runs no server tools; "
        "leave it out, or give a tool of your own",
        body(tools=[SEARCH, ADD]),
    ),
    (
        "tools.1 (docs) with {}: MCP server 'docs' is not defined in mcp_servers; "
        "give the toolset its server: mcp_toolset(mcp_server(url, name))",
        body(tools=[ADD, {"type": "mcp_toolset", "mcp_server_name": "docs"}]),
    ),
    (
        "mcp_servers.0 with {}: MCP server 'docs' is defined but not referenced by any mcp_toolset in tools; "
        "add mcp_toolset(name) to tools, or leave the server out",
        body(mcp_servers=[{"type": "url", "url": "https://mcp.example", "name": "docs"}]),
    ),
    (
        "tools with {0}: '{0}' does not support programmatic tool calling. The following tools have `allowed_callers` "
        'that require it: web_search. Explicitly set `allowed_callers=["direct"]` on these tools, or use a model '
        'that supports programmatic tool calling; set allowed_callers=["direct"], or use another model',
        body("claude-haiku-4-5", tools=[SEARCH | {"type": "web_search_20260209"}]),
    ),
    (
        "tools.0.web_search_20250305.response_inclusion (web_search) with {}: Extra inputs are not permitted; "
        "leave it out, or use a later version of the tool",
        body(tools=[SEARCH | {"response_inclusion": "full"}]),
    ),
]


@pytest.mark.parametrize(("message", "request_body"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_the_way_out(message: str, request_body: Body) -> None:
    provider = LOCAL if "'local'" in message else ANTHROPIC
    with pytest.raises(ConfigurationError) as caught:
        check_combination(request_body, provider)
    assert str(caught.value) == message.format(request_body["model"])


def test_order_of_cache_marks() -> None:
    marks = [text(cache_control=MARK), text(cache_control=MARK | {"ttl": "1h"})]
    with pytest.raises(ConfigurationError, match=r"put the longer ttl first, or use one ttl$"):
        check_combination(body(system=marks), None)


@pytest.mark.parametrize(
    "request_body",
    [
        body(tools=[ADD, SEARCH], tool_choice={"type": "any"}, output_config={"effort": "max"}),
        body("claude-opus-5", thinking={"type": "disabled"}, output_config={"effort": "high"}),
        body("claude-opus-5", thinking={"type": "disabled"}),
        body("claude-opus-5", thinking={"type": "adaptive"}, output_config={"effort": "max"}),
        body("claude-next", max_tokens=10**9, temperature=0.1, thinking={"type": "between_tools"}),
        body("claude-next", tools=[ADD], tool_choice={"type": "any"}, output_config={"effort": "max"}),
        body("claude-opus-5-5", thinking={"type": "later"}, output_config={"effort": "ultra"}, later={"a": 1}),
        body("claude-opus-5-5", tools=[{"type": "later_20991231"}], tool_choice={"type": "later"}),
        body(tools=[{"type": "custom", "name": "free"}], tool_choice={"type": "tool", "name": "free"}),
        body(tools=[ADD, {"type": "browser_toolset_20260801"}], tool_choice={"type": "tool", "name": "left_click"}),
        body(max_tokens="later"),
        body() | {"model": None},
        body(system=" ", metadata={"later": 1}),
        body(
            mcp_servers=[{"type": "later", "name": "a"}], tools=[ADD, {"type": "mcp_toolset", "mcp_server_name": "b"}]
        ),
        body(max_tokens="later", thinking={"type": "enabled", "budget_tokens": 2048}),
    ],
)
def test_what_fits_or_is_not_known_passes(request_body: Body) -> None:
    check_combination(request_body, GENERIC)


def test_what_is_known_is_refused_beside_what_is_not() -> None:
    with pytest.raises(ConfigurationError, match=r"^temperature with claude-opus-5: "):
        check_combination(body("claude-opus-5", later=1, thinking={"type": "later"}, temperature=0), None)


@pytest.mark.parametrize(
    ("request_body", "beta"),
    [
        (thinking("enabled", "claude-sonnet-4-5", max_tokens=2048), "interleaved-thinking-2025-05-14"),
        (body(mcp_servers=[{"type": "url", "url": "https://a.example", "name": "docs"}]), "mcp-client-2025-04-04"),
    ],
)
def test_a_beta_may_allow_it(request_body: Body, beta: str) -> None:
    check_combination(request_body, None, [beta])
    with pytest.raises(ConfigurationError):
        check_combination(request_body, None, ["another"])


def test_a_local_server_runs_our_own_tools() -> None:
    check_combination(body(tools=[ADD, {"type": "bash_20250124", "name": "bash"}]), LOCAL)


@pytest.mark.recordings
@pytest.mark.skipif(not PATH.exists(), reason=MISSING)
def test_no_request_that_the_api_accepted_is_refused() -> None:
    seen = 0
    for exchange in messages():
        request = exchange["request_body"]
        if isinstance(request, dict) and "model" in request:
            # The recordings lack the header of the connector's first beta.
            betas = [*exchange["request_headers"].get("anthropic-beta", "").split(","), "mcp-client-2025-04-04"]
            check_combination(request | {"messages": body()["messages"]}, ANTHROPIC, betas)
            seen += 1
    assert seen > 1000
