"""Turn → events → bytes, checked against `stream`, which reads them back."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.encode import events, sse
from agentkit.stream import Decoder, Fold


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6"}
    whole |= {"content": list(content), "stop_reason": "end_turn", "stop_sequence": None}
    return whole | {"usage": {"input_tokens": 12, "output_tokens": 34}} | fields


def streamed(whole: dict[str, Any], **options: int) -> bytes:
    return b"".join(sse(event) for event in events(whole, **options))


def folded(stream: bytes) -> dict[str, Any]:
    fold = Fold()
    for data in Decoder().feed(stream):
        fold.add(data)
    return fold.message


def deltas(block: dict[str, Any], **options: int) -> list[dict[str, Any]]:
    return [event["delta"] for event in events(message(block), **options) if event["type"] == "content_block_delta"]


def start(block: dict[str, Any]) -> dict[str, Any]:
    return next(e["content_block"] for e in events(message(block)) if e["type"] == "content_block_start")


def test_the_order_of_events() -> None:
    kinds = [event["type"] for event in events(message({"type": "text", "text": "Hi"}))]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert kinds == ["message_start", block[0], "ping", *block[1:], "message_delta", "message_stop"]


def test_a_frame_names_its_event_and_has_one_line_of_data() -> None:
    frame = sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a\r\nb\u2028é"}})
    name, data, *end = frame.split(b"\n")
    assert name == b"event: content_block_delta"
    assert json.loads(data.removeprefix(b"data: "))["delta"]["text"] == "a\r\nb\u2028é"
    assert end == [b"", b""]


def test_message_start_knows_the_input_and_not_the_end() -> None:
    usage = {"input_tokens": 9, "output_tokens": 50, "server_tool_use": {"web_search_requests": 1}, "iterations": None}
    whole = message(stop_reason="tool_use", stop_details={"type": "refusal"}, container={"id": "c"}, usage=usage)
    whole["context_management"] = {"applied_edits": []}
    first, *_, last, _ = events(whole)
    assert first["message"]["usage"] == {"input_tokens": 9, "output_tokens": 1, "iterations": None}
    assert first["message"]["content"] == []
    assert first["message"]["stop_reason"] is first["message"]["container"] is first["message"]["stop_details"] is None
    assert "context_management" not in first["message"]
    assert last["delta"] == {
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": {"type": "refusal"},
        "container": {"id": "c"},
    }
    assert last["context_management"] == {"applied_edits": []}
    assert last["usage"]["output_tokens"] == 50
    assert last["usage"]["server_tool_use"] == {"web_search_requests": 1}


def test_a_message_without_usage_or_output_streams() -> None:
    bare = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [], "stop_reason": "end_turn"}
    assert folded(streamed(bare)) == bare | {"stop_sequence": None, "usage": {}}
    unbilled = message(stop_reason="refusal", usage={"input_tokens": 3, "output_tokens": 0})
    assert folded(streamed(unbilled)) == unbilled


def test_text_comes_in_pieces_after_its_citations() -> None:
    citation = {"type": "char_location", "cited_text": "x", "document_index": 0}
    block = {"type": "text", "text": "abcdefg", "citations": [citation]}
    assert start(block) == {"type": "text", "text": "", "citations": []}
    assert deltas(block, text_piece=3) == [
        {"type": "citations_delta", "citation": citation},
        {"type": "text_delta", "text": "abc"},
        {"type": "text_delta", "text": "def"},
        {"type": "text_delta", "text": "g"},
    ]


def test_input_comes_as_pieces_of_json_after_an_empty_one() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2, "b": 3}}
    assert start(block)["input"] == {}
    pieces = [delta["partial_json"] for delta in deltas(block, json_piece=4)]
    assert pieces[0] == ""
    assert max(map(len, pieces)) == 4
    assert json.loads("".join(pieces)) == {"a": 2, "b": 3}


def test_empty_input_is_one_empty_piece() -> None:
    block = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "x", "input": {}}
    assert deltas(block) == [{"type": "input_json_delta", "partial_json": ""}]


def test_input_that_was_no_json_streams_as_it_was() -> None:
    whole = message({"type": "tool_use", "id": "toolu_1", "name": "x", "input": '{"a": 1'})
    assert folded(streamed(whole)) == whole


def test_thinking_ends_with_its_signature() -> None:
    block = {"type": "thinking", "thinking": "hmm", "signature": "Eq"}
    assert start(block) == {"type": "thinking", "thinking": "", "signature": ""}
    assert deltas(block) == [
        {"type": "thinking_delta", "thinking": "hmm"},
        {"type": "signature_delta", "signature": "Eq"},
    ]
    hidden = {"type": "thinking", "thinking": "", "signature": "Eq"}
    assert deltas(hidden) == [{"type": "signature_delta", "signature": "Eq"}]


@pytest.mark.parametrize("signature", [None, "", "absent"])
def test_thinking_of_a_gateway_without_a_signature(signature: str | None) -> None:
    block = {"type": "thinking", "thinking": "hmm"} | ({} if signature == "absent" else {"signature": signature})
    assert folded(streamed(message(block))) == message(block)
    assert [delta["type"] for delta in deltas(block)] == ["thinking_delta"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "something_new", "text": "kept", "input": {"a": 1}},
    ],
)
def test_blocks_that_come_whole(block: dict[str, Any]) -> None:
    assert start(block) == block
    assert deltas(block) == []
    assert folded(streamed(message(block))) == message(block)


def test_compaction_is_one_delta() -> None:
    block = {"type": "compaction", "content": "so far", "encrypted_content": "Eq", "signature": "s"}
    assert start(block) == {"type": "compaction", "content": None, "encrypted_content": None, "signature": "s"}
    assert deltas(block) == [{"type": "compaction_delta", "content": "so far", "encrypted_content": "Eq"}]
    assert folded(streamed(message(block))) == message(block)
    failed = {"type": "compaction", "content": None}
    assert folded(streamed(message(failed))) == message(failed)


texts = st.text(max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(texts, values, max_size=4)
citations = st.lists(st.fixed_dictionaries({"type": st.just("char_location"), "cited_text": texts}), min_size=1)
blocks = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional={"citations": st.none() | citations}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts, "signature": texts}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "name": texts, "input": inputs}),
    st.fixed_dictionaries({"type": st.just("server_tool_use"), "name": texts, "input": inputs}),
    st.fixed_dictionaries({"type": st.just("compaction"), "content": st.none() | texts}),
    st.fixed_dictionaries({"type": st.just("web_fetch_tool_result"), "content": values}),
    st.fixed_dictionaries({"type": st.just("novelty"), "text": values, "input": values}),
)


def numbered(block: dict[str, Any], at: int) -> dict[str, Any]:
    """Calls need ids of their own."""
    return block | {"id": f"toolu_{at}"} if block["type"].endswith("tool_use") else block


usages = st.fixed_dictionaries(
    {"input_tokens": st.integers(0, 10**6), "output_tokens": st.integers(0, 10**6)},
    optional={"server_tool_use": st.none() | st.just({"web_search_requests": 2}), "cache_read_input_tokens": st.none()},
)
messages = st.builds(
    lambda content, usage, more: message(*content, usage=usage, **more),
    st.lists(blocks, max_size=5).map(lambda content: [numbered(block, at) for at, block in enumerate(content)]),
    usages,
    st.fixed_dictionaries(
        {"stop_reason": st.sampled_from(["end_turn", "tool_use", "pause_turn"])},
        optional={
            "container": st.none() | inputs,
            "stop_details": st.none() | inputs,
            "context_management": inputs,
            "unknown": values,
        },
    ),
)


@given(whole=messages, text_piece=st.integers(1, 20), json_piece=st.integers(1, 20))
def test_folding_gives_the_message_again(whole: dict[str, Any], text_piece: int, json_piece: int) -> None:
    assert folded(streamed(whole, text_piece=text_piece, json_piece=json_piece)) == whole


@pytest.mark.recordings
def test_recorded_messages_stream_and_fold_to_themselves(recordings: ModuleType) -> None:
    whole = [exchange["response_body"] for exchange in recordings.messages() if exchange["response_body"]]
    kept = [body for body in whole if body.get("type") == "message" and "stop_sequence" in body]
    assert len(kept) > 500
    for body in kept:
        assert folded(streamed(body)) == body


def test_half_a_character_is_escaped() -> None:
    frame = sse({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "so \ud83d"}})
    assert frame.startswith(b"event: content_block_delta\ndata: ")
    assert json.loads(frame.split(b"data: ")[1])["delta"]["text"] == "so \ud83d"
