"""Cancels at random points of runs with a journal, in one process; what is left of them, and how long they took."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import sniffio
from chaos_worker import QUESTION, DyingStore, World, client_of

from agentkit import Agent, Journal, Run, RunResult, allow
from agentkit.errors import RunBusy

WAYS = ("cancel", "leave", "scope", "scope, drains", "task")  # the last is asyncio's own, on trio a scope too


def cancel_rounds(job: dict[str, Any]) -> dict[str, Any]:
    """Cancels runs and resumes each.

    Args:
        job: `cancels`: how many; `seed`; `backend`; `pause`; and what `World` takes.

    Returns:
        Seconds until each cancel had returned; counts of ways and outcomes; threads, descriptors and tasks before and
        after; what failed.
    """
    if job.get("backend") == "trio":
        import trio._core._thread_cache as kept

        kept.IDLE_TIMEOUT = 0.1  # of 10 s, for which threads that have nothing to do stay
    threads = threading.active_count()
    found: dict[str, Any] = anyio.run(_rounds, job, backend=job.get("backend", "asyncio"))
    give_up = time.monotonic() + 15
    while threading.active_count() > threads and time.monotonic() < give_up:
        time.sleep(0.05)
    return {**found, "threads": [threads, threading.active_count()]}


async def _rounds(job: dict[str, Any]) -> dict[str, Any]:
    world, chance = World(job), random.Random(job["seed"])
    before = _open(), _tasks()
    client, body = client_of(job)
    journal = Journal(DyingStore(world))
    agent = Agent("claude-sonnet-4-6", tools=world.tools(), journal=journal, client=client, extra_body=body)
    await agent.run(QUESTION)  # the first takes longer
    began = time.monotonic()
    await agent.run(QUESTION)
    span = time.monotonic() - began
    seconds: list[float] = []
    counts, failures = Counter[str](), []
    while len(seconds) < job["cancels"] and not failures:
        way = WAYS[counts["runs"] % len(WAYS)]
        held = await agent.run(QUESTION) if chance.random() < 0.3 else None  # then it is cancelled after the decision
        counts["runs"] += 1
        try:
            took, result = await _cancelled(_begun(agent, held), way, chance, span)
            if took is not None:
                seconds.append(took)
                counts[way] += 1
            result = await _to_the_end(agent, result, held, patience=5 if way == "task" else 0)
            if way == "task":  # which heeds no shield either: the end may just be written
                with anyio.move_on_after(5):
                    while journal.is_live(journal.run(result.run_id)):  # noqa: ASYNC110  no event tells of it
                        await anyio.sleep(0.01)
            failures += _wrong(world, result, journal)
            world.forget_effects()
            counts.update(str(call.outcome) for call in result.tool_calls)
        except Exception as error:
            failures.append(f"{way}: {type(error).__name__}: {error}")
    failures += [f"run {row.run_id} is left as if it went on" for row in journal.runs(10**6) if journal.is_live(row)]
    await client.aclose()
    journal.close()
    for _ in range(100):  # what was stopped ends a moment later
        gc.collect()
        if (_open(), _tasks()) == before:
            break
        await anyio.sleep(0.02)
    left = {"files": [before[0], _open()], "tasks": [before[1], _tasks()]}
    return {"seconds": seconds, "counts": counts, "failures": failures, **left}


def _begun(agent: Agent, held: RunResult | None) -> Run:
    if held is None:
        return agent.stream(QUESTION)
    return agent.stream(None, after=held.run_id, decisions={pending.call_id: allow() for pending in held.pending})


async def _cancelled(run: Run, way: str, chance: random.Random, span: float) -> tuple[float | None, RunResult | None]:
    """Cancels a run: seconds from then to its return, None if it had ended; and its result if it has one."""
    delay, leaves_at = chance.uniform(0, span) * chance.choice((0.05, 1)), chance.randrange(40)
    began: list[float] = []

    async def soon(cancel: Callable[[], None]) -> None:
        await anyio.sleep(delay)
        began.append(time.monotonic())
        cancel()

    async with anyio.create_task_group() as timer:
        with anyio.CancelScope() as scope:
            if way not in ("leave", "task"):
                timer.start_soon(soon, run.cancel if way == "cancel" else scope.cancel)
            if way == "task":
                await _in_a_task(run, began, delay)
            elif way == "scope, drains":
                await run.drain()
            else:
                await _watch(run, began, leaves_at if way == "leave" else None)
        took = time.monotonic() - began[0] if began else None
        timer.cancel_scope.cancel()
    return took, getattr(run, "result", None)


async def _in_a_task(run: Run, began: list[float], delay: float) -> None:
    """What `asyncio.timeout` and `task.cancel()` do; they know no shield."""
    if _is_trio():
        with anyio.move_on_after(delay) as scope:
            await run.drain()
        if scope.cancelled_caught:
            began.append(scope.deadline - anyio.current_time() + time.monotonic())
        return
    import asyncio

    task = asyncio.create_task(run.drain())
    await asyncio.wait([task], timeout=delay)
    if not task.done():
        began.append(time.monotonic())
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def _watch(run: Run, began: list[float], leaves_at: int | None) -> None:
    async with run:
        at = 0
        async for _ in run:
            if at == leaves_at:
                began.append(time.monotonic())
                return
            at += 1


async def _to_the_end(agent: Agent, result: RunResult | None, held: RunResult | None, *, patience: float) -> RunResult:
    """Resumes what was cancelled, by its id: what the journal has is what counts.

    asyncio's own cancel leaves the thread that takes a run up, so that may be busy for a while: `patience` is how long.
    """
    give_up = anyio.current_time() + patience
    while True:
        try:
            return await _resumed(agent, result, held)
        except RunBusy:
            if anyio.current_time() > give_up:
                raise
        await anyio.sleep(0.01)


async def _resumed(agent: Agent, result: RunResult | None, held: RunResult | None) -> RunResult:
    earlier = result or held
    if earlier is None:  # cancelled before it had begun
        result = await agent.run(QUESTION)
    elif result is None or result.finish.reason == "cancelled":
        result = await agent.resume(earlier.run_id)
    while result.finish.reason == "needs_approval":
        result = await agent.resume(result.run_id, decisions={pending.call_id: allow() for pending in result.pending})
    return result


def _wrong(world: World, result: RunResult, journal: Journal) -> list[str]:
    """What must not be at the end of a run that was cancelled and resumed."""
    wrong = []
    if result.finish.reason != "end_turn" or result.partial_text != "All done.":
        wrong.append(f"it ended with {result.finish}, saying {result.partial_text!r}")
    if journal.is_live(row := journal.run(result.run_id)):
        wrong.append(f"the journal has it as {row.state}, held by {row.holder}")
    calls = {(result.run_id, call.call_id): call.outcome for call in result.tool_calls}
    entered = Counter((effect["run"], effect["call"]) for effect in world.effects())
    for call, outcome in calls.items():
        if outcome == "done" and not entered[call] and not call[1].endswith("look"):
            wrong.append(f"{call[1]} is done, and never ran")
        if entered[call] and outcome in ("not_run", "denied", "failed"):
            wrong.append(f"{call[1]} took effect, and ended as {outcome}")
        if entered[call] > 1:
            wrong.append(f"{call[1]} took effect {entered[call]} times")
    return wrong


def _open() -> int:
    return len(os.listdir("/proc/self/fd"))


def _tasks() -> int:
    if _is_trio():
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    import asyncio

    return len(asyncio.all_tasks())


def _is_trio() -> bool:
    return sniffio.current_async_library() == "trio"
