"""One seed, one schedule: runs it, checks it, shrinks it."""

from __future__ import annotations

import logging
import os
import random as global_random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
import trio
from simulated_model import ASKED, RIVAL
from simulated_process import MAX_SECONDS, Fault, Habits, Process, in_line
from simulated_secrets import LogWatch
from simulated_spending import LIMITED
from simulated_world import World, drawn_script
from trio.testing import MockClock

from agentkit import RunResult
from agentkit.errors import APIError, RunBusy
from agentkit.retry import RetryBudget

__all__ = ["Outcome", "Schedule", "drawn", "found", "shrunk", "simulate", "told"]

_RIVAL, _CLEAN = 8, 9  # their places among the ten processes of a prompt
_LONG = 100_000.0
_ENDS = ("end_turn", "max_tokens", "refusal", *LIMITED)
KINDS = {"kill": 8, "power": 3, "cancel": 5, "stop": 3, "leave": 2, "freeze": 4, "jump": 1, "store": 4}
_SIZES: dict[str, tuple[float, ...]] = {
    "power": (0, 1, 2, 9),
    "freeze": (1.0, 15.0, 25.0, 60.0, 300.0),
    "jump": (-300.0, -15.0, 15.0, 300.0),
    "store": (1, 1, 2, 5, 30),
}


