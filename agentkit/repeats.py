"""Whether a run goes in circles: equal calls with equal results, turn after turn. Source: faults.md, L1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agentkit.messages import Block, encode

__all__ = ["NOTICE", "Repeats", "digest_of"]

NOTICE = "This call has given this same result before. Repeating it will not help: try something else, or say so."
_NOTICED, _STOPPED = 3, 5  # times
_LONGEST = 4  # turns of one round


def digest_of(name: str, given: Any, result: Any) -> str:
    """Of a call and what came of it."""
    return hashlib.sha256(encode([name, given, result])).hexdigest()[:16]


@dataclass
class Repeats:
    """What the last model turns did: for each the set of its calls with their results. It never looks at texts."""

    _turns: tuple[frozenset[str], ...] = ()  # the last one is not complete yet
    _uses: dict[str, Block] = field(default_factory=dict)  # of the API's own tools, without a result so far

    def begin_turn(self, content: Iterable[Block]) -> None:
        """A model turn: what the API ran itself is complete in it."""
        turns = (*self._turns, frozenset(self._ran_by_the_api(content)))
        self._turns = turns[-_LONGEST * _STOPPED :]

    def add(self, digest: str) -> None:
        """A call of the last turn has ended."""
        *before, last = self._turns or (frozenset(),)  # none where the run was resumed in its midst
        self._turns = (*before, last | {digest})

    def are_noticed(self, digest: str) -> bool:
        """Whether a call of the last turn that ends so is one of the third equal round, or of a later one."""
        before = self._turns[:-1]
        return any(
            all(digest in turn for turn in before[-length::-length][: _NOTICED - 1])
            and len(before) >= (_NOTICED - 1) * length
            and all(before[-at] == before[-at - length] for at in range(1, length))
            for length in range(1, _LONGEST + 1)
        )

    @property
    def are_too_many(self) -> bool:
        """Whether the last five rounds were equal."""
        return any(self._equal_rounds(length) for length in range(1, _LONGEST + 1))

    def _equal_rounds(self, length: int) -> bool:
        turns = self._turns[-length * _STOPPED :]
        return len(turns) == length * _STOPPED and all(turns) and turns[length:] == turns[:-length]

    def _ran_by_the_api(self, content: Iterable[Block]) -> Iterator[str]:
        uses = self._uses.copy()
        for block in content:
            kind = str(block.get("type"))
            if kind in ("server_tool_use", "mcp_tool_use"):
                uses[str(block.get("id"))] = block
            elif kind.endswith("_tool_result") and (use := uses.pop(str(block.get("tool_use_id")), None)):
                yield digest_of(str(use.get("name")), use.get("input"), _found(block.get("content")))
        self._uses = uses


def _found(content: Any) -> Any:
    """A result without what differs each time: encrypted fields, times."""
    if isinstance(content, list):
        return [item.get("url") or item.get("text") if isinstance(item, dict) else item for item in content]
    if isinstance(content, dict):
        return [content.get(name) for name in ("error_code", "url", "stdout", "stderr", "return_code")]
    return content
