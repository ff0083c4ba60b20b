"""`GET /v1/models`: the models that the emulator answers for. Whatever the name, the same reader answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agentkit.emulator.resources.paging import page_of
from agentkit.support import Model, model_of

__all__ = ["MODELS", "is_model", "model_item", "model_page", "resolved_model"]

# Newest first. Source: messages-api.md section 4.
MODELS = (
    "claude-fable-5-2",
    "claude-haiku-5-5",
    "claude-sonnet-5-5",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-opus-4-5-20251101",
    "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5-20250929",
)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = ("adaptive", "between_tools", "disabled", "enabled")
_FAMILY = re.compile(r"claude-(?:(?:fable|haiku|instant|mythos|opus|sonnet)\b|\d)")
_DATE = re.compile(r"-\d{8}$")


def is_model(name: str) -> bool:
    """Whether it may be a model: of a family that there is, whatever its version."""
    return _FAMILY.match(name) is not None


def resolved_model(name: str) -> str:
    """The id that a reply names: that of the snapshot where the request has an alias."""
    return next((model for model in MODELS if _DATE.sub("", model) == name), name)


def model_item(name: str) -> dict[str, Any]:
    """One model, with what it takes, as far as that is known. Source: messages-api.md sections 1 and 4."""
    known = model_of(name)
    item = {
        "type": "model",
        "id": name,
        "display_name": f"{name} (emulator: no language model)",
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": name.split("-")[1],
        "max_input_tokens": known.context_window if known else 1_000_000,
        "max_tokens": known.max_tokens if known else 128_000,
    }
    return {**item, "capabilities": _capabilities(known)} if known else item


def _capabilities(model: Model) -> dict[str, Any]:
    yes = {"supported": True}
    efforts = {level: {"supported": level in model.efforts} for level in _EFFORTS}
    types = {kind: {"supported": kind in model.thinking} for kind in _THINKING}
    whole = ("batch", "citations", "code_execution", "context_management", "image_input", "pdf_input")
    return {
        **dict.fromkeys((*whole, "structured_outputs"), yes),
        "effort": {"supported": bool(model.efforts), **efforts},
        "server_tools": {"web_search": yes, "code_execution": yes},
        "thinking": {"supported": True, "types": types},
    }


def model_page(query: Mapping[str, str]) -> dict[str, Any]:
    """One page of the list, by `limit`, `after_id` and `before_id`."""
    return page_of([model_item(name) for name in MODELS], query)
