"""A Messages API on loopback: asked for `events N` it streams N pieces of text, for `turns N` it calls a tool N times.

It keeps no conversation: the id of a call carries its number, so the last one in a request says which comes next.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

__all__ = ["serve"]

_WANTED = re.compile(rb"(events|turns) (\d+)")
_CALL = re.compile(rb"toolu_(\d{6})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USAGE = {"input_tokens": 1000, "output_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 900}


def _message(number: int, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": _USAGE,
    }


def _turn(number: int, turns: int) -> bytes:
    """A whole reply: one small call, or the end."""
    if number < turns:
        call = {
            "type": "tool_use",
            "id": f"toolu_{number:06d}",
            "name": "lookup",
            "input": {"key": f"record-{number:06d}", "limit": 10},
        }
        text = "I will look up the next record now, then go on."
        message = _message(number, [{"type": "text", "text": text}, call], "tool_use")
    else:
        message = _message(number, [{"type": "text", "text": "All of the work is done."}], "end_turn")
    body = json.dumps(message, separators=(",", ":")).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def _stream(events: int) -> bytes:
    """A streamed reply of that many pieces of text; each event is an HTTP chunk, as servers that flush them send it."""
    word = _chunk("content_block_delta", index=0, delta={"type": "text_delta", "text": "word "})
    return b"".join([
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_1\r\n"
        b"transfer-encoding: chunked\r\n\r\n",
        _chunk("message_start", message=_message(0, [], None)),
        _chunk("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[word] * events,
        _chunk("content_block_stop", index=0),
        _chunk("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=_USAGE),
        _chunk("message_stop"),
        b"0\r\n\r\n",
    ])  # fmt: skip


def _chunk(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    event = f"event: {kind}\ndata: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            wanted, calls = _WANTED.search(body), _CALL.findall(body)
            kind, count = (wanted[1], int(wanted[2])) if wanted else (b"turns", 0)
            writer.write(_stream(count) if kind == b"events" else _turn(int(calls[-1]) + 1 if calls else 0, count))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve() -> None:
    """Serves until it is killed; the first line of the output is the port."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
