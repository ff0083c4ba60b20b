"""The rows S in which the model or the API says something else: stop reasons, blocks, usage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agentkit.emulator.dialects.dialect import Dialect
from agentkit.emulator.faults.delivery import Delivery
from agentkit.emulator.faults.row import Answered, Asked, Rewritten, Row
from agentkit.emulator.faults.statuses import refusal
from agentkit.encode import sse
from agentkit.errors import APIError
from agentkit.messages import Block, copy_json, encode
from agentkit.stream import Decoder, Fold, parse_json

__all__ = ["ROWS", "rewritten", "without_ours"]

Message = dict[str, Any]
Change = Callable[[Message], Message | None]

_NEW_BLOCK: Block = {"type": "fault_block", "deep": {"list": [1, {"x": None}]}}
_OURS = "_fault"  # in the ids of the calls that are made here


def rewritten(reply: Delivery, change: Change, dialect: Dialect) -> Delivery | None:
    """A reply whose message is another; None where it holds no message, or none that can be changed so."""
    message = _message(reply)
    changed = None if message is None else change(copy_json(message))
    if changed is None:
        return None
    if not reply.streamed:
        return replace(reply, pieces=(encode(changed),))
    pieces = tuple(map(sse, dialect.events(changed)))
    if "usage" not in changed:  # as events it is empty then
        pieces = tuple(piece.replace(b',"usage":{}', b"") for piece in pieces)
    return replace(reply, pieces=pieces)


def _message(reply: Delivery) -> Message | None:
    try:
        if reply.streamed:
            decoder, fold = Decoder(), Fold()
            for data in decoder.feed(reply.body):
                fold.add(data)
            return fold.message
        message = parse_json(reply.body)
        return message if message.get("type") == "message" else None
    except (APIError, ValueError):
        return None


def without_ours(body: dict[str, Any]) -> dict[str, Any]:
    """A request without the blocks that were made here, which the endpoint never sent."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    left = [_without_ours(message) for message in messages]
    return {**body, "messages": [message for message in left if message]}


