"""The prompt cache: which part of a request's input was read from it, and which was written to it.

Nothing is kept but digests of prefixes, each for as long as its mark says.

Source: messages-api.md section 17.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentkit.emulator.clock import Clock
from agentkit.emulator.messages.message import tokens
from agentkit.messages import encode

__all__ = ["NOT_CACHED", "PromptCache"]

NOT_CACHED = {
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}
"""The counts of a request without marks."""

_LOOK_BACK = 20  # blocks, the marked one included
_SECONDS = {"5m": 300.0, "1h": 3600.0}
_UNCACHEABLE = ("thinking", "redacted_thinking")
# Tokens that a prefix needs at least, by the beginning of the model's id; the first that fits counts.
_LEAST = {
    "claude-opus-4-8": 1024,
    "claude-opus-5-5": 1024,
    "claude-fable-5-": 1024,
    "claude-mythos-5-": 1024,
    "claude-opus-5": 512,
    "claude-fable-5": 512,
    "claude-mythos-5": 512,
    "claude-sonnet-5-5": 512,
    "claude-opus-4-7": 2048,
    "claude-mythos-preview": 2048,
    "claude-opus-4-": 4096,
    "claude-haiku-4-5": 4096,
}


@dataclass(slots=True)
class _Place:
    """A block, as the end of a prefix."""

    digest: bytes
    size: int
    ttl: str | None


class PromptCache:
    """The cache of one emulator; one key's requests read what another's wrote."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[bytes, float] = {}

    def counts(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields of `usage` about the cache, after a request that got its reply.

        Args:
            body: The request, with its whole history.
        """
        places = list(_places(body))
        marks = [at for at, place in enumerate(places) if place.ttl]
        read = max((hit for at in marks if (hit := self._hit(places, at)) is not None), default=None)
        boundary = tokens(places[read].size) if read is not None else 0
        counts = {"cache_read_input_tokens": boundary, "5m": 0, "1h": 0}
        if read is not None:
            self._keep(places[read])
        for at in marks:
            end = tokens(places[at].size)
            if end >= _least(body["model"]) and (read is None or at > read):
                self._keep(places[at])
                counts[places[at].ttl or "5m"] += end - boundary
                boundary = end
        created = {f"ephemeral_{ttl}_input_tokens": counts.pop(ttl) for ttl in _SECONDS}
        return {**counts, "cache_creation_input_tokens": sum(created.values()), "cache_creation": created}

    def _hit(self, places: list[_Place], mark: int) -> int | None:
        """The longest prefix that is in the cache, as far as a mark looks back."""
        now = self._clock.now()
        looked = range(mark, max(-1, mark - _LOOK_BACK), -1)
        return next((at for at in looked if self._ends.get(places[at].digest, 0.0) > now), None)

    def _keep(self, place: _Place) -> None:
        now = self._clock.now()
        seconds = _SECONDS[place.ttl or "5m"]
        self._ends[place.digest] = max(self._ends.get(place.digest, 0.0), now + seconds)


def _places(body: dict[str, Any]) -> Iterator[_Place]:
    """The blocks in the order of the prompt."""
    whole = hashlib.sha256(encode([body["model"], body.get("speed"), body.get("inference_geo")]))
    blocks = [*_parts(body), *_messages(body)]
    automatic = (body.get("cache_control") or {}).get("ttl") or ("5m" if body.get("cache_control") else None)
    last = max((at for at, block in enumerate(blocks) if _holds_mark(block)), default=-1)
    size = 0
    for at, block in enumerate(blocks):
        bare = encode({name: value for name, value in block.items() if name != "cache_control"})
        whole.update(bare)
        size += len(bare)
        mark = block.get("cache_control")
        ttl = (mark.get("ttl") or "5m") if isinstance(mark, dict) else automatic if at == last else None
        yield _Place(whole.digest(), size, ttl)


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # A tool that is only found by a search is no part of the prefix. Source: messages-api.md section 10.4.
    yield from (tool for tool in body.get("tools") or () if not tool.get("defer_loading"))
    system = body.get("system") or []
    yield from [{"type": "text", "text": system}] if isinstance(system, str) else system


def _messages(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each with what else changes the messages' part of the prefix."""
    settings = {name: body.get(name) for name in ("tool_choice", "thinking", "output_config") if body.get(name)}
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            yield {**block, "role": message["role"], **({"settings": settings} if settings else {})}


def _holds_mark(block: dict[str, Any]) -> bool:
    return block.get("type") not in _UNCACHEABLE and block.get("text") != ""


def _least(model: str) -> int:
    return next((least for name, least in _LEAST.items() if model.startswith(name)), 1024)
