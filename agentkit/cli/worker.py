"""`agentkit worker`: goes on with the runs of a queue."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.cli.agents import named_agent
from agentkit.cli.journals import place_of, shown_id
from agentkit.cli.options import JournalFile
from agentkit.cli.phrases import counted
from agentkit.cli.problems import brief_log, notice, reported
from agentkit.cli.queued import durable
from agentkit.errors import ConfigurationError
from agentkit.terminal import safe_line

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.integrations.durable import Told, Worker

__all__ = ["worker"]

_METRICS_EVERY = 30.0
_RATE = re.compile(r"(\d+)/(\d+(?:\.\d+)?)")

WorkingAgent = Annotated[
    str, typer.Argument(metavar="MODULE:NAME", help="The Agent whose runs these are (or FILE.py:NAME).")
]
OfQueue = Annotated[str, typer.Option("--queue", metavar="NAME", help="The queue to serve.")]
Concurrency = Annotated[int, typer.Option(metavar="N", min=1, help="Runs at a time, of each worker of the queue.")]
RateOfRuns = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="N/SECONDS",
        help="So many runs may begin in so many seconds, over all workers of the queue, such as 60/60.",
        show_default=False,
    ),
]
Grace = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Time that replies and calls have to end at a stop.")
]
AsLines = Annotated[bool, typer.Option("--json", help="Print what happens, one event a line, as JSON.")]


def worker(
    agent: WorkingAgent,
    queue: OfQueue,
    concurrency: Concurrency = 8,
    rate: RateOfRuns = None,
    grace: Grace = 25.0,
    journal: JournalFile = None,
    as_json: AsLines = False,
) -> None:
    """Go on with the runs of a queue, until Ctrl-C or SIGTERM. Start as many workers as you like, on any machines.

    Runs come from `agentkit run --queue`, or from `Queue.submit` of agentkit.integrations.durable. They are kept in the
    journal of --journal, or else in the agent's: a PostgreSQL database, or a file to develop with.

    At the first signal it takes no more runs, lets replies and calls end, and gives its runs back to the queue; a
    second one cuts them off.

    \b
    Examples:
      agentkit worker desk:agent --queue research --journal postgresql://agents@db/agents
      agentkit worker app/desk.py:agent --queue research --concurrency 32 --rate 60/60
    """
    with reported(), brief_log():
        durable()
        import anyio

        from agentkit.integrations.durable import Worker

        limit = _rate(rate)
        works = Worker(
            _with_journal(named_agent(agent, "the agent"), journal),
            queue,
            concurrency=concurrency,
            rate=limit,
            grace=grace,
            tell=_tell_json if as_json else _tell,
        )
        notice(f"worker {works.name}: queue {queue}, {counted(concurrency, 'run')} at a time")
        anyio.run(_serve, works, _metrics_json if as_json else _metrics)


def _with_journal(agent: Agent, place: str | None) -> Agent:
    if place is not None or agent.journal is None:
        from agentkit.journal import Journal

        agent.journal = Journal(place_of(place))
    return agent


def _rate(text: str | None) -> tuple[int, float] | None:
    if text is None:
        return None
    found = _RATE.fullmatch(text)
    if not found or not int(found[1]) or not float(found[2]):
        raise ConfigurationError(f"--rate {text}: write it as RUNS/SECONDS, such as 60/60")
    return int(found[1]), float(found[2])


async def _serve(works: Worker, metrics: Callable[[Worker], None]) -> None:
    import anyio

    async with anyio.create_task_group() as tasks:

        async def measure() -> None:
            while True:
                await anyio.sleep(_METRICS_EVERY)
                metrics(works)

        async def heed() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    if stopped:
                        os._exit(
                            130
                        )  # DBOS's threads would hold an exit up; what is cut off, another worker takes over
                    stopped.append(True)
                    works.stop()

        stopped: list[bool] = []
        tasks.start_soon(measure)
        tasks.start_soon(heed)
        await works.run()
        tasks.cancel_scope.cancel()
    metrics(works)


def _tell(told: Told) -> None:
    run_id = shown_id(told.run_id or "")
    print(safe_line(" ".join(filter(None, (_clock(), told.what.replace("_", " "), run_id, told.detail)))), flush=True)


def _tell_json(told: Told) -> None:
    print(json.dumps({"type": told.what, "at": time.time(), "run_id": told.run_id, "detail": told.detail}), flush=True)


def _metrics(works: Worker) -> None:
    ended = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(works.ended.items()))
    parts = [f"{works.running} running", f"{works.ended.total()} ended" + (f" ({ended})" if ended else "")]
    print(safe_line(f"{_clock()} metrics: {', '.join(parts)}, {works.taken_over} taken over"), flush=True)


def _metrics_json(works: Worker) -> None:
    counts = {"running": works.running, "ended": dict(works.ended), "taken_over": works.taken_over}
    print(json.dumps({"type": "metrics", "at": time.time(), **counts}), flush=True)


def _clock() -> str:
    return time.strftime("%H:%M:%S")
