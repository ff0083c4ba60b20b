"""The shapes of what the reader reads inside a request, beyond what `rules` looks at.

The API's own texts about shapes are pydantic's, so pydantic says what is wrong.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NotRequired, TypeAlias

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

__all__ = ["misshapen"]


class _Citation(TypedDict):
    type: str


class _Text(TypedDict):
    text: str
    citations: NotRequired[list[_Citation] | None]


class _Use(TypedDict):
    id: str
    name: str
    input: dict[str, Any]


class _Error(TypedDict):
    error_code: str


class _SearchResult(TypedDict):
    url: str
    title: str
    encrypted_content: NotRequired[str]


class _Searched(TypedDict):
    tool_use_id: str
    content: list[_SearchResult] | _Error


class _Enabled(TypedDict):
    enabled: NotRequired[bool]


class _Source(TypedDict):
    data: str


class _Document(TypedDict):
    source: _Source
    title: NotRequired[str | None]
    citations: NotRequired[_Enabled | None]


class _FetchResult(TypedDict):
    type: str
    url: str
    content: _Document


class _FetchError(_Error):
    type: str


class _Fetched(TypedDict):
    tool_use_id: str
    content: _FetchResult | _FetchError


class _Other(TypedDict):
    type: str
    tool_use_id: NotRequired[str]


def _kind(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) and kind in _TAGS else "block"


_Part: TypeAlias = Annotated[
    Annotated[_Text, Tag("text")] | Annotated[_Other, Tag("block")],
    Discriminator(lambda block: "text" if _kind(block) == "text" else "block"),
]


class _Result(TypedDict):
    tool_use_id: str
    content: NotRequired[str | list[_Part] | None]
    is_error: NotRequired[bool | None]


_Block: TypeAlias = Annotated[
    Annotated[_Text, Tag("text")]
    | Annotated[_Use, Tag("tool_use")]
    | Annotated[_Use, Tag("server_tool_use")]
    | Annotated[_Result, Tag("tool_result")]
    | Annotated[_Searched, Tag("web_search_tool_result")]
    | Annotated[_Fetched, Tag("web_fetch_tool_result")]
    | Annotated[_Other, Tag("block")],
    Discriminator(_kind),
]
_TAGS = ("text", "tool_use", "server_tool_use", "tool_result", "web_search_tool_result", "web_fetch_tool_result")


class _Message(TypedDict):
    role: str
    content: str | list[_Block]


class _Schema(TypedDict):
    properties: NotRequired[dict[str, Any] | None]
    required: NotRequired[list[str] | None]


class _Tool(TypedDict):
    type: NotRequired[str | None]
    name: NotRequired[str]
    input_schema: NotRequired[_Schema]
    max_uses: NotRequired[int | None]
    max_content_tokens: NotRequired[int | None]
    allowed_domains: NotRequired[list[str] | None]
    blocked_domains: NotRequired[list[str] | None]
    citations: NotRequired[_Enabled | None]


@with_config(strict=True)
class _Request(TypedDict):
    messages: list[_Message]
    tools: NotRequired[list[_Tool]]


_ADAPTER = TypeAdapter(_Request)
_UNION_PART = re.compile(r"str$|list\[|_")


def misshapen(body: dict[str, Any]) -> str | None:
    """What is wrong with the first value of a shape that the reader can't read, in the API's words."""
    try:
        _ADAPTER.validate_python(body)
    except ValidationError as error:
        # Of the parts of a union, the one that fitted furthest is the one that was meant.
        first = max(error.errors(include_url=False, include_input=False), key=lambda found: len(found["loc"]))
        path = ".".join(part for part in map(str, first["loc"]) if not _UNION_PART.match(part))
        return f"{path}: {first['msg']}"
    return None
