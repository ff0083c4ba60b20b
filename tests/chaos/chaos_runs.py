"""Kills at named points: a run is killed there, another process goes on, and what must hold of both is checked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from agentkit import Journal
from agentkit.emulator import Emulator, reply, tool_use

WORKER = Path(__file__).with_name("chaos_worker.py")
TEXT = "All done."
CALLS = {f"1:toolu_{name}" for name in ("pay", "send", "book", "look")} | {"2:toolu_refund"}
MOST_BEGUN = 3  # times that a call which may repeat begins
UNDECLARED = {"1:toolu_pay", "2:toolu_refund"}
_WRITES = (
    *("claim", "turn", "intent", "result pay", "result send", "result book", "turn#2", "release parked"),
    *("decision", "intent refund", "result refund", "turn#3", "release ended"),
)
WRITES = tuple(f"{when} {write}" for write in _WRITES for when in ("before", "within", "after"))
EFFECTS = tuple(f"{when} {tool}" for tool in ("pay", "send", "book", "refund") for when in ("enter", "effect"))
ELSEWHERE = (
    *("request 1", "request 2", "request 3", "event text_delta", "event turn_end", "enter look"),
    *("beside before send", "beside after send", "parked", "ended"),
)
BOUNDARIES = (*WRITES, *EFFECTS, *ELSEWHERE)


class Workers:
    """A process that forks others, so that none of them has to import anything."""

    def __init__(self) -> None:
        self._is_busy = False
        environment = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        self._process = subprocess.Popen(
            [sys.executable, WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def begin(self, *jobs: dict[str, Any]) -> list[int]:
        """Starts a process for each job; their ids."""
        assert self._process.stdin
        if self._is_busy:  # a test failed meanwhile
            self.ended()
        self._is_busy = True
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return self._told("pids")

    def ended(self) -> list[int]:
        """Waits for those of the last `begin`: their exit codes, below 0 for a signal."""
        self._is_busy = False
        return self._told("codes")

    def _told(self, what: str) -> list[int]:
        assert self._process.stdout
        numbers: list[int] = json.loads(self._process.stdout.readline())[what]  # a code is never taken for an id
        return numbers

    def run(self, *jobs: dict[str, Any]) -> list[int]:
        """Runs the jobs at once, to their ends."""
        self.begin(*jobs)
        return self.ended()

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def script(body: dict[str, Any]) -> Any:
    """What the model says, by what the history has. It kills who wants to die while the request is under way."""
    answered = {
        block["tool_use_id"]
        for message in body["messages"]
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    }
    turn = 1 if not answered else 2 if "toolu_refund" not in answered else 3
    pid, _, point = body["metadata"]["user_id"].partition(":")
    if point == f"request {turn}":
        os.kill(int(pid), signal.SIGKILL)
    if turn == 1:
        uses = [tool_use(name, id=f"toolu_{name}", amount=1) for name in ("pay", "send", "book", "look")]
        return reply("I work.", *uses)
    return reply("And back.", tool_use("refund", id="toolu_refund", amount=2)) if turn == 2 else reply(TEXT)


@dataclass
class Chaos:
    """A server, a few processes that fork workers, and a folder.

    Attributes:
        folder: For the runs, a folder each.
        url: Of the server.
        free: Processes that nobody uses now.
    """

    folder: Path
    url: str
    free: list[Workers] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def workers(self) -> Iterator[Workers]:
        """One, for a while."""
        try:
            workers = self.free.pop()
        except IndexError:
            workers = Workers()
        try:
            yield workers
        finally:
            self.free.append(workers)

    @contextmanager
    def case(self, name: str) -> Iterator[Case]:
        """A run in a new folder, which stays where something is wrong with it."""
        folder = self.folder / f"{next(self.numbers):05} {name}"
        folder.mkdir()
        yield Case(self, folder)
        shutil.rmtree(folder)


@contextmanager
def chaos(folder: Path) -> Iterator[Chaos]:
    """What the tests and the table use."""
    with Emulator(script=script, pace=0) as emulator:
        world = Chaos(folder, emulator.url)
        try:
            yield world
        finally:
            for workers in world.free:
                workers.close()


@dataclass
class Case:
    """One run, in a folder of its own."""

    chaos: Chaos
    folder: Path
    left: set[str] = field(default_factory=set)  # calls that a dead process had begun
    log: list[Any] = field(default_factory=list)
    jobs: int = 0

    def job(self, **about: Any) -> dict[str, Any]:
        """A job on this run."""
        self.jobs += 1
        result = str(self.folder / f"result {self.jobs}.json")
        return {"folder": str(self.folder), "url": self.chaos.url, "result": result, **about}

    def run(self, *jobs: dict[str, Any]) -> list[int]:
        with self.chaos.workers() as workers:
            return workers.run(*jobs)

    def said(self, job: dict[str, Any]) -> dict[str, Any]:
        """What a job said at its end."""
        said: dict[str, Any] = json.loads(Path(job["result"]).read_text())
        return said

    def effects(self) -> list[dict[str, Any]]:
        path = self.folder / "effects.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def effects_of(self, pid: int) -> int:
        """How many effects a process began."""
        return sum(effect["pid"] == pid for effect in self.effects())

    def look(self) -> None:
        """Notes what the journal has right after a kill, in a copy: the next process is to find it as it was left."""
        copy = self.folder / f"copy {self.jobs}"
        copy.mkdir()
        for path in self.folder.glob("runs.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        if not (copy / "runs.db").exists():
            return
        is_sound(copy / "runs.db")
        log = log_of(copy / "runs.db")
        assert log[: len(self.log)] == self.log, "entries of a killed run are gone"
        self.log = log
        states = {entry["call"]: entry["state"] for entry in log if entry["entry"] == "call"}
        self.left |= {call for call, state in states.items() if state == "started"}

    def check(self, said: dict[str, Any]) -> Counter[str]:
        """What must hold at the end of a run, whatever happened on its way; raises AssertionError if it does not.

        Args:
            said: By the last process.

        Returns:
            Counts for the table.
        """
        assert "error" not in said, said.get("trace")
        assert (said["finish"], said["text"]) == ("end_turn", TEXT), said
        outcomes = said["outcomes"]
        assert set(outcomes) == CALLS, outcomes
        entered = Counter(effect["call"] for effect in self.effects())
        begun = Counter(entry["call"] for entry in self.log if entry.get("state") == "started")
        for call, outcome in outcomes.items():
            may_be_unknown = call in self.left and (call in UNDECLARED or begun[call] >= MOST_BEGUN)
            must_be_unknown = call in self.left and call in UNDECLARED
            assert outcome in {"done", "unknown"}, (call, outcome)
            assert (outcome == "unknown") <= may_be_unknown, f"{call} is unknown, and its outcome was known"
            assert (outcome == "unknown") >= must_be_unknown, f"{call} is done, and nobody can know that"
            assert outcome == "unknown" or entered[call] or call.endswith("look"), f"{call} is done, and never ran"
            assert entered[call] <= (MOST_BEGUN if call.endswith("send") else 1), (
                f"{call} took effect {entered[call]} times"
            )
        assert set(entered) <= CALLS, entered
        keys = {(effect["call"], effect["key"]) for effect in self.effects()}
        assert len(keys) == len(entered), "a call ran under two keys"
        is_sound(self.folder / "runs.db")
        assert log_of(self.folder / "runs.db")[: len(self.log)] == self.log, "entries of a killed run are gone"
        again = sum(count - 1 for count in entered.values())
        return Counter(ended=1, unknown=sum(outcome == "unknown" for outcome in outcomes.values()), again=again)


def is_sound(path: Path) -> None:
    """SQLite finds nothing wrong with the file."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        db.close()


