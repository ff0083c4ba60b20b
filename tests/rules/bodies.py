"""Short ways to write requests, for the tests of the rules."""

from __future__ import annotations

from types import ModuleType
from typing import Any

Body = dict[str, Any]
Case = tuple[str, str, str, Body]
"""A rule, a path, the text, a request."""

HELLO: Body = {"role": "user", "content": "hello"}
TOOL: Body = {"name": "add", "input_schema": {"type": "object"}}
SEARCH: Body = {"type": "web_search_20250305", "name": "web_search"}
MARK = {"type": "ephemeral"}
EXTRA = "Extra inputs are not permitted"
REQUIRED = "Field required"


def body(model: str = "some-model", **fields: Any) -> Body:
    return {"model": model, "max_tokens": 8192, "messages": [HELLO]} | fields


def tools(*given: Body, **fields: Any) -> Body:
    return body(tools=list(given), **fields)


def said(*blocks: Body, **fields: Any) -> Body:
    """A request whose user message has these blocks."""
    return body(messages=[{"role": "user", "content": list(blocks)}], **fields)


def headers(exchange: dict[str, Any]) -> dict[str, Any]:
    """The version and the betas of a recorded request, where its headers were kept."""
    kept = {name.lower(): value for name, value in exchange["request_headers"].items()}
    version = kept.get("anthropic-version")
    if version is None:
        return {}
    betas = [name.strip() for name in kept.get("anthropic-beta", "").split(",") if name.strip()]
    return {"version": None if version == "REDACTED" else version, "betas": betas}


def accepted(recordings: ModuleType) -> list[tuple[Body, dict[str, Any]]]:
    """Every recorded request that the API accepted, with what is known of its headers."""
    return [
        (each["request_body"], headers(each))
        for each in recordings.messages()
        if isinstance(each["request_body"], dict)
    ]
