"""Through CometAPI: a streamed run with a tool, an effort and a cached system prompt, and what it used.

    COMETAPI_KEY=… python examples/cometapi.py "What is the mean of 3, 5 and 10?"

The handbook in the system prompt is long and ends in a cache mark, so the second question reads it from the cache. Set
marks yourself through a gateway, three at most: it may add one of its own, and the API takes four.

Without a key: `agentkit emulate --dialect cometapi` in another terminal, COMETAPI_KEY=emulator, and the address that
it prints as COMETAPI_BASE_URL.
"""

import asyncio
import os
import pydoc
import statistics
import sys

from agentkit import Agent, Client, Limits, RunResult, Usage, tool

QUESTIONS = ["What is the mean of 3, 5 and 10?", "And what is the mean of 1, 2 and 3.5?"]
MODEL = os.environ.get("AGENTKIT_MODEL", "claude-sonnet-4-6")
HANDBOOK = pydoc.plain(pydoc.render_doc(statistics))  # the same text each time, or the cache would never hold


@tool
def mean(numbers: list[float]) -> float:
    """Work out the mean of numbers.

    Args:
        numbers: At least one.
    """
    return statistics.fmean(numbers)


def agent_for(client: Client) -> Agent:
    """The agent: what CometAPI documents, and nothing else."""
    return Agent(
        MODEL,
        system=[
            {"type": "text", "text": "Answer in one sentence. Work numbers out with the tool. The handbook:"},
            {"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}},
        ],
        tools=[mean],
        effort="low",
        max_tokens=2000,
        limits=Limits(max_turns=8, max_seconds=120),
        client=client,
    )


async def ask(agent: Agent, question: str, earlier: RunResult | None) -> RunResult:
    """One question, its answer as it comes."""
    print(f"> {question}")
    async with agent.stream(question, after=earlier) as run:
        async for event in run:
            if event.type == "tool_call":
                print(f"[{event.name} {event.input}]")
            elif event.type == "text_delta":
                print(event.text, end="", flush=True)
    print(f"\n{shown(run.result.usage)}\n")
    return run.result


def shown(usage: Usage) -> str:
    """What a run used, in one line."""
    cached = f"{usage.cache_read_input_tokens} read from the cache, {usage.cache_creation_input_tokens} written to it"
    return f"({usage.input_tokens} input tokens, {cached}; {usage.output_tokens} output tokens)"


async def main() -> None:
    """Asks the questions in one conversation."""
    result = None
    async with Client(provider="cometapi", base_url=os.environ.get("COMETAPI_BASE_URL")) as client:
        agent = agent_for(client)
        for question in sys.argv[1:] or QUESTIONS:
            result = await ask(agent, question, result)


if __name__ == "__main__":
    asyncio.run(main())
