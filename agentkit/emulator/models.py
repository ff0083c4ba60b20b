"""`GET /v1/models`: the models that the emulator answers for. Whatever the name, the same reader answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MODELS", "model_item", "model_page", "resolved_model"]

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
_DEFAULT_LIMIT = 20
_DATE = re.compile(r"-\d{8}$")


def resolved_model(name: str) -> str:
    """The id that a reply names: that of the snapshot where the request has an alias."""
    return next((model for model in MODELS if _DATE.sub("", model) == name), name)


def model_item(name: str) -> dict[str, Any]:
    """One model. Source: messages-api.md section 1; without the parts that say what a real model can do."""
    older = "-4-5" in name
    return {
        "type": "model",
        "id": name,
        "display_name": f"{name} (emulator: no language model)",
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000 if older else 1_000_000,
        "max_tokens": 64_000 if older else 128_000,
    }


def model_page(query: Mapping[str, str]) -> dict[str, Any]:
    """One page of the list.

    Args:
        query: `limit` (1 to 1000), `after_id`, `before_id`; what makes no sense is ignored.
    """
    names = list(MODELS)
    if query.get("after_id") in names:
        names = names[names.index(query["after_id"]) + 1 :]
    if query.get("before_id") in names:
        names = names[: names.index(query["before_id"])]
    limit = query.get("limit", "")
    shown = names[: int(limit) if limit.isdecimal() and 1 <= int(limit) <= 1000 else _DEFAULT_LIMIT]
    return {
        "data": [model_item(name) for name in shown],
        "has_more": len(shown) < len(names),
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }
