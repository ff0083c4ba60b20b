"""Dialects: how the endpoint differs that the emulator stands in for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentkit import encode as encoding
from agentkit.emulator.dialects import cometapi, local
from agentkit.emulator.refusal import Refused
from agentkit.emulator.resources.models import model_page

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An endpoint's ways.

    Attributes:
        name: What `Emulator(dialect=…)` calls it.
        versions: Values of `anthropic-version` that it takes.
        version_required: Whether the header must be there.
        keyless: Whether it looks at neither key nor version.
        own_headers: Whether replies have the API's own headers: the request's id, the rate limits, whether to retry.
        routes: `all`; `gateway`: messages and the list of models, with a page for the rest; `local`: those that a
            server on one's own machine has.
        judges_betas: Whether it refuses beta names that it does not know, and fields without the name that they need.
        lenient: Whether it answers what breaks a rule.
        read: The body as it takes it; raises `Refused` for one that it does not take, before any rule is looked at.
        error: The status and body of an error reply, from the refusal and the id of the request.
        models: The list at `/v1/models`, from the query.
        message: The message as it sends it.
        events: The events that stream such a message.
    """

    name: str
    versions: tuple[str, ...] = ()
    version_required: bool = True
    keyless: bool = False
    own_headers: bool = True
    routes: Literal["all", "gateway", "local"] = "all"
    judges_betas: bool = True
    lenient: bool = False
    read: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body
    error: Callable[[Refused, str], tuple[int, dict[str, Any]]]
    models: Callable[[Mapping[str, str]], dict[str, Any]] = model_page
    message: Callable[[dict[str, Any]], dict[str, Any]] = dict
    events: Callable[[dict[str, Any]], Iterable[dict[str, Any]]] = encoding.events


def _error(refused: Refused, request_id: str) -> tuple[int, dict[str, Any]]:
    """Source: messages-api.md section 16."""
    error: dict[str, Any] = {"type": refused.kind, "message": refused.message}
    if refused.details:
        error["details"] = refused.details
    return refused.status, {"type": "error", "error": error, "request_id": request_id}


DIALECTS = {
    "anthropic": Dialect(name="anthropic", versions=("2023-01-01", "2023-06-01", "2026-10-21"), error=_error),
    "cometapi": Dialect(
        name="cometapi",
        versions=("2023-06-01",),
        version_required=False,
        own_headers=False,
        routes="gateway",
        judges_betas=False,
        read=cometapi.read,
        error=cometapi.error,
        models=cometapi.models,
        message=cometapi.message,
        events=cometapi.events,
    ),
    "local": Dialect(
        name="local",
        keyless=True,
        own_headers=False,
        routes="local",
        lenient=True,
        read=local.read,
        error=local.error,
        models=local.models,
        message=local.message,
        events=local.events,
    ),
}
