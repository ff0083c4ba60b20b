"""A model that does whatever any text tells it, and tools that record what it did to the world.

A text commands by `[[name {json}]]`; commands of one text are calls of one turn. In a prompt, ` | ` is between turns.
`[[later: name {json}]]` is done when a prompt says “go on”. SECRET in an input becomes what private data was seen.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from scripted import Request, reply, server_tool_use, text, tool_use

from agentkit import Tool, ToolError, tool

__all__ = ["SECRET", "World", "obey"]

SECRET = "PRIV-4711"
_COMMAND = re.compile(r"\[\[(later: )?(\w+) (?=\{)")
_CODE = {"type": "code_execution_20260120", "tool_id": "srvtoolu_code"}
_CODE_RESULT = {
    "type": "code_execution_tool_result",
    "tool_use_id": "srvtoolu_code",
    "content": {"type": "code_execution_result", "stdout": "", "stderr": "", "return_code": 0, "content": []},
}
_CONTAINER = {"id": "container_1", "expires_at": "2030-01-01T00:00:00Z"}
Command = tuple[str, dict[str, Any]]


def commands(said: str, *, later: bool = False) -> list[Command]:
    """What a text commands."""
    found, at = [], 0
    while match := _COMMAND.search(said, at):
        given, at = json.JSONDecoder().raw_decode(said, match.end())
        if bool(match[1]) is later:
            found.append((match[2], given))
    return found


def _text(block: dict[str, Any]) -> str:
    """All text of a block, whatever its kind."""
    content = block.get("content", block.get("text", ""))
    if isinstance(content, list):
        return " ".join(map(_text, content))
    if isinstance(content, dict):
        return _text(content)
    return f"{block.get('title', '')} {content}"


def obey(request: Request) -> object:
    """The next reply of the model: it does what it was told, and else repeats all that it has read."""
    messages = request.json["messages"]
    if "compaction" in request.json:
        summary = {"type": "compaction", "content": _read(messages), "signature": "s", "encrypted_content": None}
        return reply(summary, stop="compaction")
    pending: deque[list[Command]] = deque()
    for message in messages:
        results = [command for block in message["content"] for command in _told(block)]
        if message["role"] == "assistant":
            if pending and any(block["type"].endswith("tool_use") for block in message["content"]):
                pending.popleft()
            continue
        if results:
            pending.appendleft(results)
        for block in message["content"]:
            if block["type"] == "text" and "go on" in block["text"]:
                pending.append(commands(_read(messages), later=True))
            elif block["type"] == "text":
                pending += [group for turn in block["text"].split(" | ") if (group := commands(turn))]
    blocks = list(_blocks(messages))
    ended = [_CODE_RESULT] if sum(map(_is_code, blocks)) > blocks.count(_CODE_RESULT) else []
    if not pending or not pending[0]:
        return reply(*ended, text(_read(messages) or "Well."), container=_CONTAINER)
    todo = _carried_out(pending[0], json.dumps(messages), len(messages))
    return reply(*ended, *todo, container=_CONTAINER)


def _is_code(block: dict[str, Any]) -> bool:
    return block["type"] == "server_tool_use" and block["name"] == "code_execution"


def _told(block: dict[str, Any]) -> list[Command]:
    return commands(_text(block)) if block["type"] == "tool_result" else []


def _read(messages: Iterable[dict[str, Any]]) -> str:
    """All that tools said, of the model's own words nothing."""
    return " ".join(_text(block) for block in _blocks(messages) if block["type"].endswith(("_result", "compaction")))


def _blocks(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        yield from message["content"]


def _carried_out(todo: list[Command], seen: str, turn: int) -> Iterator[dict[str, Any]]:
    """Blocks of one reply. What the API itself finds is obeyed in the same reply."""
    for at, (name, given) in enumerate(todo):
        if name in ("web_search", "server_fetch", "mcp"):
            yield from _found(name, str(given["text"]), f"{turn}_{at}")
            yield from _carried_out(commands(str(given["text"])), seen, turn + 1000)
            continue
        secret = SECRET if SECRET in seen else "nothing"
        if name.startswith("code_"):
            yield server_tool_use("code_execution", id="srvtoolu_code", code="…")
        filled = json.loads(json.dumps(given).replace("SECRET", secret))
        use = tool_use(name.removeprefix("code_"), id=f"toolu_{turn}_{at}", **filled)
        yield {**use, "caller": _CODE} if name.startswith("code_") else use


def _found(name: str, said: str, id_: str) -> Iterator[dict[str, Any]]:
    if name == "mcp":
        yield {"type": "mcp_tool_use", "id": f"mcptoolu_{id_}", "name": "look", "server_name": "s", "input": {}}
        content: Any = [text(said)]
        yield {"type": "mcp_tool_result", "tool_use_id": f"mcptoolu_{id_}", "is_error": False, "content": content}
        return
    if name == "web_search":
        content = [{"type": "web_search_result", "url": "https://a.test", "title": said, "encrypted_content": "x"}]
    else:
        document = {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "-"},
            "title": said,
        }
        content = {"type": "web_fetch_result", "url": "https://a.test", "content": document}
    kind = "web_search" if name == "web_search" else "web_fetch"
    yield server_tool_use(kind, id=f"srvtoolu_{id_}", query="q")
    yield {"type": f"{kind}_tool_result", "tool_use_id": f"srvtoolu_{id_}", "content": content}


class World:
    """Tools, and what they have done.

    Attributes:
        page: What untrusted sources say.
        effects: Names and inputs of calls that have changed or sent something.
    """

    def __init__(self, page: str) -> None:
        self.page = page
        self.effects: list[Command] = []

    def tools(self) -> list[Tool[..., Any]]:
        """All of them."""
        return [*self._reading(), *map(self._acting, _ACTING)]

    def _reading(self) -> list[Tool[..., Any]]:
        @tool(effect={"read", "private"})
        def read_inbox() -> str:
            """Reads mail of the user's own."""
            return f"The code is {SECRET}."

        @tool(effect={"read", "untrusted"})
        def read_page() -> str:
            """Reads what others wrote."""
            return self.page

        @tool(effect={"read", "untrusted"})
        def broken_page() -> str:
            """Fails with a text that others wrote."""
            raise ToolError(self.page)

        @tool(effect={"read", "private", "untrusted"})
        def read_mail() -> str:
            """Reads mail that others sent."""
            return f"{SECRET} {self.page}"

        @tool
        def undeclared() -> str:
            """Says nothing of what it does."""
            return self.page

        return [read_inbox, read_page, broken_page, read_mail, undeclared]

    def _acting(self, item: tuple[str, set[str] | None]) -> Tool[..., Any]:
        name, effect = item

        def act(**given: Any) -> str:
            self.effects.append((name, given))
            return "It is done."

        return Tool(name=name, description=None, input_schema={"type": "object"}, call=act, effect=effect)


_ACTING: list[tuple[str, set[str] | None]] = [
    ("send_mail", {"write", "net"}),
    ("http_get", {"read", "net", "untrusted"}),
    ("write_file", {"write"}),
    ("run", {"read", "write", "exec"}),
    ("run_shell", {"read", "write", "exec"}),
    ("mail__send_mail", {"write", "net", "untrusted"}),
    ("act", None),
]
