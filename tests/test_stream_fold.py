"""Events → turn: the fold of `agentkit.stream`, and replies that are not streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import errors
from agentkit.errors import APIError, APIStatusError, ProtocolError, StreamTruncated
from agentkit.messages import citations_of, encode, sent_content, text_of
from agentkit.settings import Limits
from agentkit.step import next_step
from agentkit.stream import Fold, parse_message
from agentkit.transcript import Transcript

START = {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": [], "stop_reason": None}}
STOP = {"type": "message_stop"}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {}}


def block(content_block: dict[str, Any], *deltas: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content_block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def fold_of(*events: dict[str, Any] | bytes) -> Fold:
    fold = Fold()
    for event in events:
        fold.add(event if isinstance(event, bytes) else json.dumps(event).encode())
    return fold


def folded(content_block: dict[str, Any], *deltas: dict[str, Any]) -> dict[str, Any]:
    (whole,) = fold_of(START, *block(content_block, *deltas), END, STOP).message["content"]
    return whole  # type: ignore[no-any-return]


def text_delta(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def citations_delta(citation: dict[str, Any]) -> dict[str, Any]:
    return {"type": "citations_delta", "citation": citation}


def json_delta(partial: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": partial}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "u", "x": None}]}
CITED = [{"type": "web_search_result_location", "url": "a"}, {"type": "new_location", "at": 1}]

BLOCKS: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "text": ({"type": "text", "text": ""}, [text_delta("a"), text_delta("b")], {"type": "text", "text": "ab"}),
    "text that the start has": ({"type": "text", "text": "a"}, [text_delta("b")], {"type": "text", "text": "ab"}),
    "text null in the start": ({"type": "text", "text": None}, [text_delta("b")], {"type": "text", "text": "b"}),
    "text without deltas": ({"type": "text", "text": "a"}, [], {"type": "text", "text": "a"}),
    "text without a key": ({"type": "text"}, [text_delta("b")], {"type": "text", "text": "b"}),
    "citations": (
        {"type": "text", "text": "", "citations": [{"type": "first"}]},
        [citations_delta(CITED[0]), text_delta("a"), citations_delta(CITED[1])],
        {"type": "text", "text": "a", "citations": [{"type": "first"}, *CITED]},
    ),
    "citations null in the start": (
        {"type": "text", "text": "a", "citations": None},
        [citations_delta(CITED[0])],
        {"type": "text", "text": "a", "citations": CITED[:1]},
    ),
    "thinking": (
        {"type": "thinking", "thinking": "", "signature": ""},
        [
            {"type": "thinking_delta", "thinking": "a", "estimated_tokens": 3},
            {"type": "thinking_delta", "thinking": "b"},
            {"type": "signature_delta", "signature": "E="},
        ],
        {"type": "thinking", "thinking": "ab", "signature": "E="},
    ),
    "thinking that is not shown": (
        {"type": "thinking", "thinking": ""},
        [{"type": "signature_delta", "signature": "E="}],
        {"type": "thinking", "thinking": "", "signature": "E="},
    ),
    "redacted thinking": ({"type": "redacted_thinking", "data": "x"}, [], {"type": "redacted_thinking", "data": "x"}),
    "compaction": (
        {"type": "compaction", "content": None},
        [{"type": "compaction_delta", "content": "all of it", "encrypted_content": None}],
        {"type": "compaction", "content": "all of it", "encrypted_content": None},
    ),
    "a call": (CALL, [json_delta(""), json_delta('{"a"'), json_delta(":1}")], {**CALL, "input": {"a": 1}}),
    "a call in one delta": (CALL, [json_delta('{"a":1}')], {**CALL, "input": {"a": 1}}),
    "a call without input": (CALL, [json_delta("")], CALL),
    "a call without deltas": (CALL, [], CALL),
    "a call with the input in its start": ({**CALL, "input": {"a": 1}}, [], {**CALL, "input": {"a": 1}}),
    "a call without the key": ({"type": "tool_use", "id": "toolu_1", "name": "add"}, [], CALL),
    "a server call without the key": ({**SEARCH, "input": {}}, [json_delta('{"q":1}')], {**SEARCH, "input": {"q": 1}}),
    "a server result": (FOUND, [], FOUND),
    "an unknown block": ({"type": "hologram", "x": [1], "y": None}, [], {"type": "hologram", "x": [1], "y": None}),
    "an unknown block with known deltas": (
        {"type": "connector_text", "text": ""},
        [text_delta("a"), text_delta("b")],
        {"type": "connector_text", "text": "ab"},
    ),
    "an unknown delta": (
        {"type": "hologram", "x": "a", "n": 1},
        [{"type": "x_delta", "x": "b"}, {"type": "x_delta", "x": "c", "n": 2, "y": "d", "z": [1]}],
        {"type": "hologram", "x": "abc", "n": 2, "y": "d", "z": [1]},
    ),
    "an unknown delta of text": (
        {"type": "text", "text": "a"},
        [text_delta("b"), {"type": "future_delta", "mood": "calm"}, text_delta("c")],
        {"type": "text", "text": "abc", "mood": "calm"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("start", "deltas", "whole"), BLOCKS.values(), ids=BLOCKS)
def test_a_block(start: dict[str, Any], deltas: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    assert folded(start, *deltas) == whole


@pytest.mark.parametrize(
    "text",
    ['{"a": ', '{"a":1}}', "[NaN]", "not", " ", '{"a":1e999}', '[-1e+400]', '["\ud83d"]', "9" * 400 + ".0"],
)  # fmt: skip
def test_input_that_is_no_json_stays_text(text: str) -> None:
    whole = folded(CALL, json_delta(text))
    assert whole["input"] == text
    assert sent_content({"content": [whole]})[0]["input"] == {"INVALID_JSON": text}
    assert json.loads(encode(sent_content({"content": [whole]})))[0]["input"] == {"INVALID_JSON": text}


def test_input_with_large_numbers_is_exact() -> None:
    numbers = '{"a":1e308,"b":' + "9" * 400 + ',"c":"info 1e999"}'
    with_text = folded(CALL, json_delta(numbers))["input"]
    assert with_text == {"a": 1e308, "b": int("9" * 400), "c": "info 1e999"}


def test_any_cut_of_the_input_gives_the_same() -> None:
    text = '{"a": {"b": [1, "\\u00e9\\ud83d\\ude00 \\" x"]}, "c": 1.5}'
    whole = folded(CALL, json_delta(text))
    assert whole["input"]["a"] == {"b": [1, 'é😀 " x']}
    assert folded(CALL, *map(json_delta, text)) == whole


def test_several_blocks_may_be_open_and_each_is_complete_at_its_stop() -> None:
    first, *_, first_stop = block({"type": "text", "text": ""})
    second, delta, second_stop = block({"type": "text", "text": ""}, text_delta("2"), index=1)
    one = {"type": "content_block_delta", "index": 0, "delta": text_delta("1")}
    fold = fold_of(START, first, second, delta, one, second_stop)
    assert [part["text"] for part in fold.blocks] == ["", "2"]
    fold = fold_of(START, first, second, delta, one, second_stop, first_stop, END, STOP)
    assert [part["text"] for part in fold.message["content"]] == ["1", "2"]


def test_events_come_back_parsed() -> None:
    fold = Fold()
    assert fold.add(b"[DONE]") is None
    for event in (START, {"type": "ping"}, {"type": "new_event", "x": 1}, END):
        assert fold.add(json.dumps(event).encode()) == event
    assert not fold.done
    fold.add(json.dumps(STOP).encode())
    assert fold.done


def test_pings_unknown_events_and_done_change_nothing() -> None:
    ping, new = {"type": "ping"}, {"type": "new_event", "index": 7, "delta": {}}
    plain = [START, *block({"type": "text", "text": ""}, text_delta("a")), END, STOP]
    mixed = [ping, *(event for some in plain for event in (new, some, ping)), b"[DONE]"]
    assert fold_of(*mixed).message == fold_of(*plain).message


def test_the_deltas_of_the_message_survive() -> None:
    start = {"type": "message_start", "message": {**START["message"], "usage": {"input_tokens": 9, "output_tokens": 1}}}  # type: ignore[dict-item]
    details = {"type": "refusal", "category": "cyber"}
    deltas = [
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 4, "input_tokens": None}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "refusal", "stop_details": details, "container": {"id": "c"}, "new": 1},
            "usage": {"output_tokens": 7, "server_tool_use": {"web_search_requests": 2}},
            "context_management": {"applied_edits": []},
            "input_transformations": [1],
        },
        {"type": "message_delta", "delta": {}, "usage": None},
        {"type": "message_delta", "delta": {}},
    ]
    message = fold_of(start, *deltas, STOP).message
    assert message == {
        **START["message"],  # type: ignore[dict-item]
        "content": [],
        "stop_reason": "refusal",
        "stop_details": details,
        "container": {"id": "c"},
        "new": 1,
        "context_management": {"applied_edits": []},
        "input_transformations": [1],
        "usage": {"input_tokens": 9, "output_tokens": 7, "server_tool_use": {"web_search_requests": 2}},
    }


def test_an_error_with_status_200_is_that_error() -> None:
    with pytest.raises(errors.OverloadedError, match="Overloaded"):
        parse_message(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    with pytest.raises(APIStatusError, match="no channel"):
        parse_message(b'{"error":{"type":"comet_api_error","message":"no channel"}}')


def test_a_reply_that_comes_whole_in_message_start() -> None:
    """A call from code that goes on has no block events: recorded (programmatic tool calling)."""
    call = {**CALL, "input": {"a": 1}, "caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}}
    start = {"type": "message_start", "message": {"content": [call], "stop_reason": "tool_use"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 0}}
    assert fold_of(start, end, STOP).message["content"] == [call]
    assert fold_of(start, *block({"type": "text", "text": "more"}, index=1), end, STOP).message["content"][0] == call
    with pytest.raises(ProtocolError, match="starts block 0 out of order"):
        fold_of(start, *TEXT)


TEXT = block({"type": "text", "text": ""}, text_delta("a"))
BROKEN: dict[str, tuple[list[Any], str]] = {
    "a second message_start": ([START, START], "event 2 of the stream starts a second message"),
    "a block before message_start": ([TEXT[0]], "event 1 of the stream starts block 0 out of order"),
    "a gap in the indexes": ([START, block(CALL, index=1)[0]], "event 2 of the stream starts block 1 out of order"),
    "a block that starts twice": ([START, TEXT[0], TEXT[0]], "starts block 0 out of order"),
    "a delta before its block": ([START, TEXT[1]], "event 2 of the stream belongs to no open block"),
    "a delta after its block": ([START, *TEXT, TEXT[1]], "event 5 of the stream belongs to no open block"),
    "a stop of no block": ([START, TEXT[2]], "event 2 of the stream ends a block that is not open"),
    "a block that stops twice": ([START, *TEXT, TEXT[2]], "ends a block that is not open"),
    "a message_delta first": ([END], "event 1 of the stream comes before message_start"),
    "a message_stop first": ([STOP], "event 1 of the stream ends the message too early"),
    "a message_stop with an open block": ([START, *TEXT[:2], END, STOP], "event 5 of the stream ends the message too"),
    "no JSON": ([b"{"], "event 1 of the stream is broken: ValueError"),
    "no UTF-8": ([b'{"type":"ping","x":"\xff"}'], "event 1 of the stream is broken: ValueError"),
    "NaN": ([b'{"type":"ping","x":NaN}'], "event 1 of the stream is broken: ValueError"),
    "too deep": ([b'{"type":"ping","x":' + b"[" * 10_000], "event 1 of the stream is broken: ValueError"),
    "a list": ([b"[]"], "is broken: TypeError"),
    "a number": ([b"1"], "is broken: TypeError"),
    "no type": ([b"{}"], "is broken: KeyError: 'type'"),
    "a type that is a list": ([{"type": []}], "is broken: TypeError"),
    "no message": ([{"type": "message_start"}], "is broken: KeyError"),
    "a message that is a list": ([{"type": "message_start", "message": []}], "is broken: AttributeError"),
    "a block that is a list": ([START, *block([])], "is broken: TypeError"),  # type: ignore[arg-type]
    "a block without a type": ([START, *block({"text": "a"})], "is broken: KeyError: 'type'"),
    "a block whose type is a number": ([START, *block({"type": 1})], "is broken: AttributeError"),
    "an index that is a list": ([START, TEXT[0], {**TEXT[1], "index": []}], "is broken: TypeError"),
    "no index": ([START, {"type": "content_block_stop"}], "is broken: KeyError: 'index'"),
    "no delta": ([START, TEXT[0], {"type": "content_block_delta", "index": 0}], "is broken: KeyError: 'delta'"),
    "a delta without text": ([START, TEXT[0], {**TEXT[1], "delta": {"type": "text_delta"}}], "is broken: KeyError"),
    "a delta whose text is null": ([START, *block({"type": "text"}, text_delta(None))], "is broken: TypeError"),  # type: ignore[arg-type]
    "usage that is a list": ([START, {**END, "usage": [1]}], "is broken: AttributeError"),
    "a message_delta without a delta": ([START, {"type": "message_delta"}], "is broken: KeyError: 'delta'"),
}  # fmt: skip


@pytest.mark.parametrize(("events", "text"), BROKEN.values(), ids=BROKEN)
def test_a_broken_stream(events: list[Any], text: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        fold_of(*events)
    assert text in str(raised.value)
    assert raised.value.retryable


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_reply_that_was_cut_may_leave_a_block_open(stop_reason: str) -> None:
    *started, _ = block(CALL, json_delta('{"a": "b'))
    cut = {**END, "delta": {"stop_reason": stop_reason}}
    message = fold_of(START, *started, cut, STOP).message
    assert message["content"] == [{**CALL, "input": '{"a": "b'}]


@pytest.mark.parametrize("count", range(7))
def test_an_end_before_message_stop_is_no_message(count: int) -> None:
    fold = fold_of(*[START, *TEXT, END, b"[DONE]"][:count])
    with pytest.raises(
        StreamTruncated, match=rf"^the stream ended after {count} events, before message_stop$"
    ) as raised:
        _ = fold.message
    assert raised.value.retryable


IN_STREAM = {
    "overloaded_error": (errors.OverloadedError, True),
    "api_error": (errors.InternalServerError, True),
    "rate_limit_error": (errors.RateLimitError, True),
    "timeout_error": (errors.GatewayTimeoutError, True),
    "conflict_error": (errors.ConflictError, True),
    "invalid_request_error": (errors.BadRequestError, False),
    "authentication_error": (errors.AuthenticationError, False),
    "billing_error": (errors.PaymentRequiredError, False),
    "permission_error": (errors.PermissionDeniedError, False),
    "not_found_error": (errors.NotFoundError, False),
    "request_too_large": (errors.ContentTooLargeError, False),
    "some_new_error": (APIStatusError, False),
}


@pytest.mark.parametrize("kind", IN_STREAM)
def test_an_error_event_is_the_error_of_its_type(kind: str) -> None:
    event = {"type": "error", "error": {"type": kind, "message": "No."}, "request_id": "req_7"}
    with pytest.raises(APIStatusError) as raised:
        fold_of(START, event)
    error = raised.value
    assert (type(error), error.retryable) == IN_STREAM[kind]
    assert (error.message, error.type, error.request_id, error.status) == ("No.", kind, "req_7", 200)


# Ids of calls.


@pytest.mark.parametrize("id_", ["", "a b", "é", "x" * 129, "a\n", None, 7])
def test_a_call_without_a_legal_id_is_refused(id_: Any) -> None:
    call = {**CALL, "id": id_}
    for reply in (lambda: fold_of(START, *block(call), END, STOP).message, lambda: parse_message(body(call))):
        with pytest.raises(ProtocolError, match=r"^the reply has a tool_use with the id "):
            reply()


def test_two_calls_with_one_id_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"^the reply has two tool_use blocks with one id$"):
        _ = fold_of(START, *block(CALL), *block(CALL, index=1), END, STOP).message
    with pytest.raises(ProtocolError, match="two tool_use blocks"):
        parse_message(body(CALL, CALL))
    assert parse_message(
        body(CALL, {**CALL, "id": "chatcmpl-7_A"}, {**CALL, "id": "x" * 128}, {**SEARCH, "id": "toolu_1"})
    )


# Replies that are not streamed.


def body(*content: Any, **fields: Any) -> bytes:
    return json.dumps({"role": "assistant", "content": content, **fields}).encode()


def test_a_body_comes_back_as_it_is() -> None:
    message = {"content": [{"type": "hologram", "x": 1}, CALL], "stop_reason": "new", "extra": None}
    assert parse_message(json.dumps(message).encode()) == message


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"<html>", "the reply is no JSON: ValueError"), (b"", "the reply is no JSON"), (b"{}", "no message"),
        (b"[]", "no message"), (b"null", "no message"), (b'{"content":null}', "no message"),
        (b'{"content":"text"}', "no message"), (b'{"content":["text"]}', "no message"),
        (b'{"content":[{}]}', "no message"), (b'{"content":[{"type":1}]}', "no message"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_message(reply: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        parse_message(reply)


# Anything at all.

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "input", "text"]), some),
    max_leaves=6,
)
TYPES = ["text", "thinking", "tool_use", "server_tool_use", "x_tool_result", "tool_result", "fallback", "new"]
FIELDS = ["id", "tool_use_id", "input", "text", "content", "citations", "name", "caller"]
odd_blocks = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["a", "b", ""]) | values, max_size=4),
)
odd_messages = st.fixed_dictionaries(
    {"content": st.lists(odd_blocks, max_size=4)},
    optional={"stop_reason": values, "usage": values, "container": values, "stop_details": values},
)
pieces = st.sampled_from([START, END, STOP, *TEXT, *block(CALL, json_delta("{}"), index=1)])
odd_events = pieces | st.builds(
    lambda event, changes: {**event, **changes},
    pieces,
    st.dictionaries(
        st.sampled_from(["type", "index", "delta", "content_block", "message", "usage"]), values, max_size=2
    ),
)


@given(events=st.lists(odd_events, max_size=12))
def test_no_stream_raises_anything_else(events: list[dict[str, Any]]) -> None:
    try:
        message = fold_of(*events).message
    except APIError:
        return
    take(message)


@given(message=odd_messages)
def test_whatever_is_accepted_can_be_taken_and_sent_back(message: dict[str, Any]) -> None:
    try:
        accepted = parse_message(encode(message))
    except ProtocolError:
        return
    take(accepted)


def take(message: dict[str, Any]) -> None:
    transcript = Transcript()
    transcript.begin("r", [{"role": "user", "content": [{"type": "text", "text": "?"}]}])
    transcript.answer()
    transcript.take_turn(message, None, 0.0)
    assert next_step(transcript, Limits(), 0.0)
    assert len([*citations_of(message["content"]), text_of(message["content"])]) > 0
    assert json.loads(b"".join(transcript.history.body.parts()))
    assert Transcript.load(transcript.dump()).history.body.parts() == transcript.history.body.parts()
