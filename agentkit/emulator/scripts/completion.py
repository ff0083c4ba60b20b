"""From what a script says to what the API would send: ids, types, signatures, encrypted fields, the stop reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from agentkit.emulator.messages.compaction import asks_for_summary, signed_summary, summary_usage
from agentkit.emulator.messages.message import Reply
from agentkit.emulator.messages.opaque import seal_citation, seal_result
from agentkit.emulator.messages.signatures import is_thinking, shows_thinking, signed
from agentkit.emulator.reader.reader import new_ids
from agentkit.emulator.replies import ScriptedReply
from agentkit.messages import Block, client_calls, copy_json

__all__ = ["completed"]

_PREFIXES = {"tool_use": "toolu", "server_tool_use": "srvtoolu", "mcp_tool_use": "mcptoolu"}
_SEARCHES = ("tool_search_tool_regex", "tool_search_tool_bm25")


def completed(scripted: ScriptedReply, body: dict[str, Any], size: int) -> Reply:
    """A scripted reply as one of the API.

    Args:
        scripted: What the script says.
        body: The request, with its whole history.
        size: Of the request in bytes.
    """
    writer = _Writer(body)
    for block in scripted.blocks:
        writer.add(copy_json(block))
    fields = copy_json(dict(scripted.fields))
    usage = dict(scripted.usage)
    if asks_for_summary(body):
        usage = summary_usage(size, writer.content) | usage
    stop = scripted.stop or _stop_reason(body, writer)
    return Reply(writer.content, stop, fields.pop("stop_sequence", None), usage, fields)


def _stop_reason(body: dict[str, Any], writer: _Writer) -> str:
    if asks_for_summary(body):
        return "compaction"
    if client_calls(writer.content):
        return "tool_use"
    return "pause_turn" if any(use in writer.content for use in writer.waiting) else "end_turn"


class _Writer:
    """The blocks of a reply, completed one by one.

    Attributes:
        content: Those that are complete.
        waiting: Server uses of the conversation that have no result yet.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.content: list[Block] = []
        self.waiting: list[Block] = []
        self._body = body
        self._ids = _ids(body)
        for message in body["messages"]:
            for block in message["content"] if isinstance(message["content"], list) else ():
                self._note(block)

    def add(self, block: Block) -> None:
        kind = block["type"]
        if kind in _PREFIXES:
            block = self._use(block)
        elif "tool_use_id" in block or kind == "":
            block = self._result(block)
        elif kind == "text":
            _seal_citations(block)
        elif is_thinking(block):
            if kind == "thinking" and not shows_thinking(self._body):
                block["thinking"] = ""
            block = signed(block, self._body, self.content)
        elif kind == "compaction" and asks_for_summary(self._body):
            block = signed_summary(block)
        self._note(block)
        self.content.append(block)

    def _note(self, block: Block) -> None:
        if block.get("type") in ("server_tool_use", "mcp_tool_use"):
            self.waiting.append(block)
        elif "tool_use_id" in block:
            self.waiting = [use for use in self.waiting if use["id"] != block["tool_use_id"]]

    def _use(self, block: Block) -> Block:
        if "id" not in block:
            block = {"type": block["type"], "id": f"{_PREFIXES[block['type']]}_{next(self._ids)}", **block}
        caller = block.get("caller")
        if caller and caller["type"] != "direct" and "tool_id" not in caller and self.waiting:
            caller["tool_id"] = self.waiting[-1]["id"]
        return block

    def _result(self, block: Block) -> Block:
        given = block.get("tool_use_id")
        use = next((use for use in self.waiting if given in (None, use["id"])), None)
        if use is None:
            raise ValueError(f"server_result: no call of a server tool waits for it{f' ({given})' if given else ''}")
        name = "tool_search" if use["name"] in _SEARCHES else str(use["name"])
        kind = "mcp_tool_result" if use["type"] == "mcp_tool_use" else f"{name}_tool_result"
        content = _result_content(name, block["content"])
        return {**block, "type": block["type"] or kind, "tool_use_id": use["id"], "content": content}


def _ids(body: dict[str, Any]) -> Iterator[str]:
    request = {name: value for name, value in body.items() if name != "stream"}
    yield from new_ids({"request": hashlib.sha256(to_json(request)).hexdigest()})


def _result_content(name: str, content: Any) -> Any:
    """With the types that follow from the tool. Source: messages-api.md sections 10.1 to 10.5."""
    if name == "web_search" and isinstance(content, list):
        return [_search_result(result) for result in content]
    if name == "tool_search" and isinstance(content, list):
        found = [_reference(tool) for tool in content]
        return {"type": "tool_search_tool_search_result", "tool_references": found}
    if not isinstance(content, dict) or "type" in content:
        return content
    return {"type": f"{name}_{'tool_result_error' if 'error_code' in content else 'result'}", **content}


def _search_result(result: dict[str, Any]) -> dict[str, Any]:
    whole = {"type": "web_search_result", "page_age": None, **result}
    return {"encrypted_content": seal_result(whole), **whole}


def _reference(tool: Any) -> Any:
    return {"type": "tool_reference", "tool_name": tool} if isinstance(tool, str) else tool


def _seal_citations(block: Block) -> None:
    for citation in block.get("citations") or ():
        if citation.get("type") == "web_search_result_location":
            citation.setdefault("encrypted_index", seal_citation(citation))
