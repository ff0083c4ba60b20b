"""The shapes of content blocks: required keys, types, media types, unknown keys; those that are not known pass."""

from __future__ import annotations

import pytest
from bodies import EXTRA, HELLO, MARK, REQUIRED, SEARCH, Body, Case, body, said

from agentkit.rules import Problem, check_request

BLOCK = "messages.0.content.0"
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
TYPES = "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"


def base64(kind: str, media_type: str) -> Body:
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": "AAAA"}}


def asked(*blocks: Body, **fields: object) -> Body:
    """A request whose second message is the model's."""
    return body(messages=[HELLO, {"role": "assistant", "content": list(blocks)}, HELLO], **fields)


def result(*content: Body) -> Body:
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t1", "content": list(content)}
    return body(messages=[HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}])


RESULT = "messages.2.content.0.tool_result.content.0"
REFUSED: list[Case] = [
    ("field_value", f"{BLOCK}.image.source.base64.media_type", TYPES, said(base64("image", "image/bmp"))),
    (
        "field_value",
        f"{BLOCK}.document.source.base64.media_type",
        "Input should be 'application/pdf'",
        said(base64("document", "image/png")),
    ),
    (
        "field_required",
        f"{BLOCK}.image.source.base64.data",
        REQUIRED,
        said({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}),
    ),
    ("field_required", f"{BLOCK}.image.source.type", REQUIRED, said({"type": "image", "source": {"url": "u"}})),
    ("field_type", f"{BLOCK}.image.source", "Input should be an object", said({"type": "image", "source": "u"})),
    ("field_unknown", f"{BLOCK}.text.later", EXTRA, said({"type": "text", "text": "a", "later": 1})),
    (
        "field_unknown",
        "messages.1.content.0.tool_use.text",
        EXTRA,
        asked({"type": "tool_use", "id": "t1", "name": "a", "input": {}, "text": "b"}),
    ),
    (
        "field_unknown",
        "messages.1.content.0.thinking.cache_control",
        EXTRA,
        asked({"type": "thinking", "thinking": "", "signature": "s", "cache_control": MARK}),
    ),
    ("field_required", "messages.1.content.0.redacted_thinking.data", REQUIRED, asked({"type": "redacted_thinking"})),
    (
        "field_required",
        "messages.1.content.0.thinking.signature",
        REQUIRED,
        asked({"type": "thinking", "thinking": "a"}),
    ),
    (
        "field_required",
        "messages.1.content.0.mcp_tool_use.server_name",
        REQUIRED,
        asked({"type": "mcp_tool_use", "id": "m1", "name": "a", "input": {}}),
    ),
    (
        "field_value",
        "messages.1.content.0.compaction.content",
        "String should have at least 1 character",
        asked({"type": "compaction", "content": ""}),
    ),
    (
        "tool_reference_name",
        f"{RESULT}.tool_reference.tool_name",
        "String should have at most 64 characters",
        result({"type": "tool_reference", "tool_name": "a" * 65}),
    ),
    ("field_required", f"{RESULT}.text.text", REQUIRED, result({"type": "text"})),
    (
        "field_type",
        f"{BLOCK}.search_result.content",
        "Input should be a valid array",
        said({"type": "search_result", "source": "a", "title": "b", "content": "c"}),
    ),
    (
        "field_value",
        f"{BLOCK}.text.cache_control",
        "Input tag 'later' found using 'type' does not match any of the expected tags: 'ephemeral'",
        said({"type": "text", "text": "a", "cache_control": {"type": "later"}}),
    ),
    (
        "field_value",
        f"{BLOCK}.text.cache_control.ephemeral.ttl",
        "Input should be '5m' or '1h'",
        said({"type": "text", "text": "a", "cache_control": MARK | {"ttl": "2h"}}),
    ),
    (
        "field_unknown",
        "system.0.cache_control.ephemeral.later",
        EXTRA,
        body(system=[{"type": "text", "text": "a", "cache_control": MARK | {"later": 1}}]),
    ),
    ("field_value", "system.0.type", "Input should be 'text'", body(system=[{"type": "image", "text": "a"}])),
    (
        "field_value",
        "messages.0.clear_at",
        "Input should be 'next_user_message' or 'never'",
        body(messages=[HELLO | {"clear_at": "later"}]),
    ),
]

ACCEPTED = [
    said(IMAGE, base64("image", "image/webp"), {"type": "image", "source": {"type": "later", "a": 1}}),
    said({"type": "document", "source": {"type": "content", "content": "a"}, "title": None, "citations": None}),
    said({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}}),
    said({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}, "context": "b"}),
    said({"type": "later", "anything": [{}]}),
    said(
        {"type": "text", "text": "a", "citations": None, "cache_control": None},
        {"type": "container_upload", "file_id": "f"},
    ),
    asked({"type": "compaction", "content": None, "later": 1}, {"type": "text", "text": "a"}),
    result({"type": "text", "text": "a"}, IMAGE, {"type": "later", "a": 1}),
    body(messages=[HELLO | {"clear_at": None}]),
    asked(
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}, "caller": {"type": "direct"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": {"error_code": "unavailable"}},
        tools=[SEARCH],
    ),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[1] for case in REFUSED])
def test_each_shape_is_refused(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, f"{path}: {words}")]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_is_right_or_not_known_passes(request_body: Body) -> None:
    assert check_request(request_body) == []
