"""Message batches: many single-turn requests at half the price, answered within a day."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import anyio

from agentkit.endpoint import Endpoint, path_of
from agentkit.errors import APIStatusError, ConfigurationError, ProtocolError, StreamTruncated, status_error
from agentkit.messages import encode
from agentkit.stream import MAX_REPLY_BYTES, parse_json

__all__ = ["Batch", "BatchOutcome", "Batches", "Unanswered"]

# Source: messages-api.md sections 1 and 19.
_MOST_REQUESTS = 100_000
_MOST_BYTES = 256_000_000
_LONGEST_ID = 64
_SLAB_BYTES = 1 << 20  # httpx is slow on many small pieces


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request of a batch that the model was never asked.

    Attributes:
        type: `canceled` or `expired`, or a word that came after this was written.
        raw: What the API said of it.
    """

    type: str
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


BatchOutcome: TypeAlias = dict[str, Any] | APIStatusError | Unanswered
"""What became of a request: the message in wire shape, the error that it got, or why it got nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch, as it was when it was asked for.

    Attributes:
        id: `msgbatch_…`.
        processing_status: in_progress, canceling or ended.
        request_counts: How many requests are processing, succeeded, errored, canceled, expired.
        created_at: RFC 3339, as the other times.
        expires_at: What is not answered by then expires; 24 hours after it was made.
        ended_at: None until it has ended.
        raw: All that the API said, as it came.

    Source: messages-api.md section 1.
    """

    id: str
    processing_status: str
    request_counts: Mapping[str, int] = field(default_factory=dict, hash=False)
    created_at: str | None = None
    expires_at: str | None = None
    ended_at: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def ended(self) -> bool:
        """Whether there are results."""
        return self.processing_status == "ended"

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """From what the API says of it.

        Raises:
            ProtocolError: It is no batch.
        """
        if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
            raise ProtocolError("the endpoint answered with something that is no message batch", retryable=False)
        counts = raw.get("request_counts")
        return cls(
            id=raw["id"],
            processing_status=str(raw.get("processing_status")),
            request_counts=counts if isinstance(counts, dict) else {},
            created_at=raw.get("created_at"),
            expires_at=raw.get("expires_at"),
            ended_at=raw.get("ended_at"),
            raw=raw,
        )


