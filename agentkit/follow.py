"""A run told from its log: the events of `agent.stream`, for a reader in whatever process.

The log is all there is: an entry is turned into the events that it stands for. So texts come whole, a reply when it is
complete, and what leaves no entry is not told: pieces as they came, retries, progress.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Self

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint

from agentkit.errors import JournalError
from agentkit.events import (
    CacheMiss,
    Event,
    RunEnd,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolHeld,
    ToolJudged,
    ToolResult,
    TurnEnd,
    TurnStart,
)
from agentkit.messages import Usage, citations_of, copy_json, fetched_pages, model_turns, sent_content, text_of
from agentkit.store import digest_of
from agentkit.stream import Fold
from agentkit.stream_events import event_of
from agentkit.transcript import Call, Transcript

__all__ = ["Followed", "News", "intact"]

_SHORTEST, _LONGEST = 0.2, 1.0  # seconds between two looks
_MAY_PASS = ("paused", "error")  # what a worker leaves a run as, a moment before it puts it on its queue again


@dataclass(frozen=True, slots=True)
class News:
    """What the log of a run has gained.

    Attributes:
        entries: Those that are new.
        digest: Of the last one that is known now.
        rest: State and detail of a run that goes on no more; None while it does, or while there is more to read.
    """

    entries: Sequence[dict[str, Any]]
    digest: bytes
    rest: tuple[str, str | None] | None


class Followed:
    """The events of a run, each with its number: those that are there, then those that come, until the run rests.

    Nothing is open between two of them, so a reader may leave at any, and go on after an error or a cancellation.

    Args:
        look: Reads on, after so many entries, of which the last has this digest. It is called in a thread.
        after: The number of the last event that is known.
    """

    # Not a generator: trio warns of those that are left before their end.
    def __init__(self, look: Callable[[int, bytes], News], after: int) -> None:
        self._look = look
        self._after = after
        self._retold = _Retold()
        self._new: deque[dict[str, Any]] = deque()
        self._length, self._digest = 0, b""
        self._events: deque[Event] = deque()
        self._number = 0
        self._rest: tuple[str, str | None] | None = None
        self._seen: tuple[str, str | None] | None = None
        self._has_ended = False
        self._pause, self._looks_at = _SHORTEST, -inf

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        while not self._has_ended:
            while self._events:
                self._number += 1
                event = self._events.popleft()
                if self._number > self._after:
                    return self._number, event
            await checkpoint()
            if self._new:
                self._events.extend(self._retold.take(self._new[0]))
                self._new.popleft()
            elif self._rest:
                self._has_ended = True
                return self._number, self._retold.end(*self._rest)
            else:
                await self._read_on()
        raise StopAsyncIteration

    async def _read_on(self) -> None:
        await anyio.sleep_until(self._looks_at)  # also for a reader that waits for a moment at a time
        news = await to_thread.run_sync(self._look, self._length, self._digest)
        if not self._length:
            self._retold.begin_at(news.entries)
        self._new.extend(news.entries)
        self._length, self._digest = self._length + len(news.entries), news.digest
        before, self._seen = self._seen, news.rest
        if news.rest and (news.rest == before or news.rest[0] not in _MAY_PASS):
            self._rest = news.rest
        self._pause = _SHORTEST if news.entries else min(1.5 * self._pause, _LONGEST)
        self._looks_at = anyio.current_time() + self._pause


def intact(lines: Iterable[tuple[bytes, bytes]], digest: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Entries with their digests, up to the first that is damaged.

    Args:
        lines: As they are stored.
        digest: Of the entry before them.
    """
    for data, stored in lines:
        if digest_of(digest, data) != stored:
            return
        digest = stored
        yield json.loads(data), digest


class _Retold:
    """Events of entries, one after the other."""

    def __init__(self) -> None:
        self._transcript = Transcript()
        self._begins = 0
        self._since = 0.0  # when the calls of this turn began, at the earliest

    def begin_at(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """The run begins with the last question in these; what is before it is told by the runs before."""
        asked = [at for at, entry in enumerate(entries) if entry["entry"] == "run" and not entry["resume"]]
        self._begins = asked[-1] if asked else 0

    def take(self, entry: dict[str, Any]) -> list[Event]:
        """The events of the next entry."""
        at = len(self._transcript.entries)
        try:
            self._transcript.append(entry)
            events = list(self._events_of(entry))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            about = f"entry {at} of run {self._transcript.run_id}"
            raise JournalError(f"{about} is not known to this agentkit ({error!r}): update it") from None
        return events if at >= self._begins else []

    def end(self, state: str, detail: str | None) -> RunEnd:
        """How the run rests."""
        log = self._transcript
        answer = [
            block
            for message in model_turns(log.entries[max(log.answer_from, log.run_from) :])
            for block in sent_content(message)
        ]
        pages = fetched_pages(block for message in model_turns(log.entries) for block in message.get("content") or ())
        return RunEnd(
            finish=state,
            detail=detail,
            text=text_of(answer),
            citations=tuple(citations_of(answer, pages)),
            usage=log.spending.usage,
            cost=log.spending.cost,
            turns=log.turns,
            seconds=log.elapsed,
            run_id=log.run_id,
        )

    def _events_of(self, entry: Mapping[str, Any]) -> Iterator[Event]:
        if entry["entry"] in ("run", "turn"):
            self._since = self._transcript.elapsed
        match entry:
            case {"entry": "turn", "message": message}:
                yield from _events_of_turn(entry, message, self._transcript.turns)
            case {"entry": "judgement", "call": call_id, "name": name, "action": action, "rule": rule, "taint": taint}:
                yield ToolJudged(call_id, name, action, rule, tuple(taint))
            case {"entry": "call", "call": call_id, "state": state}:
                yield self._event_of_call(self._transcript.calls[call_id], state, entry.get("elapsed") or 0.0)

    def _event_of_call(self, call: Call, state: str, elapsed: float) -> Event:
        name, given = str(call.block.get("name")), call.block.get("input")
        if state == "held":
            return ToolHeld(call.call_id, name, copy_json(given))
        if state == "started":
            edited = call.decision.input if call.decision else None
            return ToolCall(call.call_id, name, copy_json(given if edited is None else edited))
        seconds = max(elapsed - self._since, 0.0)
        return ToolResult.of(call.call_id, name, str(call.outcome), seconds, call.result or {})


def _events_of_turn(entry: Mapping[str, Any], message: dict[str, Any], turn: int) -> Iterator[Event]:
    yield TurnStart(turn)
    if why := (entry.get("sent") or {}).get("cache_misses"):
        yield CacheMiss(tuple(why))
    fold = Fold()
    fold.blocks = message.get("content") or []
    for index, block in enumerate(fold.blocks):
        if block["type"] == "text" and block.get("text"):
            yield TextDelta(block["text"], index)
        elif block["type"] == "thinking" and block.get("thinking"):
            yield ThinkingDelta(block["thinking"], index)
        if event := event_of({"type": "content_block_stop", "index": index}, fold):
            yield event
    usage = Usage.from_wire(message.get("usage"))
    yield TurnEnd(message.get("stop_reason"), usage, entry.get("request_id"), copy_json(message), entry.get("cost"))
