"""`Client`: transcript → request → events → turn, retried."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.lowlevel import RunVar

from agentkit.errors import APIError, APITimeoutError, ConfigurationError, ProtocolError, TranscriptError
from agentkit.events import (
    ContentBlockStop,
    Event,
    InputDelta,
    Retry,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ThinkingDelta,
    TurnEnd,
    TurnRestarted,
    UnknownEvent,
)
from agentkit.messages import Block, Usage, copy_json, encode
from agentkit.prices import cost_of
from agentkit.request import Request
from agentkit.retry import RetryBudget, wait_before_retry
from agentkit.secrets import Secret
from agentkit.settings import RetryPolicy, Timeouts
from agentkit.stream import Decoder, Fold, parse_json, parse_message
from agentkit.support import ANTHROPIC, COMETAPI, PROVIDERS, Provider, provider_of
from agentkit.transcript import Transcript
from agentkit.transport import Reply, exchange, new_http_client

__all__ = ["Client"]

_NO_KEY = (
    "no API key: set ANTHROPIC_API_KEY (or COMETAPI_KEY, or ANTHROPIC_BASE_URL for an endpoint without keys), "
    "or run `agentkit run --emulator` to go without one"
)
_HEADER_VALUE = re.compile(r"([!-~]([\t -~]*[!-~])?)?")
_budget = RetryBudget()  # of the process: many runs that retry together make the storm


class Client:
    """An endpoint that speaks the Messages API, and the way to it.

    Arguments beat the environment: `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`, `ANTHROPIC_BASE_URL`; without those
    `COMETAPI_KEY` means CometAPI. The environment is read when the client is made.

    Args:
        api_key: Sent as `x-api-key`.
        auth_token: Sent as `Authorization: Bearer`.
        base_url: Where `/v1/messages` is; without `/v1`.
        provider: `anthropic`, `cometapi` or `generic`; by default known by its address.
        http_client: An `httpx.AsyncClient` or `httpx2.AsyncClient` of your own; you close it.
        headers: More headers for every request.
        timeouts: How long one request may take.
        retry: When a failed request is sent again.

    Raises:
        ConfigurationError: There is neither a key nor a base URL, or one of them can't be used.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        base_url: str | None = None,
        provider: str | None = None,
        http_client: Any = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        if provider is not None and provider not in PROVIDERS:
            raise ConfigurationError(f"no provider {provider!r}: there are {', '.join(PROVIDERS)}")
        key, token, base_url = _endpoint(api_key, auth_token, base_url, provider)
        self.base_url = _without_version(base_url)
        self.provider: Provider = PROVIDERS[provider] if provider else provider_of(self.base_url)
        self.timeouts = timeouts or Timeouts()
        self.retry = retry or RetryPolicy()
        self.http_client = http_client
        self._key = Secret(key) if key else None
        self._token = Secret(token) if token and not key else None
        self._headers = dict(headers or {})
        self._messages_url: Any = f"{self.base_url}/v1/messages"  # parsed, after the first request
        self._last_headers: tuple[Request | None, dict[str, str]] = (None, {})
        self._own: RunVar[Any] = RunVar("agentkit_http_client")  # a pool does not survive its event loop
        self._all_headers(None)  # a key that can't be sent is better refused now

    def __repr__(self) -> str:
        return f"Client({self.base_url!r}, provider={self.provider.name!r}, key={self._key or self._token})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes this event loop's connections; a client of the caller's stays open."""
        own = self._own.get(None)
        if own is not None:
            self._own.set(None)
            await own.aclose()

    async def send(self, transcript: Transcript, request: Request) -> AsyncGenerator[Event]:
        """Asks for one model turn: its events as they come, then `TurnEnd`, retried as the policy says.

        Raises:
            TranscriptError: The API would refuse the history.
            APIError: There is no turn. Nothing was appended.
        """
        self._refuse_broken(transcript, request)
        attempt, waited = 1, 0.0
        while True:
            shown = False
            try:
                async with aclosing(self._attempt(transcript, request)) as events:
                    async for event in events:
                        shown = True
                        yield event
                _budget.earn()
                return
            except APIError as error:
                error.attempts = attempt
                wait = wait_before_retry(error, attempt, waited, self.retry)
                if wait is None or not _budget.spend():
                    raise
                reason = str(error)
            yield Retry(attempt, wait, reason)
            await anyio.sleep(wait)
            attempt, waited = attempt + 1, waited + wait
            if shown:
                yield TurnRestarted(attempt, reason)

    async def get(self, path: str) -> Any:
        """The JSON at `path` of the endpoint, asked for once.

        Raises:
            APIError: There is none.
        """
        async with exchange(
            self._http(), "GET", self.base_url + path, self._all_headers(None), [], self._timeout(self.timeouts.connect)
        ) as reply:
            body = await reply.body(self.timeouts.connect)
        try:
            return parse_json(body)
        except ValueError:
            raise ProtocolError(f"{path} answered with {reply.content_type or 'something'} that is no JSON") from None

    def _refuse_broken(self, transcript: Transcript, request: Request) -> None:
        container = bool(transcript.container or request.params.get("container"))
        if problems := transcript.refused(container=container):
            raise TranscriptError(f"the API would refuse this history: {problems[0].message}")

    async def _attempt(self, transcript: Transcript, request: Request) -> AsyncGenerator[Event]:
        parts = request.body_parts(transcript.message_parts(), transcript.container)
        timeout = self._timeout(self.timeouts.stall if request.stream else self.timeouts.reply)
        headers = self._headers_for(request)
        async with exchange(self._http(), "POST", self._messages_url, headers, parts, timeout) as reply:
            if self.http_client is None:  # a hook of the caller's may have changed it for this request
                self._messages_url = reply.url
            if reply.content_type == "text/html":
                raise ProtocolError("the endpoint answered with a web page: check base_url")
            if not request.stream or reply.content_type == "application/json":
                yield self._turn_end(parse_message(await reply.body(self.timeouts.reply)), reply)
                return
            decoder, fold, stall = Decoder(), Fold(), _Stall(self.timeouts.stall)
            # One loop from the bytes to the events: each generator between them costs as much as reading the JSON.
            async for chunk in (chunks := reply.chunks()):
                progress = False
                for data in decoder.feed(chunk):
                    raw = fold.add(data)
                    if fold.done:
                        await _drain(chunks)
                        yield self._turn_end(fold.message, reply)
                        return
                    if raw is None or raw["type"] == "ping":
                        continue
                    progress = True
                    if (event := _event_of(raw, fold)) is not None:
                        yield event
                stall.look(progress)
            yield self._turn_end(fold.message, reply)

    def _turn_end(self, message: dict[str, Any], reply: Reply) -> TurnEnd:
        usage = Usage.from_wire(message.get("usage"))
        return TurnEnd(
            message.get("stop_reason"), usage, reply.request_id, message, cost_of(message, self.provider.name)
        )

    def _timeout(self, read: float) -> tuple[float, float, float, float]:
        return (self.timeouts.connect, read, self.timeouts.reply, self.timeouts.connect)

    def _http(self) -> Any:
        if self.http_client is not None:
            return self.http_client
        own = self._own.get(None)
        if own is None:
            own = new_http_client(self.timeouts)
            self._own.set(own)
        return own

    def _headers_for(self, request: Request) -> dict[str, str]:
        """The headers of a request: the same ones for every turn of a run."""
        last = self._last_headers  # read once: another thread may change it
        if last[0] is not request:
            last = self._last_headers = (request, self._all_headers(request))
        return last[1]

    def _all_headers(self, request: Request | None) -> dict[str, str]:
        headers = {"anthropic-version": self.provider.version, "content-type": "application/json"}
        if self._key and self.provider.key_header == "x-api-key":
            headers["x-api-key"] = self._key.reveal()
        elif secret := self._key or self._token:
            headers["authorization"] = f"Bearer {secret.reveal()}"
        headers.update({name.lower(): value for name, value in self._headers.items()})
        if request:
            headers.update({name.lower(): value for name, value in request.headers.items()})
            if request.betas:
                headers["anthropic-beta"] = ",".join(filter(None, [headers.get("anthropic-beta"), *request.betas]))
        for name, value in headers.items():
            # The HTTP client would refuse it too, but show the value, which may be a key.
            if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
                raise ConfigurationError(
                    f"the header {name} can't be sent: it must be text without line breaks, blanks at an end or "
                    "letters outside ASCII"
                )
        return headers


