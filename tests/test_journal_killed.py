"""Runs that are killed at every write of their journal, and taken up from it by their id.

What the store held at that moment is all that is left. Another process waits until the lease is over and resumes:
the server refuses what the API would refuse, each effect happens once at most, and the end is that of a run that
was not killed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from journaled import Clock, Killed, WatchedStore
from scripted import ScriptedServer, reply, text, tool_use
from test_killed import QUESTION, SCENARIOS, SEARCH, Scenario, World, honest

from agentkit import Agent, Client, Journal, NotDone, RunContext, RunResult, allow, deny, tool
from agentkit.lease import LEASE_SECONDS

pytestmark = pytest.mark.anyio


async def drive(agent: Agent, client: Client, scenario: Scenario, run_id: str | None) -> RunResult:
    """What a program around the agent does: start or resume by id, decide, go on, until the end."""
    options: Any = {"client": client, "limits": scenario.limits}
    result = await (agent.resume(run_id, **options) if run_id else agent.run(QUESTION, **options))
    while True:
        said = sum(bool(entry.get("messages")) for entry in result.dump()["entries"])
        if result.finish.reason == "needs_approval":
            decisions = {pending.call_id: allow() for pending in result.pending}
            result = await agent.resume(result.run_id, decisions=decisions, **options)
        elif scenario.then and said == 1:
            result = await agent.run(scenario.then, after=result.run_id, **options)
        else:
            return result


async def killed(store: WatchedStore, clock: Clock, world: World, client: Client, scenario: Scenario) -> bool:
    agent = Agent("claude-sonnet-4-6", tools=[*world.tools(), SEARCH], journal=store.journal(clock))
    try:
        await drive(agent, client, scenario, None)
    except Killed:
        return True
    except BaseException:
        if not store.dead:
            raise
        return True
    return store.dead


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "parallel" else pytest.mark.slow)
        for name in SCENARIOS
        if name != "cancel"
    ],
)
@pytest.mark.parametrize("stored", [True, False], ids=["after the write", "before the write"])
async def test_a_run_that_is_killed_at_a_write_goes_on_to_the_same_end(name: str, stored: bool, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    with ScriptedServer(honest(scenario.script)) as server:
        async with Client(base_url=server.url) as client:
            for at in range(1, 99):
                (folder := tmp_path / str(at)).mkdir()
                world, clock = World(), Clock()
                store = WatchedStore(folder, kill_at=at, stored=stored)
                store.on_kill = lambda world=world: setattr(world, "dead", True)
                was_killed = await killed(store, clock, world, client, scenario)
                store.close()
                if not was_killed:
                    break
                clock.now += LEASE_SECONDS + 1
                world.dead = False
                journal = Journal(folder / "runs.db", clock=clock)
                agent = Agent("claude-sonnet-4-6", tools=[*world.tools(), SEARCH], journal=journal)
                known = journal.runs(1)
                result = await drive(agent, client, scenario, known[0].run_id if known else None)
                journal.close()
                assert (result.finish.reason, result.partial_text) == ("end_turn", "All done."), at
                assert all(count == 1 for count in world.effects.values()), (at, world.effects)
                assert set(world.effects) <= set(scenario.effects), at
    assert at > 2


def acts_once(request: Any) -> object:
    if len(request.json["messages"]) > 1:
        return reply(text("Done."))
    return reply(tool_use("act", id="toolu_a", amount=1))


BROKEN = "The process stopped while this call ran."


async def resumed(folder: Path, tools: list[Any], **first: Any) -> tuple[RunResult, Counter[str]]:
    """A run whose process dies when `act` has had its effect, and is then resumed with `tools`."""
    seen: Counter[str] = Counter()
    clock, store = Clock(), WatchedStore(folder)

    @tool(**first)
    async def act(ctx: RunContext[Any], amount: int) -> str:
        """Acts."""
        seen[ctx.idempotency_key] += 1
        assert (ctx.attempt, len(ctx.idempotency_key)) == (1, 51)
        store.dead = True
        return "acted"

    def script(request: Any) -> object:
        return (
            reply(text("Done."))
            if len(request.json["messages"]) > 1
            else reply(tool_use("act", id="toolu_a", amount=1))
        )

    with ScriptedServer(acts_once) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", tools=[act], journal=store.journal(clock), client=client)
            with pytest.raises(BaseException) as caught:  # noqa: PT011
                await agent.run("Do it.")
            assert isinstance(caught.value, Killed) or caught.group_contains(Killed)
            store.close()
            clock.now += LEASE_SECONDS + 1
            journal = Journal(folder / "runs.db", clock=clock)
            again = Agent("claude-sonnet-4-6", tools=tools, journal=journal, client=client)
            result = await again.resume(journal.runs(1)[0].run_id)
            journal.close()
    return result, seen


async def test_C10_what_says_nothing_is_unknown(tmp_path: Path) -> None:
    @tool
    async def act(amount: int) -> str:
        """Acts."""
        raise AssertionError("once is enough")

    result, _ = await resumed(tmp_path, [act])
    (call,) = result.tool_calls
    assert call.outcome == "unknown"
    assert BROKEN in str(result.messages[2])


async def test_C10_what_may_repeat_runs_again_under_the_same_key(tmp_path: Path) -> None:
    keys: list[str] = []

    @tool(idempotent=True)
    async def act(ctx: RunContext[Any], amount: int) -> str:
        """Acts."""
        keys.append(ctx.idempotency_key)
        assert ctx.attempt == 2
        return "acted again"

    result, seen = await resumed(tmp_path, [act], idempotent=True)
    assert (result.tool_calls[0].outcome, list(seen)) == ("done", keys)


async def test_C22_another_tool_of_this_name_does_not_repeat(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def act(amount: int, twice: bool = True) -> str:
        """Acts."""
        raise AssertionError("it is another tool")

    result, _ = await resumed(tmp_path, [act], idempotent=True)
    assert result.tool_calls[0].outcome == "unknown"


@pytest.mark.parametrize("is_async", [True, False])
async def test_C10_who_can_find_out_is_asked(tmp_path: Path, is_async: bool) -> None:
    asked: list[Any] = []

    def verify(ctx: RunContext[Any], arguments: dict[str, Any]) -> Any:
        asked.append((ctx.idempotency_key, arguments, ctx.attempt))
        return {"found": True}

    async def later(ctx: RunContext[Any], arguments: dict[str, Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        return verify(ctx, arguments)

    @tool(verify=later if is_async else verify)
    async def act(amount: int) -> str:
        """Acts."""
        raise AssertionError("once is enough")

    result, seen = await resumed(tmp_path, [act])
    assert result.tool_calls[0].outcome == "done"
    assert asked == [(next(iter(seen)), {"amount": 1}, 1)]
    assert '{"found":true}' in str(result.messages[2])


@pytest.mark.parametrize("error", [NotDone("no such payment"), ValueError("no network")])
async def test_C10_what_was_not_done_is_done_and_what_nobody_knows_is_not(tmp_path: Path, error: Exception) -> None:
    ran: list[int] = []

    def verify(ctx: RunContext[Any], arguments: dict[str, Any]) -> Any:
        raise error

    @tool(verify=verify)
    async def act(ctx: RunContext[Any], amount: int) -> str:
        """Acts."""
        ran.append(ctx.attempt)
        return "acted"

    result, _ = await resumed(tmp_path, [act])
    expected = ("done", [2]) if isinstance(error, NotDone) else ("unknown", [])
    assert (result.tool_calls[0].outcome, ran) == expected


async def test_a_call_repeats_three_times_at_most(tmp_path: Path) -> None:
    clock = Clock()
    attempts: list[int] = []

    @tool(idempotent=True)
    async def act(ctx: RunContext[WatchedStore]) -> str:
        """Acts."""
        attempts.append(ctx.attempt)
        ctx.deps.dead = True
        return "acted"

    def script(request: Any) -> object:
        return reply(text("Done.")) if len(request.json["messages"]) > 1 else reply(tool_use("act", id="toolu_a"))

    async def once(client: Client, run_id: str | None) -> RunResult | None:
        store = WatchedStore(tmp_path)
        agent = Agent("claude-sonnet-4-6", tools=[act], journal=store.journal(clock), client=client)
        try:
            return await (agent.resume(run_id, deps=store) if run_id else agent.run("Do it.", deps=store))
        except BaseException:
            if not store.dead:
                raise
            return None
        finally:
            store.close()
            clock.now += LEASE_SECONDS + 1

    with ScriptedServer(script) as server:
        async with Client(base_url=server.url) as client:
            assert await once(client, None) is None
            journal = Journal(tmp_path / "runs.db")
            run_id = journal.runs(1)[0].run_id
            journal.close()
            while (result := await once(client, run_id)) is None:
                pass
    assert attempts == [1, 2, 3]
    assert result.tool_calls[0].outcome == "unknown"


async def test_I18_an_approval_is_for_the_tool_that_was_shown(tmp_path: Path) -> None:
    ran: list[str] = []

    def made(description: str) -> Any:
        @tool(needs_approval=True, description=description)
        async def act(amount: int) -> str:
            ran.append(description)
            return "acted"

        return act

    def script(request: Any) -> object:
        return (
            reply(text("Done."))
            if len(request.json["messages"]) > 1
            else reply(tool_use("act", id="toolu_a", amount=1))
        )

    with ScriptedServer(acts_once) as server:
        async with Client(base_url=server.url) as client:
            path = tmp_path / "runs.db"
            first = Agent("claude-sonnet-4-6", tools=[made("Pays back.")], journal=path, client=client)
            other = Agent("claude-sonnet-4-6", tools=[made("Pays out.")], journal=path, client=client)
            held = await first.run("Do it.")
            again = await other.resume(held.run_id, decisions={"1:toolu_a": allow()})
            assert (again.finish.reason, ran) == ("needs_approval", [])
            result = await other.resume(held.run_id, decisions={"1:toolu_a": allow()})
            assert (result.text, ran) == ("Done.", ["Pays out."])
            denied = await other.run("Do it.")
            result = await other.resume(denied.run_id, decisions={"1:toolu_a": deny("no")})
            assert (result.tool_calls[0].outcome, ran) == ("denied", ["Pays out."])
