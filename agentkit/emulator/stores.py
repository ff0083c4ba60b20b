"""What the API keeps for its clients, here in memory: message batches and files."""

from __future__ import annotations

import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agentkit.emulator.clock import Clock, rfc3339
from agentkit.emulator.exchange import authenticate, json_response
from agentkit.emulator.refusal import Refused
from agentkit.messages import encode

__all__ = ["Answered", "store_routes"]

Answered: TypeAlias = Callable[[dict[str, Any], int, Mapping[str, str]], Awaitable[tuple[dict[str, Any], Any]]]
"""Answers a request for a message, from its body, its size and its headers; raises `Refused`."""

# Source: messages-api.md sections 1 and 19.
_MOST_REQUESTS = 100_000
_MOST_BATCH_BYTES = 256_000_000
_MOST_FILE_BYTES = 500 * 1024 * 1024
_MOST_STORED_BYTES = 1024 * 1024 * 1024  # the API's is 1 TB
_LONGEST_ID = 64
_BATCH_LIFETIME = 86_400.0
_WORK_SECONDS = 0.5  # at each look at a batch
_DEFAULT_LIMIT = 20
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_FILENAME = re.compile(r'filename="((?:[^"\\]|\\.)*)"')


def store_routes(answered: Answered, clock: Clock) -> list[Route]:
    """The routes of batches and files, over stores of their own."""
    return [*_batch_routes(_BatchStore(answered, clock)), *_file_routes(_FileStore(clock))]


# Batches


@dataclass(slots=True)
class _Batch:
    """A batch: requests that wait, and the results of the others."""

    id: str
    created: float
    headers: Mapping[str, str]
    waiting: deque[tuple[str, dict[str, Any]]]
    busy: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    cancelled: float | None = None
    ended: float | None = None

    def end(self, now: float, kind: str) -> None:
        """Ends what waits, as `canceled` or `expired`."""
        self.results += [{"custom_id": custom_id, "result": {"type": kind}} for custom_id, _ in self.waiting]
        self.waiting.clear()
        self.look(now)

    def look(self, now: float) -> None:
        if self.ended is None and not self.waiting and not self.busy:
            self.ended = now

    def shown(self, base_url: str) -> dict[str, Any]:
        counts = dict.fromkeys(_COUNTS, 0) | {"processing": len(self.waiting) + self.busy}
        if self.ended is not None:  # until then the API counts all of them as processing
            for result in self.results:
                counts[result["result"]["type"]] += 1
        else:
            counts["processing"] += len(self.results)
        ended = self.ended is not None
        status = "ended" if ended else "in_progress" if self.cancelled is None else "canceling"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": rfc3339(self.created),
            "expires_at": rfc3339(self.created + _BATCH_LIFETIME),
            "ended_at": None if self.ended is None else rfc3339(self.ended),
            "cancel_initiated_at": None if self.cancelled is None else rfc3339(self.cancelled),
            "archived_at": None,
            "results_url": f"{base_url}v1/messages/batches/{self.id}/results" if ended else None,
        }


