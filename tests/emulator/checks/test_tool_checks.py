"""Tools that the API refuses: of versions that there are not, and with schemas beyond an inner limit."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agentkit.emulator import Emulator, reply
from agentkit.emulator.checks.tools import too_complex, unknown_tool


@pytest.mark.parametrize(
    "kind",
    [None, "custom", "web_search_20250305", "code_execution_20260521", "tool_search_tool_bm25", "memory_20250818",
     "computer_toolset_20260801", "mcp_toolset", "web_search_20270101", "dreams_20261231"],
)  # fmt: skip
def test_a_tool_that_there_is_or_may_be(kind: str | None) -> None:
    assert unknown_tool([{"name": "x"} if kind is None else {"type": kind}]) is None


@pytest.mark.parametrize("kind", ["web_search_20250101", "web_search", "bash", "function", "dreams_20250101", ""])
def test_a_tool_that_there_is_not(kind: str) -> None:
    said = unknown_tool([{"name": "x"}, {"type": kind or "function"}])
    assert said is not None
    assert said.startswith(f"tools.1: Input tag '{kind or 'function'}' found using 'type' does not match any")


def strict(properties: dict[str, Any], *required: str, **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"name": "x", "strict": True, "input_schema": schema, **fields}


def test_a_schema_that_is_too_complex() -> None:
    optional = {f"o{at}": {"type": "string"} for at in range(24)}
    unions: dict[str, Any] = {f"u{at}": {"type": ["string", "null"]} for at in range(16)}
    few = dict(list(optional.items())[:23])
    assert str(too_complex([strict(optional)])).startswith("Schema is too complex for compilation.")
    assert str(too_complex([strict(unions, *unions)])).startswith("Schema is too complex for compilation.")
    assert too_complex([strict(few), strict({"a": unions["u0"]}, "a")]) is None
    assert too_complex([strict(optional, strict=False)]) is None


def test_the_emulator_refuses_both(http: httpx.Client) -> None:
    with Emulator(script=lambda body: reply("ok"), pace=0) as emulator:
        body = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        for tool in (
            {"type": "web_search_20250101", "name": "web_search"},
            strict({f"o{at}": {"type": "string"} for at in range(24)}),
        ):
            refused = http.post(f"{emulator.url}/v1/messages", json={**body, "tools": [tool]})
            assert refused.status_code == 400, tool
