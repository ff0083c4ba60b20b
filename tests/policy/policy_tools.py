"""Tools that a policy is asked about; none of them is run."""

from __future__ import annotations

from typing import Any

from agentkit import Tool

__all__ = ["TOOLS", "fake"]


def fake(name: str, *effect: str) -> Tool[..., Any]:
    """A tool that takes anything."""
    return Tool(name=name, description=None, input_schema={"type": "object"}, call=lambda **_: "", effect=effect)


TOOLS = {
    tool.name: tool
    for tool in [
        fake("look", "read"),
        fake("read_file", "read", "private"),
        fake("web_fetch", "read", "net", "untrusted"),
        fake("write_file", "write"),
        fake("move_file", "write"),
        fake("send_mail", "write", "net"),
        fake("run", "read", "private", "write", "exec"),
        fake("run_shell", "read", "private", "write", "exec"),
        fake("edit_text", "read", "private", "write"),
        fake("mystery"),
    ]
}
