"""One HTTP exchange: whether it may come in, its JSON body, and the JSON of the reply."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from agentkit.emulator.refusal import Refused
from agentkit.messages import encode

__all__ = ["authenticate", "json_body", "json_response", "read_body"]

_MAX_BODY = 32_000_000  # Source: messages-api.md section 19
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def authenticate(request: Request) -> None:
    """Lets the request in, or raises `Refused`, as the dialect of the app (`request.app.state.dialect`) does it.

    Any key will do, in either header, unless it begins with `invalid`. Source: messages-api.md section 24.
    """
    dialect = request.app.state.dialect
    if dialect.keyless:
        return
    bearer = request.headers.get("authorization", "")
    key = request.headers.get("x-api-key") or bearer[7:] * bearer.lower().startswith("bearer ")
    if not key.strip() or key.startswith("invalid"):
        raise Refused(401, "invalid x-api-key")
    version = request.headers.get("anthropic-version")
    if version is None and dialect.version_required:
        raise Refused(400, "anthropic-version: header is required", rule="version")
    if version is not None and version not in dialect.versions:
        raise Refused(400, f'anthropic-version: "{version}" is not a valid version', rule="version")


async def json_body(request: Request) -> tuple[dict[str, Any], bytes]:
    """The JSON object of an authenticated request, and the bytes that it was; raises `Refused`."""
    authenticate(request)
    data = await read_body(request, _MAX_BODY)
    try:
        body = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, f"The request body is not valid JSON: {error}", rule="json") from None
    if not isinstance(body, dict):
        raise Refused(400, "The request body is not valid JSON: it must be an object", rule="json")
    return body, data


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request, which may be compressed.

    Args:
        request: The request.
        most: Bytes that it may have.

    Raises:
        Refused: It is too large, or compressed in a way that is not known. Source: messages-api.md sections 2.1, 16.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise Refused(413, "Request exceeds the maximum size")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    return bytes(data) if coding == "identity" else _decoded(bytes(data), coding, most)


def _decoded(data: bytes, coding: str, most: int) -> bytes:
    """The texts and the ends of the codes are ours."""
    if coding not in _WINDOWS:
        text = f"content-encoding: {coding} is not supported; use gzip or deflate"
        raise Refused(400, text, code="request_body_encoding_unsupported")
    try:
        decoder = zlib.decompressobj(_WINDOWS[coding])
        plain = decoder.decompress(data, most + 1)
    except zlib.error as error:
        text = f"The request body is not valid {coding}: {error}"
        raise Refused(400, text, code="request_body_encoding_invalid") from None
    if len(plain) > most:
        code = "request_body_too_large_after_decoding"
        raise Refused(413, "Request exceeds the maximum size after decoding", code=code)
    return plain


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(encode(value), status, headers, media_type="application/json")
