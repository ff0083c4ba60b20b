"""Constructors of tools that run inside the API."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.errors import ConfigurationError
from agentkit.server_tools import ServerTool, web_fetch, web_search


@pytest.mark.parametrize(
    ("tool", "definition"),
    [
        (web_search(), {"type": "web_search_20250305", "name": "web_search"}),
        (
            web_search(max_uses=5, allowed_domains=["example.com", "b.example/path"], user_location={"city": "Rome"}),
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "max_uses": 5,
                "allowed_domains": ["example.com", "b.example/path"],
                "user_location": {"type": "approximate", "city": "Rome"},
            },
        ),
        (
            web_search(blocked_domains=("a.example",), version="20260318"),
            {"type": "web_search_20260318", "name": "web_search", "blocked_domains": ["a.example"]},
        ),
        (web_fetch(), {"type": "web_fetch_20250910", "name": "web_fetch"}),
        (
            web_fetch(
                max_uses=1, blocked_domains="a.example", citations=True, max_content_tokens=9, version="20991231"
            ),
            {
                "type": "web_fetch_20991231",
                "name": "web_fetch",
                "max_uses": 1,
                "blocked_domains": ["a.example"],
                "citations": {"enabled": True},
                "max_content_tokens": 9,
            },
        ),
        (web_fetch(allowed_domains=[]), {"type": "web_fetch_20250910", "name": "web_fetch", "allowed_domains": []}),
    ],
)
def test_definition(tool: ServerTool, definition: dict[str, Any]) -> None:
    assert tool.definition == definition
    assert json.dumps(tool.definition) == json.dumps(definition)
    assert tool.name == definition["name"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: web_search(allowed_domains=["a"], blocked_domains=["b"]),
            "web_search takes allowed_domains or blocked",
        ),
        (
            lambda: web_fetch(allowed_domains=[], blocked_domains=[]),
            "web_fetch takes allowed_domains or blocked_domains",
        ),
        (lambda: web_search(max_uses=0), "web_search: max_uses must be a whole number of 1 or more, not 0"),
        (lambda: web_search(max_uses=True), "web_search: max_uses must be"),
        (lambda: web_fetch(max_uses=2.5), "web_fetch: max_uses must be"),  # type: ignore[arg-type]
        (lambda: web_fetch(max_content_tokens=-1), "web_fetch: max_content_tokens must be"),
        (lambda: web_search(allowed_domains=["https://a.example"]), "web_search: allowed_domains are without a scheme"),
        (lambda: web_fetch(blocked_domains="http://a.example"), "web_fetch: blocked_domains are without a scheme"),
    ],
)
def test_refused(make: Callable[[], ServerTool], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).startswith(text)


def test_it_is_a_frozen_value() -> None:
    tool = web_search(max_uses=1)
    assert tool == web_search(max_uses=1) != web_search()
    assert len({tool, web_search(max_uses=1), web_search()}) == 2
    tool.definition["max_uses"] = 2
    assert tool.definition["max_uses"] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        tool.name = "other"  # type: ignore[misc]
    assert repr(tool) == "ServerTool({'type': 'web_search_20250305', 'name': 'web_search', 'max_uses': 1})"
