"""What a request's messages say: the question, and what was done for it so far."""

from __future__ import annotations

import re
from typing import Any

from agentkit.messages import Block

__all__ = ["Conversation"]

_URL = re.compile(r"https?://[^\s<>\"'`)\]}]+(?<![.,;:!?])")


class Conversation:
    """A reading of `messages`; blocks that the reply adds are added to it.

    Attributes:
        question: The newest text of the user.
        questions: All texts of the user, the newest last.
        waiting: Server uses without a result: their results open the reply.
        known_urls: Addresses that occur anywhere.
    """

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        turns = [(message["role"], _blocks(message["content"])) for message in messages]
        said = [at for at, (role, blocks) in enumerate(turns) if role == "user" and _text(blocks)]
        asked = said[-1] if said else -1
        self.questions = [_text(turns[at][1]) for at in said] or [""]
        self.question = self.questions[-1]
        self.known_urls: set[str] = set()
        self.waiting: list[Block] = []
        self._done: list[Block] = []  # since the question
        self._documents: list[dict[str, Any]] = []
        for at, (role, blocks) in enumerate(turns):
            for block in blocks:
                self._note(block)
                if at > asked and role != "system":
                    self._done.append(block)

    def add(self, block: Block) -> None:
        """Takes a block of the reply."""
        self._note(block)
        self._done.append(block)

    def uses(self, kind: str, name: str | None = None) -> list[Block]:
        """The `tool_use` or `server_tool_use` blocks since the question, of one tool or of all."""
        return [block for block in self._done if block["type"] == kind and name in (None, block["name"])]

    def result_of(self, use: Block) -> Block | None:
        """The result of a use since the question."""
        return next((block for block in self._done if block.get("tool_use_id") == use["id"]), None)

    def searched(self) -> list[Any]:
        """The queries of the searches since the question that succeeded."""
        uses = self.uses("server_tool_use", "web_search")
        results = [(use, self.result_of(use)) for use in uses]
        return [use["input"].get("query") for use, result in results if result and isinstance(result["content"], list)]

    def fetched(self) -> list[tuple[int, str, dict[str, Any]]]:
        """The documents fetched since the question: (index among all documents, address, document)."""
        indexes = {id(document): index for index, document in enumerate(self._documents)}
        pages = (block["content"] for block in self._done if block["type"] == "web_fetch_tool_result")
        read = [page for page in pages if page["type"] == "web_fetch_result"]
        return [(indexes[id(page["content"])], page["url"], page["content"]) for page in read]

    def urls_asked(self) -> list[str]:
        """The addresses in the question."""
        return list(dict.fromkeys(_URL.findall(self.question)))

    def _note(self, block: Block) -> None:
        kind: str = block["type"]
        content: Any = block.get("content")
        if kind == "server_tool_use":
            self.waiting.append(block)
        elif kind == "text":
            self.known_urls.update(_URL.findall(block["text"]))
        elif kind == "document":
            self._documents.append(block)
        elif kind == "tool_result":
            for part in _blocks(content or []):
                self._note(part)
        elif kind == "web_search_tool_result" and isinstance(content, list):
            self.known_urls.update(result["url"] for result in content)
        elif kind == "web_fetch_tool_result" and content["type"] == "web_fetch_result":
            self.known_urls.add(content["url"])
            self._documents.append(content["content"])
        if "tool_use_id" in block:
            self.waiting = [use for use in self.waiting if use["id"] != block["tool_use_id"]]


def _blocks(content: str | list[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(blocks: list[Block]) -> str:
    return "\n".join(block["text"] for block in blocks if block["type"] == "text" and block["text"].strip())
