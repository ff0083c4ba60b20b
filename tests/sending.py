"""What the tests of the client share: a question, quick retries, and each HTTP client that a `Client` can be given."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import cache
from typing import Any

import httpx
import httpx2

from agentkit.client import Client
from agentkit.events import Event
from agentkit.messages import Prompt, as_messages
from agentkit.request import Request
from agentkit.settings import RetryPolicy
from agentkit.transcript import Transcript

__all__ = ["HTTP", "KEY", "QUICK", "REQUEST", "UNSTREAMED", "asked", "client_for", "http_client", "send", "shown"]

HTTP = ("own", "httpx", "httpx2")
"""Our own HTTP client, and those of a caller's."""
KEY = "sk-ant-canary-0123456789"
QUICK = RetryPolicy(base=0.001, cap=0.002)
REQUEST = Request("claude-sonnet-4-6", 1000)
UNSTREAMED = Request("claude-sonnet-4-6", 1000, stream=False)


def asked(prompt: Prompt = "What is 1 + 2?") -> Transcript:
    """A transcript whose next step is to ask the model."""
    transcript = Transcript()
    transcript.begin("r", as_messages(prompt))
    transcript.answer()
    return transcript


def http_client(kind: str, **options: Any) -> Any:
    """A caller's HTTP client of one of the kinds in `HTTP`; None for our own."""
    if kind == "own":
        return None
    options.setdefault("verify", _ssl_context())
    return (httpx if kind == "httpx" else httpx2).AsyncClient(**options)


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


@asynccontextmanager
async def client_for(kind: str, url: str, **options: Any) -> AsyncGenerator[Client]:
    """A `Client` over an HTTP client of that kind, which stays open until the end if it is a caller's."""
    http = options.pop("http", None) or http_client(kind)
    settings = {"api_key": KEY, "retry": QUICK, **options}
    try:
        async with Client(base_url=url, http_client=http, **settings) as client:
            yield client
        assert http is None or not http.is_closed
    finally:
        if http is not None:
            await http.aclose()


async def send(
    client: Client, request: Request = REQUEST, transcript: Transcript | None = None, into: list[Event] | None = None
) -> list[Event]:
    """The events of one turn; also in `into`, where they are when it fails. The transcript must stay as it was."""
    transcript = transcript or asked()
    before = transcript.dump()
    events = [] if into is None else into
    try:
        async with aclosing(client.send(transcript, request)) as turn:
            async for event in turn:
                events.append(event)
    finally:
        assert transcript.dump() == before
    return events


def shown(error: BaseException) -> str:
    """Everything that a log could show of an exception."""
    return "".join([str(error), repr(error), *traceback.format_exception(error)])