class _Stall:
    """Raises when a stream has made no progress for too long; pings and half events are none."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def look(self, progress: bool) -> None:
        if progress:
            self._since = None
        elif self._since is None:
            self._since = anyio.current_time()
        elif anyio.current_time() - self._since > self._seconds:
            raise APITimeoutError(f"the stream made no progress for {self._seconds:g} seconds")


async def _drain(chunks: AsyncGenerator[bytes]) -> None:
    """Reads the end of the body, so that the connection can serve again; no server needs long for it."""
    with anyio.move_on_after(0.25), suppress(Exception):  # the turn is complete, whatever comes
        async for _ in chunks:
            pass


def _endpoint(
    api_key: str | None, auth_token: str | None, base_url: str | None, provider: str | None
) -> tuple[str | None, str | None, str]:
    """Key, token and address, from the arguments and then from the environment."""
    env = os.environ
    names = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL")
    anthropic = [env.get(name) for name in names]
    if not any((api_key, auth_token, base_url, provider, *anthropic)):
        provider = COMETAPI.name
    named_comet = provider == COMETAPI.name
    base_url = base_url or (None if named_comet else anthropic[2])
    at_comet = named_comet or (base_url is not None and provider_of(base_url) is COMETAPI)
    if at_comet and not (api_key or auth_token):
        api_key = env.get("COMETAPI_KEY")
    if not (api_key or auth_token or named_comet):
        api_key, auth_token = anthropic[:2]
    if not (api_key or auth_token or base_url):
        raise ConfigurationError(_NO_KEY)
    base_url = base_url or PROVIDERS[provider or ANTHROPIC.name].base_url
    if not base_url:
        raise ConfigurationError(f"provider {provider!r} needs a base_url")
    if "@" in base_url:
        raise ConfigurationError("base_url must not hold a user name or password: give them in headers")
    if not base_url.startswith(("http://", "https://")):
        raise ConfigurationError(f"base_url must begin with http:// or https://, and it is {base_url[:100]!r}")
    return api_key, auth_token, base_url


def _without_version(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/v1")


# What is reported of a delta, and the key that holds it; nothing of those that are whole only at the end of the block.
_DELTAS: dict[str, tuple[Callable[[Any, int], Event], str] | None] = {
    "text_delta": (TextDelta, "text"),
    "thinking_delta": (ThinkingDelta, "thinking"),
    "input_json_delta": (InputDelta, "partial_json"),
    "signature_delta": None,
    "citations_delta": None,
    "compaction_delta": None,
}


def _event_of(raw: dict[str, Any], fold: Fold) -> Event | None:
    """What a run reports of one event of the stream."""
    kind = raw["type"]
    if kind == "content_block_delta":
        delta = raw["delta"]
        if delta["type"] not in _DELTAS:
            return UnknownEvent(copy_json(raw))
        shown = _DELTAS[delta["type"]]
        return shown and shown[0](delta[shown[1]], raw["index"])
    if kind == "content_block_stop":
        return _block_event(raw["index"], fold.blocks[raw["index"]], fold)
    if kind in ("message_start", "content_block_start", "message_delta"):
        return None
    return UnknownEvent(raw)


def _block_event(index: int, block: Block, fold: Fold) -> Event:
    block = copy_json(block)  # the consumer may change it
    kind = str(block.get("type"))
    if kind in ("server_tool_use", "mcp_tool_use"):
        return ServerToolCall(str(block.get("id")), str(block.get("name")), block.get("input"))
    if kind.endswith("_tool_result"):
        content = block.get("content")
        error = content.get("error_code") if isinstance(content, dict) else None
        name = next((b.get("name") for b in fold.blocks if b.get("id") == block.get("tool_use_id")), None)
        name = str(name or kind.removesuffix("_tool_result"))
        return ServerToolResult(str(block.get("tool_use_id")), name, len(encode(content)), error, block)
    return ContentBlockStop(index, block)
