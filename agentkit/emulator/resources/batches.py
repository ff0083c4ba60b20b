"""Message batches, kept in memory and worked on while somebody looks at them."""

from __future__ import annotations

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
from agentkit.emulator.exchange import authenticate, json_response, read_body
from agentkit.emulator.refusal import Refused
from agentkit.emulator.resources.paging import page_of
from agentkit.messages import encode

__all__ = ["Answered", "batch_routes"]

Answered: TypeAlias = Callable[[dict[str, Any], bytes, Mapping[str, str]], Awaitable[tuple[dict[str, Any], Any]]]
"""Answers a request for a message, from its body, that as bytes, and its headers; raises `Refused`."""

# Source: messages-api.md sections 1 and 19.
_MOST_REQUESTS = 100_000
_MOST_BYTES = 256_000_000
_LONGEST_ID = 64
_LIFETIME = 86_400.0
_WORK_SECONDS = 0.5  # at each look at a batch
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


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
            "expires_at": rfc3339(self.created + _LIFETIME),
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
        if batch.cancelled is not None or now >= batch.created + _LIFETIME:
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
            message, _ = await self._answered(params, encode(params), headers)
        except Refused as refused:
            error: dict[str, Any] = {"type": refused.kind, "message": refused.message}
            if refused.details:
                error["details"] = refused.details
            said = {"type": "error", "error": error, "request_id": f"req_01{uuid.uuid4().hex[:22]}"}
            return {"type": "errored", "error": said}
        usage = {**message["usage"], "service_tier": "batch"}
        return {"type": "succeeded", "message": {**message, "usage": usage}}


def _check_params(params: dict[str, Any]) -> None:
    """Raises `Refused` for what does not go in a batch. Source: messages-api.md section 1; texts not recorded."""
    for name in ("stream", "fallbacks"):
        if params.get(name):
            raise Refused(400, f"{name}: not supported in a batch")
    if params.get("max_tokens") == 0:
        raise Refused(400, "max_tokens: must be at least 1 in a batch")


def batch_routes(answered: Answered, clock: Clock) -> list[Route]:
    """The routes of batches, over a store of their own."""
    store = _BatchStore(answered, clock)

    def shown(batch: _Batch, request: Request) -> Response:
        return json_response(batch.shown(str(request.base_url)))

    def named(request: Request) -> _Batch:
        authenticate(request)
        return store.get(request.path_params["batch"])

    async def create(request: Request) -> Response:
        authenticate(request)
        try:
            body = from_json(await read_body(request, _MOST_BYTES), allow_inf_nan=False)
        except ValueError as error:
            raise Refused(400, f"The request body is not valid JSON: {error}") from None
        return shown(store.make(body, dict(request.headers)), request)

    async def listed(request: Request) -> Response:
        authenticate(request)
        items = [batch.shown(str(request.base_url)) for batch in store.newest_first()]
        return json_response(page_of(items, request.query_params))

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
