"""What a run did, as typed views of its log: what the API ran itself, and the calls of its own tools.

Views are copies, and they show what they know: an unknown block, field or error code is shown as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from agentkit.messages import Block, client_calls, copy_json, sent_content, text_of

__all__ = ["CallRecord", "CodeOutput", "FoundTool", "OtherResult", "Page", "Search", "searches_of", "tool_calls_of"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was found or fetched.

    Attributes:
        url: Its address.
        title: Where it has one.
        text: Of a fetched page; None for one that was only found, and for a PDF.
        page_age: When it was changed last, in words, where that is known.
        raw: The result as it is on the wire.
    """

    url: str
    title: str | None
    text: str | None
    page_age: str | None
    raw: Block = field(repr=False)


@dataclass(frozen=True, slots=True)
class CodeOutput:
    """What code or a command put out.

    Attributes:
        stdout: None where it is encrypted.
        stderr: What it wrote there.
        return_code: 0 if it went well; None where it is not known.
        file_ids: Files that it made, for the Files API.
        raw: The result as it is on the wire.
    """

    stdout: str | None
    stderr: str | None
    return_code: int | None
    file_ids: tuple[str, ...]
    raw: Block = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool that a tool search has found.

    Attributes:
        name: Its name.
        raw: The reference as it is on the wire.
    """

    name: str
    raw: Block = field(repr=False)


@dataclass(frozen=True, slots=True)
class OtherResult:
    """A result of another sort: of the editor of the container, the advisor, an MCP server, or a newer tool.

    Attributes:
        text: Where it has one.
        raw: The result as it is on the wire.
    """

    text: str | None
    raw: Any = field(repr=False)


Result: TypeAlias = Page | CodeOutput | FoundTool | OtherResult


@dataclass(frozen=True, slots=True)
class Search:
    """One use of a tool that the API runs: a search, a fetch, code, a tool search, an advisor, an MCP tool.

    Attributes:
        id: Of the use: `srvtoolu_…` or `mcptoolu_…`.
        name: Of the tool, as the model calls it: `web_search`, `bash_code_execution`, …
        input: What the model gave it.
        caller: `direct`, or the type of the code execution that made the call.
        results: Empty while there is no result, and where there is an `error`.
        error: The wire's error code, such as `max_uses_exceeded`; `is_error` where an MCP tool failed, which has none.
        error_message: The words to the error, of the tools that have some.
        raw: The result block as it came; None while there is none.
    """

    id: str
    name: str
    input: Any
    caller: str
    results: tuple[Result, ...] = ()
    error: str | None = None
    error_message: str | None = None
    raw: Block | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a tool of the run's own.

    Attributes:
        call_id: Names it within the log.
        name: Of the tool.
        input: What it ran with; where a human changed it, that.
        caller: `direct`, or the type of the code execution that made the call.
        outcome: done, failed, denied, timed_out, cancelled, unknown or not_run; None while it has not ended.
        raw: The `tool_result` block; None while it has not ended.
    """

    call_id: str
    name: str
    input: Any
    caller: str
    outcome: str | None = None
    raw: Block | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The text of the result, empty while there is none."""
        content = (self.raw or {}).get("content")
        return text_of(content) if isinstance(content, list) else str(content or "")


def searches_of(entries: Sequence[Mapping[str, Any]], start: int) -> list[Search]:
    """The uses of server tools since entry `start` of a log, in order; with a result since then, earlier ones too.

    Args:
        entries: The log.
        start: Where the run began.
    """
    found: list[Search] = []
    waiting: dict[str, int] = {}  # the newest use of each id
    shown: set[int] = set()
    for at, block in _server_blocks(entries):
        id_ = str(block.get("id") or block.get("tool_use_id"))
        if str(block.get("type")).endswith("_use"):
            waiting[id_] = len(found)
            found.append(Search(id_, str(block.get("name")), copy_json(block.get("input")), _caller(block)))
        elif id_ in waiting:
            found[waiting[id_]] = _ended(found[waiting[id_]], block)
        if at >= start and id_ in waiting:
            shown.add(waiting[id_])
    return [search for number, search in enumerate(found) if number in shown]


def tool_calls_of(entries: Sequence[Mapping[str, Any]], start: int) -> list[CallRecord]:
    """The calls of client tools since entry `start` of a log, in the order of their turns.

    Args:
        entries: The log.
        start: Where the run began.
    """
    calls: dict[str, CallRecord] = {}
    turns = 0
    for at, entry in enumerate(entries):
        if message := _message(entry):
            turns += 1
            made = client_calls(sent_content(message)) if at >= start else []
            for block in made:
                call_id = f"{turns}:{block.get('id')}"
                calls[call_id] = CallRecord(call_id, str(block.get("name")), block.get("input"), _caller(block))
        elif record := calls.get(str(entry.get("call"))):
            calls[record.call_id] = _with_entry(record, entry)
    return [replace(record, input=copy_json(record.input)) for record in calls.values()]


def _with_entry(record: CallRecord, entry: Mapping[str, Any]) -> CallRecord:
    if entry.get("state") == "ended":
        return replace(record, outcome=entry.get("outcome"), raw=copy_json(entry.get("result")))
    edited = entry.get("action") == "edit"
    return replace(record, input=entry.get("input")) if edited else record


def _message(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model's message, if the entry is one."""
    return entry.get("message") if entry.get("entry") == "turn" else None


def _server_blocks(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, Block]]:
    """Uses of server tools and their results, each with the place of its entry."""
    for at, entry in enumerate(entries):
        for block in (_message(entry) or {}).get("content") or ():
            kind = str(block.get("type"))
            if kind in ("server_tool_use", "mcp_tool_use") or kind.endswith("_tool_result"):
                yield at, block


def _caller(block: Block) -> str:
    caller = block.get("caller")
    return str(caller.get("type")) if isinstance(caller, dict) else "direct"


def _ended(search: Search, block: Block) -> Search:
    """Source: messages-api.md sections 5.2 and 10.1 to 10.5."""
    block = copy_json(block)
    content: Any = block.get("content")
    match content:
        case {"error_code": str(code)} as failed:
            return replace(search, error=code, error_message=_text(failed.get("error_message")), raw=block)
        case {"tool_references": list(items)} | list(items):
            pass
        case _:
            items = [] if content is None else [content]
    error = "is_error" if block.get("is_error") is True else None
    return replace(search, results=tuple(map(_result, items)), error=error, raw=block)


def _result(item: Any) -> Result:
    match item:
        case {"type": "web_search_result", "url": str(url)}:
            return Page(url, _text(item.get("title")), None, _text(item.get("page_age")), item)
        case {"type": "web_fetch_result", "url": str(url), "content": {"source": dict(source)}}:
            text = source.get("data") if source.get("type") == "text" else None
            return Page(url, _text(item["content"].get("title")), _text(text), None, item)
        case {"type": str(kind), "return_code": code} if kind.endswith("code_execution_result"):
            files = item.get("content") if isinstance(item.get("content"), list) else []
            ids = [str(made["file_id"]) for made in files if isinstance(made, dict) and "file_id" in made]
            code = code if isinstance(code, int) else None
            return CodeOutput(_text(item.get("stdout")), _text(item.get("stderr")), code, tuple(ids), item)
        case {"tool_name": str(name)}:
            return FoundTool(name, item)
        case {"text": str(text)} | {"content": str(text)} | str(text):
            return OtherResult(text, item)
    return OtherResult(None, item)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
