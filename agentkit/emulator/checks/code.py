"""Results of calls that code made: the code gets text."""

from __future__ import annotations

from typing import Any

from agentkit.emulator.refusal import Refused

__all__ = ["check_results_for_code"]


def check_results_for_code(messages: list[dict[str, Any]]) -> None:
    """Raises `Refused` for a result that code can't read. Source: messages-api.md section 11; the text is ours."""
    called: set[str] = set()
    for at, message in enumerate(messages):
        content = message["content"]
        for place, block in enumerate(content if isinstance(content, list) else ()):
            caller = block.get("caller") or {}
            if block.get("type") == "tool_use" and str(caller.get("type")).startswith("code_execution"):
                called.add(str(block.get("id")))
            given = block.get("content") if block.get("type") == "tool_result" else None
            mixed = isinstance(given, list) and any(part.get("type") != "text" for part in given)
            if mixed and block.get("tool_use_id") in called:
                path = f"messages.{at}.content.{place}.tool_result.content"
                raise Refused(400, f"{path}: results of programmatic tool calls must be text")
