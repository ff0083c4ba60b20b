"""The Messages API over HTTP, as an ASGI application."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit import encode as encoding
from agentkit.emulator.corpus import Corpus
from agentkit.emulator.models import model_item, model_page
from agentkit.emulator.opaque import altered
from agentkit.emulator.reader import ABOUT, CHARACTERS_A_TOKEN, Reply, read, written
from agentkit.emulator.shapes import misshapen
from agentkit.messages import encode
from agentkit.rules import check_request

__all__ = ["make_app"]

_MAX_BODY = 32_000_000  # Source: messages-api.md section 19
_VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
_MAX_WAIT = 0.02  # seconds between two events
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large"}


class _Refused(Exception):
    """A request that gets an error reply."""

    def __init__(self, status: int, message: str, kind: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.kind = kind or _TYPES.get(status, "invalid_request_error")


def make_app(corpus: Corpus, *, pause_after: int, pace: float, on_request: Callable[[dict[str, Any]], None]) -> ASGIApp:
    """The application.

    Args:
        corpus: What the server tools search.
        pause_after: Server calls in one reply, before it pauses.
        pace: Seconds that a streamed reply takes at most by waiting between events.
        on_request: Gets the body of each request for a message.
    """

    async def messages(request: Request) -> Response:
        body, size = await _body(request)
        on_request(body)
        _check(body)
        message = _message(body, size, read(body, corpus, pause_after))
        if not body.get("stream"):
            return _json(message)
        return StreamingResponse(_frames(message, pace), media_type="text/event-stream")

    async def count_tokens(request: Request) -> Response:
        body, size = await _body(request)
        _check({**body, "max_tokens": 1})
        return _json({"input_tokens": _tokens(size)})

    async def models(request: Request) -> Response:
        _authenticate(request)
        return _json(model_page(request.query_params))

    async def model(request: Request) -> Response:
        _authenticate(request)
        name = request.path_params["model"]
        _known(name)
        return _json(model_item(name))

    async def root(request: Request) -> Response:
        return PlainTextResponse(f"This is {ABOUT}.\nIt searches {corpus.about}.\nPOST /v1/messages\n")

    routes = [
        Route("/", root, methods=["GET"]),
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model}", model, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers=_ON_ERROR)
    app.router.redirect_slashes = False
    return _WithRequestId(app)


class _WithRequestId:
    """Gives every request an id and every reply its `request-id` header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = f"req_01{uuid.uuid4().hex[:22]}"
        scope.setdefault("state", {})["request_id"] = number

        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"request-id", number.encode())]
            await send(message)

        await self._app(scope, receive, with_header)


async def _body(request: Request) -> tuple[dict[str, Any], int]:
    """The JSON body of an authenticated request, and its size in bytes."""
    _authenticate(request)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_BODY:
            raise _Refused(413, "Request exceeds the maximum size")
    try:
        body = from_json(bytes(data), allow_inf_nan=False)
    except ValueError as error:
        raise _Refused(400, f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise _Refused(400, "The request body is not valid JSON: it must be an object")
    return body, len(data)


def _authenticate(request: Request) -> None:
    """Any key will do, in either header, unless it begins with `invalid`. Source: messages-api.md section 24."""
    bearer = request.headers.get("authorization", "")
    key = request.headers.get("x-api-key") or bearer[7:] * bearer.lower().startswith("bearer ")
    if not key.strip() or key.startswith("invalid"):
        raise _Refused(401, "invalid x-api-key")
    version = request.headers.get("anthropic-version")
    if version is None:
        raise _Refused(400, "anthropic-version: header is required")
    if version not in _VERSIONS:
        raise _Refused(400, f'anthropic-version: "{version}" is not a valid version')


def _check(body: dict[str, Any]) -> None:
    thread = body.get("thread")
    if isinstance(thread, dict) and thread.get("type") == "continue":
        # No thread is kept: a client then sends the whole history. Source: messages-api.md section 18.4.
        raise _Refused(404, "The thread was not found", code="thread_not_found")
    for problem in check_request(body):
        raise _Refused(problem.status, problem.message, problem.type)
    _known(body["model"])
    wrong = misshapen(body) or altered(body["messages"])
    if wrong:
        raise _Refused(400, wrong)


def _known(model: str) -> None:
    if not model.startswith("claude-"):
        raise _Refused(404, f"model: {model}")


def _message(body: dict[str, Any], size: int, reply: Reply) -> dict[str, Any]:
    """The reply as a message. In its usage results of server tools are input, and citations cost nothing."""
    read_in = sum(len(encode(block)) for block in reply.content if block["type"].endswith("_tool_result"))
    usage: dict[str, Any] = {
        "input_tokens": _tokens(size + read_in),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": _tokens(sum(map(written, reply.content))),
        "service_tier": "standard",
        "inference_geo": "global",
    }
    done = {f"{name}_requests": _succeeded(reply, name) for name in ("web_search", "web_fetch")}
    if any(done.values()):
        usage["server_tool_use"] = done
    return {
        "id": "msg_01" + hashlib.sha256(encode([body["messages"], reply.content])).hexdigest()[:22],
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": reply.content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": reply.stop_sequence,
        "stop_details": None,
        "usage": usage,
    }


def _succeeded(reply: Reply, name: str) -> int:
    results = [block["content"] for block in reply.content if block["type"] == f"{name}_tool_result"]
    return sum(isinstance(content, list) or "error_code" not in content for content in results)


def _tokens(size: int) -> int:
    return -(-size // CHARACTERS_A_TOKEN)


async def _frames(message: dict[str, Any], pace: float) -> AsyncIterator[bytes]:
    made = list(encoding.events(message))
    wait = min(_MAX_WAIT, pace / len(made))
    for event in made:
        if wait:
            await anyio.sleep(wait)
        yield encoding.sse(event)


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def _error(request: Request, status: int, kind: str, message: str, code: str | None = None) -> Response:
    error: dict[str, Any] = {"type": kind, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return _json({"type": "error", "error": error, "request_id": request.state.request_id}, status)


async def _on_refused(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, _Refused)
    return _error(request, refused.status, refused.kind, str(refused), refused.code)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, _TYPES.get(error.status_code, "invalid_request_error"), error.detail)


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _on_fault(request: Request, error: Exception) -> Response:
    return _error(request, 500, "api_error", "Internal server error")


_ON_ERROR: dict[Any, Any] = {
    _Refused: _on_refused,
    HTTPException: _on_http,
    ClientDisconnect: _on_gone,
    Exception: _on_fault,
}
