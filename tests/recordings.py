"""Real exchanges with the Messages API, to be served again. They are not in the project: tests skip without them."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

from scripted import Raw

__all__ = ["MISSING", "PATH", "conversations", "exchanges", "messages", "replay", "streams"]

PATH = Path(__file__).parents[2] / "shared" / "recordings" / "exchanges.jsonl.gz"
MISSING = "the recordings are not there (../shared/recordings/exchanges.jsonl.gz)"

Exchange = dict[str, Any]
"""A line of the file: `request_body`, `status`, `response_headers`, `response_body` or `response_sse`, `features`, …"""


@functools.cache
def exchanges() -> list[Exchange]:
    """Every exchange, in the order of the file. They are shared: change only copies."""
    with gzip.open(PATH, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def messages() -> list[Exchange]:
    """The successful exchanges of `/v1/messages`, streamed or not."""
    return [
        exchange
        for exchange in exchanges()
        if exchange["status"] == 200
        and "endpoint:messages" in exchange["features"]
        and (exchange["response_sse"] or exchange["response_body"])
    ]


def streams() -> list[Exchange]:
    """The exchanges whose response is an event stream; `response_sse` has it."""
    return [exchange for exchange in exchanges() if exchange["response_sse"]]


def conversations() -> list[list[Exchange]]:
    """Each path from a first exchange to a last one: where a conversation branches, each branch is a path."""
    known = {exchange["id"]: exchange for exchange in exchanges()}
    parents = {exchange.get("parent") for exchange in known.values()}
    paths = []
    for last in known.values():
        if last["id"] not in parents:
            path = [last]
            while parent := known.get(path[-1].get("parent", "")):
                path.append(parent)
            paths.append(path[::-1])
    return paths


def replay(exchange: Exchange, **delivery: Any) -> Raw:
    """The recorded response, for a `ScriptedServer`: status, headers and body as they were.

    Args:
        exchange: What was recorded.
        delivery: How it arrives, as for `Raw`: `chunk=1`, `cut=500`, `end="reset"`, …
    """
    streamed = exchange["response_sse"]
    body = streamed if streamed else json.dumps(exchange["response_body"], ensure_ascii=False)
    media_type = "text/event-stream; charset=utf-8" if streamed else "application/json"
    headers = {name.lower(): value for name, value in exchange["response_headers"].items()}
    return Raw(exchange["status"], {"content-type": media_type} | headers, body.encode(), **delivery)
