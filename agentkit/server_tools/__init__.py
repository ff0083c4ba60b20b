"""Tools that run inside the API, as typed constructors."""

from agentkit.server_tools.constructors import (
    advisor,
    code_execution,
    mcp_server,
    mcp_toolset,
    tool_search,
    web_fetch,
    web_search,
)
from agentkit.server_tools.tool import McpServer, ServerTool, ToolOptions, with_tools

__all__ = [
    "McpServer",
    "ServerTool",
    "ToolOptions",
    "advisor",
    "code_execution",
    "mcp_server",
    "mcp_toolset",
    "tool_search",
    "web_fetch",
    "web_search",
    "with_tools",
]
