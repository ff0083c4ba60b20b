"""What an endpoint is asked beside turns of a model: one request, its reply in JSON, retried where that is safe."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode

import anyio

from agentkit.errors import APIError, ConfigurationError, ProtocolError
from agentkit.messages import encode
from agentkit.retry import RetryBudget, wait_before_retry
from agentkit.settings import RetryPolicy, Timeouts
from agentkit.stream import parse_json
from agentkit.transport import Files, Reply, exchange

__all__ = ["Endpoint", "path_of"]

_T = TypeVar("_T")

# Fields of a request that count_tokens refuses. Source: messages-api.md section 1; parameters of SDK 2.12.
_UNCOUNTED = {
    "container",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "thread",
    "top_k",
    "top_p",
}


class Asking(TypedDict, total=False):
    """How a request is sent.

    Attributes:
        headers: More headers; None as a value leaves one out.
        betas: Names for `anthropic-beta`.
        files: In place of a body: the parts of a form.
        repeat: Whether it may be sent again after a failure; by default a GET may.
        any_status: Whether an error reply is given as it is, instead of raised.
    """

    headers: Mapping[str, str | None]
    betas: Sequence[str]
    files: Files
    repeat: bool
    any_status: bool


def path_of(*parts: str) -> str:
    """A path of the endpoint; ids in it are quoted, so that none leads elsewhere.

    Raises:
        ConfigurationError: A part is empty, or dots alone.
    """
    for part in parts:
        if not isinstance(part, str) or not part.strip("."):
            raise ConfigurationError(f"{part!r} is no id")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


class Endpoint:
    """An endpoint, for requests that are no turns.

    Args:
        base_url: Where `/v1/…` is.
        http: Gives the HTTP client of the running event loop.
        headers: Gives all headers of a request, from more headers and names for `anthropic-beta`.
        timeouts: How long one request may take.
        retry: When a request that changes nothing is sent again.
        budget: Of retries.
    """

    def __init__(
        self,
        base_url: str,
        http: Callable[[], Any],
        headers: Callable[[Mapping[str, str], Sequence[str]], dict[str, str]],
        *,
        timeouts: Timeouts,
        retry: RetryPolicy,
        budget: RetryBudget,
    ) -> None:
        self.base_url = base_url
        self.timeouts = timeouts
        self._http = http
        self.headers = headers
        self._retry = retry
        self._budget = budget

    async def ask(
        self, method: str, path: str, body: Any = None, *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> Any:
        """The JSON that the endpoint answers with.

        Args:
            method: GET, POST, DELETE, …
            path: From `/v1/` on; see `path_of`.
            body: A value that is sent as JSON, or bytes (or a list of bytes) that are sent as they are.
            seconds: For the reply; by default `timeouts.reply`.
            how: See `Asking`.

        Raises:
            APIError: There is no such reply.
        """
        seconds = self.timeouts.reply if seconds is None else seconds

        async def once() -> Any:
            async with self._exchange(method, path, body, seconds, how) as reply:
                return _parsed(path, await reply.body(seconds), reply)

        return await self._sent(once, how.get("repeat", method == "GET"))

    @asynccontextmanager
    async def open(self, method: str, path: str, body: Any = None, **how: Unpack[Asking]) -> AsyncGenerator[Reply]:
        """A reply whose body is still to be read; nothing of it may take longer than `timeouts.stall`.

        Args:
            method: As for `ask`.
            path: As for `ask`.
            body: As for `ask`.
            how: See `Asking`.

        Raises:
            APIError: There is no reply, or an error reply.
        """
        async with AsyncExitStack() as stack:

            async def once() -> Reply:
                return await stack.enter_async_context(self._exchange(method, path, body, self.timeouts.stall, how))

            yield await self._sent(once, how.get("repeat", method == "GET"))

    async def count_tokens(self, body: Mapping[str, Any], betas: Sequence[str] = ()) -> int:
        """Input tokens of a request for a message; what is not counted is left out of it.

        Raises:
            APIError: The endpoint does not count them.
        """
        counted = {name: value for name, value in body.items() if name not in _UNCOUNTED}
        path = path_of("messages", "count_tokens")
        answer = await self.ask("POST", path, counted, betas=betas, repeat=True)
        tokens = answer.get("input_tokens") if isinstance(answer, dict) else None
        if not isinstance(tokens, int):
            raise ProtocolError(f"{path} answered with no number of tokens", retryable=False)
        return tokens

    async def items(self, path: str, limit: int = 100) -> AsyncGenerator[dict[str, Any]]:
        """The items of a list, over all its pages; those without an id are left out.

        Both ways of the API to go to the next page: `has_more` with `last_id`, and `next_page`.

        Raises:
            APIError: There is no such list.
        """
        query, seen = {"limit": str(limit)}, set[str]()
        while True:
            page = await self.ask("GET", f"{path}?{urlencode(query)}")
            data = page.get("data") if isinstance(page, dict) else None
            if not isinstance(data, list):
                raise ProtocolError(f"{path} answered with no list", retryable=False)
            new = [item for item in data if isinstance(item, dict) and _id(item) not in {"", *seen}]
            seen.update(map(_id, new))
            for item in new:
                yield item
            if not new:  # also where an endpoint gives its only page whatever it is asked for
                return
            if page.get("next_page"):
                query["page"] = str(page["next_page"])
            elif page.get("has_more"):
                query["after_id"] = str(page.get("last_id") or _id(new[-1]))
            else:
                return

    def _exchange(
        self, method: str, path: str, body: Any, read: float, how: Asking
    ) -> AbstractAsyncContextManager[Reply]:
        given, files = how.get("headers", {}), how.get("files")
        headers = self.headers(
            {name: value for name, value in given.items() if value is not None}, how.get("betas", ())
        )
        left_out = {name.lower() for name, value in given.items() if value is None}
        if files:
            left_out.add("content-type")  # the HTTP client's own says where the parts end
        return exchange(
            self._http(),
            method,
            self.base_url + path,
            {name: value for name, value in headers.items() if name not in left_out},
            _parts(body),
            (self.timeouts.connect, read, self.timeouts.reply, self.timeouts.connect),
            files=files,
            any_status=how.get("any_status", False),
        )

    async def _sent(self, once: Callable[[], Awaitable[_T]], repeat: bool) -> _T:
        """What `once` gives, tried again as the policy says if that is safe."""
        attempt, waited = 1, 0.0
        while True:
            try:
                found = await once()
            except APIError as error:
                error.attempts = attempt
                wait = wait_before_retry(error, attempt, waited, self._retry) if repeat else None
                if wait is None or not self._budget.spend():
                    raise
            else:
                self._budget.earn()
                return found
            await anyio.sleep(wait)
            attempt, waited = attempt + 1, waited + wait


def _parts(body: Any) -> list[bytes]:
    if body is None:
        return []
    if isinstance(body, bytes):
        return [body]
    if isinstance(body, list) and body and all(isinstance(part, bytes) for part in body):
        return body
    return [encode(body)]


def _parsed(path: str, body: bytes, reply: Reply) -> Any:
    try:
        return parse_json(body)
    except ValueError:
        kind = reply.content_type or "something"
        raise ProtocolError(f"{path} answered with {kind} that is no JSON: check base_url") from None


def _id(item: Mapping[str, Any]) -> str:
    found = item.get("id")
    return found if isinstance(found, str) else ""
