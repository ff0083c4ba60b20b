"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["limit_of", "page_of"]

_DEFAULT_LIMIT = 20


def limit_of(query: Mapping[str, str]) -> int:
    """How many items a query wants, 1 to 1000; what makes no sense is ignored."""
    limit = query.get("limit", "")
    return int(limit) if limit.isdecimal() and 1 <= int(limit) <= 1000 else _DEFAULT_LIMIT


def page_of(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """One page by `limit`, `after_id` and `before_id`; what makes no sense is ignored."""
    ids = [item["id"] for item in items]
    start = ids.index(query["after_id"]) + 1 if query.get("after_id") in ids else 0
    end = ids.index(query["before_id"]) if query.get("before_id") in ids else len(items)
    found = items[start:end]
    shown = found[: limit_of(query)]
    return {
        "data": shown,
        "has_more": len(shown) < len(found),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
