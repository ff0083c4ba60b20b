"""`Client`: transcript → request → events → turn, retried."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import anyio
from anyio.lowlevel import RunVar

from agentkit.endpoint import Endpoint
from agentkit.errors import APIError, APITimeoutError, ConfigurationError, ProtocolError, TranscriptError
from agentkit.events import (
    Event,
    Retry,
    TurnEnd,
    TurnRestarted,
)
from agentkit.messages import Usage
from agentkit.model_info import Catalogue, ModelInfo
from agentkit.prices import cost_of
from agentkit.request import MessageBytes, Request
from agentkit.retry import RetryBudget, wait_before_retry
from agentkit.secrets import Secret
from agentkit.settings import RetryPolicy, Timeouts
from agentkit.stream import Decoder, Fold, parse_message
from agentkit.stream_events import event_of
from agentkit.support import ANTHROPIC, COMETAPI, PROVIDERS, Model, Provider, provider_of
from agentkit.threads import continued, is_lost
from agentkit.transcript import Transcript
from agentkit.transport import Reply, exchange, new_http_client

if TYPE_CHECKING:
    from agentkit.batches import Batches
    from agentkit.files import Files

__all__ = ["Client"]

_NO_KEY = (
    "no API key: set ANTHROPIC_API_KEY (or COMETAPI_KEY, or ANTHROPIC_BASE_URL for an endpoint without keys), "
    "or run `agentkit run --emulator` to go without one"
)
_HEADER_VALUE = re.compile(r"([!-~]([\t -~]*[!-~])?)?")
_SECRET_HEADER = re.compile(r"(?i)auth|cookie|key|password|secret|token")
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
        self._secrets = [Secret(value) for value in _secret_values(self._headers)]
        self._messages_url: Any = f"{self.base_url}/v1/messages"  # parsed, after the first request
        self._last_headers: tuple[Request | None, dict[str, str]] = (None, {})
        self._catalogue = Catalogue()
        self._own: RunVar[Any] = RunVar("agentkit_http_client")  # a pool does not survive its event loop
        self.headers_for(None)  # a key that can't be sent is better refused now

    def __repr__(self) -> str:
        return f"Client({self.base_url!r}, provider={self.provider.name!r}, key={self._key or self._token})"

    @property
    def origin(self) -> str:
        """Who answers: a known provider, else the host. What one has thought another can't read."""
        return self.provider.name if self.provider.base_url else str(urlsplit(self.base_url).hostname)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes this event loop's connections; a client of the caller's stays open."""
        await self.closing()

    @property
    def closing(self) -> Callable[[], Awaitable[None]]:
        """`aclose`, as a function that does not keep this client alive."""
        return partial(_close, self._own)

    async def send(self, transcript: Transcript, request: Request) -> AsyncGenerator[Event]:
        """Asks for one model turn: its events as they come, then `TurnEnd`, retried as the policy says.

        Raises:
            TranscriptError: The API would refuse the history.
            APIError: There is no turn. Nothing was appended.
        """
        self._refuse_broken(transcript, request)
        thread = continued(transcript, request)
        attempt, waited = 1, 0.0
        while True:
            shown = False
            asked, messages = thread or (request, transcript.history.body)
            try:
                async with aclosing(self._attempt(asked, messages, transcript.container)) as events:
                    async for event in events:
                        shown = True
                        yield event
                _budget.earn()
                return
            except APIError as error:
                error.attempts = attempt
                lost = thread is not None and is_lost(error)
                wait = 0.0 if lost else wait_before_retry(error, attempt, waited, self.retry)
                if wait is None or not (lost or _budget.spend()):
                    raise
                thread = None if lost else thread
                reason = str(error)
            yield Retry(attempt, wait, reason)
            await anyio.sleep(wait)
            attempt, waited = attempt + 1, waited + wait
            if shown:
                yield TurnRestarted(attempt, reason)

    @property
    def endpoint(self) -> Endpoint:
        """For requests that are no turns, such as `await client.endpoint.ask("GET", "/v1/skills")`."""
        return Endpoint(
            self.base_url,
            self._http,
            lambda headers, betas: self.headers_for(Request("", 0, headers=headers, betas=tuple(betas))),
            timeouts=self.timeouts,
            retry=self.retry,
            budget=_budget,
        )

    @property
    def batches(self) -> Batches:
        """Message batches: many single-turn requests at half the price, answered within a day."""
        from agentkit.batches import Batches

        return Batches(self.endpoint)

    @property
    def files(self) -> Files:
        """Files that are uploaded once and named in any number of requests."""
        from agentkit.files import Files

        return Files(self.endpoint)

    async def count_tokens(self, body: Mapping[str, Any], *, betas: Sequence[str] = ()) -> int:
        """Input tokens of a request as `agent.preview(…).body` gives it; an estimate, and free.

        Raises:
            NotFoundError: The endpoint does not count, as many gateways don't.
            APIError: It refuses the request, as it would refuse to answer it.
        """
        return await self.endpoint.count_tokens(body, betas)

    async def models(self) -> list[ModelInfo]:
        """What the endpoint says of each of its models; `known_model` knows it from then on.

        Raises:
            APIError: It has no list of models.
        """
        return await self._catalogue.all(self.endpoint)

    async def model(self, name: str) -> ModelInfo:
        """What the endpoint says of one model, by its id or an alias; `known_model` knows it from then on.

        Raises:
            APIError: It does not say anything of it.
        """
        return await self._catalogue.one(self.endpoint, name)

    def known_model(self, name: str) -> Model | None:
        """What a model takes: as the table of `agentkit.support` has it, refined by what the endpoint has said."""
        return self._catalogue.known(name)

    def _refuse_broken(self, transcript: Transcript, request: Request) -> None:
        container = bool(transcript.container or request.params.get("container"))
        if problems := transcript.history.refused(container=container):
            raise TranscriptError(f"the API would refuse this history: {problems[0].message}")

    async def _attempt(
        self, request: Request, messages: MessageBytes | list[bytes], container: str | None
    ) -> AsyncGenerator[Event]:
        parts = request.body_parts(messages, container)
        timeout = self._timeout(self.timeouts.stall if request.stream else self.timeouts.reply)
        headers = self._kept_headers(request)
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
                    if (event := event_of(raw, fold)) is not None:
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

    def _kept_headers(self, request: Request) -> dict[str, str]:
        """The headers of a request: the same ones for every turn of a run."""
        last = self._last_headers  # read once: another thread may change it
        if last[0] is not request:
            last = self._last_headers = (request, self.headers_for(request))
        return last[1]

    def headers_for(self, request: Request | None) -> dict[str, str]:
        """The headers of a request, with the key.

        Raises:
            ConfigurationError: One of them can't be sent.
        """
        headers = {"anthropic-version": self.provider.version, "content-type": "application/json"}
        if self._key and "x-api-key" in self.provider.key_headers:
            headers["x-api-key"] = self._key.reveal()
        if secret := self._token or (self._key if "authorization" in self.provider.key_headers else None):
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


async def _close(own: RunVar[Any]) -> None:
    http = own.get(None)
    if http is not None:
        own.set(None)
        await http.aclose()


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


def _secret_values(headers: Mapping[str, str]) -> list[str]:
    """What must not show of headers: of `Bearer …` what follows."""
    secret = [str(value) for name, value in headers.items() if _SECRET_HEADER.search(name)]
    return [re.sub(r"\A[A-Za-z]+ +", "", value) for value in secret]


def _without_version(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/v1")
