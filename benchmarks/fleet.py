"""Measures runs on a queue: what a model turn and a call cost there, beside the same runs without one.

Starts a PostgreSQL of its own (with `pg_stat_statements`), an API on loopback that replies at once, and the processes
that are measured. Each run has 6 model turns: 5 call a tool that does nothing, one ends it. So every second here is the
runtime's, the journal's or the queue's; with a real model, turns take seconds. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import fleet_database
import pytest
from fleet_database import Counted, Database

__all__ = ["main"]

HERE = Path(__file__).parent
CALLS = 5
TURNS = CALLS + 1
WORKERS = 2
IDLE_SECONDS = 30
EFFECTS = ("read", "none")
MEASURED = ("p10", "p50", "p99", "cpu")


class Process:
    """One that is measured: it answers a line of input with numbers."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, str(HERE / "fleet_runs.py"), *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def ask(self) -> dict[str, Any]:
        """Lets it begin, or asks how far it is."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> None:
        """Lets it end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            sys.exit(f"{self._process.args} has ended with {self._process.wait()}")
        return dict(json.loads(line))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="how many runs two workers drain")
    parser.add_argument("--single", type=int, default=40, help="how many runs are measured one at a time")
    parser.add_argument("--repeat", type=int, default=3, help="how often those are measured, by turns")
    parser.add_argument("--concurrency", type=int, default=8, help="of each worker, when they drain")
    parser.add_argument("--statements", action="store_true", help="also list the statements of the drain")
    return parser.parse_args()


@contextmanager
def api() -> Iterator[str]:
    """The address of the API, while it runs."""
    process = subprocess.Popen([sys.executable, HERE / "fleet_api.py"], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}" if process.stdout else ""
        finally:
            process.terminate()


def seen(server: str) -> dict[str, Any]:
    """What the API has seen since it was asked last."""
    with urlopen(f"{server}/seen") as reply:  # on loopback
        return dict(json.load(reply))


def wait_until_drained(database: Database) -> int:
    """How many connections there were at most."""
    most = 0
    while database.unended():
        most = max(most, database.connections())
        time.sleep(0.1)
    return most


class Single:
    """Runs one at a time: seconds between a reply and the next request, CPU of the client, counts of the database."""

    def __init__(self, gaps: list[float], cpu: float, runs: int, counted: Counted | None = None) -> None:
        points = statistics.quantiles(gaps, n=100)
        self.p10, self.p50, self.p99 = points[9], points[49], points[98]
        self.gaps, self.cpu, self.runs, self.counted = gaps, cpu, runs, counted

    def and_again(self, other: Single) -> Single:
        """Both: all gaps, and the CPU and the counts of those that took less CPU."""
        least = min(self, other, key=lambda single: single.cpu)
        return Single(self.gaps + other.gaps, least.cpu, least.runs, least.counted)


def direct(server: str, place: str, effect: str, calls: int, runs: int, database: Database | None = None) -> Single:
    """In one process, without a queue."""
    process = Process("direct", server, place, effect, calls, runs)
    seen(server)
    if database:
        database.begin()
    found = process.ask()
    counted = database.counted() if database else None
    process.end()
    return Single(seen(server)["gaps"] or [0.0, 0.0], found["cpu"], runs, counted)


def queued(server: str, database: Database, effect: str, runs: int) -> Single:
    """By one worker that has one at a time."""
    database.renew()
    worker = Process("worker", server, database.url, effect, 1)
    submitter = Process("submit", database.url, CALLS, runs)
    seen(server)
    before = worker.ask()["cpu"]
    submitter.ask()
    submitter.end()
    wait_until_drained(database)
    cpu = worker.ask()["cpu"] - before
    worker.end()
    return Single(seen(server)["gaps"], cpu, runs)


def drained(server: str, database: Database, runs: int, concurrency: int) -> dict[str, Any]:
    """All runs by two workers, when they are on the queue already."""
    database.renew()
    submitter = Process("submit", database.url, CALLS, runs)
    database.begin()
    submitted, submitting = submitter.ask(), database.counted()
    submitter.end()
    seen(server)
    database.begin()
    workers = [Process("worker", server, database.url, "none", concurrency) for _ in range(WORKERS)]
    before = sum(worker.ask()["cpu"] for worker in workers)
    most = wait_until_drained(database)
    ended = time.time()
    counted = database.counted()
    cpu = sum(worker.ask()["cpu"] for worker in workers) - before
    at_api = seen(server)
    last = [worker.ask() for worker in workers]
    for worker in workers:
        worker.end()
    return {
        "seconds": ended - min(at_api["first"].values()),
        "gaps": Single(at_api["gaps"], cpu, runs, counted),
        "connections": most / WORKERS,
        "shares": [told["ended"] for told in last],
        "memory": max(told["memory"] for told in last),
        "submit": (submitted["seconds"] / runs, submitted["cpu"] / runs, submitting),
        "kept": database.kept(),
    }


