"""A runtime for agents that use tools, over the Anthropic Messages API.

The names below load their modules when they are first used, so `import agentkit` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.call import allow, deny, edit
    from agentkit.client import Client
    from agentkit.errors import (
        AgentKitError,
        APIError,
        ConfigurationError,
        NotDone,
        RunUnfinished,
        ToolDefinitionError,
        ToolError,
        TranscriptError,
    )
    from agentkit.events import Event
    from agentkit.journal import Journal
    from agentkit.media import document, image
    from agentkit.messages import Citation, Usage
    from agentkit.preview import Preview
    from agentkit.result import RunResult
    from agentkit.run import Run
    from agentkit.server_tools import web_fetch, web_search
    from agentkit.settings import Limits, RetryPolicy, Timeouts
    from agentkit.tools import RunContext, Tool, tool

_HOMES = {
    "agent": ("Agent",),
    "call": ("allow", "deny", "edit"),
    "client": ("Client",),
    "errors": (
        "APIError",
        "AgentKitError",
        "ConfigurationError",
        "NotDone",
        "RunUnfinished",
        "ToolDefinitionError",
        "ToolError",
        "TranscriptError",
    ),
    "events": ("Event",),
    "journal": ("Journal",),
    "media": ("document", "image"),
    "messages": ("Citation", "Usage"),
    "preview": ("Preview",),
    "result": ("RunResult",),
    "run": ("Run",),
    "server_tools": ("web_fetch", "web_search"),
    "settings": ("Limits", "RetryPolicy", "Timeouts"),
    "tools": ("RunContext", "Tool", "tool"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "APIError",
    "Agent",
    "AgentKitError",
    "Citation",
    "Client",
    "ConfigurationError",
    "Event",
    "Journal",
    "Limits",
    "NotDone",
    "Preview",
    "RetryPolicy",
    "Run",
    "RunContext",
    "RunResult",
    "RunUnfinished",
    "Timeouts",
    "Tool",
    "ToolDefinitionError",
    "ToolError",
    "TranscriptError",
    "Usage",
    "allow",
    "deny",
    "document",
    "edit",
    "image",
    "tool",
    "web_fetch",
    "web_search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'agentkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"agentkit.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
