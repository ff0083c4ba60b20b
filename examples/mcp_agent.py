"""An agent with the tools of an MCP server, which is this file too.

    python examples/mcp_agent.py "Which room is free on Monday, and book it for me"

The server runs as a process of its own and speaks the Model Context Protocol over its stdin and stdout. What is booked
has to be approved. With a key in the environment a model is asked; without one a script on this machine plays its part.
"""

import json
import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, Client, RunContext, allow, tool
from agentkit.call import Decision, Pending
from agentkit.emulator import Emulator, reply, tool_use
from agentkit.integrations.mcp import mcp_server, serve_tools

QUESTION = "Which rooms are free on Monday? Book the larger one."
ROOMS = {"Lagoon": 4, "Harbour": 12}


# The server: two tools of ours, for any program that speaks MCP.


@tool(effect="read")
def free_rooms(day: str) -> dict[str, int]:
    """List the rooms that are free on a day, with their seats."""
    print(f"asked for {day}")  # goes to stderr: stdout belongs to the protocol
    return ROOMS


@tool(effect="write", timeout=10)
async def book_room(ctx: RunContext[None], room: str, day: str) -> str:
    """Book a room for a day."""
    ctx.progress("asking the caretaker")
    await anyio.sleep(0.01)
    return f"Booked {room} on {day}."


# The agent.


def script(request: dict[str, Any]) -> Any:
    """What a model would say."""
    match request["messages"]:
        case [_]:
            return reply(tool_use("rooms__free_rooms", day="Monday"))
        case [*_, {"content": [{"content": str(found)}]}] if found.startswith("{"):
            rooms = json.loads(found)
            return reply(tool_use("rooms__book_room", room=max(rooms, key=rooms.get), day="Monday"))
    return reply("The larger room is yours: Harbour, on Monday.")


def approve(call: Pending) -> Decision:
    """A human would be asked here."""
    print(f"  allowed: {call.name}")
    return allow()


async def main(question: str, pins: Path) -> None:
    has_key = os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("COMETAPI_KEY")
    with nullcontext() if has_key else Emulator(script=script) as emulator:
        async with (
            Client(base_url=emulator.url, api_key="any") if emulator else Client() as client,
            mcp_server(
                [sys.executable, __file__, "--serve"],
                name="rooms",
                effects={"free_rooms": "read"},  # we wrote it, so we know
                pins=pins,
                trust="first use",
            ) as tools,
        ):
            agent = Agent("claude-sonnet-4-6", client=client, tools=[*tools])
            async with agent.stream(question, approve=approve) as run:
                async for event in run:
                    if event.type == "tool_call":
                        print(f"  {event.name} {event.input}")
                    elif event.type == "tool_progress":
                        print(f"  … {event.text}")
            print(run.result.text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        anyio.run(partial(serve_tools, [free_rooms, book_room]))
    else:
        anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else QUESTION, Path("mcp-pins.json"))
