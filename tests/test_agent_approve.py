"""`approve=`: a run that asks somebody while it goes on, and waits for nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from scripted import ScriptedServer, reply, text, tool_use

from agentkit import Agent, Client, Journal, RunResult, allow, deny, edit, tool
from agentkit.call import Pending

pytestmark = pytest.mark.anyio


def script(request: Any) -> object:
    if len(request.json["messages"]) > 1:
        return reply(text("Done."))
    return reply(tool_use("pay", id="toolu_a", euros=5), tool_use("look", id="toolu_b"))


async def run(approve: Any, **options: Any) -> tuple[RunResult, list[int], list[str]]:
    paid: list[int] = []

    @tool(needs_approval=True)
    async def pay(euros: int) -> str:
        """Pays."""
        paid.append(euros)
        return f"paid {euros}"

    @tool(effect="read")
    async def look() -> str:
        """Looks."""
        return "seen"

    with ScriptedServer(script) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", tools=[pay, look], client=client, **options)
            seen: list[str] = []
            async with agent.stream("Pay.", approve=approve) as going:
                async for event in going:
                    seen.append(event.type)
    return going.result, paid, seen


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("decision", "paid", "outcome"),
    [(allow(), [5], "done"), (deny("No."), [], "denied"), (edit({"euros": 4}), [4], "done")],
)
async def test_who_is_asked_decides(decision: Any, paid: list[int], outcome: str, is_async: bool) -> None:
    asked: list[Pending] = []

    def decide(pending: Pending) -> Any:
        asked.append(pending)
        return decision

    async def later(pending: Pending) -> Any:
        await anyio.lowlevel.checkpoint()
        return decide(pending)

    result, happened, seen = await run(later if is_async else decide)
    assert asked == [Pending("1:toolu_a", "pay", {"euros": 5})]
    assert (result.text, happened, result.tool_calls[0].outcome) == ("Done.", paid, outcome)
    assert "tool_held" not in seen


async def test_one_that_gives_an_awaitable_is_waited_for() -> None:
    async def later() -> Any:
        return allow()

    assert (await run(lambda pending: later()))[1] == [5]


@pytest.mark.parametrize("answer", [ValueError("no terminal"), "yes", None])
async def test_what_is_no_decision_leaves_the_call_held(answer: Any, tmp_path: Path) -> None:
    def decide(pending: Pending) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    journal = Journal(tmp_path / "runs.db")
    result, paid, seen = await run(decide, journal=journal)
    assert (result.finish.reason, paid, seen.count("tool_held")) == ("needs_approval", [], 1)
    assert [pending.call_id for pending in result.pending] == ["1:toolu_a"]
    assert journal.load(result.run_id).held() == result.transcript().held()
    journal.close()