class Batches:
    """`client.batches`. Every failure is an `APIError`; reads are retried as turns are, the rest is sent once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def create(self, requests: Mapping[str, Mapping[str, Any]], *, betas: Sequence[str] = ()) -> Batch:
        """Sends requests to be answered some time.

        Args:
            requests: Bodies by an id of your own, 1 to 64 characters: 1 to 100,000 of them. A body is as
                `agent.preview(…).body` gives it; `stream`, `fallbacks` and `max_tokens` 0 don't go in a batch.
            betas: Names for `anthropic-beta`, for all of them.

        Raises:
            ConfigurationError: They break one of these rules. What is in a body, the API looks at later: one that it
                refuses is `errored` in the results.
            APIError: The batch was not made, or it is not known whether it was: look at `list` before sending again.
        """
        body = _body(requests)
        return Batch.from_wire(await self._endpoint.ask("POST", path_of("messages", "batches"), body, betas=betas))

    async def get(self, batch_id: str) -> Batch:
        """A batch as it is now."""
        return Batch.from_wire(await self._endpoint.ask("GET", _path(batch_id)))

    async def list(self) -> AsyncIterator[Batch]:
        """Every batch, newest first; pages are fetched as they are needed."""
        async with aclosing(self._endpoint.items(path_of("messages", "batches"))) as items:
            async for item in items:
                yield Batch.from_wire(item)

    async def wait(
        self, batch_id: str, *, poll: float = 60.0, progress: Callable[[Batch], object] = lambda batch: None
    ) -> Batch:
        """The batch once it has ended, which it does within 24 hours.

        Args:
            batch_id: `msgbatch_…`.
            poll: Seconds between looks.
            progress: Gets the batch at each look.
        """
        while True:
            batch = await self.get(batch_id)
            progress(batch)
            if batch.ended:
                return batch
            await anyio.sleep(poll)

    async def results(self, batch_id: str) -> AsyncGenerator[tuple[str, BatchOutcome]]:
        """The id and the outcome of each request, in any order, each as it arrives: memory holds one at a time.

        Raises:
            NotFoundError: The batch has not ended.
            StreamTruncated: They end in the middle; ask for them again.
        """
        async with (
            self._endpoint.open("GET", _path(batch_id, "results")) as reply,
            aclosing(_lines(reply.chunks())) as lines,
        ):
            async for line, complete in lines:
                if line.strip():
                    yield _result(line, complete)

    async def cancel(self, batch_id: str) -> Batch:
        """Asks for an early end: what is being answered still is, the rest is `canceled`."""
        return Batch.from_wire(await self._endpoint.ask("POST", _path(batch_id, "cancel")))

    async def delete(self, batch_id: str) -> None:
        """Deletes a batch that has ended, and its results."""
        await self._endpoint.ask("DELETE", _path(batch_id))


def _path(batch_id: str, *rest: str) -> str:
    return path_of("messages", "batches", batch_id, *rest)


def _body(requests: Mapping[str, Mapping[str, Any]]) -> list[bytes]:
    """The body of a batch in slabs, once it is known to be one that the API takes."""
    if not isinstance(requests, Mapping):
        raise ConfigurationError("a batch is given as a dict: a request body for each id")
    if not 1 <= len(requests) <= _MOST_REQUESTS:
        raise ConfigurationError(f"a batch has 1 to {_MOST_REQUESTS:,} requests, and this one {len(requests):,}")
    slabs, slab, size = [], bytearray(b'{"requests":['), 0
    for at, (custom_id, body) in enumerate(requests.items()):
        if wrong := _refused(custom_id, body):
            raise ConfigurationError(f"request {str(custom_id)[:80]!r} can't go in a batch: {wrong}")
        slab += b"," * bool(at) + encode({"custom_id": custom_id, "params": body})
        if len(slab) >= _SLAB_BYTES:
            slabs.append(bytes(slab))
            size += len(slab)
            slab.clear()
        if size + len(slab) > _MOST_BYTES:
            raise ConfigurationError(
                f"a batch has at most {_MOST_BYTES:,} bytes, and request {at + 1:,} of {len(requests):,} is past that: "
                "make several"
            )
    return [*slabs, bytes(slab) + b"]}"]


def _refused(custom_id: Any, body: Any) -> str | None:
    """Why a request can't go in a batch. Source: messages-api.md section 1."""
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= _LONGEST_ID:
        return f"its id must be text of 1 to {_LONGEST_ID} characters"
    if not isinstance(body, Mapping):
        return f"its body must be a dict, not {type(body).__name__}"
    if body.get("stream"):
        return "nothing is streamed there: leave out stream"
    if body.get("max_tokens") == 0:
        return "max_tokens 0 only fills the prompt cache: give at least 1"
    if body.get("fallbacks"):
        return "there are no fallbacks in batches: leave them out"
    return None


async def _lines(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[tuple[bytes, bool]]:
    """Each line, and whether its end has come."""
    line = bytearray()
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for end in whole:
            line += end
            yield bytes(line), True
            line.clear()
        line += rest
        if len(line) > MAX_REPLY_BYTES:
            raise ProtocolError(f"a result is longer than {MAX_REPLY_BYTES} bytes", retryable=False)
    yield bytes(line), False


def _result(line: bytes, complete: bool) -> tuple[str, BatchOutcome]:
    try:
        said = parse_json(line)
        return said["custom_id"], _outcome(said["result"])
    except (ValueError, TypeError, LookupError, AttributeError):
        if complete:
            raise ProtocolError(f"a line of the results is none: {line[:100]!r}", retryable=False) from None
        raise StreamTruncated("the results end in the middle of a line") from None


def _outcome(result: dict[str, Any]) -> BatchOutcome:
    kind = result["type"]
    if kind == "succeeded":
        message: dict[str, Any] = result["message"]
        return message
    if kind == "errored":
        return status_error(200, result["error"])  # without a status of its own, its type decides
    return Unanswered(kind, result)
