"""Research by a fleet: 100 questions on a queue, answered by several worker processes, and a table of what each cost.

    python examples/fleet.py
    python examples/fleet.py --runs 20 --workers 4 --journal postgresql://agents@db/agents
    python examples/fleet.py --workers 0        # by workers that run already, on whatever machine

Without `--live` the emulator on this machine plays the model, so no key is needed. What is not finished when you press
Ctrl-C stays on the queue.
"""

import argparse
import asyncio
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from agentkit import Agent, Limits, web_fetch, web_search
from agentkit.emulator import Emulator
from agentkit.events import RunEnd
from agentkit.integrations.durable import Queue
from agentkit_tools import calculator

QUEUE = "research"
SUBJECTS = (
    "reads ZIP archives",
    "parses command line arguments",
    "reads and writes CSV files",
    "computes SHA-256 hashes",
    "makes temporary files",
    "matches regular expressions",
    "encodes data in Base64",
    "logs messages",
    "computes medians",
    "reads configuration files",
)

agent = Agent(  # which `agentkit worker examples/fleet.py:agent` imports from here
    "claude-sonnet-4-6",
    system="You are a careful researcher. Search first, then answer in one sentence.",
    tools=[web_search(max_uses=3), web_fetch(citations=True), calculator],
    limits=Limits(max_turns=10, max_seconds=300),
)


def question(number: int) -> str:
    return f"Which module {SUBJECTS[number % len(SUBJECTS)]}? And what is {number + 1} * 12?"


@contextmanager
def workers(number: int, journal: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many worker processes; at the end each lets its calls end, and leaves."""
    command = [sys.executable, "-m", "agentkit", "worker", f"{__file__}:agent", "--queue", QUEUE, "--journal", journal]
    # In sessions of their own: Ctrl-C is for this process, which stops them.
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) for _ in range(number)]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


async def wait(queue: Queue, runs: Sequence[str], started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Shows how many runs wait, go on and have ended, until all have."""
    began, going = time.monotonic(), list(runs)
    end, pause = ("\r", 0.5) if sys.stdout.isatty() else ("\n", 2.0)
    while going:
        await asyncio.sleep(pause)
        if started and all(process.poll() is not None for process in started):
            sys.exit("the workers have ended, and the runs stay on the queue")
        rows = [queue.journal.run(run_id) for run_id in going]
        going = [row.run_id for row in rows if row.state in ("queued", "running", "paused")]
        queued = sum(row.state == "queued" for row in rows)
        counts = f"{queued:4} queued {len(going) - queued:4} running {len(runs) - len(going):4} ended"
        print(f"{time.monotonic() - began:6.1f} s {counts}", end=end, flush=True)
    print()


async def end_of(queue: Queue, run_id: str) -> RunEnd:
    """How a run has ended: the last of the events that its log tells."""
    async for _, event in queue.journal.follow(run_id):
        if isinstance(event, RunEnd):
            end = event
    return end


async def show(queue: Queue, runs: Sequence[str], seconds: float) -> None:
    """The table, 80 columns wide."""
    jobs = queue.engine.jobs_of(runs)
    done_by = {job.run_id: (job.worker or "").split(":")[-2] for job in jobs if job.worker}
    ends = [await end_of(queue, run_id) for run_id in runs]
    print("run       worker turns tokens     cost  secs  first source")
    for end in ends:
        found = end.citations[0].title if end.citations else end.text or end.finish
        cost = "-" if end.cost is None else f"${end.cost:.4f}"  # the emulator has no prices
        spent = f"{end.turns:5} {end.usage.total_tokens / 1000:5.0f}k {cost:>8} {end.seconds:5.1f}"
        line = f"{end.run_id[:8]} {done_by.get(end.run_id, '?'):>7} {spent}  {' '.join((found or '').split())}"
        print(line if len(line) <= 80 else f"{line[:79]}…")
    turns, costs = sum(end.turns for end in ends), [end.cost for end in ends if end.cost is not None]
    print(f"{len(runs)} runs: {turns} turns{f', ${sum(costs):.2f}' if costs else ''}, in {seconds:.1f} seconds")
    for pid, number in Counter(done_by.values()).most_common():
        print(f"  worker {pid}: {number} runs")


async def main(options: argparse.Namespace) -> None:
    with nullcontext() if options.live else Emulator(pace=0) as emulator:
        if emulator:
            os.environ.update(ANTHROPIC_BASE_URL=emulator.url, ANTHROPIC_API_KEY="any")  # for the workers
        queue = Queue(QUEUE, options.journal)
        began = time.monotonic()
        runs = [await queue.submit(question(number)) for number in range(options.runs)]
        print(f"{len(runs)} runs are on the queue {QUEUE}, in {time.monotonic() - began:.1f} seconds.", flush=True)
        if not options.workers:
            place = shlex.quote(options.journal)
            print(
                f"To serve it: agentkit worker {shlex.quote(__file__)}:agent --queue {QUEUE} --journal {place}",
                flush=True,
            )
        with workers(options.workers, options.journal) as started:
            began = time.monotonic()
            await wait(queue, runs, started)
            await show(queue, runs, time.monotonic() - began)
        queue.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="how many questions to submit")
    parser.add_argument("--workers", type=int, default=2, help="how many workers to start; 0: others serve the queue")
    parser.add_argument("--journal", default="fleet.db", help="a file, or postgresql://…")
    parser.add_argument("--live", action="store_true", help="ask the endpoint that the environment names")
    try:
        asyncio.run(main(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit("\nstopped: what is not finished stays on the queue")
