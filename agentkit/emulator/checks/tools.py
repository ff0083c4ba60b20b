"""What the API refuses about tools and a runtime may not: types that there are not, schemas beyond an inner limit.

Source: messages-api.md sections 9, 10, 12 and 13; the text on types as the API words unknown tags.
"""

from __future__ import annotations

import re
from typing import Any

from agentkit.support import SERVER_TOOLS

__all__ = ["too_complex", "unknown_tool"]

_LISTED_UNTIL = "20261122"
_DATED = re.compile(r".+_(\d{8})")
# Of one strict schema. As recorded: so many over several schemas are taken, in one they are not.
_UNIONS = 16
_OPTIONAL = 24
_TYPES = {
    "custom",
    "mcp_toolset",
    "advisor_20260301",
    "memory_20250818",
    *(f"bash_{date}" for date in ("20241022", "20250124")),
    *(f"text_editor_{date}" for date in ("20241022", "20250124", "20250429", "20250728")),
    *(f"computer_{date}" for date in ("20241022", "20250124", "20251124")),
    *(f"{name}_toolset_20260801" for name in ("browser", "computer")),
    *(f"tool_search_tool_{way}{date}" for way in ("bm25", "regex") for date in ("", "_20251119")),
    *(f"{name}_{date}" for name, tool in SERVER_TOOLS.items() for date in tool.dates),
}


def unknown_tool(tools: list[dict[str, Any]]) -> str | None:
    """What is wrong with the first tool of a type that there is not; those of later than the list are not judged.

    Args:
        tools: The `tools` of a request, well-shaped.
    """
    for at, tool in enumerate(tools):
        kind = str(tool.get("type") or "custom")
        dated = _DATED.fullmatch(kind)
        if kind not in _TYPES and not (dated and dated[1] > _LISTED_UNTIL):
            expected = ", ".join(f"'{name}'" for name in sorted(_TYPES))
            words = f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}"
            return f"tools.{at}: {words}"
    return None


def too_complex(tools: list[dict[str, Any]]) -> str | None:
    """What is wrong where the compiler gives up on a strict schema; where below these numbers is not known.

    Args:
        tools: The `tools` of a request that no rule refuses.
    """
    schemas = [tool["input_schema"] for tool in tools if tool.get("strict") and "input_schema" in tool]
    for schema in schemas:
        properties = schema.get("properties") or {}
        unions = sum("anyOf" in kind or isinstance(kind.get("type"), list) for kind in properties.values())
        optional = len(properties.keys() - set(schema.get("required") or ()))
        if unions >= _UNIONS or optional >= _OPTIONAL:
            fix = "Try reducing the number of tools or simplifying tool schemas."
            return f"Schema is too complex for compilation. {fix}"
    return None
