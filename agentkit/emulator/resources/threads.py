"""Message threads: histories that are kept under the id of the reply, for five minutes.

Source: messages-api.md sections 16 (error codes) and 18.4; the texts are not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from agentkit.emulator.clock import Clock
from agentkit.emulator.refusal import Refused
from agentkit.messages import Block, sent_content

__all__ = ["Threads"]

_LIFETIME = 300.0  # seconds
_FIXED = ("model", "system", "tools")


@dataclass(slots=True)
class _Thread:
    body: dict[str, Any]
    ends: float
    state: Literal["open", "in flight", "continued"] = "open"


class Threads:
    """The threads of an emulator."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._threads: dict[str, _Thread] = {}

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with its whole history; one that continues nothing is given back.

        Raises:
            Refused: The thread is gone, was continued already, or the request can't be part of one.
        """
        thread = body.get("thread")
        if not isinstance(thread, dict):
            return body
        _check_supported(body)
        name = thread.get("previous_message_id")
        if thread.get("type") != "continue" or not isinstance(name, str):
            return body
        known = self._open(name)
        for field in _FIXED:
            if field in body and body[field] != known.body.get(field):
                text = f"`{field}` differs from that of the thread"
                raise Refused(400, text, code="thread_fingerprint_mismatch")
        fixed = {field: known.body[field] for field in _FIXED if field in known.body}
        messages = body.get("messages")
        known.state = "in flight"
        whole = known.body["messages"] + messages if isinstance(messages, list) else messages
        # The rules say nothing of a history whose beginning they don't see; here all of it is there.
        return {**fixed, **body, "messages": whole, "thread": {"type": "create"}}

    def keep(self, body: dict[str, Any], whole: dict[str, Any], message: dict[str, Any]) -> None:
        """Keeps what a reply can be continued from.

        Args:
            body: The request.
            whole: The request with its whole history.
            message: The reply.
        """
        if not isinstance(body.get("thread"), dict):
            return
        self._settle(body, "continued")
        content: list[Block] = sent_content(message)
        turn = [{"role": "assistant", "content": content}] if content else []
        kept = {**whole, "messages": [*whole["messages"], *turn]}
        self._threads[message["id"]] = _Thread(kept, self._clock.now() + _LIFETIME)

    @contextmanager
    def released(self, body: dict[str, Any]) -> Iterator[None]:
        """A request that gets no reply continues nothing: its thread can be continued still."""
        try:
            yield
        except BaseException:
            self._settle(body, "open")
            raise

    def expire(self) -> None:
        """Forgets all threads."""
        self._threads.clear()

    def _settle(self, body: dict[str, Any], state: Literal["open", "continued"]) -> None:
        thread = body.get("thread")
        known = self._threads.get(str(thread.get("previous_message_id"))) if isinstance(thread, dict) else None
        if known and known.state == "in flight":
            known.state = state

    def _open(self, name: str) -> _Thread:
        known = self._threads.get(name)
        if known is None or known.ends <= self._clock.now():
            raise Refused(404, f"Thread not found: {name}", code="thread_not_found")
        if known.state == "continued":
            raise Refused(400, f"The thread was already continued from {name}", code="thread_already_continued")
        if known.state == "in flight":
            raise Refused(400, f"The thread is being continued from {name}", code="thread_continue_in_flight")
        return known


def _check_supported(body: dict[str, Any]) -> None:
    unsupported = [name for name in ("cache_control", "context_management", "fallbacks") if body.get(name) is not None]
    if unsupported:
        text = f"Threads can't be used with {', '.join(unsupported)}"
        raise Refused(400, text, code="thread_unsupported_request", details={"unsupported": unsupported})
