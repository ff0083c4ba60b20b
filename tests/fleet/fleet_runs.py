"""A fleet: a PostgreSQL, a scripted model and worker processes; and what must hold of runs that workers died with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from fleet_worker import QUEUE

from agentkit import Journal
from agentkit.emulator import Emulator, reply, tool_use
from agentkit.errors import JournalError
from agentkit.integrations.durable import Queue
from agentkit.journal import GOES_ON
from agentkit.rules import check_history
from agentkit.transcript import Transcript

sys.path.append(str(Path(__file__).parents[1] / "integrations"))

from postgres_server import PostgresServer, psycopg, running

WORKER = Path(__file__).with_name("fleet_worker.py")
TEXT = "All done."
TURNS = (("pay", "send", "look", "crawl"), ("charge", "book", "look"))
ASKS = "Do it, and ask before you pay anything back."
ASKED = "2:toolu_refund_2"
CALLS = {f"{turn}:toolu_{name}_{turn}" for turn, names in enumerate(TURNS, 1) for name in names}
UNDECLARED = {ASKED, *(call for call in CALLS if any(name in call for name in ("pay", "crawl", "charge")))}
LOOKS = {call for call in CALLS if "look" in call}
PATIENCE = 240.0
GRACE = 60  # seconds that calls have when a worker is told to end: more than any takes on a slow machine
RUNS = 50


def script(body: dict[str, Any]) -> Any:
    """Two turns of calls, then the answer; by what the history has, since several ask."""
    blocks = [block for message in body["messages"] for block in message["content"] if isinstance(block, dict)]
    answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
    last = (*TURNS[-1], "refund") if ASKS in json.dumps(body["messages"][0]) else TURNS[-1]
    for turn, names in enumerate((*TURNS[:-1], last), 1):
        ids = {name: f"toolu_{name}_{turn}" for name in names}
        if not answered & set(ids.values()):
            return reply(f"This is turn {turn}.", *(tool_use(name, id=id_, amount=turn) for name, id_ in ids.items()))
    return reply(TEXT)


@dataclass
class WorkerProcess:
    """One that is there or was.

    Attributes:
        process: The process.
        machine: Which machine it believes to be on; empty for this one.
    """

    process: subprocess.Popen[bytes]
    machine: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> float:
        """Sends it a signal; when."""
        at = time.time()
        os.kill(self.pid, number)
        return at

    def kill(self) -> float:
        """Ends it as a power failure would; when."""
        at = self.send(signal.SIGKILL)
        self.wait()
        return at

    def wait(self) -> int:
        """Waits for its end; the exit code."""
        code = self.process.wait(2 * GRACE)
        assert self.process.stdin
        self.process.stdin.close()
        return code


@dataclass
class Fleet:
    """What the tests and the table use.

    Attributes:
        postgres: The server.
        model: The URL of the scripted model.
        folder: For what workers tell, and for the marks that their tools leave.
        queue: Where runs are put.
        workers: Those that are there.
    """

    postgres: PostgresServer
    model: str
    folder: Path
    queue: Queue
    workers: list[WorkerProcess] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def start(self, workers: int, *, apart: bool = False, concurrency: int = RUNS // 2) -> None:
        """Starts workers until there are so many.

        Args:
            workers: How many there are then.
            apart: Whether each is to believe that it is alone on its machine.
            concurrency: Runs that each has at a time.
        """
        if any(bool(worker.machine) != apart for worker in self.workers):
            self.stop()
        while len(self.workers) < workers:
            machine = f"machine {next(self.numbers)}" if apart else ""
            job = {"journal": self.postgres.url(), "url": self.model, "folder": str(self.folder), "machine": machine}
            job |= {"concurrency": concurrency, "grace": GRACE}
            environment = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
            environment["AGENTKIT_HOME"] = str(self.folder / "home")
            with (self.folder / "errors.txt").open("ab") as errors:
                command = [sys.executable, str(WORKER), json.dumps(job)]
                process = subprocess.Popen(command, stderr=errors, stdin=subprocess.PIPE, env=environment)
            self.workers.append(WorkerProcess(process, machine))

    def serving(self) -> None:
        """Waits until all workers serve."""
        pids = {worker.pid for worker in self.workers}

        def all_serve() -> bool:
            codes = [worker.process.poll() for worker in self.workers]
            assert not any(code is not None for code in codes), f"a worker has ended: see {self.folder / 'errors.txt'}"
            return pids <= {told["pid"] for told in self.told("serving")}

        until(all_serve, "workers serve", seconds=60)

    def stop(self) -> list[int]:
        """Stops all workers; their exit codes."""
        self.serving()  # before, a signal ends them at once
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.send(signal.SIGCONT)
                worker.send(signal.SIGTERM)
        codes = [worker.wait() for worker in self.workers]
        self.workers.clear()
        return codes

    def kill(self) -> None:
        """Ends all workers as a power failure would."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.kill()
        self.workers.clear()

    def submit(self, runs: int = RUNS, prompt: str = "Do it.") -> list[str]:
        """Puts runs on the queue; their ids."""

        async def submitted() -> list[str]:
            return [await self.queue.submit(prompt) for _ in range(runs)]

        return anyio.run(submitted)

    def rows(self, run_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """What the journal has of runs, the newest of all machines."""
        query = "SELECT json_agg(row_to_json(r)) FROM agentkit.runs r WHERE run_id = ANY(%s)"
        return {row["run_id"]: row for row in self.postgres.execute(query, list(run_ids)) or ()}

    def held_by(self, worker: WorkerProcess, run_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Runs that a worker goes on with, or did until it died."""
        rows = self.rows(run_ids).items()
        return {run_id: row for run_id, row in rows if f":{worker.pid}:" in (row["holder"] or "")}

    def ended(self, run_ids: Collection[str]) -> None:
        """Waits until all runs have ended, and the engine has nothing left of them."""
        left: dict[str, str] = {}

        def none_is_left() -> bool:
            with suppress(psycopg.OperationalError, JournalError):
                states = {run_id: row["state"] for run_id, row in self.rows(run_ids).items()}
                left.clear()
                left.update({run_id: state for run_id, state in states.items() if state in GOES_ON})
                left.update({job.run_id: job.status for job in self.queue.jobs() if job.run_id in states})
                return not left
            return False

        until(none_is_left, "all runs end", left)

    def first_entries(self, since: float, rows: dict[str, dict[str, Any]]) -> list[float]:
        """Seconds from a moment until each run had an entry more than in these rows, in order."""
        query = "SELECT json_agg(json_build_array(run_id, seq, written)) FROM agentkit.entries WHERE run_id = ANY(%s)"
        first: dict[str, float] = {}
        for run_id, seq, written in self.postgres.execute(query, list(rows)) or ():
            if seq >= rows[run_id]["length"] and written > since:
                first[run_id] = min(first.get(run_id, written), written)
        return sorted(written - since for written in first.values())

    def told(self, what: str = "", since: float = 0.0) -> list[dict[str, Any]]:
        """What workers have told since a moment."""
        return [one for one in self._lines("told.jsonl") if one["at"] >= since and what in ("", one["what"])]

    def marks(self) -> list[dict[str, Any]]:
        """What calls have come to: `confirm` where one may begin, `enter` when it does, `effect` when that happens."""
        return self._lines("marks.jsonl")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def logs(self, run_ids: Collection[str]) -> dict[str, Transcript]:
        """The logs of runs, their digests checked."""
        with closing(Journal(self.postgres.url())) as journal:
            return {run_id: journal.load(run_id) for run_id in run_ids}

    def check(self, run_ids: Collection[str], known: dict[str, Transcript], late: Collection[str] = ()) -> Counter[str]:
        """What must hold of runs that have ended, whatever happened to their workers.

        Args:
            run_ids: The runs.
            known: What was read of some of them on the way.
            late: Runs that a stopped worker had: what may happen again may come late, once more.

        Returns:
            Counts for the table.
        """
        marks: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in run_ids}
        for mark in self.marks():
            if mark["run"] in marks and mark["what"] == "effect":
                marks[mark["run"]].append(mark)
        counts = Counter(runs=len(run_ids))
        rows = self.rows(run_ids)
        ends = Counter((told["run_id"], told["detail"]) for told in self.told("ended") if told["run_id"] in rows)
        assert max(ends.values()) == 1, f"runs have ended {max(ends.values())} times: {ends.most_common(3)}"
        for run_id, log in self.logs(run_ids).items():
            assert rows[run_id]["state"] == "end_turn", f"run {run_id} ended as {rows[run_id]}"
            before = known[run_id].entries if run_id in known else []
            assert log.entries[: len(before)] == before, f"run {run_id}: entries of a dead worker are gone"
            assert not check_history(log.messages()), check_history(log.messages())
            counts += check_calls(run_id, log, marks[run_id], most=4 if run_id in late else 3)
        return counts


def check_calls(run_id: str, log: Transcript, effects: list[dict[str, Any]], most: int) -> Counter[str]:
    """What must hold of the calls of one run."""
    left, outcomes = left_behind(log)
    asks = ASKS in json.dumps(log.messages()[0])
    assert set(outcomes) == CALLS | ({ASKED} if asks else set()), f"run {run_id}: {outcomes}"
    if asks:
        check_what_was_decided(run_id, log, outcomes[ASKED], [one["amount"] for one in effects if one["call"] == ASKED])
    happened = Counter(effect["call"] for effect in effects)
    keys = {(effect["call"], effect["key"]) for effect in effects}
    assert len(keys) == len(happened), f"run {run_id}: a call ran under two keys"
    for call, outcome in outcomes.items():
        about = f"run {run_id}: {call}, {outcome}, {happened[call]} effects, left {call in left}"
        if call == ASKED and outcome == "denied":
            continue
        assert outcome in ("done", "unknown"), about
        assert outcome == "done" or call in left, f"{about}: its outcome was known"
        assert outcome == "unknown" or call not in left & UNDECLARED, f"{about}: nobody can know that"
        assert outcome == "unknown" or happened[call] or call in LOOKS, f"{about}: it never ran"
        assert happened[call] <= (1 if call in UNDECLARED else most), f"{about}: repeated"
    told = sum("outcome is unknown" in json.dumps(entry["result"]) for entry in log.entries if entry.get("result"))
    unknown = sum(outcome == "unknown" for outcome in outcomes.values())
    assert told == unknown, f"run {run_id}: the model is told of {told} unknown outcomes, and there are {unknown}"
    again = sum(number - 1 for number in happened.values())
    return Counter(effects=len(effects), again=again, unknown=unknown, ended=1)


def check_what_was_decided(run_id: str, log: Transcript, outcome: str, paid: list[int]) -> None:
    """One decision was taken, and the call did what it says, or nothing."""
    taken = [entry for entry in log.entries if entry["entry"] == "decision"]
    about = f"run {run_id}: {taken}, {outcome}, paid {paid}"
    assert len(taken) == 1, about
    assert (taken[0]["action"] == "deny") == (outcome == "denied"), about
    assert outcome != "denied" or not paid, about
    assert set(paid) <= {(taken[0]["input"] or {"amount": 2})["amount"]}, about


def left_behind(log: Transcript) -> tuple[set[str], dict[str, str]]:
    """Calls that had begun when the run was taken up again, and how each call ended."""
    begun: set[str] = set()
    left: set[str] = set()
    outcomes: dict[str, str] = {}
    for entry in log.entries:
        if entry["entry"] == "run":
            left |= begun
        elif entry.get("state") == "started":
            assert entry["call"] not in UNDECLARED & left, f"{entry['call']} began again"
            begun.add(entry["call"])
        elif entry.get("state") == "ended":
            begun.discard(entry["call"])
            outcomes[entry["call"]] = entry["outcome"]
    return left, outcomes


def until(holds: Callable[[], bool], what: str, left: Any = "", seconds: float = PATIENCE) -> None:
    """Waits until something holds."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, f"not within {seconds:.0f} seconds: {what} {left}"
        time.sleep(0.1)


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """A fleet without workers."""
    with (
        running() as postgres,
        Emulator(script=script, pace=0.6) as model,
        closing(Queue(QUEUE, postgres.url())) as queue,
    ):
        world = Fleet(postgres, model.url, folder, queue)
        try:
            yield world
        finally:
            world.kill()