class _BatchStore:
    """Batches, which are worked on while somebody looks at them: half a second at a time."""

    def __init__(self, answered: Answered, clock: Clock) -> None:
        self._answered = answered
        self._clock = clock
        self._batches: dict[str, _Batch] = {}

    def make(self, body: Any, headers: Mapping[str, str]) -> _Batch:
        """What is in the params is looked at later. Source: messages-api.md section 1; the texts are not recorded."""
        requests = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(requests, list) or not 1 <= len(requests) <= _MOST_REQUESTS:
            raise Refused(400, f"requests: List should have at least 1 item and at most {_MOST_REQUESTS} items")
        waiting: dict[str, dict[str, Any]] = {}
        for at, request in enumerate(requests):
            custom_id = request.get("custom_id") if isinstance(request, dict) else None
            params = request.get("params") if isinstance(request, dict) else None
            if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= _LONGEST_ID:
                raise Refused(400, f"requests.{at}.custom_id: String should have 1 to {_LONGEST_ID} characters")
            if custom_id in waiting:
                raise Refused(400, f"requests.{at}.custom_id: custom_id must be unique within a batch")
            if not isinstance(params, dict):
                raise Refused(400, f"requests.{at}.params: Input should be an object")
            waiting[custom_id] = params
        batch = _Batch(f"msgbatch_01{uuid.uuid4().hex[:22]}", self._clock.now(), headers, deque(waiting.items()))
        self._batches[batch.id] = batch
        return batch

    def get(self, batch_id: str) -> _Batch:
        if batch_id not in self._batches:
            raise Refused(404, f"Message Batch {batch_id} not found.")
        return self._batches[batch_id]

    def newest_first(self) -> list[_Batch]:
        return [*self._batches.values()][::-1]

    def cancel(self, batch: _Batch) -> None:
        if batch.ended is None and batch.cancelled is None:
            batch.cancelled = self._clock.now()

    def delete(self, batch: _Batch) -> None:
        if batch.ended is None:
            raise Refused(400, f"Message Batch {batch.id} is still in progress: cancel it first.")
        del self._batches[batch.id]

    async def work(self, batch: _Batch) -> None:
        """Answers what can be answered now."""
        now, until = self._clock.now(), time.monotonic() + _WORK_SECONDS
        if batch.cancelled is not None or now >= batch.created + _BATCH_LIFETIME:
            batch.end(now, "expired" if batch.cancelled is None else "canceled")
        while batch.waiting and time.monotonic() < until:
            custom_id, params = batch.waiting.popleft()
            batch.busy += 1
            try:
                batch.results.append({"custom_id": custom_id, "result": await self._result(params, batch.headers)})
            finally:
                batch.busy -= 1
        batch.look(now)

    async def _result(self, params: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            _check_params(params)
            message, _ = await self._answered(params, len(encode(params)), headers)
        except Refused as refused:
            error: dict[str, Any] = {"type": refused.kind, "message": refused.message}
            if refused.details:
                error["details"] = refused.details
            said = {"type": "error", "error": error, "request_id": f"req_01{uuid.uuid4().hex[:22]}"}
            return {"type": "errored", "error": said}
        return {"type": "succeeded", "message": message}


def _check_params(params: dict[str, Any]) -> None:
    """Raises `Refused` for what does not go in a batch. Source: messages-api.md section 1; texts not recorded."""
    for name in ("stream", "fallbacks"):
        if params.get(name):
            raise Refused(400, f"{name}: not supported in a batch")
    if params.get("max_tokens") == 0:
        raise Refused(400, "max_tokens: must be at least 1 in a batch")


def _batch_routes(store: _BatchStore) -> list[Route]:
    def shown(batch: _Batch, request: Request) -> Response:
        return json_response(batch.shown(str(request.base_url)))

    def named(request: Request) -> _Batch:
        authenticate(request)
        return store.get(request.path_params["batch"])

    async def create(request: Request) -> Response:
        authenticate(request)
        try:
            body = from_json(await _read(request, _MOST_BATCH_BYTES), allow_inf_nan=False)
        except ValueError as error:
            raise Refused(400, f"The request body is not valid JSON: {error}") from None
        return shown(store.make(body, dict(request.headers)), request)

    async def listed(request: Request) -> Response:
        authenticate(request)
        items = [batch.shown(str(request.base_url)) for batch in store.newest_first()]
        return json_response(_page(items, request.query_params))

    async def look(request: Request) -> Response:
        batch = named(request)
        await store.work(batch)
        return shown(batch, request)

    async def cancel(request: Request) -> Response:
        batch = named(request)
        store.cancel(batch)
        return shown(batch, request)

    async def delete(request: Request) -> Response:
        batch = named(request)
        store.delete(batch)
        return json_response({"id": batch.id, "type": "message_batch_deleted"})

    async def results(request: Request) -> Response:
        batch = named(request)
        if batch.ended is None:
            raise Refused(404, f"Message Batch {batch.id} has no available results.")  # Source: api-errors.md A
        return StreamingResponse(_jsonl(batch.results), media_type="application/x-jsonl")

    path = "/v1/messages/batches"
    return [
        Route(path, create, methods=["POST"]),
        Route(path, listed, methods=["GET"]),
        Route(f"{path}/{{batch}}", look, methods=["GET"]),
        Route(f"{path}/{{batch}}", delete, methods=["DELETE"]),
        Route(f"{path}/{{batch}}/cancel", cancel, methods=["POST"]),
        Route(f"{path}/{{batch}}/results", results, methods=["GET"]),
    ]


def _jsonl(results: list[dict[str, Any]]) -> Iterator[bytes]:
    for result in results:
        yield encode(result) + b"\n"


def _page(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """One page by `limit`, `after_id` and `before_id`; what makes no sense is ignored."""
    ids = [item["id"] for item in items]
    start = ids.index(query["after_id"]) + 1 if query.get("after_id") in ids else 0
    end = ids.index(query["before_id"]) if query.get("before_id") in ids else len(items)
    found = items[start:end]
    shown = found[: _limit(query)]
    return {
        "data": shown,
        "has_more": len(shown) < len(found),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


# Files


class _FileStore:
    """Files that were uploaded, none of which can be downloaded. Source: messages-api.md section 1."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}

    def keep(self, filename: str, mime_type: str, data: bytes) -> dict[str, Any]:
        if len(data) > _MOST_FILE_BYTES:
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
        if file_id not in self._files:
            raise Refused(404, f"File {file_id} not found.")
        return self._files[file_id][0]

    def delete(self, file_id: str) -> None:
        self.get(file_id)
        del self._files[file_id]

    def page(self, query: Mapping[str, str], ids: list[str]) -> dict[str, Any]:
        """One page: of the newest, or of those with these ids."""
        files = [file for file, _ in self._files.values()][::-1]
        if ids:
            return {"data": [file for file in files if file["id"] in ids], "next_page": None}
        page, limit = query.get("page", ""), _limit(query)
        start = int(page[5:]) if page[5:].isdecimal() else 0
        after = start + limit
        return {"data": files[start:after], "next_page": f"page_{after}" if after < len(files) else None}


def _file_routes(store: _FileStore) -> list[Route]:
    async def upload(request: Request) -> Response:
        authenticate(request)
        data = await _read(request, _MOST_FILE_BYTES + 65_536)
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


# Both


async def _read(request: Request, most: int) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise Refused(413, "Request exceeds the maximum size")
    return bytes(data)


def _limit(query: Mapping[str, str]) -> int:
    limit = query.get("limit", "")
    return int(limit) if limit.isdecimal() and 1 <= int(limit) <= 1000 else _DEFAULT_LIMIT
