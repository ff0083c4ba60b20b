"""`agentkit policy`: a dry run of a policy file. Nothing is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agentkit.cli.options import AgentName, ToolNames
from agentkit.cli.problems import reported
from agentkit.errors import ConfigurationError
from agentkit.terminal import safe

__all__ = ["policy"]

File = Annotated[Path, typer.Argument(metavar="FILE", help="The policy, in TOML.", show_default=False)]
Calls = Annotated[
    list[str] | None,
    typer.Option(
        "--call",
        metavar="'NAME {…}'",
        help="A call to judge: the tool's name and its input in JSON; more than once for more.",
        show_default=False,
    ),
]


def policy(file: File, tool: ToolNames = None, agent: AgentName = None, call: Calls = None) -> None:
    """See what a policy allows, asks about and denies, for the tools of an agent. Nothing is called.

    `alone` is what it says at first, `mixed` once the conversation has seen private data and what others can write.

    \b
    Examples:
      agentkit policy policy.toml --agent desk.py:agent
      agentkit policy policy.toml --tool my_tools:write_file --call 'write_file {"path": "src/../.env"}'
    """
    with reported():
        from agentkit.cli.agents import named_agent
        from agentkit.cli.toolbox import default_tools, named_tools
        from agentkit.policy import Policy
        from agentkit.tools import Tool
        from agentkit.tools import tool as as_tool

        judged = Policy.load(file)
        tools = list(named_agent(agent)._blueprint.tools.values()) if agent else named_tools(tool or [])
        tools = tools or default_tools()
        known = [item if isinstance(item, Tool) or not callable(item) else as_tool(item) for item in tools]
        print(safe(judged.explain(known, [_call(given) for given in call or []])))


def _call(given: str) -> tuple[str, Any]:
    name, _, text = given.partition(" ")
    try:
        return name, json.loads(text or "{}")
    except ValueError as error:
        raise ConfigurationError(f"--call {given}: the input is no JSON ({error})") from None