def idle(server: str, database: Database, submits: int = 20) -> dict[str, Any]:
    """A worker with nothing to do; and how long a run waits for it."""
    worker = Process("worker", server, database.url, "none", 8)
    time.sleep(2)
    before = worker.ask()["cpu"]
    database.begin()
    time.sleep(IDLE_SECONDS)
    counted, cpu, connections = database.counted(), worker.ask()["cpu"] - before, database.connections()
    seen(server)
    waits = []
    for _ in range(submits):
        submitter = Process("submit", database.url, CALLS, 1)
        at = time.time()
        submitter.ask()
        submitter.end()
        wait_until_drained(database)
        waits.append(min(seen(server)["first"].values()) - at)
    worker.end()
    return {
        "counted": counted,
        "statements": counted.total / IDLE_SECONDS,
        "cpu": cpu / IDLE_SECONDS,
        "server": counted.cpu / IDLE_SECONDS,
        "wal": counted.wal / IDLE_SECONDS,
        "connections": connections,
        "wait": statistics.median(waits),
        "longest": max(waits),
    }


def syncs(folder: str, times: int = 200) -> float:
    """Milliseconds that this disk takes to sync a small write."""
    with open(Path(folder, "sync"), "wb", buffering=0) as file:
        taken = []
        for _ in range(times):
            file.write(b"x" * 100)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def singles(server: str, database: Database, folder: str, runs: int, repeat: int) -> dict[tuple[str, str], Single]:
    """By where the journal is and what the tool does, by turns: `(…, "no call")` has runs of one turn."""
    found: dict[tuple[str, str], Single] = {}

    def keep(name: str, effect: str, single: Single) -> None:
        known = found.get((name, effect))
        found[name, effect] = known.and_again(single) if known else single

    for number in range(repeat):
        for effect in EFFECTS:
            keep("no journal", effect, direct(server, "-", effect, CALLS, runs))
            keep("SQLite", effect, direct(server, f"{folder}/{effect}-{number}.db", effect, CALLS, runs))
            keep("PostgreSQL", effect, direct(server, database.url, effect, CALLS, runs, database))
            keep("queue", effect, queued(server, database, effect, runs))
    keep("PostgreSQL", "no call", direct(server, database.url, "read", 0, runs, database))
    return found


def table_of_time(found: dict[tuple[str, str], Single]) -> Iterator[str]:
    yield "| one run at a time, ms | a turn: p10 | p50 | p99 | CPU | a call more: p10 | p50 | p99 | CPU |"
    yield f"|---|{'--:|' * 8}"
    bare, bare_call = found["no journal", "read"], found["no journal", "none"]
    for name in ("no journal", "SQLite", "PostgreSQL", "queue"):
        turn, call = found[name, "read"], found[name, "none"]
        first = name == "no journal"
        of_turn = [_ms(turn, key) - (0 if first else _ms(bare, key)) for key in MEASURED]
        of_call = [_ms(call, key) - _ms(turn, key) - _ms(bare_call, key) + _ms(bare, key) for key in MEASURED]
        numbers = [f"{number:.2f}" if first else f"{number:+.2f}" for number in of_turn]
        numbers += ["" if first else f"{number:+.2f}" for number in of_call]
        if name == "queue":  # most of its CPU, one run at a time, is looking for the next one: see the drain
            numbers[3] = numbers[7] = ""
        yield f"| {name if first else f'{name}: more by'} | {' | '.join(numbers)} |"


def _ms(single: Single, which: str) -> float:
    """For a turn: of the time between a reply and the next request, or of CPU."""
    return 1000 * (single.cpu / single.runs / TURNS if which == "cpu" else getattr(single, which))


def table_of_load(found: dict[tuple[str, str], Single], drain: dict[str, Any], runs: int) -> Iterator[str]:
    """What each costs the server, of what runs with and without calls have taken in all."""
    short, reads, calls = (_per_run(found["PostgreSQL", name]) for name in ("no call", "read", "none"))
    turn = [(more - less) / CALLS for more, less in zip(reads, short, strict=True)]
    call = [(more - less) / CALLS for more, less in zip(calls, reads, strict=True)]
    run = [all_of_it - one for all_of_it, one in zip(short, turn, strict=True)]
    submit, on_queue = _server(drain["submit"][2], runs), _per_run(drain["gaps"])
    yield "| on PostgreSQL | statements | synced writes | WAL, bytes | CPU of the server, ms |"
    yield f"|---|{'--:|' * 4}"
    rows = {
        "a run, begun and ended": run,
        "a model turn, with calls of `read` tools": turn,
        "a call of undeclared effect": call,
        "to submit a run": submit,
        f"a run of {TURNS} turns and {CALLS} such calls, without a queue": calls,
        "the same on a queue, submitted and drained": [sum(both) for both in zip(on_queue, submit, strict=True)],
    }
    for name, (statements, synced, wal, cpu) in rows.items():
        yield f"| {name} | {statements:.1f} | {synced:.1f} | {wal:,.0f} | {cpu:.2f} |"


