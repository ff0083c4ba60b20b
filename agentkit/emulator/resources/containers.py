"""Containers: where code runs that the model writes. Here nothing runs; only their ids and their end are real."""

from __future__ import annotations

import uuid
from typing import Any

from agentkit.emulator.clock import Clock, rfc3339
from agentkit.emulator.refusal import Refused
from agentkit.messages import Block

__all__ = ["Containers", "named_container"]

_LIFETIME = 300.0  # seconds without use. Source: messages-api.md section 10.3


class Containers:
    """The containers that replies named, each until it has not been used for five minutes.

    Source: messages-api.md sections 7.3, 10.3 and 11; the text of the refusal is not recorded.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def check(self, body: dict[str, Any]) -> None:
        """Raises `Refused` where a request names a container that there is not."""
        name = named_container(body)
        if name is not None and self._ends.get(name, 0.0) <= self._clock.now():
            raise Refused(400, f"Container {name} has expired or does not exist")

    def of(self, body: dict[str, Any], content: list[Block]) -> dict[str, Any] | None:
        """The `container` of a reply: where code ran for it, or the one that the request names."""
        name = named_container(body)
        if name is None and not any(_runs_code(block) for block in content):
            return None
        name = name or f"container_01{uuid.uuid4().hex[:22]}"
        self.keep(name)
        return {"id": name, "expires_at": rfc3339(self._ends[name]), "skills": None}

    def keep(self, name: str) -> None:
        """A container is used now."""
        self._ends[name] = self._clock.now() + _LIFETIME

    def expire(self) -> None:
        """Ends all of them."""
        self._ends.clear()


def named_container(body: dict[str, Any]) -> str | None:
    """The id of the container that a request names."""
    container = body.get("container")
    name = container.get("id") if isinstance(container, dict) else container
    return name if isinstance(name, str) else None


def _runs_code(block: Block) -> bool:
    kind, name = block.get("type"), str(block.get("name"))
    return kind == "server_tool_use" and name.endswith("code_execution")
