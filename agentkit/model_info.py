"""What `/v1/models` says of a model, and the table of `support` put right by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from agentkit.endpoint import Endpoint, path_of
from agentkit.errors import ProtocolError
from agentkit.support import Model, model_of

__all__ = ["Catalogue", "ModelInfo"]

_DATE = re.compile(r"[-@]\d{8}$")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What an endpoint says of a model; None where it says nothing, as most gateways do of nearly everything.

    Attributes:
        id: What a request names.
        display_name: For people.
        created_at: RFC 3339.
        max_input_tokens: Tokens of the context window.
        max_tokens: The most output tokens of one reply.
        lifecycle: active, deprecated or retired.
        capabilities: What it can do, each leaf `{"supported": bool}`; empty where the endpoint does not say.
        raw: All that the endpoint said, as it came.

    Source: messages-api.md section 1; lists in the shape of OpenAI's have `id`, `created` and little else.
    """

    id: str
    display_name: str | None = None
    created_at: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    lifecycle: str | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict, hash=False)
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """From an item of the list. What has another type than the API's counts as not said."""
        capabilities = raw.get("capabilities")
        return cls(
            id=str(raw.get("id") or ""),
            display_name=_text(raw.get("display_name")),
            created_at=_text(raw.get("created_at")) or _time(raw.get("created")),
            max_input_tokens=_count(raw.get("max_input_tokens")),
            max_tokens=_count(raw.get("max_tokens")),
            lifecycle=_text(raw.get("lifecycle")),
            capabilities=capabilities if isinstance(capabilities, dict) else {},
            raw=dict(raw),
        )

    def refine(self, known: Model | None) -> Model | None:
        """A row of the table of `support` with what the endpoint says in place of what the table says.

        Args:
            known: The row; for None the answer is None, because a model that is not in the table is not judged.
        """
        if known is None:
            return None
        thinking, efforts = self._thinking(), self._efforts()
        return replace(
            known,
            context_window=self.max_input_tokens or known.context_window,
            max_tokens=self.max_tokens or known.max_tokens,
            thinking=known.thinking if thinking is None else thinking,
            efforts=known.efforts if efforts is None else efforts,
            default_effort=known.default_effort if efforts is None or known.default_effort in efforts else None,
        )

    def _thinking(self) -> frozenset[str] | None:
        """The types of `thinking` that it takes; None: not said."""
        said = self.capabilities.get("thinking")
        types = said.get("types") if isinstance(said, dict) else None
        known = {name: _supported(leaf) for name, leaf in types.items()} if isinstance(types, dict) else {}
        if any(supported is not None for supported in known.values()):
            return frozenset(name for name, supported in known.items() if supported)
        return frozenset() if _supported(said) is False else None

    def _efforts(self) -> tuple[str, ...] | None:
        """The levels of effort that it takes, lowest first; None: not said."""
        said = self.capabilities.get("effort")
        if _supported(said) is False:
            return ()
        levels = {name: _supported(said.get(name)) for name in _EFFORTS} if isinstance(said, dict) else {}
        if all(supported is None for supported in levels.values()):
            return None
        return tuple(name for name, supported in levels.items() if supported)


class Catalogue:
    """What an endpoint has said of its models so far."""

    def __init__(self) -> None:
        self._said: dict[str, ModelInfo] = {}

    async def all(self, endpoint: Endpoint) -> list[ModelInfo]:
        """Every model of the endpoint.

        Raises:
            APIError: It has no list of models.
        """
        found = [ModelInfo.from_wire(item) async for item in endpoint.items("/v1/models", limit=1000)]
        for info in found:
            self._keep(info, info.id)
        return found

    async def one(self, endpoint: Endpoint, name: str) -> ModelInfo:
        """One model, by its id or an alias of it.

        Raises:
            APIError: The endpoint does not say anything of it.
        """
        path = path_of("models", name)
        raw = await endpoint.ask("GET", path)
        if not isinstance(raw, dict) or not raw.get("id"):
            raise ProtocolError(f"{path} answered with no model", retryable=False)
        info = ModelInfo.from_wire(raw)
        self._keep(info, name)
        return info

    def known(self, name: str) -> Model | None:
        """The row of the table for a model, refined by what the endpoint has said; None where there is none."""
        info = self._said.get(name) or self._said.get(_undated(name))
        return info.refine(model_of(name)) if info else model_of(name)

    def _keep(self, info: ModelInfo, name: str) -> None:
        self._said.update({name: info, info.id: info, _undated(info.id): info})


def _undated(name: str) -> str:
    return _DATE.sub("", name)


def _supported(leaf: Any) -> bool | None:
    said = leaf.get("supported") if isinstance(leaf, dict) else None
    return said if isinstance(said, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _time(seconds: Any) -> str | None:
    """RFC 3339 from seconds since the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None