def _per_run(single: Single) -> list[float]:
    assert single.counted
    return _server(single.counted, single.runs)


def _server(counted: Counted, runs: int) -> list[float]:
    return [counted.total / runs, counted.synced / runs, counted.wal / runs, 1000 * counted.cpu / runs]


def table_of_drain(drain: dict[str, Any], runs: int, concurrency: int) -> Iterator[str]:
    gaps, seconds = drain["gaps"], drain["seconds"]
    kept = {name: [number / runs for number in numbers] for name, numbers in drain["kept"].items()}
    yield f"| {runs:,} runs of {TURNS} turns, {WORKERS} workers with {concurrency} each | |"
    yield "|---|--:|"
    rows = {
        "seconds": f"{seconds:.1f}",
        "runs a second": f"{runs / seconds:.1f}",
        "model turns a second": f"{runs * TURNS / seconds:.0f}",
        "runs of each worker": " and ".join(map(str, drain["shares"])),
        "between a reply and the next request: p50, p99, ms": f"{1000 * gaps.p50:.1f}, {1000 * gaps.p99:.1f}",
        "CPU of a worker for each turn, ms": f"{1000 * gaps.cpu / runs / TURNS:.2f}",
        "to submit a run: time, CPU, ms": ", ".join(f"{1000 * number:.1f}" for number in drain["submit"][:2]),
        "memory of a worker, MB": f"{drain['memory']:.0f}",
        "connections of a worker": f"{drain['connections']:.1f}",
        "rows of the journal, of the queue, for each run": f"{kept['agentkit'][0]:.1f}, {kept['dbos'][0]:.1f}",
        "bytes of the journal, of the queue, for each run": f"{kept['agentkit'][1]:,.0f}, {kept['dbos'][1]:,.0f}",
    }
    for name, number in rows.items():
        yield f"| {name} | {number} |"


def table_of_idling(found: dict[str, Any]) -> Iterator[str]:
    yield "| a worker with nothing to do | |"
    yield "|---|--:|"
    yield f"| statements a second | {found['statements']:.1f} |"
    yield f"| WAL, bytes a second | {found['wal']:,.0f} |"
    yield f"| its CPU, that of the server, ms a second | {1000 * found['cpu']:.1f}, {1000 * found['server']:.1f} |"
    yield f"| connections | {found['connections']:.0f} |"
    waits = f"{1000 * found['wait']:.0f}, {1000 * found['longest']:.0f}"
    yield f"| from `submit` to the first request: p50, longest, ms | {waits} |"


def statements(what: str, times: int, counted: Counted) -> Iterator[str]:
    yield f"\nStatements for each {what}: " + ", ".join(
        f"{n / times:.1f} {part}" for part, n in counted.by_part().items()
    )
    yield from (f"{calls / times:8.2f}  {query[:140]}" for query, calls in counted.statements.items())


def main() -> None:
    options = arguments()
    try:
        with tempfile.TemporaryDirectory() as folder, api() as server, fleet_database.running() as database:
            load = os.getloadavg()[0]
            about = f"Python {platform.python_version()}, PostgreSQL {database.version()}, {os.cpu_count()} cores"
            print(f"{about}, load {load:.1f} before; a small write is synced in {syncs(folder):.2f} ms\n", flush=True)
            found = singles(server, database, folder, options.single, options.repeat)
            print(*table_of_time(found), "", sep="\n", flush=True)
            drain = drained(server, database, options.runs, options.concurrency)
            print(*table_of_load(found, drain, options.runs), "", sep="\n")
            print(*table_of_drain(drain, options.runs, options.concurrency), "", sep="\n", flush=True)
            resting = idle(server, database)
            print(*table_of_idling(resting), sep="\n")
            if options.statements:
                print(*statements("run", options.runs, drain["gaps"].counted), sep="\n")
                print(*statements("second of idling", IDLE_SECONDS, resting["counted"]), sep="\n")
    except pytest.skip.Exception as reason:
        print(f"fleet: skipped, {reason}")


if __name__ == "__main__":
    main()
