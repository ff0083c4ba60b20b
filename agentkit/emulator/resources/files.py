"""Files that were uploaded, kept in memory."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit.emulator.clock import Clock, rfc3339
from agentkit.emulator.exchange import authenticate, json_response, read_body
from agentkit.emulator.refusal import Refused
from agentkit.emulator.resources.paging import limit_of
from agentkit.messages import Block

__all__ = ["Files", "file_routes"]

# Source: messages-api.md sections 1 and 19.
_MOST_BYTES = 500 * 1024 * 1024
_MOST_STORED_BYTES = 1024 * 1024 * 1024  # the API's is 1 TB
_FILENAME = re.compile(r'filename="((?:[^"\\]|\\.)*)"')


class Files:
    """Files that were uploaded, none of which can be downloaded. Source: messages-api.md section 1."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._made: set[str] = set()  # by code that a script says has run

    def check(self, messages: list[dict[str, Any]]) -> None:
        """Raises `Refused` where a message of the user names a file that there is not; the text is not recorded."""
        for message in messages:
            content = message["content"] if message["role"] == "user" else ()
            for block in content if isinstance(content, list) else ():
                parts = block.get("content") if block["type"] == "tool_result" else None
                for name in _named([block, *(parts if isinstance(parts, list) else ())]):
                    if name not in self._files and name not in self._made:
                        raise Refused(404, f"File {name} not found.")

    def note(self, content: list[Block]) -> None:
        """Takes the content of a reply: the files that it names may be named."""
        for block in content:
            result = block.get("content")
            outputs = result.get("content") if isinstance(result, dict) else None
            self._made.update(_named([block, *(outputs if isinstance(outputs, list) else ())]))

    def keep(self, filename: str, mime_type: str, data: bytes) -> dict[str, Any]:
        """A new file, as the API shows it; raises `Refused` where there is no room."""
        if len(data) > _MOST_BYTES:
            raise Refused(413, "File exceeds the maximum size of 500 MB")
        if sum(len(kept) for _, kept in self._files.values()) + len(data) > _MOST_STORED_BYTES:
            raise Refused(400, "The storage of this emulator is full", code="storage_quota_exceeded")
        file_id = f"file_01{uuid.uuid4().hex[:22]}"
        made = {
            "id": file_id,
            "type": "file",
            "filename": re.split(r"[/\\]", filename)[-1] or "unnamed",
            "mime_type": mime_type,
            "size_bytes": len(data),
            "created_at": rfc3339(self._clock.now()),
            "downloadable": False,
            "expires_at": None,
        }
        self._files[file_id] = (made, data)
        return made

    def get(self, file_id: str) -> dict[str, Any]:
        """A file, as the API shows it; raises `Refused` where there is none."""
        if file_id not in self._files:
            raise Refused(404, f"File {file_id} not found.")
        return self._files[file_id][0]

    def delete(self, file_id: str) -> None:
        """Deletes a file; raises `Refused` where there is none."""
        self.get(file_id)
        del self._files[file_id]

    def page(self, query: Mapping[str, str], ids: list[str]) -> dict[str, Any]:
        """One page: of the newest, or of those with these ids."""
        files = [file for file, _ in self._files.values()][::-1]
        if ids:
            return {"data": [file for file in files if file["id"] in ids], "next_page": None}
        page, limit = query.get("page", ""), limit_of(query)
        start = int(page[5:]) if page[5:].isdecimal() else 0
        after = start + limit
        return {"data": files[start:after], "next_page": f"page_{after}" if after < len(files) else None}


def _named(blocks: list[Any]) -> Iterator[str]:
    """The ids of files in blocks and in their sources."""
    for block in blocks:
        source = block.get("source") if isinstance(block, dict) else None
        for holder in (block, source):
            name = holder.get("file_id") if isinstance(holder, dict) else None
            if isinstance(name, str):
                yield name


def file_routes(store: Files) -> list[Route]:
    """The routes of files."""

    async def upload(request: Request) -> Response:
        authenticate(request)
        data = await read_body(request, _MOST_BYTES + 65_536)
        return json_response(store.keep(*_form_file(request.headers.get("content-type", ""), data)))

    async def listed(request: Request) -> Response:
        authenticate(request)
        return json_response(store.page(request.query_params, request.query_params.getlist("ids[]")))

    async def get(request: Request) -> Response:
        authenticate(request)
        return json_response(store.get(request.path_params["file"]))

    async def content(request: Request) -> Response:
        authenticate(request)
        file = store.get(request.path_params["file"])
        raise Refused(400, f"File {file['id']} is not downloadable.", code="file_not_downloadable")

    async def delete(request: Request) -> Response:
        authenticate(request)
        store.delete(request.path_params["file"])
        return json_response({"id": request.path_params["file"], "type": "file_deleted"})

    return [
        Route("/v1/files", upload, methods=["POST"]),
        Route("/v1/files", listed, methods=["GET"]),
        Route("/v1/files/{file}", get, methods=["GET"]),
        Route("/v1/files/{file}", delete, methods=["DELETE"]),
        Route("/v1/files/{file}/content", content, methods=["GET"]),
    ]


def _form_file(content_type: str, body: bytes) -> tuple[str, str, bytes]:
    """File name, media type and bytes of the part `file` of a form. Source: RFC 7578."""
    kind, _, boundary = content_type.partition("boundary=")
    if not kind.lower().startswith("multipart/form-data") or not boundary:
        raise Refused(400, "The request body must be multipart/form-data")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.strip('" ').encode())[1:]:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = dict(line.partition(":")[::2] for line in head.decode("utf-8", "replace").split("\r\n"))
        said = {name.strip().lower(): value.strip() for name, value in lines.items()}
        about = said.get("content-disposition", "")
        if 'name="file"' in about:
            name = _FILENAME.search(about)
            return name[1] if name else "unnamed", said.get("content-type", "application/octet-stream"), data
    raise Refused(400, "file: Field required")
