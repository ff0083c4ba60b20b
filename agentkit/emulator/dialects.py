"""Dialects: how the endpoint differs that the emulator stands in for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentkit.emulator import cometapi
from agentkit.emulator.models import model_page
from agentkit.emulator.refusal import Refused

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An endpoint's ways.

    Attributes:
        name: What `Emulator(dialect=…)` calls it.
        versions: Values of `anthropic-version` that it takes.
        version_required: Whether the header must be there.
        request_id: Whether replies have a `request-id` header.
        pings: Whether streams have pings.
        every_route: Whether it has more than `/v1/messages` and `/v1/models`.
        judges_betas: Whether it refuses beta names that it does not know, and fields without the name that they need.
        check: Raises `Refused` for a body that it does not take, before any rule is looked at.
        error: The status and body of an error reply, from the refusal and the id of the request.
        models: The list at `/v1/models`, from the query.
        message: The message as it sends it.
    """

    name: str
    versions: tuple[str, ...]
    version_required: bool = True
    request_id: bool = True
    pings: bool = True
    every_route: bool = True
    judges_betas: bool = True
    check: Callable[[dict[str, Any]], None] = lambda body: None
    error: Callable[[Refused, str], tuple[int, dict[str, Any]]]
    models: Callable[[Mapping[str, str]], dict[str, Any]] = model_page
    message: Callable[[dict[str, Any]], dict[str, Any]] = dict


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
        request_id=False,
        pings=False,
        every_route=False,
        judges_betas=False,
        check=cometapi.check,
        error=cometapi.error,
        models=cometapi.models,
        message=cometapi.message,
    ),
}