def log_of(path: Path) -> list[Any]:
    """The entries of the one run in a journal, their digests checked."""
    journal = Journal(path)
    try:
        rows = journal.runs()
        assert len(rows) <= 1, "a second run was begun"
        return journal.load(rows[0].run_id).entries if rows else []
    finally:
        journal.close()


def kill_at(chaos: Chaos, boundary: str) -> Counter[str]:
    """Kills a run at a boundary and lets another process go on; see `Case.check`."""
    with chaos.case(boundary) as case:
        (code,) = case.run(case.job(point=boundary))
        assert code == -signal.SIGKILL, f"{boundary} was not reached: {code}"
        case.look()
        return Counter(kills=1) + goes_on(case)


def goes_on(case: Case) -> Counter[str]:
    """Lets a process go on with a run, to its end."""
    (code,) = case.run(job := case.job())
    assert code == 0
    return case.check(case.said(job))


def kill_again_and_again(chaos: Chaos, boundaries: Sequence[str]) -> Counter[str]:
    """Kills a run at each of the boundaries that its next process reaches, then lets one come to the end."""
    with chaos.case(f"{len(boundaries)} kills") as case:
        kills = 0
        for boundary in boundaries:
            (code,) = case.run(case.job(point=boundary))
            assert code in (0, -signal.SIGKILL), code
            kills += code != 0
            case.look()
        return Counter(kills=kills) + goes_on(case)


def kill_at_any_time(chaos: Chaos, seconds: float) -> Counter[str]:
    """Kills a run after so many seconds, wherever it is then."""
    with chaos.case("at any time") as case:
        (code,) = case.run(case.job(pause=0.01, dies_after=seconds))
        assert code in (0, -signal.SIGKILL), code
        case.look()
        return Counter(kills=int(code != 0)) + goes_on(case)


def count_all(jobs: Iterable[tuple[str, Callable[[], Counter[str]]]], at_once: int = 2) -> dict[str, Counter[str]]:
    """Runs named jobs, some at once; the sum of what those of one name count, and failures with their texts."""
    found: dict[str, Counter[str]] = {}

    def one(named: tuple[str, Callable[[], Counter[str]]]) -> tuple[str, Counter[str]]:
        name, job = named
        began = time.monotonic()
        try:
            counts = job()
        except AssertionError as error:
            counts = Counter({f"FAILED: {error}": 1})
        return name, counts + Counter(ms=round(1000 * (time.monotonic() - began)))

    with ThreadPoolExecutor(at_once) as pool:
        for name, counts in pool.map(one, jobs):
            found[name] = found.get(name, Counter()) + counts
    return found


def failures(found: dict[str, Counter[str]]) -> list[str]:
    """What was wrong, and where."""
    return [f"{name}: {text}" for name, counts in found.items() for text in counts if text.startswith("FAILED")]
