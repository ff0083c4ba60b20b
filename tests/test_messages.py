"""The wire's words: prompts, blocks, usage, citations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import server_tool_use, text, thinking, tool_use

from agentkit.errors import ConfigurationError
from agentkit.messages import (
    Citation,
    Usage,
    as_messages,
    citations_of,
    client_calls,
    copy_json,
    encode,
    fetched_pages,
    sent_content,
    text_of,
)

HI = [{"role": "user", "content": [text("Hi")]}]
IMAGE = {"type": "image", "source": {"type": "url", "url": "u"}}


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("Hi", HI),
        (text("Hi"), HI),
        ([text("Hi")], HI),
        (iter([text("Hi")]), HI),
        ([text("Hi"), IMAGE], [{"role": "user", "content": [text("Hi"), IMAGE]}]),
        ({"role": "user", "content": "Hi"}, HI),
        ([{"role": "user", "content": "Hi"}], HI),
        ([{"role": "user", "content": ["Hi", IMAGE]}], [{"role": "user", "content": [text("Hi"), IMAGE]}]),
        (
            [{"role": "user", "content": "Hi", "id": 7}, {"role": "assistant", "content": []}],
            [*HI, {"role": "assistant", "content": []}],
        ),
        ([{"role": "system", "content": "x"}], [{"role": "system", "content": [text("x")]}]),
    ],
)
def test_a_prompt_in_any_form_is_messages(prompt: Any, messages: Any) -> None:
    assert as_messages(prompt) == messages


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("", "the prompt is empty"),
        (" \n", "the prompt is empty"),
        ([], "the prompt is empty"),
        (iter(()), "the prompt is empty"),
        ([1], "must be text, a list of content blocks, or a list of messages"),
        (["Hi", "you"], "must be text, a list of content blocks"),
        ([{}], "content block 0 of the prompt needs a `type`"),
        ([text("Hi"), {"type": 7}], "content block 1 of the prompt needs a `type`"),
        ([{"role": "user"}], r"message 0 of the prompt needs a role \(user, assistant or system\) and content"),
        ([*HI, {"role": "tool", "content": "x"}], "message 1 of the prompt needs a role"),
        ([*HI, text("Hi")], "message 1 of the prompt needs a role"),
        ([{"role": "user", "content": [1]}], "content block 0 of the prompt needs a `type`"),
    ],
)
def test_a_prompt_of_no_known_form_is_refused(prompt: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        as_messages(prompt)


def test_a_prompt_is_copied() -> None:
    given_messages: list[Any] = [{"role": "user", "content": [text("Hi")]}]
    messages = as_messages(given_messages)
    given_messages[0]["content"][0]["text"] = "changed"
    given_messages[0]["content"].append(text("more"))
    assert messages == HI


def test_json_is_compact_and_exact() -> None:
    assert encode({"a": [1, 2.5, None, True], "é": "\u2028"}) == '{"a":[1,2.5,null,true],"é":"\u2028"}'.encode()
    assert encode("\ud83d é") == b'"\\ud83d \\u00e9"'


@given(
    value=st.recursive(
        st.none() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists
    )
)
def test_what_is_encoded_comes_back(value: Any) -> None:
    assert json.loads(encode(value)) == value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", object(), {(1, 2): 3}, nested(100_000)])
def test_what_json_has_not_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^can't be sent as JSON: "):
        encode(value)


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        ([], ""),
        ([text("a"), text("b", citations=[]), text("c")], "abc"),
        ([text("a"), thinking("so"), text("b"), text("c")], "a\n\nbc"),
        ([text("a"), tool_use("x"), tool_use("y"), text("b")], "a\n\nb"),
        ([text(" "), thinking("so"), text("b")], "b"),
        ([text("a"), text(" "), text("b")], "a b"),
        ([{"type": "text", "text": None}, {"type": "text"}, {"type": "hologram", "text": "x"}, text("a")], "a"),
        ([text("a"), {"type": "text", "text": None}, text("b")], "a\n\nb"),
    ],
)
def test_the_text_of_blocks(content: list[dict[str, Any]], whole: str) -> None:
    assert text_of(content) == whole


FALLBACK = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def test_calls_are_those_after_the_last_fallback() -> None:
    a, b, c = (tool_use("add", id=id_) for id_ in "abc")
    assert client_calls([a, server_tool_use("web_search"), b]) == [a, b]
    assert client_calls([a, FALLBACK, b, FALLBACK, c]) == [c]
    assert client_calls([a, FALLBACK]) == client_calls([]) == []


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ([text("a ")], [text("a ")]),
        ([text(""), text(" \n"), {"type": "text", "text": None}, {"type": "text"}, text("a")], [text("a")]),
        ([text(" ", citations=[{"type": "x"}])], []),
        ([tool_use("add", x=1)], [tool_use("add", x=1)]),
        ([{**tool_use("add"), "input": None}], [{**tool_use("add"), "input": {"INVALID_JSON": "null"}}]),
        ([{**tool_use("add"), "input": '{"x'}], [{**tool_use("add"), "input": {"INVALID_JSON": '{"x'}}]),
        ([{**server_tool_use("s"), "input": [1]}], [{**server_tool_use("s"), "input": {"INVALID_JSON": "[1]"}}]),
        ([{"type": "tool_use", "id": "x"}], [{"type": "tool_use", "id": "x"}]),
        ([thinking("so"), FALLBACK, thinking("then")], [FALLBACK, thinking("then")]),
        (
            [
                {"type": "redacted_thinking"},
                {"type": "connector_text"},
                tool_use("x"),
                text("a"),
                FALLBACK,
                tool_use("y"),
            ],
            [text("a"), FALLBACK, tool_use("y")],
        ),
        ([server_tool_use("web_search"), FALLBACK], [FALLBACK]),
        ([server_tool_use("web_search"), FOUND, FALLBACK], [server_tool_use("web_search"), FOUND, FALLBACK]),
        ([thinking("a"), FALLBACK, thinking("b"), FALLBACK, thinking("c")], [FALLBACK, FALLBACK, thinking("c")]),
        ([{"type": "hologram"}, FALLBACK], [{"type": "hologram"}, FALLBACK]),
    ],
)
def test_what_is_sent_of_a_reply(content: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    before = json.dumps(content)
    assert sent_content({"content": content, "stop_reason": "end_turn"}) == sent
    assert json.dumps(content) == before


def test_nothing_is_sent_of_a_refused_reply() -> None:
    assert sent_content({"content": [text("a")], "stop_reason": "refusal"}) == []
    assert sent_content({"content": None}) == sent_content({}) == []


CITATIONS: list[tuple[dict[str, Any], tuple[str, str | None, str | None]]] = [
    ({"type": "web_search_result_location", "url": "u", "title": "T", "cited_text": "c"}, ("c", "T", "u")),
    ({"type": "char_location", "document_title": "D", "cited_text": "c"}, ("c", "D", None)),
    ({"type": "page_location", "document_title": None, "cited_text": None}, ("", None, None)),
    ({"type": "search_result_location", "source": "s", "title": "T", "cited_text": "c"}, ("c", "T", "s")),
    ({"type": "new_location"}, ("", None, None)),
]


def test_citations() -> None:
    raws = [raw for raw, _ in CITATIONS]
    content = [text("a", citations=raws[:2]), FOUND, text("b", citations=None), text("c", citations=raws[2:])]
    assert list(citations_of(content)) == [Citation(*known, raw) for raw, known in CITATIONS]


def test_citations_of_a_fetched_page_have_its_address() -> None:
    """The wire gives such a citation the page's title alone."""
    page = {"type": "web_fetch_result", "url": "https://x.y/z", "content": {"type": "document", "title": "Z"}}
    blocks = [
        {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": page},
        {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_2", "content": {"error_code": "unavailable"}},
        {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_3", "content": {**page, "content": {"title": None}}},
        text("a", citations=[{"type": "char_location", "document_title": "Z", "cited_text": "q"}]),
    ]
    pages = fetched_pages(blocks)
    assert pages == {"Z": "https://x.y/z"}
    assert [citation.url for citation in citations_of(blocks, pages)] == ["https://x.y/z"]


@pytest.mark.parametrize("citations", [None, "text", 7, {}, [None, "x", 7]])
def test_citations_of_no_known_form_are_none(citations: Any) -> None:
    assert list(citations_of([text("a", citations=citations)])) == []
    assert list(citations_of([{"type": "document", "citations": {"enabled": True}}])) == []


def test_usage_counts_what_is_there() -> None:
    usage = Usage.from_wire(
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": None,
            "server_tool_use": {"web_search_requests": 8},
            "service_tier": "standard",
        }
    )
    assert usage == Usage(1, 2, 4, 0, 8, 0)
    assert usage.total_tokens == 7
    assert (usage + usage).as_dict() == {
        "input_tokens": 2,
        "output_tokens": 4,
        "cache_read_input_tokens": 8,
        "cache_creation_input_tokens": 0,
        "web_search_requests": 16,
        "web_fetch_requests": 0,
        "cache_miss_reasons": [],
    }


def test_usage_adds_up_why_the_cache_was_missed() -> None:
    usage = Usage(1, 2, cache_miss_reasons=("system changed",)) + Usage(cache_miss_reasons=("a", "b"))
    assert usage == Usage(1, 2, cache_miss_reasons=("system changed", "a", "b"))
    assert usage.as_dict()["cache_miss_reasons"] == ["system changed", "a", "b"]
    assert usage.total_tokens == 3
    assert Usage.from_wire({"cache_miss_reasons": ["x"], "server_tool_use": {"cache_miss_reasons": 3}}) == Usage()


@pytest.mark.parametrize(
    "usage", [None, [], "x", {}, {"input_tokens": "12", "server_tool_use": 3}, {"output_tokens": [1]}]
)
def test_usage_of_no_known_form_is_zero(usage: Any) -> None:
    assert Usage.from_wire(usage) == Usage()


def test_the_content_of_a_message_may_be_one_block() -> None:
    assert as_messages([{"role": "user", "content": {"type": "text", "text": "Hi"}}]) == as_messages("Hi")


@pytest.mark.parametrize("prompt", [5, None, object(), [{"role": "user", "content": 5}]])
def test_a_prompt_that_is_nothing_to_iterate_over_is_refused(prompt: Any) -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        as_messages(prompt)


def test_a_copy_of_json_shares_nothing() -> None:
    value = {"a": [{"b": [1, None]}], "c": "d"}
    copied = copy_json(value)
    assert copied == value
    copied["a"][0]["b"].append(2)
    copied["a"].append(3)
    assert value == {"a": [{"b": [1, None]}], "c": "d"}