def _without_ours(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    kept = [block for block in content if not _is_ours(block)]
    return {**message, "content": kept} if kept or not content else None


def _is_ours(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    named = str(block.get("id") or block.get("tool_use_id"))
    return block == _NEW_BLOCK or named.startswith(("toolu" + _OURS, "srvtoolu" + _OURS))


def _stop(reason: str, **fields: Any) -> Change:
    return lambda message: {**message, "stop_reason": reason, "stop_sequence": None, **fields}


def _calls(message: Message) -> list[Block]:
    return [block for block in message["content"] if block["type"] == "tool_use"]


def _cut_input(message: Message) -> Message | None:
    """The last call's input breaks off; what is no JSON is streamed as it is."""
    calls = _calls(message)
    if not calls:
        return None
    written = encode(calls[-1]["input"]).decode()
    calls[-1]["input"] = written[: max(1, len(written) * 2 // 3)]
    return message


def _max_tokens(message: Message) -> Message | None:
    """The last block breaks off, if it is a call or text."""
    last = message["content"][-1] if message["content"] else {}
    if last.get("type") == "tool_use":
        # A reply that is not streamed shows what there is of the input, parsed.
        last["input"] = {}
    elif last.get("type") == "text":
        last["text"] = last["text"][: len(last["text"]) // 2]
    return _stop("max_tokens")(message)


def _same_ids(message: Message) -> Message | None:
    calls = _calls(message)
    if not calls:
        return None
    for call in calls[1:]:
        call["id"] = calls[0]["id"]
    return {**message, "content": [*message["content"], calls[0]]}


def _no_id(message: Message) -> Message | None:
    for call in _calls(message):
        call["id"] = ""
        return message
    return None


def _no_calls(message: Message) -> Message:
    kept = [block for block in message["content"] if block["type"] != "tool_use"]
    return _stopped("tool_use", {**message, "content": kept})


def _stopped(reason: str, message: Message) -> Message:
    return {**message, "stop_reason": reason, "stop_sequence": None}


def _calls_at_end_turn(message: Message) -> Message | None:
    return _stopped("end_turn", message) if _calls(message) else None


def _other_signature(message: Message) -> Message | None:
    for block in message["content"]:
        if block.get("signature"):
            block["signature"] = block["signature"][::-1]
            return message
    return None


def _search_error(message: Message) -> Message | None:
    for block in message["content"]:
        if block["type"] in ("web_search_tool_result", "web_fetch_tool_result"):
            block["content"] = {"type": f"{block['type']}_error", "error_code": "unavailable"}
            return message
    return None


def _no_usage(message: Message) -> Message:
    return {name: value for name, value in message.items() if name != "usage"}


def _pause(*made: tuple[str, str, str]) -> Callable[[Asked], Delivery]:
    """A reply that pauses with calls, by type, prefix of the id and name, which the endpoint never made."""

    def make(asked: Asked) -> Delivery:
        calls = [
            {"type": kind, "id": f"{prefix}{_OURS}{asked.turn}", "name": name, "input": {"query": f"page {asked.turn}"}}
            for kind, prefix, name in made
        ]
        message = {
            "id": f"msg{_OURS}{asked.turn}",
            "type": "message",
            "role": "assistant",
            "model": asked.body.get("model"),
            "content": calls,
            "stop_reason": "pause_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        if asked.body.get("stream"):
            pieces = tuple(map(sse, asked.dialect.events(message)))
            return Delivery(headers=((b"content-type", b"text/event-stream"),), pieces=pieces)
        headers = ((b"content-type", b"application/json"), (b"content-length", b"0"))
        return Delivery(headers=headers, pieces=(encode(message),))

    return make


def _container_expired(asked: Asked) -> Delivery | None:
    given = asked.body.get("container")
    name = given.get("id") if isinstance(given, dict) else given
    if not isinstance(name, str):
        return None
    made: Delivery = refusal(400, f"Container {name} has expired or does not exist")(asked)
    return made


_SEARCH = ("server_tool_use", "srvtoolu", "web_search")
_LOOKUP = ("tool_use", "toolu", "lookup")
_DECLINED = {"type": "refusal", "category": "general_harms", "explanation": "A fault was asked for."}
_TOO_LONG = "prompt is too long: 208310 tokens > 200000 maximum"


def _row(name: str, about: str, make: Change, alias: str = "", **fields: Any) -> Rewritten:
    return Rewritten(name=name, alias=alias, about=about, make=make, **fields)


ROWS: tuple[Row, ...] = (
    _row("S4", "a block of an unknown type", lambda m: {**m, "content": [*m["content"], _NEW_BLOCK]}, "unknown_block"),
    _row("S6", "an unknown stop reason", _stop("fault_stop"), "unknown_stop"),
    _row("S15", "a call whose input breaks off", _cut_input, "cut_input", fits="stream"),
    _row("S15-ids", "two calls with one id", _same_ids, passing=True, lost=True),
    _row("S15-no-id", "a call without id", _no_id, passing=True, lost=True),
    _row("S16", "max_tokens inside the last block", _max_tokens, "max_tokens"),
    _row("S17", "a refusal, whatever was said before it", _stop("refusal", stop_details=_DECLINED), "refusal"),
    _row("S18", "nothing at all, with end_turn", lambda m: {**_stopped("end_turn", m), "content": []}, "empty"),
    _row("S19", "the stop reason tool_use, and no call", _no_calls, "stop_without_call"),
    _row("S20", "calls with the stop reason end_turn", _calls_at_end_turn, "call_without_stop"),
    _row("S21", "a signature that is not right", _other_signature, "bad_signature"),
    _row("S22", "model_context_window_exceeded", _stop("model_context_window_exceeded"), "window_exceeded"),
    Answered(name="S23", alias="prompt_too_long", about="400: the prompt is too long", make=refusal(400, _TOO_LONG)),
    Answered(
        name="S24",
        alias="pause",
        about="a pause in a search; always: it never ends",
        make=_pause(_SEARCH),
    ),
    Answered(
        name="S25",
        alias="pause_with_call",
        about="a pause in a search, beside a call of a client's tool `lookup`",
        make=_pause(_LOOKUP, _SEARCH),
    ),
    Answered(
        name="S26",
        alias="container_expired",
        about="400: the container that the request names has expired",
        make=_container_expired,
    ),
    _row("S27", "a search or fetch that failed", _search_error, "search_error"),
    _row("S28", "no usage", _no_usage, "no_usage"),
)
