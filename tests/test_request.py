"""One request body."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from logs import asked, end, take
from scripted import text, tool_use

from agentkit.request import Request

TOOLS = ({"name": "add", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"})
REQUEST = Request("claude-sonnet-4-6", 100, system="Be brief.", tools=TOOLS, params={"thinking": {"type": "adaptive"}})


def body(request: Request, container: str | None = None) -> bytes:
    return b"".join(request.body_parts(asked().message_parts(), container))


def test_the_order_keeps_the_beginning() -> None:
    sent: dict[str, Any] = json.loads(body(REQUEST, "c_1"))
    assert list(sent) == ["model", "tools", "system", "messages", "max_tokens", "container", "stream", "thinking"]
    assert sent == {
        "model": "claude-sonnet-4-6",
        "tools": list(TOOLS),
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "max_tokens": 100,
        "container": "c_1",
        "stream": True,
        "thinking": {"type": "adaptive"},
    }


def test_what_is_not_there_is_not_sent() -> None:
    sent = json.loads(body(Request("m", 1, stream=False)))
    assert sent == {"model": "m", "messages": [{"role": "user", "content": [text("Hi")]}], "max_tokens": 1}


def test_params_win() -> None:
    params = {"container": {"id": "mine", "skills": []}, "max_tokens": 7}
    sent = json.loads(body(Request("m", 1, params=params), "c_1"))
    assert (sent["container"], sent["max_tokens"]) == ({"id": "mine", "skills": []}, 7)


def test_the_next_body_begins_as_the_one_before() -> None:
    transcript = asked()
    before = b"".join(REQUEST.body_parts(transcript.message_parts(), None))
    take(transcript, text("é"), tool_use("add", x=1))
    end(transcript).answer()
    wrapped = replace(REQUEST, max_tokens=50, headers={"x": "1"})
    after = b"".join(wrapped.body_parts(transcript.message_parts(), "c_1"))
    shared = before[: before.rindex(b"]}],")]
    assert shared.endswith(b'"Hi"}')
    assert after.startswith(shared)
    assert json.loads(after)["max_tokens"] == 50
