"""Talking to an emulator by hand: what a runtime would send."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import httpx

from agentkit.emulator.clock import Clock

HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch", "citations": {"enabled": True}}
CALCULATOR = {
    "name": "calculator",
    "description": "Works out an expression.",
    "input_schema": {
        "type": "object",
        "properties": {"expression": {"type": "string"}},
        "required": ["expression"],
        "additionalProperties": False,
    },
}


class Talk:
    """A conversation with an emulator."""

    def __init__(self, http: httpx.Client, url: str, *tools: dict[str, Any]) -> None:
        self.http = http
        self.url = url
        self.tools = list(tools)
        self.messages: list[dict[str, Any]] = []
        self.turns: list[dict[str, Any]] = []

    def body(self, **fields: Any) -> dict[str, Any]:
        known = {"model": "claude-sonnet-4-6", "max_tokens": 4000, "messages": self.messages}
        return known | ({"tools": self.tools} if self.tools else {}) | fields

    def post(self, **fields: Any) -> httpx.Response:
        return self.http.post(f"{self.url}/v1/messages", json=self.body(**fields))

    def turn(self, **fields: Any) -> dict[str, Any]:
        """The next turn, kept: a paused turn and its continuation are one assistant message."""
        reply = self.post(**fields)
        assert reply.status_code == 200, reply.text
        message: dict[str, Any] = reply.json()
        self.turns.append(message)
        if self.messages[-1]["role"] == "assistant":
            self.messages[-1] = {"role": "assistant", "content": self.messages[-1]["content"] + message["content"]}
        else:
            self.messages.append({"role": "assistant", "content": message["content"]})
        return message

    def ask(self, question: str, results: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """Asks, resumes pauses and answers calls of client tools until the turn ends."""
        self.messages.append({"role": "user", "content": question})
        while True:
            message = self.turn(**fields)
            if message["stop_reason"] == "tool_use":
                self.answer(results or {})
            elif message["stop_reason"] != "pause_turn":
                return message

    def answer(self, results: dict[str, str]) -> None:
        uses = [block for block in self.messages[-1]["content"] if block["type"] == "tool_use"]
        blocks = [{"type": "tool_result", "tool_use_id": use["id"], "content": results[use["name"]]} for use in uses]
        self.messages.append({"role": "user", "content": blocks})


def stop(clock: Clock) -> None:
    """It stands still from now on, at a whole second, but for what it is put forward."""
    began = round(clock.now())
    clock.now = lambda: began + clock._ahead  # type: ignore[method-assign]


def warned(records: Sequence[logging.LogRecord], thread: str) -> list[str]:
    """What a server warned of in its thread, or our code in any: others of this process may have their say as well."""
    return [
        record.getMessage()
        for record in records
        if record.levelno >= logging.WARNING and (record.threadName == thread or record.name.startswith("agentkit"))
    ]


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


def text(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")
