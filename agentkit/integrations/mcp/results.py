"""The result of an MCP tool ↔ what a tool of agentkit returns."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic_core import to_json

from agentkit.media import media_type_of
from agentkit.messages import Block
from agentkit.terminal import safe_line
from agentkit.tool_results import as_text

__all__ = ["content_of", "mcp_content_of"]

_LONGEST_NAME = 300


def content_of(result: CallToolResult) -> str | list[Any]:
    """What the model gets: texts, images and PDFs as they are, a line that says what was left out for all else."""
    parts = [part for content in result.content for part in _parts(content)]
    structured = result.structured_content
    if structured is not None and not any(_says(part, structured) for part in parts):
        parts.append(_json(structured))
    if not parts or (len(parts) == 1 and isinstance(parts[0], str)):
        return parts[0] if parts else ""
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]


def _json(value: Any) -> str:
    return to_json(value, inf_nan_mode="null").decode()


def _says(part: Any, structured: Any) -> bool:
    """Whether a text is the structured content, as most servers send both. Servers wrap what is no object."""
    if not isinstance(part, str):
        return False
    wrapped = structured.get("result") if isinstance(structured, dict) and structured.keys() == {"result"} else None
    try:
        return part == wrapped or json.loads(part) in (structured, wrapped)
    except (ValueError, RecursionError):
        return False


def _parts(content: ContentBlock) -> Iterator[Any]:
    match content:
        case TextContent():
            yield content.text
        case ImageContent():
            yield _media(content.data, "image", content.mime_type)
        case AudioContent():
            yield _left_out("audio", content.mime_type, content.data)
        case ResourceLink():
            about = f": {safe_line(content.description)[:_LONGEST_NAME]}" if content.description else ""
            yield f"[resource {_name(content.uri)}{about}]"
        case EmbeddedResource(resource=TextResourceContents() as resource):
            yield f"[resource {_name(resource.uri)}]\n{resource.text}"
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            yield f"[resource {_name(resource.uri)}]"
            yield _media(resource.blob, "resource", resource.mime_type or "bytes")


def _media(data: str, sort: str, media_type: str) -> Any:
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return f"[{sort} left out: it is no valid base64]"
    return decoded if media_type_of(decoded) else _left_out(sort, media_type, data)


def _left_out(sort: str, media_type: str, data: str) -> str:
    return f"[{sort} left out: {_name(media_type)}, about {len(data) * 3 // 4:,} bytes]"


def _name(uri: object) -> str:
    return safe_line(str(uri))[:_LONGEST_NAME]


def mcp_content_of(content: str | list[Block]) -> list[ContentBlock]:
    """The content of a `tool_result` as that of an MCP result: images as images, PDFs as resources, else text."""
    if isinstance(content, str):
        return [TextContent(type="text", text=content)]
    return [_mcp_block(block) for block in content]


def _mcp_block(block: Block) -> ContentBlock:
    match block:
        case {"type": "image", "source": {"type": "base64", "media_type": str(media_type), "data": str(data)}}:
            return ImageContent(type="image", data=data, mime_type=media_type)
        case {"type": "document", "source": {"type": "base64", "media_type": str(media_type), "data": str(data)}}:
            uri = "document:///" + str(block.get("title") or "document").replace(" ", "%20")
            resource = BlobResourceContents(uri=uri, mime_type=media_type, blob=data)
            return EmbeddedResource(type="resource", resource=resource)
    return TextContent(type="text", text=as_text([block]))
