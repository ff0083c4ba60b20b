"""The Model Context Protocol: the tools of a server for an agent, and an agent's tools as a server."""

from __future__ import annotations

try:
    import mcp as _mcp  # noqa: F401
except ImportError:
    raise ImportError("agentkit.integrations.mcp needs another package: pip install 'agentkit-loop[mcp]'") from None

from agentkit.integrations.mcp.client import ServerTools, mcp_server
from agentkit.integrations.mcp.serve import serve_tools, served

__all__ = ["ServerTools", "mcp_server", "serve_tools", "served"]
