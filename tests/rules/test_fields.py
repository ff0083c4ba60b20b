"""The rules of single fields: the API's words, its order, recorded requests, and any JSON whatever."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from bodies import accepted, headers
from hypothesis import given
from hypothesis import strategies as st

from agentkit.rules import Problem, check_history, check_request

Body = dict[str, Any]

HELLO = {"role": "user", "content": "hello"}
TOOL = {"name": "add", "input_schema": {"type": "object"}}
EXTRA = "Extra inputs are not permitted"
REQUIRED = "Field required"
SHAPE = "Input does not match the expected shape."


def body(**fields: Any) -> Body:
    return {"model": "claude-sonnet-4-5", "max_tokens": 1024, "messages": [HELLO]} | fields


def without(*names: str) -> Body:
    return {name: value for name, value in body().items() if name not in names}


def tool(**fields: Any) -> Body:
    return body(tools=[TOOL | fields])


def block(**fields: Any) -> Body:
    return body(messages=[{"role": "user", "content": [fields]}])


def schema(value: Any) -> Body:
    return tool(input_schema=value)


# rule, path, what the text says after the path, request
REFUSED: list[tuple[str, str, str, Body]] = [
    ("field_required", "model", REQUIRED, without("model")),
    ("field_type", "model", "Input should be a valid string", body(model=None)),
    ("field_value", "model", "String should have at least 1 character", body(model="")),
    ("field_required", "max_tokens", REQUIRED, without("max_tokens")),
    ("field_type", "max_tokens", "Input should be a valid integer", body(max_tokens="9")),
    ("field_type", "max_tokens", "Input should be a valid integer", body(max_tokens=True)),
    ("field_range", "max_tokens", "must be greater than or equal to 0", body(max_tokens=-1)),
    ("field_required", "messages", REQUIRED, without("messages")),
    ("field_type", "messages", "Input should be a valid array", body(messages="hello")),
    ("field_type", "messages.0", SHAPE, body(messages=["hello"])),
    ("field_required", "messages.0.role", REQUIRED, body(messages=[{"content": "hello"}])),
    ("field_required", "messages.0.content", REQUIRED, body(messages=[{"role": "user"}])),
    ("field_type", "messages.0.content", "Input should be a valid array", body(messages=[HELLO | {"content": None}])),
    ("field_unknown", "messages.0.name", EXTRA, body(messages=[HELLO | {"name": "me"}])),
    ("field_type", "messages.0.content.0", "Input should be an object", body(messages=[HELLO | {"content": [7]}])),
    ("field_required", "messages.0.content.0.type", REQUIRED, block(text="hello")),
    ("field_type", "messages.0.content.0.type", "Input should be a valid string", block(type=7)),
    ("field_required", "messages.0.content.0.tool_result.tool_use_id", REQUIRED, block(type="tool_result")),
    ("field_type", "messages.0.content.0.text.text", "Input should be a valid string", block(type="text", text=None)),
    ("field_required", "messages.0.content.0.image.source", REQUIRED, block(type="image")),
    ("field_type", "system", "Input should be a valid array", body(system=7)),
    ("field_type", "system.0", SHAPE, body(system=["Be terse."])),
    ("field_required", "system.0.text", REQUIRED, body(system=[{"type": "text"}])),
    ("field_type", "tools", "Input should be a valid array", body(tools={})),
    ("field_type", "tools.0", SHAPE, body(tools=["add"])),
    ("field_required", "tools.0.custom.name", REQUIRED, body(tools=[{"input_schema": {"type": "object"}}])),
    ("field_required", "tools.0.custom.input_schema", REQUIRED, body(tools=[{"type": "custom", "name": "add"}])),
    ("field_type", "tools.0.custom.name", "Input should be a valid string", tool(name=7)),
    ("tool_name", "tools.0.custom.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'", tool(name="a.b")),
    ("tool_name", "tools.0.custom.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'", tool(name="")),
    ("tool_name", "tools.0.custom.name", "String should have at most 128 characters", tool(name="a" * 129)),
    ("input_schema", "tools.0.custom.input_schema", SHAPE, schema(True)),
    ("input_schema", "tools.0.custom.input_schema.type", REQUIRED, schema({})),
    ("input_schema", "tools.0.custom.input_schema.type", "Input should be 'object'", schema({"type": "string"})),
    (
        "input_schema",
        "tools.0.custom.input_schema",
        "input_schema does not support oneOf, allOf, or anyOf at the top level",
        schema({"type": "object", "oneOf": []}),
    ),
    ("field_type", "tool_choice", "Input should be an object", body(tool_choice="auto")),
    ("field_required", "tool_choice.type", REQUIRED, body(tool_choice={})),
    (
        "field_value",
        "tool_choice",
        "Input tag 'required' found using 'type' does not match any of the expected tags: "
        "'auto', 'any', 'tool', 'none'",
        body(tool_choice={"type": "required"}),
    ),
    ("field_required", "tool_choice.tool.name", REQUIRED, tool() | {"tool_choice": {"type": "tool"}}),
    ("field_type", "thinking", "Input should be an object", body(thinking=True)),
    ("field_required", "thinking.enabled.budget_tokens", REQUIRED, body(thinking={"type": "enabled"})),
    (
        "field_type",
        "thinking.enabled.budget_tokens",
        "Input should be a valid integer",
        body(thinking={"type": "enabled", "budget_tokens": "many"}),
    ),
    (
        "thinking_budget",
        "thinking.enabled.budget_tokens",
        "Input should be greater than or equal to 1024",
        body(thinking={"type": "enabled", "budget_tokens": 1023}),
    ),
    ("field_type", "output_config", "Input should be an object", body(output_config="high")),
    (
        "field_value",
        "output_config.effort",
        "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        body(output_config={"effort": "huge"}),
    ),
    ("field_type", "output_config.format", "Input should be an object", body(output_config={"format": "json"})),
    ("field_required", "output_config.format.schema", REQUIRED, body(output_config={"format": {}})),
    ("field_required", "output_format.schema", REQUIRED, body(output_format={"type": "json_schema"})),
    ("field_type", "cache_control", "Input should be an object", body(cache_control="ephemeral")),
    ("field_type", "metadata", "Input should be a valid dictionary", body(metadata=7)),
    ("field_type", "metadata.user_id", "Input should be a valid string", body(metadata={"user_id": 7})),
    ("field_unknown", "metadata.name", EXTRA, body(metadata={"user_id": "u", "name": "me"})),
    ("field_type", "stop_sequences", "Input should be a valid array", body(stop_sequences="END")),
    ("field_type", "stop_sequences.0", "Input should be a valid string", body(stop_sequences=[1])),
    (
        "stop_sequence_blank",
        "stop_sequences",
        "each stop sequence must contain non-whitespace",
        body(stop_sequences=["END", "\n"]),
    ),
    ("field_range", "temperature", "range: 0..1", body(temperature=1.5)),
    ("field_type", "temperature", "Input should be a valid number", body(temperature="warm")),
    ("field_type", "top_p", "Input should be a valid number", body(top_p=None)),
    ("field_type", "top_k", "Input should be a valid integer", body(top_k=0.5)),
    ("field_value", "service_tier", "Input should be 'auto' or 'standard_only'", body(service_tier="fast")),
    ("field_type", "stream", "Input should be a valid boolean", body(stream="yes")),
    ("field_type", "container", "Input should be a valid string", body(container=7)),
    ("field_value", "inference_geo", "must be one of ['global', 'us']", body(inference_geo="mars")),
    ("field_unknown", "response_format", EXTRA, body(response_format={})),
    ("field_unknown", "betas", EXTRA, body(betas=[])),
    ("field_unknown", "output_config.later", EXTRA, body(output_config={"later": 1})),
    (
        "field_value",
        "output_format.type",
        "Input should be 'json_schema'",
        body(output_format={"type": "a", "schema": {}}),
    ),
    ("field_unknown", "tool_choice.none.name", EXTRA, tool() | {"tool_choice": {"type": "none", "name": "a"}}),
    (
        "field_type",
        "tool_choice.auto.disable_parallel_tool_use",
        "Input should be a valid boolean",
        tool() | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
    ),
]

ACCEPTED = [
    body(),
    body(max_tokens=0, temperature=1, top_p=0.5, model="another"),
    body(metadata=None, inference_geo=None, stop_sequences=None, cache_control=None, container=None),
    body(metadata={"user_id": None}, service_tier="auto", stop_sequences=[], top_k=-1),
    body(inference_geo="us", model="another"),
    body(mcp_servers=[], context_management={}, compaction=None, diagnostics=None),
    body(system="") | {"tools": []},
    body(system=[{"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}}]),
    body(tools=[TOOL | {"type": "custom"}, {"type": "web_search_20250305", "name": "web_search"}, {"type": "later"}]),
    body(output_config={}, thinking={"type": "disabled"}),
    block(type="later", anything=[{}]),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[1] for case in REFUSED])
def test_each_field_is_refused_in_the_words_of_the_api(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, f"{path}: {words}")]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_well_shaped_fields_are_accepted(request_body: Body) -> None:
    assert check_request(request_body) == []


def test_an_unknown_role_is_a_matter_of_shape() -> None:
    problems = check_request(body(messages=[{"role": "developer", "content": "hello"}], temperature="warm"))
    words = 'messages: Unexpected role "developer". Allowed roles are "user" or "assistant"'
    assert problems[0] == Problem("role_unknown", "messages.0", words)
    assert [problem.path for problem in problems] == ["messages.0", "temperature"]


def test_the_history_follows_the_fields() -> None:
    broken = [HELLO, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {}}]}]
    for model in ("claude-sonnet-4-5", "claude-opus-5"):
        assert check_request(body(model=model, messages=broken)) == check_history(broken) != []
    assert [problem.path for problem in check_request(body(messages=broken, extra=1))] == ["extra"]
    assert check_request(body(messages=[])) == check_history([])


# The order that live probes of 2026-08-31 found, by pairs of wrong types.
ORDER = [
    *("model", "tool_choice", "tools", "messages", "system", "thinking", "output_config", "cache_control"),
    *("max_tokens", "metadata", "stop_sequences", "temperature", "service_tier", "top_k", "top_p", "stream"),
    *("container", "inference_geo", "unknown"),
]


def test_problems_come_in_the_order_of_the_api() -> None:
    wrong = dict.fromkeys(reversed(ORDER), 0.5) | {"temperature": 7, "top_p": 7}
    assert [problem.path for problem in check_request(wrong)] == ORDER


# Recordings


@pytest.mark.recordings
def test_every_accepted_request_is_accepted(recordings: ModuleType) -> None:
    """With what is known of its headers, and without."""
    given = accepted(recordings)
    assert len(given) > 1500
    assert sum(bool(known) for _, known in given) > 1200
    assert [problem for request_body, known in given for problem in check_request(request_body, **known)] == []
    assert [problem for request_body, known in given if known for problem in check_request(request_body)] == []


# What only the API can know: what its compiler thinks of a size, and tokens.
UNFORESEEN = ("Schema is too complex", "prompt is too long")


@pytest.mark.recordings
def test_recorded_refusals_are_foreseen_word_for_word(recordings: ModuleType) -> None:
    foreseen, missed = 0, []
    for exchange in recordings.exchanges():
        if exchange["status"] != 400 or not isinstance(exchange["request_body"], dict):
            continue
        if exchange["path"].partition("?")[0] != "/v1/messages":
            continue
        words = exchange["response_body"]["error"]["message"]
        found = check_request(exchange["request_body"], **headers(exchange))
        if [problem.message for problem in found] == [words]:
            foreseen += 1
        else:
            missed.append(words)
    assert [words for words in missed if not words.startswith(UNFORESEEN)] == []
    assert (foreseen, len(missed)) == (13, 3)


# Anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["text", "tool_use", "tool_result", "thinking", "enabled", "auto", "tool", "object", "custom"])
KEYS = ["type", "name", "id", "text", "input", "content", "input_schema", "budget_tokens", "cache_control", "effort"]
KEYS += ["schema", "format", "role", "tool_use_id", "ttl", "strict", "defer_loading"]
LIKELY = st.recursive(
    TYPES | JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
)
KEYS += ["edits", "source", "signature", "tool_use_id", "thinking", "citations", "enabled", "total", "strict", "skills"]
BETA = ["context_management", "compaction", "mcp_servers", "fallbacks", "thread", "diagnostics", "speed"]
FIELDS = [*ORDER, "output_format", *BETA]


@given(st.dictionaries(st.sampled_from(FIELDS), LIKELY, max_size=8))
def test_anything_gets_an_answer(fields: Body) -> None:
    for request_body in (fields, body(**fields)):
        for known in ({}, {"version": "2026-10-21", "betas": ["later"]}):
            problems = check_request(request_body, **known)
            assert all(isinstance(problem, Problem) and problem.message for problem in problems)


@given(st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": LIKELY}), max_size=4))
def test_any_messages_get_an_answer(messages: list[Any]) -> None:
    assert all(problem.message for problem in check_request(body(messages=messages)))
