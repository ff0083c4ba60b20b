"""The rules of a request as a whole: tools, models, thinking, sampling, cache marks, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.rules import Problem, check_request

Body = dict[str, Any]

HELLO = {"role": "user", "content": "hello"}
TOOL = {"name": "add", "input_schema": {"type": "object"}}
OPEN = "For 'object' type, 'additionalProperties' must be explicitly set to false"
A = {"const": "a", "default": {"type": "object"}}
CLOSED = {"type": "object", "properties": {"a": A}, "required": ["a"], "additionalProperties": False}
NESTED = CLOSED | {"properties": {"a": {"anyOf": [{"type": "null"}, {"type": "object"}]}}}
PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
TTL = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
SYSTEM_ROLE = (
    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
    'not "system" as an input message role.'
)


def body(model: str = "some-model", **fields: Any) -> Body:
    return {"model": model, "max_tokens": 1024, "messages": [HELLO]} | fields


def tools(*more: Body, **fields: Any) -> Body:
    return body(tools=[TOOL, *more], **fields)


def ending(content: Any, model: str = "some-model") -> Body:
    return body(model, messages=[HELLO, {"role": "assistant", "content": content}])


def marked(words: str = "hello", ttl: str | None = None) -> Body:
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral"} | ({"ttl": ttl} if ttl else {})}


def strict(number: int) -> list[Body]:
    return [TOOL | {"name": f"t{at}", "strict": True, "input_schema": CLOSED} for at in range(number)]


# rule, path, text, request
REFUSED: list[tuple[str, str, str, Body]] = [
    ("tool_name_duplicate", "tools", "tools: Tool names must be unique.", tools({"type": "later", "name": "add"})),
    (
        "tool_choice_without_tools",
        "tool_choice",
        "tool_choice may only be specified while providing tools.",
        body(tool_choice={"type": "auto"}, tools=[]),
    ),
    (
        "tool_choice_unknown",
        "tool_choice",
        "Tool 'subtract' not found in provided tools",
        tools(tool_choice={"type": "tool", "name": "subtract"}),
    ),
    (
        "tools_deferred",
        "tools",
        "At least one tool must have defer_loading=false. All tools cannot be deferred",
        body(tools=[TOOL | {"defer_loading": True}]),
    ),
    (
        "strict_tools",
        "tools",
        "Too many strict tools (21). The maximum number of strict tools supported is 20. "
        "Try reducing the number of tools marked as strict.",
        body(tools=strict(21)),
    ),
    ("schema_open", "tools.0.custom", f"tools.0.custom: {OPEN}", body(tools=[TOOL | {"strict": True}])),
    (
        "schema_open",
        "output_config.format.schema",
        f"output_config.format.schema: {OPEN}",
        body(output_config={"format": {"type": "json_schema", "schema": NESTED}}),
    ),
    (
        "schema_open",
        "output_format.schema",
        f"output_format.schema: {OPEN}",
        body(output_format={"type": "json_schema", "schema": {"type": "object"}}),
    ),
    (
        "tool_choice_forced",
        "tool_choice",
        'tool_choice: type "tool" and "any" are not supported for this model.',
        tools(tool_choice={"type": "any"}, model="claude-opus-5-5"),
    ),
    (
        "max_tokens",
        "max_tokens",
        "max_tokens: 128001 > 64000, which is the maximum allowed number of output tokens for claude-opus-4-5-20251101",
        body("claude-opus-4-5-20251101", max_tokens=128_001),
    ),
    (
        "effort",
        "output_config.effort",
        "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
        body("claude-sonnet-4-6", output_config={"effort": "xhigh"}),
    ),
    (
        "effort",
        "output_config.effort",
        "This model does not support the effort parameter.",
        body("claude-haiku-4-5", output_config={"effort": "low"}),
    ),
    ("sampling", "temperature", "`temperature` is deprecated for this model.", body("claude-opus-5", temperature=0)),
    ("sampling", "top_k", "`top_k` is deprecated for this model.", body("claude-sonnet-5", top_k=5)),
    (
        "sampling_both",
        "temperature",
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        body("claude-sonnet-4-5", temperature=0.5, top_p=0.5),
    ),
    (
        "geo_model",
        "inference_geo",
        "'claude-haiku-4-5-20251001' does not support inference_geo.",
        body("claude-haiku-4-5-20251001", inference_geo="us"),
    ),
    ("speed_model", "speed", "speed: 'fast' is not supported for this model", body("claude-opus-4-7", speed="fast")),
    ("max_tokens_zero", "max_tokens", "max_tokens: 0 cannot be used with stream", body(max_tokens=0, stream=True)),
    (
        "max_tokens_zero",
        "max_tokens",
        "max_tokens: 0 cannot be used with thinking",
        body(max_tokens=0, thinking={"type": "enabled", "budget_tokens": 1024}),
    ),
    (
        "max_tokens_zero",
        "max_tokens",
        "max_tokens: 0 cannot be used with output_config.format",
        body(max_tokens=0, output_format={"type": "json_schema", "schema": CLOSED}),
    ),
    (
        "max_tokens_zero",
        "max_tokens",
        "max_tokens: 0 cannot be used with tool_choice",
        tools(max_tokens=0, tool_choice={"type": "any"}),
    ),
    (
        "cache_marks",
        "cache_control",
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        body(system=[marked()] * 4, cache_control={"type": "ephemeral"}),
    ),
    (
        "cache_order",
        "messages.0.content.1.cache_control.ttl",
        f"messages.0.content.1.cache_control.ttl: {TTL}",
        body(system=[marked(ttl="1h")], messages=[{"role": "user", "content": [marked(), marked(ttl="1h")]}]),
    ),
    (
        "system_role",
        "messages",
        SYSTEM_ROLE,
        body("claude-sonnet-4-6", messages=[HELLO, {"role": "system", "content": "Be terse."}]),
    ),
    (
        "text_empty",
        "system",
        "system: text content blocks must be non-empty",
        body(system=[{"type": "text", "text": "a"}, {"type": "text", "text": ""}]),
    ),
    ("text_blank", "system", "system: text content blocks must contain non-whitespace text", body(system=" ")),
    ("prefill", "messages", PREFILL, ending("The answer is", "claude-opus-4-6")),
    (
        "prefill_whitespace",
        "messages",
        "messages: final assistant content cannot end with trailing whitespace",
        ending([{"type": "text", "text": "The answer is "}], "claude-sonnet-4-5"),
    ),
]

SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
ACCEPTED = [
    tools(tool_choice={"type": "tool", "name": "add"}, model="claude-sonnet-4-5"),
    tools(TOOL | {"name": "b", "defer_loading": True}),
    body(tools=strict(20), output_config={"format": {"type": "json_schema", "schema": CLOSED}}),
    body(output_config={"format": {"type": "json_schema", "schema": {"anyOf": [CLOSED, {"type": "array"}]}}}),
    body("claude-opus-5", max_tokens=128_000, temperature=1, top_p=1, output_config={"effort": "xhigh"}),
    body("claude-haiku-4-5", temperature=0.5),
    body("claude-opus-5", inference_geo="us", max_tokens=0, tools=[TOOL], tool_choice={"type": "auto"}),
    body(max_tokens=0, stream=False, thinking={"type": "adaptive"}),
    body("claude-opus-4-8", messages=[HELLO, {"role": "system", "content": "Be terse."}]),
    body(system=[marked(ttl="1h"), marked("  ")], messages=[{"role": "user", "content": [marked(), marked()]}]),
    ending("The answer is", "claude-sonnet-4-5"),
    ending("", "claude-opus-5"),
    ending([SEARCH], "claude-opus-5") | {"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]},
    ending([SEARCH, FOUND], "claude-opus-5"),
    ending([{"type": "compaction", "content": "summary"}, {"type": "text", "text": "so "}], "claude-opus-5"),
    ending([{"type": "text", "text": "a"}, {"type": "later"}]),
    body(messages=[HELLO, {"role": "assistant", "content": "a"}, HELLO]),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[0] for case in REFUSED])
def test_each_rule_refuses_in_the_words_of_the_api(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, words)]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_fits_together_is_accepted(request_body: Body) -> None:
    assert check_request(request_body) == []


def test_marks_inside_results_count() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "later"}, marked(ttl="1h")]}
    problems = check_request(body(system=[marked()], messages=[{"role": "user", "content": [result]}]))
    assert problems[0].path == "messages.0.content.0.tool_result.content.1.cache_control.ttl"


def test_an_empty_text_has_no_mark() -> None:
    problems = check_request(body(messages=[{"role": "user", "content": [marked("")]}]))
    words = "messages.0.content.0.text: cache_control cannot be set for empty text blocks"
    assert [problem.rule for problem in problems] == ["cache_empty", "text_empty"]
    assert problems[0].message == words


def test_the_longest_start_of_a_model_id_counts() -> None:
    for model, refused in (("claude-opus-5", False), ("claude-opus-5-5", True), ("claude-opus-9", False)):
        rules = [problem.rule for problem in check_request(tools(tool_choice={"type": "any"}, model=model))]
        assert rules == ["tool_choice_forced"] * refused
