"""The recorded conversations through the pure core: bytes → events → turn → transcript → bytes.

`pytest -s tests/test_recordings.py` prints the counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import recordings as recorded

from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    StreamTruncated,
    status_error,
)
from agentkit.messages import Usage, as_messages
from agentkit.rules import check_history
from agentkit.settings import Limits
from agentkit.step import AFTER, Answer, CallModel, next_step
from agentkit.stream import Decoder, Fold, parse_message
from agentkit.transcript import Transcript

pytestmark = pytest.mark.recordings

Exchange = dict[str, Any]


def sse_of(exchange: Exchange) -> bytes:
    """Six fixtures of an SDK are text files that lost the empty line after their last event: it is put back."""
    body: bytes = exchange["response_sse"].encode()
    return body if body.endswith(b"\n\n") else body.rstrip(b"\n") + b"\n\n"


def folded(body: bytes) -> dict[str, Any]:
    """The message, up to the first `message_stop`: some `sse_reconstructed` bodies hold several replies in a row."""
    fold = Fold()
    for data in Decoder().feed(body):
        fold.add(data)
        if fold.done:
            break
    return fold.message


def folded_simply(body: str) -> dict[str, Any]:
    """The same, written again without a thought for speed or faults."""
    message: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for line in body.split("\n"):
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            _add_simply(message["content"][event["index"]], event["delta"], partial, event["index"])
        elif event["type"] == "content_block_stop":
            if json_text := partial.pop(event["index"], ""):
                message["content"][event["index"]]["input"] = json.loads(json_text)
        elif event["type"] == "message_delta":
            usage = {name: value for name, value in event["usage"].items() if value is not None}
            message |= event["delta"] | {name: event[name] for name in event.keys() - {"type", "delta", "usage"}}
            message["usage"] |= usage
        elif event["type"] == "message_stop":
            break
    return message


def _add_simply(block: dict[str, Any], delta: dict[str, Any], partial: dict[int, str], index: int) -> None:
    if "partial_json" in delta:
        partial[index] = partial.get(index, "") + delta["partial_json"]
    elif "citation" in delta:
        block["citations"] = (block.get("citations") or []) + [delta["citation"]]
    else:
        for key in delta.keys() - {"type", "estimated_tokens"}:
            block[key] = (block.get(key) or "") + delta[key] if delta[key] is not None else None


def assert_whole(message: dict[str, Any], cut: bool = False) -> None:
    assert message["role"] == "assistant"
    assert message["stop_reason"] in AFTER
    assert Usage.from_wire(message["usage"]).output_tokens >= 0
    assert all(isinstance(block["type"], str) for block in message["content"])
    inputs = [block["input"] for block in message["content"] if block["type"].endswith("tool_use")]
    assert all(isinstance(value, str if cut else dict) for value in inputs)


def is_cut(exchange: Exchange) -> bool:
    """The one reply whose tool input is cut off by max_tokens; its block is never stopped."""
    return "incomplete_partial_json" in exchange["source_path"]


def test_every_stream_folds_to_a_whole_message() -> None:
    cut = fixed = several = 0
    for exchange in recorded.streams():
        body = sse_of(exchange)
        message = folded(body)
        assert_whole(message, is_cut(exchange))
        fixed += len(body) != len(exchange["response_sse"].encode())
        several += exchange["response_sse"].count("event: message_stop") > 1
        if is_cut(exchange):
            cut += 1
            assert message["stop_reason"] == "max_tokens"
            assert message["content"][1]["input"].endswith('"Filing taxes')
        else:
            assert message == folded_simply(exchange["response_sse"]), exchange["id"]
    assert (len(recorded.streams()), fixed, several, cut) == (536, 6, 4, 1)
    print("\nstreams that fold to a whole message: 536 of 536")


def test_every_body_that_is_not_streamed_is_a_message() -> None:
    bodies = [exchange for exchange in recorded.messages() if not exchange["response_sse"]]
    for exchange in bodies:
        message = parse_message(json.dumps(exchange["response_body"]).encode())
        assert_whole(message)
        assert message == exchange["response_body"]
    assert len(bodies) == 1053
    print("\nbodies that are a message: 1053 of 1053")


def test_any_split_of_a_stream_gives_the_same_events() -> None:
    for exchange in recorded.streams()[::20]:
        body = sse_of(exchange)
        whole = Decoder().feed(body)
        for size in (1, 2, 3, 7, 64, 1000):
            decoder = Decoder()
            parts = [data for at in range(0, len(body), size) for data in decoder.feed(body[at : at + size])]
            assert parts == whole


def test_every_byte_prefix_of_a_stream_is_no_answer() -> None:
    prefixes = 0
    for exchange in _twenty_streams():
        body = sse_of(exchange)
        decoder, fold = Decoder(), Fold()
        for at in range(len(body)):
            with pytest.raises(StreamTruncated):
                _ = fold.message
            for data in decoder.feed(body[at : at + 1]):
                fold.add(data)
        prefixes += len(body)
        assert fold.done
        assert_whole(fold.message, is_cut(exchange))
    print(f"\nbyte prefixes that are no answer: {prefixes} of {prefixes}, of 20 streams")


def _twenty_streams() -> list[Exchange]:
    """Streams that differ: those with a feature that smaller ones have not, then the smallest."""
    by_size = sorted(recorded.streams(), key=lambda exchange: len(exchange["response_sse"]))
    by_size = [exchange for exchange in by_size if exchange["response_sse"].count("event: message_stop") == 1]
    known: set[str] = set()
    news: dict[str, bool] = {}
    for exchange in by_size:
        features = {
            name for name in exchange["features"] if name.startswith(("out_", "stop:", "citation:", "tool_use"))
        }
        news[exchange["id"]] = bool(features - known)
        known |= features
    return sorted(by_size, key=lambda exchange: not news[exchange["id"]])[:20]


def test_recorded_errors_have_their_class() -> None:
    classes = Counter[type]()
    for exchange in recorded.exchanges():
        if exchange["status"] == 200:
            continue
        body = exchange["response_body"]
        error = status_error(exchange["status"], body)
        classes[type(error)] += 1
        assert error.message == body["error"]["message"]
        assert error.type == body["error"]["type"]
        assert error.request_id == body.get("request_id")
        assert error.retryable == (exchange["status"] == 429)
        assert type(status_error(200, body)) is type(error), "an error event of the same type is the same error"
    assert classes == {NotFoundError: 18, BadRequestError: 16, AuthenticationError: 5, RateLimitError: 2}
    print("\nerrors with their class: 41 of 41")


# Conversations: what agentkit sends next, against what the recorded client sent next.


def reply(exchange: Exchange) -> dict[str, Any]:
    if exchange["response_sse"]:
        return folded(sse_of(exchange))
    return parse_message(json.dumps(exchange["response_body"]).encode())


def merged(messages: list[Any]) -> list[Any]:
    """Neighbours of one role as one message, text as a block: what the API makes of them."""
    found: list[Any] = []
    for message in as_messages(messages):
        if found and found[-1]["role"] == message["role"]:
            found[-1]["content"] += message["content"]
        else:
            found.append({"role": message["role"], "content": [*message["content"]]})
    return found


def unmarked(value: Any) -> Any:
    """Without cache marks, which clients move from turn to turn."""
    if isinstance(value, dict):
        return {name: unmarked(item) for name, item in value.items() if name != "cache_control"}
    return [unmarked(item) for item in value] if isinstance(value, list) else value


def step_to_the_model(transcript: Transcript) -> None:
    while isinstance(step := next_step(transcript, Limits(), 0.0), Answer):
        transcript.answer()
    assert isinstance(step, CallModel), step


def go_on(transcript: Transcript, answered: Exchange, following: Exchange) -> None:
    """Takes the recorded reply, ends its calls with the recorded results, and adds what else the user said."""
    transcript.take_turn(reply(answered), None, 0.0)
    said = merged(following["request_body"]["messages"])[len(merged(answered["request_body"]["messages"])) :]
    user = said[1]["content"] if len(said) > 1 else []
    results = {block["tool_use_id"]: block for block in user if block["type"] == "tool_result"}
    for call in transcript.unended():
        transcript.start(call)
        transcript.end(call, "done", results.pop(call.block["id"]))
    assert not results
    text = [block for block in user if block["type"] != "tool_result"]
    more = ([{"role": "user", "content": text}] if text else []) + said[2:]
    if more:
        transcript.begin("more", as_messages(more))
    step_to_the_model(transcript)


@cache
def replayed() -> list[tuple[Exchange, Exchange, bytes, bytes]]:
    """Each pair of requests that follow one another, with the messages that agentkit made of them."""
    found = {}
    for path in recorded.conversations():
        transcript = Transcript()
        if len(path) > 1:
            transcript.begin("first", as_messages(path[0]["request_body"]["messages"]))
            step_to_the_model(transcript)
        for answered, following in pairwise(path):
            before = b"".join(transcript.history.body.parts())
            go_on(transcript, answered, following)
            assert transcript.history.refused(container=True) == []
            found[answered["id"], following["id"]] = (
                answered,
                following,
                before,
                b"".join(transcript.history.body.parts()),
            )
    return list(found.values())


def test_every_next_request_extends_the_one_before_byte_for_byte() -> None:
    for _, _, before, after in replayed():
        assert before.endswith(b"]}]")
        assert after.startswith(before.removesuffix(b"]}]"))
    print(f"\nrequests that extend the one before byte for byte: {len(replayed())} of {len(replayed())}")


def test_the_rules_accept_every_next_request() -> None:
    for _, _, _, after in replayed():
        assert check_history(json.loads(after)) == []


def test_what_was_received_is_sent_unchanged() -> None:
    """Promise 1: of a recorded reply only a blank text is left out."""
    blank = 0
    for answered, _, before, after in replayed():
        at = len(json.loads(before))
        ends_in_assistant = json.loads(before)[-1]["role"] == "assistant"
        sent = json.loads(after)[at - ends_in_assistant]["content"]
        sent = sent[len(json.loads(before)[-1]["content"]) if ends_in_assistant else 0 :]
        received = reply(answered)["content"]
        visible = [block for block in received if block["type"] != "text" or block["text"].strip()]
        blank += len(received) - len(visible)
        assert sent == visible
    assert blank == 1
    print(f"\nreplies sent as they came: {len(replayed())} of {len(replayed())}, but for one blank text left out")


def test_conversations_of_every_feature_go_on() -> None:
    tags = Counter(tag for answered, *_ in replayed() for tag in answered["features"])
    hard = {
        "mixed_server_client_tools", "parallel_tool_use", "thinking+tool_use", "signature", "container", "mcp",
        "caller:code_execution_20260120", "out_web_search_tool_result", "out_web_fetch_tool_result",
        "out_tool_search_tool_result", "out_bash_code_execution_tool_result", "structured_output", "cache_read",
        "mid_conversation_system", "stop:max_tokens", "citation:web_search_result_location",
    }  # fmt: skip
    assert hard <= tags.keys()
    print("\nnext requests that carry the recorded reply, by feature:", *sorted(tags.items()), sep="\n  ")


# Where the recorded client sent something else than it got; agentkit sends what it got.
DIFFERENCES = {
    "the same": 199,
    "the client left out `caller` of a call": 130,
    "the client added `citations: null`": 26,
    "the client left out citations": 3,
    "the client left out `page_age: null`": 1,
    "the client left out text beside a call": 1,
    "the client left out thinking": 1,
    "a blank text, which agentkit leaves out": 1,
}


def test_the_next_request_is_that_of_the_recorded_client() -> None:
    found = Counter[str]()
    for answered, following, _, after in replayed():
        ours, theirs = unmarked(json.loads(after)), unmarked(merged(following["request_body"]["messages"]))
        kinds = set(differences(ours, theirs))
        assert "other" not in kinds, (answered["id"], following["id"])
        found.update(kinds or {"the same"})
    assert found == DIFFERENCES
    print("\nnext requests, against the recorded client's:", *DIFFERENCES.items(), sep="\n  ")


def differences(ours: Any, theirs: Any) -> Iterator[str]:
    """What kinds of difference there are between two requests."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours.keys() | theirs.keys():
            if name in ours and name in theirs:
                yield from differences(ours[name], theirs[name])
            else:
                yield _field(name, ours, theirs)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from differences(one, other)
    elif isinstance(ours, list) and isinstance(theirs, list):
        yield _length(ours, theirs)
    elif ours != theirs:
        yield "other"


def _field(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    match name, name in ours, ours.get(name, theirs.get(name)):
        case "caller", True, {"type": "direct"}:
            return "the client left out `caller` of a call"
        case "citations", False, None:
            return "the client added `citations: null`"
        case "citations", True, [*_]:
            return "the client left out citations"
        case "page_age", True, None:
            return "the client left out `page_age: null`"
    return "other"


def _length(ours: list[Any], theirs: list[Any]) -> str:
    without = [block for block in theirs if block["type"] != "text" or block["text"].strip()]
    if unmarked(ours) == unmarked(without):
        return "a blank text, which agentkit leaves out"
    for kind, name in (("text", "text beside a call"), ("thinking", "thinking")):
        if [block["type"] for block in ours if block["type"] != kind] == [block["type"] for block in theirs]:
            return f"the client left out {name}"
    return "other"
