"""The wire's words: messages, content blocks, usage, citations. Unknown fields and blocks survive."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

from agentkit.errors import ConfigurationError

__all__ = [
    "Block",
    "Citation",
    "Message",
    "Prompt",
    "Usage",
    "as_messages",
    "citations_of",
    "client_calls",
    "copy_json",
    "encode",
    "fetched_pages",
    "final_text",
    "model_turns",
    "sent_content",
    "text_of",
]

Block: TypeAlias = dict[str, Any]
"""One content block as it is on the wire: a dict with a `type`."""


class Message(TypedDict):
    """One message as it is on the wire. Source: messages-api.md section 3."""

    role: str
    content: str | list[Block]


Prompt: TypeAlias = "str | Block | Iterable[Block] | Iterable[Message]"
"""What a run is given: text, content blocks, or messages in wire shape."""

# A circle ends in a RecursionError: to look for one at every level costs a tenth.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)


def encode(value: Any) -> bytes:
    """`value` as compact JSON in UTF-8.

    Raises:
        ConfigurationError: It has something that JSON has not.
    """
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"can't be sent as JSON: {error}") from None


def copy_json(value: Any) -> Any:
    """A copy of JSON that shares no dict and no list with `value`."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()}
    return [copy_json(item) for item in value] if isinstance(value, list) else value


def as_messages(prompt: Prompt) -> list[Message]:
    """`prompt` in wire shape. A list whose items have `role` is a list of messages, any other a list of blocks.

    Raises:
        ConfigurationError: It is empty or of another shape.
    """
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
    if not isinstance(prompt, Iterable):
        raise ConfigurationError(f"the prompt must be text, content blocks or messages, not {type(prompt).__name__}")
    items: list[Any] = [prompt] if isinstance(prompt, Mapping) else list(prompt)
    if not items or isinstance(prompt, str):
        raise ConfigurationError("the prompt is empty: give text, content blocks or messages")
    if not all(isinstance(item, Mapping) for item in items):
        raise ConfigurationError("the prompt must be text, a list of content blocks, or a list of messages")
    if any("role" in item for item in items):
        return [_message(item, at) for at, item in enumerate(items)]
    return [{"role": "user", "content": [_block(item, at) for at, item in enumerate(items)]}]


def _message(item: Mapping[str, Any], at: int) -> Message:
    content = item.get("content")
    if item.get("role") not in ("user", "assistant", "system") or not isinstance(content, Iterable):
        raise ConfigurationError(f"message {at} of the prompt needs a role (user, assistant or system) and content")
    if isinstance(content, str):
        return {"role": item["role"], "content": [{"type": "text", "text": content}]}
    content = [content] if isinstance(content, Mapping) else content
    return {"role": item["role"], "content": [_block(block, number) for number, block in enumerate(content)]}


def _block(item: Any, at: int) -> Block:
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise ConfigurationError(f"content block {at} of the prompt needs a `type`")
    return dict(item)


def text_of(content: Iterable[Block]) -> str:
    """The text of content blocks: neighbours are one text (citations cut it up), others get an empty line between."""
    groups: list[list[str]] = []
    open_group = False
    for block in content:
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            if not open_group:
                groups.append([])
            groups[-1].append(block["text"])
            open_group = True
        else:
            open_group = False
    return "\n\n".join(text for group in groups if (text := "".join(group)).strip())


def final_text(content: Iterable[Block]) -> str:
    """The text after the last block of another sort: what a reply says in the end."""
    pieces: list[str] = []
    for block in content:
        if block.get("type") == "text":
            pieces.append(str(block.get("text") or ""))
        else:
            pieces.clear()
    return "".join(pieces)


def client_calls(content: Iterable[Block]) -> list[Block]:
    """The `tool_use` blocks that we are to run: those after the last `fallback`. Source: messages-api.md 7.4."""
    calls: list[Block] = []
    for block in content:
        if block.get("type") == "fallback":
            calls.clear()
        elif block.get("type") == "tool_use":
            calls.append(block)
    return calls


def sent_content(message: dict[str, Any]) -> list[Block]:
    """What is sent of a reply: a pure function of it, which differs only where the API demands it.

    Blank text is left out (the API refuses to get back what it sent), as are the leftovers before a `fallback`;
    input that is no JSON object goes under `INVALID_JSON`; of a refused turn nothing is sent.

    Source: messages-api.md sections 7.4, 8 and 15.7.
    """
    if message.get("stop_reason") == "refusal":
        return []
    blocks = _without_leftovers(message.get("content") or [])
    return [_with_object_input(block) for block in blocks if not _is_blank(block)]


def _is_blank(block: Block) -> bool:
    return block.get("type") == "text" and not str(block.get("text") or "").strip()


def _with_object_input(block: Block) -> Block:
    if "input" not in block or isinstance(block["input"], dict):
        return block
    raw = block["input"]
    return {**block, "input": {"INVALID_JSON": raw if isinstance(raw, str) else encode(raw).decode()}}


