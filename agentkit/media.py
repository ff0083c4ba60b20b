"""Images and documents as content blocks."""

from __future__ import annotations

import base64
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

from agentkit.errors import ConfigurationError

__all__ = ["Source", "document", "image", "media_type_of"]

Source: TypeAlias = str | PathLike[str] | bytes
"""A path, an https address, or the bytes themselves."""

_IMAGES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WebP"}
_PDF = "application/pdf"
_TEXT = "text/plain"
# What they may be as they are sent, images and PDFs in base64. Source: messages-api.md section 19.
_IMAGE_CAP = 10 * 1024 * 1024
_REQUEST_CAP = 32 * 1024 * 1024
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"%PDF-": _PDF,
}


def image(source: Source | None = None, *, file_id: str | None = None, media_type: str | None = None) -> dict[str, Any]:
    """An `image` block, for a prompt or a tool's result.

    Args:
        source: A path, an https address that the API fetches, or bytes; a text that is no address is a path.
        file_id: In its place, a file that was uploaded: `file_…`.
        media_type: In place of what the first bytes say: image/png, image/jpeg, image/gif or image/webp.

    Raises:
        ConfigurationError: It can't be read, is no image of these kinds, or is larger than 10 MiB in base64.

    Source: messages-api.md sections 5.1 and 19.
    """
    sent = _elsewhere("image", source, file_id, media_type)
    if sent is None:
        name, data = _read("image", source, _IMAGE_CAP * 3 // 4)
        kind = media_type or media_type_of(data)
        if kind == _PDF:
            raise ConfigurationError(f"image {name} is a PDF: use document(…)")
        if kind is None:
            raise ConfigurationError(f"image {name} is no {_listed(_IMAGES.values())}: convert it, or give media_type=")
        sent = _base64(kind, data)
    return {"type": "image", "source": sent}


def document(
    source: Source | None = None,
    *,
    file_id: str | None = None,
    title: str | None = None,
    context: str | None = None,
    citations: bool = False,
    media_type: str | None = None,
) -> dict[str, Any]:
    """A `document` block, for a prompt or a tool's result: a PDF, or text in UTF-8.

    Args:
        source: A path, an https address of a PDF that the API fetches, or bytes; a text that is no address is a path.
        file_id: In its place, a file that was uploaded: `file_…`.
        title: What the model and citations call it.
        context: About the document, for the model; it is not cited.
        citations: Whether the answer cites it. The API wants that for all documents of a request or for none.
        media_type: In place of what the first bytes say: application/pdf or text/plain.

    Raises:
        ConfigurationError: It can't be read, is neither PDF nor text, is empty, or is larger than a request.

    Source: messages-api.md sections 5.1 and 19.
    """
    sent = _elsewhere("document", source, file_id, media_type)
    if sent is None:
        name, data = _read("document", source, _REQUEST_CAP)
        kind = media_type or media_type_of(data)
        if kind in _IMAGES:
            raise ConfigurationError(f"document {name} is an image: use image(…)")
        sent = _text(name, data) if kind in (None, _TEXT) else _base64(str(kind), data)
        if len(sent["data"]) > _REQUEST_CAP:
            raise _too_large("document", name, len(data), _REQUEST_CAP * 3 // 4)
    said = {"title": title, "context": context, "citations": {"enabled": True} if citations else None}
    return {
        "type": "document",
        "source": sent,
        **{key: value for key, value in said.items() if value is not None},
    }


def media_type_of(data: bytes) -> str | None:
    """What may be sent as it is, by its first bytes. Source: messages-api.md section 5.1."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for start, media_type in _MAGIC.items() if data.startswith(start)), None)


def _elsewhere(what: str, source: Source | None, file_id: str | None, media_type: str | None) -> dict[str, Any] | None:
    """The wire's source where the API has or fetches the bytes, None where they are ours."""
    if (source is None) == (file_id is None):
        raise ConfigurationError(f"{what}: give either a path, bytes or an https address, or file_id=")
    address = source if isinstance(source, str) and source.lower().startswith(("https:", "http:")) else None
    if file_id is None and address is None:
        return None
    if media_type is not None:
        raise ConfigurationError(f"{what} {file_id or address}: media_type= is for paths and bytes only")
    if file_id is not None:
        return {"type": "file", "file_id": file_id}
    if not str(address).lower().startswith("https://"):
        raise ConfigurationError(f"{what} {address}: the API fetches https addresses only")
    return {"type": "url", "url": address}


def _read(what: str, source: Any, most: int) -> tuple[str, bytes]:
    """What to call it in errors, and its bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        name, data = "(bytes)", bytes(source)
        size = len(data)
    elif isinstance(source, str | PathLike):
        name = repr(fspath(source))
        name = name if len(name) <= 100 else f"{name[:100]}…"
        try:
            path = Path(source)
            size = path.stat().st_size
            data = path.read_bytes() if size <= most else b""
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"{what} {name} can't be read: {why}") from None
    else:
        raise ConfigurationError(f"{what}: give a path, bytes or an https address, not {type(source).__name__}")
    if size > most:
        raise _too_large(what, name, size, most)
    if not size:
        raise ConfigurationError(f"{what} {name} is empty")
    return name, data


def _too_large(what: str, name: str, size: int, most: int) -> ConfigurationError:
    return ConfigurationError(f"{what} {name} has {size:,} bytes, and at most {most:,} can be sent: make it smaller")


def _base64(media_type: str, data: bytes) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def _text(name: str, data: bytes) -> dict[str, Any]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ConfigurationError(f"document {name} is neither a PDF nor text in UTF-8: convert it")
    if not text.strip():
        raise ConfigurationError(f"document {name} is empty")
    return {"type": "text", "media_type": _TEXT, "data": text}


def _listed(names: Any) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"
