"""A Messages API on loopback for `fleet.py`: each run calls a tool so many times, and what passes between is timed.

`GET /seen` gives what was seen since it was asked last: the seconds between each reply and the next request of the same
run (which is all that a client does in a turn), and when each run asked for the first time.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

__all__ = ["CALLS", "serve"]

CALLS = re.compile(r"run (\S+): look up (\d+) records")
"""What a question says: its number, and how often the tool is to be called."""
_WANTED = re.compile(CALLS.pattern.encode())
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USAGE = {"input_tokens": 1000, "output_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 900}

seen: dict[str, Any] = {"gaps": [], "first": {}}
replied: dict[bytes, float] = {}


def _message(number: int, calls: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": "All of the work is done."}]
    if number < calls:
        call = {
            "type": "tool_use",
            "id": f"toolu_{number:06d}",
            "name": "lookup",
            "input": {"key": f"rec-{number:06d}"},
        }
        content = [{"type": "text", "text": "I will look up the next record now, then go on."}, call]
    return {
        "id": f"msg_{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": content,
        "stop_reason": "tool_use" if number < calls else "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
    }


def _reply(run: bytes, body: bytes, calls: int) -> dict[str, Any]:
    now = time.monotonic()
    if run in replied:
        seen["gaps"].append(now - replied[run])
    else:
        seen["first"][run.decode()] = time.time()
    return _message(body.count(b'"tool_result"'), calls)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            if wanted := _WANTED.search(body):
                answer = _reply(wanted[1], body, int(wanted[2]))
            else:
                answer, seen["gaps"], seen["first"] = dict(seen), [], {}
                replied.clear()
            text = json.dumps(answer, separators=(",", ":")).encode()
            first = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\ncontent-length: %d\r\n\r\n"
            )
            writer.write(first % len(text) + text)
            await writer.drain()
            if wanted:
                replied[wanted[1]] = time.monotonic()
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