def _without_leftovers(blocks: list[Block]) -> list[Block]:
    last = max((at for at, block in enumerate(blocks) if block.get("type") == "fallback"), default=-1)
    paired = {str(block.get("tool_use_id")) for block in blocks}

    def stays(at: int, block: Block) -> bool:
        kind = block.get("type")
        if at >= last or kind not in _LEFT_BEFORE_FALLBACK:
            return True
        return kind == "server_tool_use" and str(block.get("id")) in paired

    return [block for at, block in enumerate(blocks) if stays(at, block)] if last >= 0 else blocks


_LEFT_BEFORE_FALLBACK = {"thinking", "redacted_thinking", "connector_text", "tool_use", "server_tool_use"}


@dataclass(frozen=True, slots=True)
class Citation:
    """One place that the answer cites.

    Attributes:
        cited_text: What is quoted.
        title: The title of the page or document, where it has one.
        url: The address, or the `source` of a search result; None for a document that has none.
        raw: The citation as it is on the wire.
    """

    cited_text: str
    title: str | None
    url: str | None
    raw: dict[str, Any]


def fetched_pages(content: Iterable[Block]) -> dict[str, str]:
    """The address of each page that was fetched with `web_fetch`, by its title."""
    pages = {}
    for block in content:
        page = block.get("content") if block.get("type") == "web_fetch_tool_result" else None
        document = page.get("content") if isinstance(page, dict) else None
        if isinstance(document, dict) and isinstance(document.get("title"), str):
            pages[document["title"]] = str(page.get("url"))  # type: ignore[union-attr]
    return pages


def citations_of(content: Iterable[Block], pages: Mapping[str, str] | None = None) -> Iterator[Citation]:
    """The citations of content blocks, in order. Source: messages-api.md section 5.3.

    Args:
        content: The blocks.
        pages: Addresses by title, for citations of fetched pages: the wire gives those a title alone.
    """
    for block in content:
        citations = block.get("citations") if block.get("type") == "text" else None
        for raw in citations if isinstance(citations, list) else ():
            if not isinstance(raw, dict):
                continue
            title = raw.get("title") or raw.get("document_title")
            url = raw.get("url") or raw.get("source") or (pages or {}).get(str(title))
            yield Citation(raw.get("cited_text") or "", title, url, raw)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, server-tool requests, and why the prompt cache did not hold. Null and missing fields of the wire are 0.

    Attributes:
        input_tokens: Input that was neither read from the cache nor written to it.
        output_tokens: Output, thinking included.
        cache_read_input_tokens: Input read from the cache.
        cache_creation_input_tokens: Input written to the cache.
        web_search_requests: Searches of the server tool.
        web_fetch_requests: Fetches of the server tool.
        cache_miss_reasons: What broke the cache, as it was known before sending; one text for each time.

    Source: messages-api.md section 6.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    web_search_requests: int = 0
    web_fetch_requests: int = 0
    cache_miss_reasons: tuple[str, ...] = ()

    @classmethod
    def from_wire(cls, usage: Any) -> Usage:
        """The `usage` of one message: of all its `iterations`, where it has them, since its totals leave some out."""
        if not isinstance(usage, dict):
            return cls()
        server = usage.get("server_tool_use")
        server = server if isinstance(server, dict) else {}
        parts = _iterations_of(usage)
        tokens: list[Any] = [sum([_count(part.get(name)) for part in parts]) for name in cls.__slots__[:4]]
        return cls(*tokens, *[_count(server.get(name)) for name in cls.__slots__[4:6]])

    def last_prompt(self, usage: Any) -> Usage:
        """Of the last time in this message that the model was asked: its tokens are those of the conversation so far.

        Args:
            usage: As it is on the wire.
        """
        if not isinstance(usage, dict) or not usage.get("iterations"):
            return self
        asked = [part for part in _iterations_of(usage) if part.get("type", "message") in _ASKED]
        return self.from_wire(asked[-1]) if asked else self

    @property
    def total_tokens(self) -> int:
        """Input of every kind, and output."""
        return self.input_tokens + self.output_tokens + self.cache_read_input_tokens + self.cache_creation_input_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def __sub__(self, other: Usage) -> Usage:
        """Without the tokens and requests of `other`."""
        return Usage(*(getattr(self, name) - getattr(other, name) for name in self.__slots__[:-1]))

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        return {**counts, "cache_miss_reasons": list(self.cache_miss_reasons)}


_ASKED = ("message", "fallback_message")


def _iterations_of(usage: dict[str, Any]) -> list[dict[str, Any]]:
    iterations = usage.get("iterations")
    parts = [part for part in iterations if isinstance(part, dict)] if isinstance(iterations, list) else []
    return parts or [usage]


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def model_turns(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages of the model among the entries of a log, as they came."""
    return [entry["message"] for entry in entries if entry["entry"] == "turn" and "message" in entry]
