"""A coding agent: it runs the tests of a package in a sandbox, finds out why one fails, and mends it.

    python examples/coding_agent.py [folder]

Without a folder it works on a copy of the package `intervals`, which has a mistake. With a key in the environment a
model is asked; without one the script coding_agent.yaml plays its part. It needs Debian's package `bubblewrap`.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import anyio

from agentkit import Agent, Client, ConfigurationError, Limits
from agentkit.emulator import Emulator
from agentkit_tools.files import files
from agentkit_tools.sandbox import Sandbox
from agentkit_tools.shell import shell

HERE = Path(__file__).parent
QUESTION = "A test of this package fails. Find out why, and mend the package, not the test."

# Its commands have this interpreter and its packages, to read.
PYTHON = Sandbox(
    readable=sorted({sys.prefix, sys.base_prefix}),
    environment={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    timeout=60,
)


async def mend(folder: Path, client: Client) -> None:
    """Asks for it, and shows what is done."""
    run, _ = shell(folder, sandbox=PYTHON)
    agent = Agent(
        "claude-sonnet-4-6",
        system="You are a careful programmer. Look before you change anything, and run the tests after it.",
        tools=[run, *files(folder, write=True)],
        client=client,
        limits=Limits(max_turns=30, max_seconds=600),
    )
    async with agent, agent.stream(QUESTION) as stream:
        async for event in stream:
            if event.type == "text_delta":
                print(event.text, end="", flush=True)
            elif event.type == "tool_call":
                print(f"\n> {event.name} {event.input}")
            elif event.type == "tool_result":
                lines = str(event.block["content"]).splitlines()
                shown = lines if len(lines) <= 4 else [lines[0], "…", *lines[-3:]]
                print("\n".join(f"  {line}" for line in shown))
    print()


async def main(folder: Path) -> None:
    """Asks the endpoint that the environment names, or plays the script."""
    if has_key():
        async with Client() as client:
            await mend(folder, client)
    else:
        with Emulator(script=HERE / "coding_agent.yaml") as emulator:
            async with Client(base_url=emulator.url, api_key="any") as client:
                await mend(folder, client)


def has_key() -> bool:
    """Whether a model can be asked."""
    return bool(os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("COMETAPI_KEY"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        try:
            if sys.argv[1:] and not has_key():
                raise ConfigurationError("the script knows only its own package: set ANTHROPIC_API_KEY")  # noqa: TRY301
            package = (
                Path(sys.argv[1]) if sys.argv[1:] else shutil.copytree(HERE / "intervals", Path(place, "intervals"))
            )
            anyio.run(main, package)
        except ConfigurationError as error:  # no sandbox, no such folder
            print(error, file=sys.stderr)
            sys.exit(2)
