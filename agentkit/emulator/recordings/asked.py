"""What a client asks, as it is forwarded and as it may be stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive

from agentkit.emulator.recordings.recording import Recorded
from agentkit.emulator.recordings.redaction import Redaction, is_secret

__all__ = ["Asked", "asked_by", "until_gone"]

_REQUEST_HEADERS = ("anthropic-version", "anthropic-beta")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        method: GET, POST, …
        target: Path and query, as they came.
        headers: As they came.
        body: As it came.
    """

    method: str
    target: str
    headers: Headers
    body: bytes

    def recorded(self, redaction: Redaction, **response: Any) -> Recorded:
        """An exchange of this request, without its keys, and a response."""
        return Recorded(
            method=self.method,
            path=redaction(_stored_target(self.target).encode()).decode(),
            request_headers={
                name: ",".join(self.headers.getlist(name)) for name in _REQUEST_HEADERS if name in self.headers
            },
            request=redaction(self._stable_body()),
            **response,
        )

    def _stable_body(self) -> bytes:
        """The boundary of a form is drawn anew for each request, and means nothing."""
        boundary = re.search(r'boundary="?([^";,\s]+)', self.headers.get("content-type", ""))
        return self.body.replace(boundary[1].encode(), b"boundary") if boundary else self.body


async def asked_by(request: Request) -> Asked:
    """The request, when all of it has come."""
    path = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope.get("query_string", b"")
    target = (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
    return Asked(request.method, target, request.headers, await request.body())


async def until_gone(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _stored_target(target: str) -> str:
    """Without `beta`, which means nothing (messages-api.md section 1), and without the values of keys."""
    path, _, query = target.partition("?")
    given = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "beta"]
    kept = sorted((name, "redacted" if is_secret(name) else value) for name, value in given)
    return f"{path}?{urlencode(kept)}" if kept else path
