"""The prefix ledger of a run: what the prompt cache will not hold, known before a request is sent."""

from __future__ import annotations

import time
from typing import Any

from agentkit.cache import Prefix, misses
from agentkit.events import CacheMiss
from agentkit.request import Request, marks_in
from agentkit.transcript import Transcript

__all__ = ["Ledger"]


class Ledger:
    """Compares each request with the one before, also with that of an earlier run of the conversation.

    Args:
        request: Of the run; one without any cache mark is not looked at.
        transcript: Where the ledger finds what was sent before, and the run writes what is sent now.
    """

    def __init__(self, request: Request, transcript: Transcript) -> None:
        self._transcript = transcript
        self._endpoint = transcript.asked[1] if transcript.asked else ""
        self._begins = Prefix.of(request, self._endpoint) if _is_cached(request) else None
        self._before: Prefix | None = None
        self._sent_at = 0.0
        self._seen = 0  # entries
        self._rewritten: str | None = None

    def look(self) -> tuple[CacheMiss | None, dict[str, Any] | None]:
        """Before a request: the event, if there is something to say, and what the entry of its turn keeps of it."""
        if self._begins is None:
            return None, None
        self._read_on()
        now, prefix = time.time(), self._begins.at(self._transcript.history.body.size)
        why = misses(self._before, prefix, seconds=now - self._sent_at, rewritten=self._rewritten)
        sent = {"at": now, "prefix": prefix.dump(self._before), "cache_misses": why}
        return CacheMiss(tuple(why)) if why else None, sent

    def _read_on(self) -> None:
        entries = self._transcript.entries
        for entry in entries[self._seen :]:
            if sent := entry.get("sent"):
                self._before = Prefix.load(sent["prefix"], self._before)
                self._sent_at, self._rewritten = sent["at"], None
            elif entry["entry"] == "operation" and entry["operation"] in _REWRITE:
                self._rewritten = entry["operation"]
        self._seen = len(entries)


_REWRITE = ("strip_thinking", "drop_container", "abandon_turn", "compact")


def _is_cached(request: Request) -> bool:
    """Whether the request has cache marks: ours, or the user's before the messages."""
    blocks = [*request.tools, *(request.system if isinstance(request.system, list) else ())]
    return bool(request.cache or request.params.get("cache_control") or any(True for _ in marks_in(blocks)))
