"""A tiny folder to search, and an emulator over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentkit.emulator import Corpus, Emulator

FILES = {
    "coffee.md": """# Brewing coffee

Coffee is brewed from roasted beans.
The water should have about 93 degrees. A French press needs coarse grounds and four minutes.

## Espresso

Espresso is pressed through fine grounds at nine bar.
""",
    "tea.txt": """Tea for beginners

Green tea is steeped at 70 degrees for two minutes. Black tea takes boiling water and four minutes.
""",
    "animals/bees.html": """<!doctype html><html><head><title>Keeping bees</title><style>p { color: red }</style>
<body><h1>Bees</h1><p>A colony of bees has one queen.</p><script>ignored()</script>
<p>Worker bees live about six weeks in summer,<br>longer in winter.</p></body></html>
""",
    "animals/my cat.md": "A cat sleeps up to sixteen hours a day. Cats purr when they are content.\n",
    "water.md": "# Water\n\nWater boils at 100 degrees. Coffee and tea are mostly water.\n",
    ".hidden/secret.md": "Nobody reads this about coffee.\n",
    "picture.png": "not text",
    "empty.md": "\n",
}

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


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return root


@pytest.fixture(scope="session")
def corpus(folder: Path) -> Iterator[Corpus]:
    opened = Corpus.folder(folder)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def emulator(corpus: Corpus) -> Iterator[Emulator]:
    with Emulator(corpus=corpus, pace=0) as serving:
        yield serving


@pytest.fixture(scope="session")
def patient(corpus: Corpus) -> Iterator[Emulator]:
    """One that pauses as late as the API."""
    with Emulator(corpus=corpus, pace=0, pause_after=10) as serving:
        yield serving


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(headers=HEADERS) as client:
        yield client


class Talk:
    """A conversation with an emulator, by hand: what a runtime would send."""

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


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


def text(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")
