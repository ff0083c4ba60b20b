"""What the API refuses about context management, compaction, fallbacks and containers.

Source: messages-api.md sections 7.4, 11, 18.1 and 18.3; api-errors.md B (PostHog#73838). Words on the order of edits,
on compaction and on fallbacks are ours; on the container: a live probe of 2026-08-31; on a model without the strategy:
several, who saw it live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.rules.texts import Problem
from agentkit.rules.tools import runs_on_server
from agentkit.support import model_of

__all__ = ["check_context"]

_CLEAR_THINKING = "clear_thinking_20251015"
_COMPACT = "compact_20260112"
_CANNOT_COMPACT = "claude-haiku-4-5"


def check_context(body: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems of these parameters with others."""
    kinds = [edit["type"] for edit in (body.get("context_management") or {}).get("edits") or []]
    yield from _edits(body, kinds)
    if body.get("compaction") is not None:
        yield from _compaction(body)
    yield from _fallbacks(body.get("fallbacks"))
    if body.get("container") is not None and not any(map(runs_on_server, body.get("tools", []))):
        text = "container: Container identifier can only be provided when using the code execution tool"
        yield Problem("container_tool", "container", text)


def _edits(body: Mapping[str, Any], kinds: list[str]) -> Iterator[Problem]:
    if _CLEAR_THINKING in kinds[1:]:
        text = f"context_management.edits: `{_CLEAR_THINKING}` must be the first of the edits"
        yield Problem("clear_thinking_order", "context_management.edits", text)
    model, kind = model_of(body["model"]), body.get("thinking", {}).get("type")
    if _CLEAR_THINKING in kinds and (kind or (model and model.thinking_default == "off" and "disabled")) == "disabled":
        text = f"`{_CLEAR_THINKING}` strategy requires `thinking` to be enabled or adaptive"
        yield Problem("clear_thinking_off", "context_management.edits", text)
    if _COMPACT in kinds and body["model"].startswith(_CANNOT_COMPACT):
        text = f"'{body['model']}' does not support the '{_COMPACT}' context management strategy."
        yield Problem("compact_model", "context_management.edits", text)


def _compaction(body: Mapping[str, Any]) -> Iterator[Problem]:
    """What a request for a summary leaves out."""
    config = body.get("output_config", {})
    others = {
        "stop_sequences": body.get("stop_sequences"),
        "context_management": body.get("context_management"),
        "output_config.format": config.get("format"),
        "output_config.task_budget.remaining": (config.get("task_budget") or {}).get("remaining"),
        "tool_choice": body.get("tool_choice", {}).get("type") in ("any", "tool"),
    }
    for name, value in others.items():
        if value:
            yield Problem("compaction_alone", name, f"{name}: can't be used with compaction")


def _fallbacks(fallbacks: Any) -> Iterator[Problem]:
    models = [each["model"] for each in fallbacks] if isinstance(fallbacks, list) else []
    if len(set(models)) < len(models):
        yield Problem("fallbacks_twice", "fallbacks", "fallbacks: models must be distinct")