@dataclass(frozen=True)
class Schedule:
    """What happens to the runs of a seed.

    Attributes:
        seed: Of the script too.
        streams: Whether somebody watches the runs.
        approves: Whether who watches decides at once.
        changed: From which process of each prompt on the tools are those of another version.
        gateway: From which process of each prompt on another endpoint is asked.
        limits: Of each run, beside the time.
        lingers: How long who watches stays after the last event, in seconds.
        rival: When somebody else asks something in the same conversation, in seconds, and whether it is in the run
            that goes on, and not in the one before it.
        resumers: For each prompt when other processes try to resume, in seconds.
        faults: What goes wrong.
    """

    seed: int
    streams: bool = False
    approves: bool = False
    changed: int = 10
    gateway: int = 10
    limits: tuple[tuple[str, float], ...] = ()
    lingers: float = 0.0
    rival: tuple[float, bool] | None = None
    resumers: tuple[tuple[float, ...], ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass
class Outcome:
    """What came of a schedule.

    Attributes:
        violations: What does not hold.
        results: Of each prompt.
        points: What points the first process of each prompt has passed.
    """

    violations: list[str]
    results: list[RunResult]
    points: list[Counter[str]]
    trace: list[str]
    digest: str
    world: World = field(repr=False)


def simulate(schedule: Schedule, unfaulted: Outcome | None = None) -> Outcome:
    """Runs a schedule. The same one gives the same trace each time."""
    world = World(schedule.seed, drawn_script(schedule.seed))
    points: list[Counter[str]] = []
    results: list[RunResult] = []
    with _deterministic(schedule.seed), _watched_logs(world):
        try:
            trio.run(_all, world, schedule, points, results, clock=MockClock(autojump_threshold=0))
        except Exception as error:
            world.violations.append(f"I9: the simulation ends with {type(error).__name__}: {error}")
    if unfaulted and len(results) == len(unfaulted.results):
        for result, other in zip(results, unfaulted.results, strict=True):
            world.look_at_end(result, other)
    return Outcome(world.violations, results, points, world.trace, world.digest(), world)


def drawn(seed: int) -> tuple[Schedule, Outcome]:
    """The schedule of a seed, and what comes of it without its faults."""
    random = Random(f"{seed} schedule")
    limits = (*_limits(random), *((("max_parallel_tools", 1),) if random.random() < 0.25 else ()))
    schedule = Schedule(seed, streams=random.random() < 0.6, approves=random.random() < 0.3, limits=limits)
    unfaulted = simulate(schedule)
    schedule = replace(schedule, **_surroundings(random, schedule))
    choices = (0.0, 0.5, 2.0, 10.0, 22.0, 30.0, 60.0, 200.0)
    resumers = tuple(
        tuple(random.choice(choices) for _ in range(random.choice((0, 1, 1, 2, 3)))) for _ in unfaulted.points
    )
    mode = random.random()
    if mode < 0.15:
        return replace(schedule, resumers=((30.0, 60.0, 90.0),), faults=tuple(_again(random))), unfaulted
    if mode < 0.3:
        at = random.choice(list(unfaulted.points[0]))
        frozen = Fault(0, at, random.randint(1, unfaulted.points[0][at]), "freeze", random.choice((40.0, 100.0)))
        return replace(schedule, resumers=((random.uniform(20, 60),),), faults=(frozen,)), unfaulted
    if mode < 0.4:  # while the lease is renewed
        nth = random.randint(2, max(unfaulted.points[0]["before _append"] // 2, 2))
        starts = tuple(random.uniform(20, 110) for _ in range(3))
        failing = Fault(0, "before _append", nth, "store", 2.0)
        return replace(schedule, resumers=(starts,), faults=(failing,)), unfaulted
    if mode < 0.46 and (tools := unfaulted.points[0]["tool"]):
        ended = Fault(0, "tool", random.randint(1, tools), random.choice(("cancel", "stop")))
        return replace(schedule, resumers=resumers, faults=(ended,)), unfaulted
    if mode < 0.66 and (ends := unfaulted.points[0]["tool's end"]):
        starts = tuple(random.choice(choices) for _ in range(random.choice((2, 3))))
        return replace(schedule, resumers=(starts,), faults=tuple(_rescued(random, ends))), unfaulted
    faults = tuple(_fault(random, unfaulted.points, resumers) for _ in range(random.choice((1, 1, 2, 2, 3, 4))))
    return replace(schedule, resumers=resumers, faults=faults), unfaulted


def _limits(random: Random) -> tuple[tuple[str, float], ...]:
    name = random.choice((*[None] * 6, "max_turns", "max_tool_calls", "max_total_tokens", "max_cost_usd"))
    ranges: dict[Any, float] = {"max_turns": 4, "max_tool_calls": 8, "max_total_tokens": 3000, "max_cost_usd": 0.006}
    if name is None:
        return ()
    most = ranges[name] * random.uniform(0.2, 1)
    return ((name, most if name == "max_cost_usd" else round(most)),)


def _surroundings(random: Random, schedule: Schedule) -> dict[str, Any]:
    """What is around the processes of a schedule, and not in the one that it is compared with."""
    found: dict[str, Any] = {"lingers": random.choice((0.0, 0.0, 0.0, 0.0, 7.0, 30.0))}
    if random.random() < 0.3:
        found["changed"] = random.randint(1, _CLEAN)
    if random.random() < 0.2 and "max_cost_usd" not in dict(schedule.limits):  # nobody knows what others take
        found["gateway"] = random.randint(1, _CLEAN)
    if random.random() < 0.25:
        found["rival"] = (random.choice((0.5, 2.0, 10.0, 30.0)), random.random() < 0.7)
    return found


def _fault(random: Random, points: list[Counter[str]], resumers: tuple[tuple[float, ...], ...]) -> Fault:
    prompt = random.randrange(len(resumers))
    process = random.choice((0, 0, *range(1 + len(resumers[prompt]))))
    at = random.choice(list(points[prompt]))
    nth = random.randint(1, points[prompt][at] + 1)
    kind: Any = random.choices(list(KINDS), list(KINDS.values()))[0]
    return Fault(10 * prompt + process, at, nth, kind, random.choice(_SIZES.get(kind, (0.0,))))


def _again(random: Random) -> Iterator[Fault]:
    """Each process dies at the same place as the one before."""
    at = random.choice(("entry", "effect", "effect", "tool's end", "request", "before _append"))
    return (Fault(number, at, 1, "kill") for number in range(4))


def _rescued(random: Random, ends: int) -> Iterator[Fault]:
    """A result can't be stored for a while; its process comes to something meanwhile, and so may who takes it in."""
    yield Fault(0, "tool's end", random.randint(1, ends), "store", random.choice((8, 12, 20, 40)))
    kind: Any = random.choice(("kill", "kill", "kill", "power", "freeze", "cancel"))
    at = random.choice(("after _rescue", "after _rescue", "after _rescue", "before _clear", "after _clear"))
    if kind == "freeze":  # what it rescues then comes when others have taken the run up
        at = random.choice(("before _rescue", at))
    yield Fault(0, at, 1, kind, random.choice(_SIZES.get(kind, (0.0,))))
    if random.random() < 0.6:
        for number in (1, 2):
            yield Fault(number, "taking in", 1, random.choice(("kill", "power")))


def found(schedule: Schedule, unfaulted: Outcome, patch: Callable[[pytest.MonkeyPatch], None]) -> list[str]:
    """The violations of a schedule under a planted bug; a bug that never comes back is one too."""

    def ring(*given: object) -> None:
        raise TimeoutError("the schedule never ends")

    with pytest.MonkeyPatch.context() as patches:
        patch(patches)
        before = signal.signal(signal.SIGPROF, ring)
        signal.setitimer(signal.ITIMER_PROF, 20)
        try:
            return simulate(schedule, unfaulted).violations
        except TimeoutError as error:
            return [f"I9: {error}"]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)


def shrunk(schedule: Schedule, unfaulted: Outcome) -> Schedule:
    """The schedule without what its violations do not need."""
    for fewer in _simpler(schedule):
        if simulate(fewer, unfaulted).violations:
            return shrunk(fewer, unfaulted)
    return schedule


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    for at in range(len(schedule.faults)):
        yield replace(schedule, faults=schedule.faults[:at] + schedule.faults[at + 1 :])
    plain = Schedule(schedule.seed)
    for name in ("resumers", "rival", "changed", "gateway", "lingers"):
        if getattr(schedule, name) != getattr(plain, name):
            yield replace(schedule, **{name: getattr(plain, name)})


def told(schedule: Schedule, unfaulted: Outcome) -> str:
    """What is to be known of a schedule with violations."""
    schedule = shrunk(schedule, unfaulted)
    outcome = simulate(schedule, unfaulted)
    again = f"make simulate SEED={schedule.seed} N=1"
    return "\n".join([*outcome.trace, "", str(schedule), *outcome.violations, f"replay: {again}"])


async def _all(world: World, schedule: Schedule, points: list[Counter[str]], results: list[RunResult]) -> None:
    tasks = _system_tasks()
    with trio.move_on_after(_LONG) as scope:
        for prompt in range(world.script.prompts):
            before = results[-1].run_id if results else None
            async with trio.open_nursery() as nursery:
                first = _process(world, schedule, 10 * prompt)
                nursery.start_soon(_begin, first, before, prompt)
                for at, start in enumerate((*schedule.resumers, (), ())[prompt], 1):
                    process = _process(world, schedule, 10 * prompt + at)
                    nursery.start_soon(_resume, process, start, before)
                if schedule.rival:
                    nursery.start_soon(_ask, _process(world, schedule, 10 * prompt + _RIVAL), schedule.rival, before)
            points.append(first.points)
            world.look_at_disk()
            result = await _finish(_process(world, schedule, 10 * prompt + _CLEAN), before, prompt)
            world.look_at_disk()
            if result is None:
                break
            results.append(result)
            world.look_at_result(result)
            if not result.messages[-1]["content"] or result.finish.reason != "end_turn":
                break
    world.check(not scope.cancelled_caught, "I9", lambda: "the schedule never ends")
    await trio.sleep(1000)  # tools that do not stop go on for a while, and a process that was stopped wakes
    world.look_at_late()
    left = [process.name for process in world.processes if process.open_replies and not process.dead]
    world.check(not left, "I15", lambda: f"{left} have not closed a reply")
    world.check(_system_tasks() == tasks, "I15", lambda: f"{_system_tasks() - tasks} tasks are left")


def _process(world: World, schedule: Schedule, number: int) -> Process:
    faults = {(fault.at, fault.nth): fault for fault in schedule.faults if fault.process == number}
    place = number % 10
    version, address = int(place >= schedule.changed), int(place >= schedule.gateway)
    habits = Habits(schedule.streams, schedule.approves, version, address, dict(schedule.limits), schedule.lingers)
    process = Process(world, number, faults, habits, seconds=_LONG if place == _CLEAN else MAX_SECONDS)
    world.processes.append(process)
    return process


async def _begin(process: Process, before: str | None, prompt: int) -> None:
    await process.go(lambda: process.drive(None, f"Do {prompt}.", before))


async def _resume(process: Process, start: float, before: str | None) -> None:
    async def work() -> None:
        await trio.sleep(start)
        for _ in range(5):
            if run_id := _run_after(process.world, before):
                try:
                    await process.drive(run_id, None)
                    return
                except RunBusy:
                    process.world.note(f"{process.name} finds it busy")
            await trio.sleep(7.0)

    await process.go(work)


async def _ask(process: Process, rival: tuple[float, bool], before: str | None) -> None:
    """Somebody else asks in the same conversation: in the run before, or in the one that goes on, if it may be."""
    world, (start, is_now) = process.world, rival

    async def work() -> None:
        await trio.sleep(start)
        run_id = _run_after(world, before) if is_now else before
        row = world.disk.rows.get(run_id or "")
        if row is None:
            return
        if row.holder and row.expires > world.clock() and world.is_going(row.holder):
            process.follows = (row.run_id, row.holder)
        try:
            await process.drive(None, f"{RIVAL} {process.number}.", row.run_id)
        except RunBusy:
            world.note(f"{process.name} finds it busy")

    await process.go(work)


async def _finish(process: Process, before: str | None, prompt: int) -> RunResult | None:
    """A process that nothing happens to goes on to the end."""
    for _ in range(100):
        run_id = _run_after(process.world, before)
        try:
            work = (run_id, None) if run_id else (None, f"Do {prompt}.", before)
            result: RunResult | None = await _driven(process, work)
        except RunBusy:
            await trio.sleep(5.0)
            continue
        except APIError:
            continue
        if result is not None and result.finish.reason in _ENDS:
            return result
        process.world.fail("I10", f"the clean process ends with {result and result.finish.reason}")
        return None
    process.world.fail("I9", "the clean process comes to no end")
    return None


async def _driven(process: Process, work: tuple[Any, ...]) -> RunResult | None:
    caught: list[Exception] = []

    async def once() -> RunResult | None:
        try:
            return await process.drive(*work)
        except (RunBusy, APIError) as error:
            caught.append(error)
            return None

    result: RunResult | None = await process.go(once)
    if caught:
        raise caught[0]
    return result


def _run_after(world: World, before: str | None) -> str | None:
    """The run that answers the question after a run."""
    rows = (row for row in world.disk.rows.values() if not row.title.startswith((RIVAL, ASKED)))
    return next((row.run_id for row in rows if row.parent == before), None)


def _system_tasks() -> int:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return sum(len(nursery.child_tasks) for nursery in root.child_nurseries)


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """All that is drawn is drawn from the seed, and calls of the store are made in line."""
    random, state = Random(f"{seed} ids"), global_random.getstate()
    global_random.seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", random.randbytes)
        patch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr("trio._core._run._r", Random(f"{seed} scheduler"))
        patch.setattr("anyio.to_thread.run_sync", in_line)
        patch.setattr("agentkit.lease._holders", set())
        patch.setattr("agentkit.client._budget", RetryBudget())
        yield
    global_random.setstate(state)


@contextmanager
def _watched_logs(world: World) -> Iterator[None]:
    """What is logged goes nowhere but to who looks for secrets in it."""
    logger, watch = logging.getLogger("agentkit"), LogWatch(world.fail)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(watch)
    try:
        yield
    finally:
        logger.removeHandler(watch)
        logger.propagate = before
