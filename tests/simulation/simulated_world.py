"""The world of a simulation: what outlives the processes, and what must hold of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from random import Random
from typing import Any

import anyio
from simulated_model import Script, contents_of
from simulated_process import Process
from simulated_store import Disk
from simulated_tools import Entered

from agentkit import RunContext, RunResult
from agentkit.call import Decision, Pending
from agentkit.errors import APIError, ConfigurationError, JournalError
from agentkit.messages import encode
from agentkit.rules import check_history
from agentkit.store import Lines, RunRow

__all__ = ["Violation", "World"]

_MOST_ENTRIES = {"look": 99, "put": 3, "wire": 3}  # the others: once
_EXCUSES = ("outcome is unknown", "has not run")


class Violation(AssertionError):
    """An invariant of faults.md section 4 does not hold."""


class World:
    """What outlives a process.

    Attributes:
        seed: Of all that is drawn.
        disk: Holds the journal.
        offset: Seconds that the clock of the wall was put forward.
        entered: Tools that were entered, in order.
        sent: For each turn the replies that came whole.
        asked: For each turn how many requests there were.
        violations: What does not hold.
        trace: What happened, a line each.
    """

    def __init__(self, seed: object, script: Script) -> None:
        self.seed = seed
        self.script = script
        self.disk = Disk()
        self.offset = 0.0
        self.entered: list[Entered] = []
        self.sent: dict[int, list[bytes]] = {}
        self.asked: dict[int, int] = {}
        self.processes: list[Process] = []
        self.violations: list[str] = []
        self.trace: list[str] = []
        self._seen: dict[tuple[str, int], bytes] = {}
        self._keys: dict[tuple[str, int], str] = {}

    def clock(self) -> float:
        """Seconds since 1970."""
        return 1_000_000.0 + anyio.current_time() + self.offset

    def note(self, text: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{anyio.current_time():.3f} {text}")

    def digest(self) -> str:
        """Of the trace."""
        return blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()

    def check(self, holds: bool, name: str, text: Callable[[], str]) -> None:
        """Notes a violation where something does not hold."""
        if not holds:
            self.fail(name, text())

    def fail(self, name: str, text: str) -> None:
        """Notes a violation."""
        self.violations.append(f"{name}: {text}")
        self.trace.append(f"VIOLATION {name}: {text}")

    def is_expected(self, error: BaseException) -> bool:
        """Whether a process that is alive may end with this."""
        if isinstance(error, ConfigurationError):
            return "there is no run" in str(error) or "waits for a decision" in str(error)
        return isinstance(error, JournalError | APIError)

    def decision_on(self, pending: Pending) -> Decision:
        """What the human says."""
        return self.script.decision_on(self.script.call_of(pending.input["n"]).n)

    def lose_power(self, commits: int) -> None:
        """Every process is dead, and the last commits are gone where they were not synced."""
        for process in self.processes:
            process.kill()
        self.disk.lose(commits)
        rows = self.disk.rows
        self._seen = {at: entry for at, entry in self._seen.items() if at[0] in rows and at[1] < rows[at[0]].length}

    def is_done(self, n: int) -> bool:
        """Whether the effect of a call has happened."""
        return any(entered.is_done for entered in self.entered if entered.given == n)

    def enter(self, ctx: RunContext[Any], n: int) -> Entered:
        """A tool is entered."""
        process: Process = ctx.deps
        self.note(f"{process.name} enters {ctx.tool_name} {n}, attempt {ctx.attempt}")
        at = anyio.current_time()
        planned, known = self.script.call_of(n), ctx.idempotency_key
        before = [entered for entered in self.entered if entered.n == planned.n]
        entered = Entered(planned.n, ctx.tool_name, n, ctx.call_id, ctx.run_id, known, ctx.attempt, process, at)
        self.entered.append(entered)
        self.check(ctx.tool_name == planned.tool, "I4", lambda: f"call {n} entered {ctx.tool_name}")
        self.check(self.script.input_of(planned.n) == {"n": n}, "I4", lambda: f"call {planned.n} ran with {n}")
        same = self._keys.setdefault((ctx.run_id, planned.n), known) == known
        self.check(same, "I5", lambda: f"call {n} has another key")
        if planned.tool == "look":
            return entered
        most = _MOST_ENTRIES.get(planned.tool, 1)
        self.check(len(before) < most, "I5", lambda: f"{planned.tool} {n} is entered {len(before) + 1} times")
        self.check(self.script.may_take_effect(planned.n), "I3", lambda: f"{planned.tool} {n} must never run")
        self.check(planned.turn in self.sent, "I3", lambda: f"{planned.tool} {n} runs before its turn is whole")
        self._look_at_intent(ctx, planned.tool)
        return entered

    def _look_at_intent(self, ctx: RunContext[Any], name: str) -> None:
        synced = self.disk.synced.get(ctx.run_id, 0)
        ours = [entry for entry in self.log(ctx.run_id, synced) if entry.get("call") == ctx.call_id]
        starts = sum(entry.get("state") == "started" for entry in ours)
        self.check(starts >= ctx.attempt, "I6", lambda: f"{name} of {ctx.call_id} has no durable intent")
        if name == "refund":
            allowed = any(entry["entry"] == "decision" and entry["action"] != "deny" for entry in ours)
            self.check(allowed, "I18", lambda: f"nobody allowed {ctx.call_id}")

    def log(self, run_id: str, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """The entries of a run and of those before it."""
        row = self.disk.rows.get(run_id)
        if row is None:
            return
        stop = row.length if stop is None else stop
        if row.parent:
            yield from self.log(row.parent, row.parent_length)
        for entry, _ in self.disk.entries[run_id][: max(stop - row.parent_length, 0)]:
            yield _parsed(entry)

    def holder_of(self, row: RunRow) -> str | None:
        """The process that holds a run that another one takes up, or that would, had it done as it should."""
        known = self.disk.rows.get(row.run_id)
        if known is None:
            return None
        going = (process for process in self.processes if process.is_going and not process.dead)
        holder = next((process for process in going if process.holders[-1:] == [known.holder]), None)
        if holder is None:
            return None
        is_excused = holder.frozen or holder.has_failed or self.offset
        return holder.name if known.expires > row.updated or not is_excused else None

    def look_at_lines(self, row: RunRow, lines: Lines) -> None:
        """A process has written."""
        for at, (entry, _) in enumerate(lines, row.length):
            before = self._seen.setdefault((row.run_id, at), entry)
            self.check(before == entry, "I14", lambda at=at: f"entry {at} was written twice")

    def look_at_disk(self) -> None:
        """After a process has ended: what is stored is what was written, and can be sent."""
        for run_id, row in self.disk.rows.items():
            entries = self.disk.entries[run_id]
            self.check(len(entries) == row.length - row.parent_length, "I14", lambda: "the length of a run is wrong")
            for at, (entry, _) in enumerate(entries, row.parent_length):
                self.check(self._seen.get((run_id, at)) == entry, "I14", lambda at=at: f"entry {at} was changed")
            for entry in self.log(run_id):
                if message := entry.get("message"):
                    known = any(encode(message) in replies for replies in self.sent.values())
                    self.check(known, "I14", lambda: "a turn is stored that never came whole")

    def look_at_result(self, result: RunResult) -> None:
        """At the end of a run."""
        problems = check_history(result.messages)
        self.check(not problems, "I2", lambda: f"the history can't be sent: {problems[0].message}")
        self._look_at_pairs(result.messages)
        log = list(self.log(result.run_id))
        ends = [entry for entry in log if entry.get("state") == "ended"]
        outcomes = {entry["call"]: entry["outcome"] for entry in ends}
        self.check(len(outcomes) == len(ends), "I1", lambda: "a call has ended twice")
        for entered in self.entered:
            if entered.tool != "look":
                self._look_at_outcome(entered, outcomes.get(entered.call_id))

    def _look_at_pairs(self, messages: Any) -> None:
        owed: list[str] = []
        for message in messages:
            blocks = [block for block in message["content"] if isinstance(block, dict)]
            answers = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            due, owed = owed, [block["id"] for block in blocks if block["type"] == "tool_use"]
            if answers != due:
                self.fail("I1", f"{due} were called, {answers} are answered")
        self.check(not owed, "I1", lambda: f"{owed} are not answered at the end")

    def _look_at_outcome(self, entered: Entered, outcome: str | None) -> None:
        about = f"{entered.tool} {entered.given} of {entered.process.name}"
        if outcome is None:
            self.fail("I6", f"{about} was entered, and has no end")
        elif outcome in ("not_run", "denied"):
            self.check(not entered.is_done, "I6", lambda: f"{about} has had its effect, and ended as {outcome}")
        elif entered.has_ended and not entered.process.dead:
            if entered.process.lost:
                kept = [_parsed(entry) for entry in self.disk.orphans.get(entered.run_id, ())]
                there = any(entry.get("call") == entered.call_id for entry in kept) or outcome in ("done", "failed")
                self.check(there, "I6", lambda: f"the result of {about} is lost, and no orphan")
            else:
                fits = outcome == ("failed" if entered.tool == "fail" else "done")
                self.check(fits, "I6", lambda: f"{about} had a result, and ended as {outcome}")

    def look_at_end(self, result: RunResult, unfaulted: RunResult) -> None:
        """I10: the end is that of the run that had no faults, but for what is declared unknown."""
        expected = unfaulted.finish.reason
        self.check(result.finish.reason == expected, "I10", lambda: f"{result.finish.reason}, not {expected}")
        said, other = _said(result), _said(unfaulted)
        same = len(said) == len(other) and all(map(_fits, said, other))
        self.check(same, "I10", lambda: f"the run says {said}, not {other}")


def _said(result: RunResult) -> list[str]:
    return contents_of(result.messages)


def _fits(said: str, other: str) -> bool:
    return said == other or any(excuse in text for text in (said, other) for excuse in _EXCUSES)


@lru_cache(4096)
def _parsed(entry: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(entry)
    return parsed


def drawn_script(seed: object) -> Script:
    """The script of a seed."""
    random = Random(f"{seed} script")
    return Script(random, prompts=random.choice((1, 1, 1, 2)))
