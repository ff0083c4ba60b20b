"""Images, citations, references to tools, cache marks, context management, compaction, fallbacks, containers."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import EXTRA, HELLO, MARK, REQUIRED, SEARCH, TOOL, Body, Case, body, said, tools
from histories import ASK, Block, assistant, call, found, result, search, text, user

from agentkit.rules import Problem, check_request

IMAGE: Block = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
FORMAT = {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}
CODE: Body = {"type": "code_execution_20260120", "name": "code_execution"}
DEFERRED = TOOL | {"name": "later", "defer_loading": True}
LONG = MARK | {"ttl": "1h"}


def document(cited: bool | None = None) -> Block:
    source = {"type": "text", "media_type": "text/plain", "data": "a"}
    return {"type": "document", "source": source} | ({} if cited is None else {"citations": {"enabled": cited}})


def referring(name: str, *given: Body) -> Body:
    found_tools = [{"type": "tool_reference", "tool_name": name}]
    messages = [ASK, assistant(call("t1")), user(result("t1", content=found_tools))]
    return body(messages=messages, tools=list(given))


def advised(*given: Body) -> Body:
    messages = [ASK, assistant(search("s1", "advisor"), found("s1", "advisor_tool_result"), text()), ASK]
    return body(messages=messages, tools=list(given))


def edited(*edits: Body, model: str = "some-model", **fields: Any) -> Body:
    return body(model, context_management={"edits": list(edits)}, **fields)


CLEAR_TOOLS = {"type": "clear_tool_uses_20250919"}
CLEAR = {"type": "clear_thinking_20251015"}
ADAPTIVE = {"type": "adaptive"}

REFUSED: list[Case] = [
    (
        "images",
        "messages",
        "too many images and documents: 101 + 1 > 100",
        said(*[IMAGE] * 101, document(), model="claude-haiku-4-5"),
    ),
    ("images", "messages", "too many images and documents: 601 + 0 > 600", said(*[IMAGE] * 601)),
    (
        "citations_mixed",
        "messages",
        "messages: citations must be enabled on all `document` blocks or on none",
        said(document(True), document(False)),
    ),
    (
        "citations_format",
        "messages",
        "citations cannot be used with an output format",
        said(document(True), output_config={"format": FORMAT}),
    ),
    (
        "tool_reference_unknown",
        "messages.2.content.0.tool_result.content.0",
        "Tool reference 'gone' not found in available tools",
        referring("gone", TOOL, DEFERRED),
    ),
    (
        "tool_reference_unknown",
        "messages.2.content.0.tool_result.content.0",
        "Tool reference 'a' not found in available tools",
        referring("a"),
    ),
    (
        "advisor_missing",
        "tools",
        "the history has `advisor_tool_result` blocks, but no `advisor` tool was provided",
        advised(TOOL),
    ),
    (
        "cache_target",
        "cache_control",
        "Top-level cache_control has ttl='5m' but the target block already has cache_control with ttl='1h'",
        said(text(), text() | {"cache_control": LONG}, cache_control=MARK),
    ),
    (
        "clear_thinking_order",
        "context_management.edits",
        "context_management.edits: `clear_thinking_20251015` must be the first of the edits",
        edited(CLEAR_TOOLS, CLEAR, thinking=ADAPTIVE),
    ),
    (
        "clear_thinking_off",
        "context_management.edits",
        "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive",
        edited(CLEAR, thinking={"type": "disabled"}),
    ),
    (
        "clear_thinking_off",
        "context_management.edits",
        "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive",
        edited(CLEAR, model="claude-sonnet-4-6"),
    ),
    (
        "compact_model",
        "context_management.edits",
        "'claude-haiku-4-5-20251001' does not support the 'compact_20260112' context management strategy.",
        edited({"type": "compact_20260112"}, model="claude-haiku-4-5-20251001"),
    ),
    (
        "compaction_alone",
        "stop_sequences",
        "stop_sequences: can't be used with compaction",
        body(compaction={"type": "summarize"}, stop_sequences=["END"]),
    ),
    (
        "compaction_alone",
        "output_config.task_budget.remaining",
        "output_config.task_budget.remaining: can't be used with compaction",
        body(
            compaction={"type": "summarize"},
            output_config={"task_budget": {"type": "tokens", "total": 20_000, "remaining": 9}},
        ),
    ),
    (
        "fallbacks_twice",
        "fallbacks",
        "fallbacks: models must be distinct",
        body(fallbacks=[{"model": "a"}, {"model": "a"}]),
    ),
    (
        "container_tool",
        "container",
        "container: Container identifier can only be provided when using the code execution tool",
        tools(TOOL, {"type": "bash_20250124", "name": "bash"}, container="container_1"),
    ),
    (
        "server_tool_missing",
        "messages.1",
        "messages.1: `bash_code_execution` tool use with id `s1` was found without a corresponding "
        "`bash_code_execution_tool_result` block, but no `code_execution` tool was provided",
        tools(SEARCH, messages=[ASK, assistant(search("s1", "bash_code_execution"))]),
    ),
]

AT_LEAST = "Input should be greater than or equal to {}"
SHAPES: list[Case] = [
    (
        "field_range",
        "context_management.edits.0.compact_20260112.trigger.value",
        AT_LEAST.format(50_000),
        edited({"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 49_999}}),
    ),
    (
        "field_unknown",
        "context_management.edits.0.clear_tool_uses_20250919.after",
        EXTRA,
        edited(CLEAR_TOOLS | {"after": 1}),
    ),
    (
        "field_value",
        "context_management.edits.0.clear_thinking_20251015.keep.type",
        "Input should be 'thinking_turns'",
        edited(CLEAR | {"keep": {"type": "later", "value": 1}}),
    ),
    (
        "field_type",
        "context_management.edits.0.clear_tool_uses_20250919.clear_tool_inputs",
        "Input should be a valid array",
        edited(CLEAR_TOOLS | {"clear_tool_inputs": "all"}),
    ),
    ("field_value", "compaction.type", "Input should be 'summarize'", body(compaction={"type": "later"})),
    ("field_required", "mcp_servers.0.url", REQUIRED, body(mcp_servers=[{"type": "url", "name": "a"}])),
    ("field_value", "speed", "Input should be 'standard' or 'fast'", body(speed="slow")),
    (
        "field_range",
        "fallbacks",
        "List should have at most 3 items after validation, not 4",
        body(fallbacks=[{"model": name} for name in "abcd"]),
    ),
    ("field_value", "fallbacks", "Input should be 'default'", body(fallbacks="all")),
    ("field_required", "thread.continue.previous_message_id", REQUIRED, body(thread={"type": "continue"})),
    (
        "field_value",
        "thread",
        "Input tag 'later' found using 'type' does not match any of the expected tags: 'create', 'continue'",
        body(thread={"type": "later"}),
    ),
    (
        "field_range",
        "output_config.task_budget.total",
        AT_LEAST.format(20_000),
        body(output_config={"task_budget": {"type": "tokens", "total": 19_999}}),
    ),
    (
        "field_required",
        "container.ContainerParams.skills.0.skill_id",
        REQUIRED,
        tools(CODE, container={"skills": [{"type": "anthropic"}]}),
    ),
    (
        "field_range",
        "messages",
        "List should have at most 100000 items after validation, not 100001",
        body(messages=[HELLO] * 100_001),
    ),
    (
        "field_type",
        "diagnostics.previous_message_id",
        "Input should be a valid string",
        body(diagnostics={"previous_message_id": 1}),
    ),
]

ACCEPTED = [
    said(*[IMAGE] * 100, model="claude-haiku-4-5"),
    said(document(True), document(True)),
    said(document(), document(False), output_config={"format": FORMAT}),
    referring("later", TOOL, DEFERRED),
    referring("left_click", TOOL, {"type": "browser_toolset_20260801"}),
    advised({"type": "advisor_20260301", "name": "advisor", "model": "m"}),
    said(text() | {"cache_control": LONG}, cache_control=LONG),
    body(messages=[HELLO, {"role": "assistant", "content": []}], cache_control=MARK),
    body(
        messages=[
            ASK,
            assistant(
                text() | {"cache_control": LONG}, {"type": "thinking", "thinking": "a", "signature": "s"}, text("b")
            ),
        ],
        cache_control=MARK,
    ),
    edited(CLEAR | {"keep": "all"}, CLEAR_TOOLS, thinking=ADAPTIVE),
    edited(CLEAR | {"keep": {"type": "thinking_turns", "value": 1}}, {"type": "later", "a": 1}),
    edited(CLEAR, model="claude-opus-5"),
    edited(
        CLEAR_TOOLS | {"clear_tool_inputs": True, "exclude_tools": ["a"], "keep": {"type": "tool_uses", "value": 3}}
    ),
    edited({"type": "compact_20260112", "trigger": None}, model="claude-opus-4-6"),
    body(context_management={"edits": None}, compaction=None, fallbacks=None, thread=None, container=None),
    body(compaction={"type": "summarize", "instructions": "Short."}),
    body(fallbacks="default", fallback_credit_token="t", speed="fast", billing_policy={}, diagnostics={"later": 1}),
    tools(CODE, container={"id": "c", "skills": [{"type": "anthropic", "skill_id": "pdf", "version": "latest"}]}),
    tools(TOOL | {"allowed_callers": ["code_execution_20260120"]}, container="c"),
    tools({"type": "later_20991231"}, container="c"),
    tools(CODE, messages=[ASK, assistant(search("s1", "text_editor_code_execution"))]),
    body(thread={"type": "create"}),
    body(thread={"type": "continue", "previous_message_id": "msg_1"}, messages=[user(result("t1"))]),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[0] for case in REFUSED])
def test_each_rule_refuses(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, words)]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), SHAPES, ids=[case[1] for case in SHAPES])
def test_each_shape_is_refused(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, f"{path}: {words}")]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_fits_together_is_accepted(request_body: Body) -> None:
    assert check_request(request_body) == []
