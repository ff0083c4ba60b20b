"""Files that are uploaded once and named in any number of requests."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self

import anyio

from agentkit.endpoint import Endpoint, path_of
from agentkit.errors import ConfigurationError, ProtocolError
from agentkit.media import document, image, media_type_of

__all__ = ["File", "Files"]

_MOST_BYTES = 500 * 1024 * 1024  # Source: messages-api.md section 1
_UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that the API keeps, and the blocks that name it.

    Attributes:
        id: `file_…`.
        filename: Its name, without a folder.
        mime_type: Its media type.
        size_bytes: Its size.
        created_at: RFC 3339.
        downloadable: Whether `download` gives it: files made by code execution and skills, not those uploaded.
        expires_at: RFC 3339, or None if it stays until it is deleted.
        raw: All that the API said, as it came.

    Source: messages-api.md section 1.
    """

    id: str
    filename: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    created_at: str | None = None
    downloadable: bool = False
    expires_at: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """From what the API says of it.

        Raises:
            ProtocolError: It is no file.
        """
        if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
            raise ProtocolError("the endpoint answered with something that is no file", retryable=False)
        return cls(
            id=raw["id"],
            filename=raw.get("filename"),
            mime_type=raw.get("mime_type"),
            size_bytes=raw.get("size_bytes"),
            created_at=raw.get("created_at"),
            downloadable=bool(raw.get("downloadable")),
            expires_at=raw.get("expires_at"),
            raw=raw,
        )

    def document(
        self, *, title: str | None = None, context: str | None = None, citations: bool = False
    ) -> dict[str, Any]:
        """A `document` block: for a PDF or a text. See `agentkit.document`."""
        return document(file_id=self.id, title=title, context=context, citations=citations)

    def image(self) -> dict[str, Any]:
        """An `image` block: for a PNG, JPEG, GIF or WebP."""
        return image(file_id=self.id)

    def container_upload(self) -> dict[str, Any]:
        """A `container_upload` block: the file is put where `code_execution` runs. Source: section 5.1."""
        return {"type": "container_upload", "file_id": self.id}


class Files:
    """`client.files`. Every failure is an `APIError`; reads are retried as turns are, the rest is sent once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def upload(
        self, source: str | PathLike[str] | bytes, *, filename: str | None = None, media_type: str | None = None
    ) -> File:
        """Uploads a file, at most 500 MiB.

        Args:
            source: A path, which is read from the disk as it is sent, or bytes.
            filename: What it is called; by default as the path is. Bytes need one.
            media_type: By default what the first bytes or the name say.

        Raises:
            ConfigurationError: It can't be read, is empty, too large, or has no name.
            APIError: It was not uploaded.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            if not filename:
                raise ConfigurationError("upload of bytes: give filename=")
            return await self._upload(filename, bytes(source), bytes(source[:16]), len(source), media_type)
        if not isinstance(source, str | PathLike):
            raise ConfigurationError(f"upload: give a path or bytes, not {type(source).__name__}")
        try:
            opened = await anyio.open_file(source, "rb")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"upload of {fspath(source)[:100]!r}: it can't be read: {why}") from None
        async with opened:
            beginning = await opened.read(16)
            size = await opened.seek(0, 2)
            await opened.seek(0)
            return await self._upload(filename or Path(source).name, opened.wrapped, beginning, size, media_type)

    async def _upload(self, filename: str, content: Any, beginning: bytes, size: int, media_type: str | None) -> File:
        if not size:
            raise ConfigurationError(f"upload of {filename!r}: it is empty")
        if size > _MOST_BYTES:
            raise ConfigurationError(
                f"upload of {filename!r}: it has {size:,} bytes, and at most {_MOST_BYTES:,} can be"
            )
        kind = media_type or media_type_of(beginning) or mimetypes.guess_type(filename)[0] or _UNKNOWN
        parts = {"file": (filename, content, kind)}
        return File.from_wire(await self._endpoint.ask("POST", path_of("files"), files=parts))

    async def list(self) -> AsyncIterator[File]:
        """Every file; pages are fetched as they are needed."""
        async with aclosing(self._endpoint.items(path_of("files"))) as items:
            async for item in items:
                yield File.from_wire(item)

    async def get(self, file_id: str) -> File:
        """What the API says of a file."""
        return File.from_wire(await self._endpoint.ask("GET", path_of("files", file_id)))

    async def download(self, file_id: str) -> AsyncGenerator[bytes]:
        """The bytes of a file as they arrive.

        Raises:
            BadRequestError: It is one that was uploaded, and can't be downloaded.
            StreamTruncated: They end early.
        """
        async with self._endpoint.open("GET", path_of("files", file_id, "content")) as reply:
            async for chunk in reply.chunks():
                yield chunk

    async def delete(self, file_id: str) -> None:
        """Deletes a file; messages that name it fail from then on."""
        await self._endpoint.ask("DELETE", path_of("files", file_id))
