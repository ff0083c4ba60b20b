"""A research bot: it searches and fetches on the server, calculates and takes notes here, and leaves a report.

    python examples/research_bot.py "How do I read a ZIP archive, and what is 1024 * 768?"

The report is a file of structured notes: question, answer, and every source with what was cited from it.
"""

import asyncio
import sys
from pathlib import Path

from pydantic import BaseModel

from agentkit import Agent, Limits, RunResult, web_fetch, web_search
from agentkit_tools import calculator, notes

QUESTION = "Which module of Python's standard library reads ZIP archives? And how much is 1024 * 768?"


class Source(BaseModel):
    """A page, and what the answer cites from it."""

    title: str
    url: str
    quotes: list[str]


class Report(BaseModel):
    """What is kept of a run."""

    question: str
    answer: str
    sources: list[Source]
    tokens: int


def report_of(question: str, result: RunResult) -> Report:
    """The structured notes of a run."""
    sources: dict[str, Source] = {}
    for citation in result.citations:
        key = citation.url or citation.title or "?"
        source = sources.setdefault(key, Source(title=citation.title or key, url=key, quotes=[]))
        source.quotes.append(citation.cited_text)
    return Report(
        question=question, answer=result.text, sources=list(sources.values()), tokens=result.usage.total_tokens
    )


async def research(question: str, folder: Path) -> Report:
    """Answers a question with sources."""
    agent = Agent(
        "claude-sonnet-4-6",
        system="You are a careful researcher. Search first, fetch what looks best, cite your sources.",
        tools=[web_search(max_uses=5), web_fetch(citations=True), calculator, *notes(folder / "notes.md")],
        limits=Limits(max_turns=20, max_seconds=300),
    )
    async with agent, agent.stream(question) as run:
        async for event in run:
            if event.type in ("server_tool_call", "tool_call"):
                print(f"· {event.name} {event.input}", file=sys.stderr)
    return report_of(question, run.result)


def main() -> None:
    """Asks, prints the answer, and writes `report.json` into the folder given second."""
    question = sys.argv[1] if len(sys.argv) > 1 else QUESTION
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else ".")
    report = asyncio.run(research(question, folder))
    print(report.answer)
    for number, source in enumerate(report.sources, 1):
        print(f"[{number}] {source.title} - {source.url}")
    (folder / "report.json").write_text(report.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
