"""One HTTP exchange: whether it may come in, its JSON body, and the JSON of the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from agentkit.emulator.refusal import Refused
from agentkit.messages import encode

__all__ = ["authenticate", "json_body", "json_response"]

_MAX_BODY = 32_000_000  # Source: messages-api.md section 19


def authenticate(request: Request) -> None:
    """Lets the request in, or raises `Refused`, as the dialect of the app (`request.app.state.dialect`) does it.

    Any key will do, in either header, unless it begins with `invalid`. Source: messages-api.md section 24.
    """
    dialect = request.app.state.dialect
    bearer = request.headers.get("authorization", "")
    key = request.headers.get("x-api-key") or bearer[7:] * bearer.lower().startswith("bearer ")
    if not key.strip() or key.startswith("invalid"):
        raise Refused(401, "invalid x-api-key")
    version = request.headers.get("anthropic-version")
    if version is None and dialect.version_required:
        raise Refused(400, "anthropic-version: header is required", rule="version")
    if version is not None and version not in dialect.versions:
        raise Refused(400, f'anthropic-version: "{version}" is not a valid version', rule="version")


async def json_body(request: Request) -> tuple[dict[str, Any], int]:
    """The JSON object of an authenticated request, and its size in bytes; raises `Refused`."""
    authenticate(request)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_BODY:
            raise Refused(413, "Request exceeds the maximum size")
    try:
        body = from_json(bytes(data), allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, f"The request body is not valid JSON: {error}", rule="json") from None
    if not isinstance(body, dict):
        raise Refused(400, "The request body is not valid JSON: it must be an object", rule="json")
    return body, len(data)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(encode(value), status, headers, media_type="application/json")
