"""The world of a simulation: what outlives the processes, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Any

import anyio
from simulated_model import ASKED, RIVAL, Planned, Script, contents_of, prompts_of
from simulated_process import Process
from simulated_secrets import shown_in
from simulated_spending import LIMITED
from simulated_store import Disk, parsed
from simulated_tools import Entered

from agentkit import RunContext, RunResult, lease
from agentkit.call import Decision, Pending
from agentkit.errors import APIError, ConfigurationError, JournalError
from agentkit.messages import encode
from agentkit.rules import check_history
from agentkit.store import Lines, RunRow

__all__ = ["Violation", "World", "drawn_script"]

_DECISIONS_LAST = (2.0, 8.0, 30.0, 3600.0)
_MOST_ENTRIES = {"look": 99, "put": 3, "wire": 3}  # the others: once
GIVEN_UP = "did not stop then"
_EXCUSES = ("outcome is unknown", "has not run", "The agent could not go on", "The agent ended with")


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
        checks: How often each invariant was looked at.
        trace: What happened, a line each.
        decided: What the human has decided on: the id of the call, its number, the digest of the tool.
    """

    def __init__(self, seed: object, script: Script) -> None:
        self.seed = seed
        self.script = script
        self.disk = Disk()
        self.rescued: list[tuple[str, bytes, float]] = []
        self.offset = 0.0
        self.entered: list[Entered] = []
        self.sent: dict[int, list[bytes]] = {}
        self.asked: dict[int, int] = {}
        self.processes: list[Process] = []
        self.violations: list[str] = []
        self.checks: Counter[str] = Counter()
        self.trace: list[str] = []
        self.decided: set[tuple[str, int, str | None]] = set()
        self._seen: dict[tuple[str, int], bytes] = {}
        self._late: list[Entered] = []
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
        self.checks[name] += 1
        if not holds:
            self.fail(name, text())

    def fail(self, name: str, text: str) -> None:
        """Notes a violation."""
        if (found := f"{name}: {text}") in self.violations:
            return
        self.violations.append(found)
        self.trace.append(f"VIOLATION {name}: {text}")

    def is_expected(self, error: BaseException) -> bool:
        """Whether a process that is alive may end with this."""
        if isinstance(error, ConfigurationError):
            return "there is no run" in str(error) or "waits for a decision" in str(error)
        return isinstance(error, JournalError | APIError)

    def decision_on(self, pending: Pending, digest: str | None) -> Decision:
        """What the human says, who was shown a tool with this digest."""
        n = self.script.call_of(pending.input["n"]).n
        self.decided.add((pending.call_id, n, digest))
        decision, lasts = self.script.decision_on(n), Random(f"{self.seed} {n} lasts").choice(_DECISIONS_LAST)
        return decision if decision.action == "deny" else replace(decision, until=self.clock() + lasts)

    def lose_power(self, commits: int) -> None:
        """Every process is dead, and the last commits are gone where they were not synced."""
        for process in self.processes:
            process.kill()
        self.disk.lose(commits)
        rows = self.disk.rows
        self._seen = {at: entry for at, entry in self._seen.items() if at[0] in rows and at[1] < rows[at[0]].length}

    def is_done(self, key: str) -> bool:
        """Whether an effect has happened, as a target knows that knows keys."""
        return any(entered.is_done for entered in self.entered if entered.key == key)

    def enter(self, ctx: RunContext[Any], n: int) -> Entered:
        """A tool is entered."""
        process: Process = ctx.deps
        self.note(f"{process.name} enters {ctx.tool_name} {n}, attempt {ctx.attempt}")
        at = anyio.current_time()
        planned, known = self.script.call_of(n), ctx.idempotency_key
        ours = (entered for entered in self.entered if entered.run_id == ctx.run_id)  # who forks a run runs its calls
        before = [entered for entered in ours if entered.n == planned.n]
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
        self._look_at_intent(ctx, planned)
        return entered

    def _look_at_intent(self, ctx: RunContext[Any], planned: Planned) -> None:
        about, digest = f"{planned.tool} of {ctx.call_id}", ctx.deps.tools[planned.tool].digest
        synced = self.disk.synced.get(ctx.run_id, 0)
        ours = [entry for entry in self.log(ctx.run_id, synced) if entry.get("call") == ctx.call_id]
        starts = [entry["tool"] for entry in ours if entry.get("state") == "started"]
        self.check(len(starts) >= ctx.attempt, "I6", lambda: f"{about} has no durable intent")
        # Of this attempt: a process that was frozen just before it enters may do so when another one has tried again.
        own = starts[ctx.attempt - 1 : ctx.attempt]
        self.check(own in ([], [digest]), "I18", lambda: f"the intent of {about} is for another tool")
        if planned.tool != "wire":  # which has found out that it has not happened
            self.check(set(starts) <= {digest}, "I18", lambda: f"{about} runs again, and is another tool now")
        if planned.tool == "refund":
            allowed = [entry for entry in ours if entry["entry"] == "decision" and entry["action"] != "deny"]
            self.check(bool(allowed), "I18", lambda: f"nobody allowed {about}")
            is_late = bool(allowed) and allowed[-1]["until"] < self.clock()
            excused = ctx.deps.frozen or self.offset  # between the look at the clock and the entry
            self.check(not is_late or excused, "I18", lambda: f"{about} begins when its approval is over")
            known = (ctx.call_id, planned.n, digest) in self.decided
            self.check(known, "I18", lambda: f"{about} was not shown to the human as it runs")

    def log(self, run_id: str, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """The entries of a run and of those before it."""
        row = self.disk.rows.get(run_id)
        if row is None:
            return
        stop = row.length if stop is None else stop
        if row.parent:
            yield from self.log(row.parent, min(stop, row.parent_length))
        for entry, _ in self.disk.entries[run_id][: max(stop - row.parent_length, 0)]:
            yield parsed(entry)

    def run_of(self, run_id: str) -> list[dict[str, Any]]:
        """The entries of a run alone, resumes included."""
        row = self.disk.rows.get(run_id)
        return [parsed(entry) for entry, _ in self.disk.entries[run_id]] if row else []

    def log_since_begun(self, run_id: str) -> list[dict[str, Any]]:
        """The entries since the run was begun or resumed for the last time."""
        entries = self.run_of(run_id)
        starts = [at for at, entry in enumerate(entries) if entry["entry"] == "run"]
        return entries[starts[-1] :]

    def turns_of(self, run_id: str) -> list[dict[str, Any]]:
        """The model turns of a run."""
        return [entry["message"] for entry in self.run_of(run_id) if "message" in entry]

    def asked_by(self, run_id: str) -> list[str]:
        """The runs of agents that a run has asked."""
        blocks = [block for message in self.turns_of(run_id) for block in message["content"]]
        inputs = [block["input"] for block in blocks if block.get("name") == "ask"]
        questions = {given.get("prompt") for given in inputs if isinstance(given, dict)}
        rows = [row.run_id for row in self.disk.rows.values() if row.title in questions]
        return [asked for asked in rows if self.run_of(asked)[0].get("within", [""])[0] == run_id]

    def held(self, run_id: str) -> dict[str, str | None]:
        """For which tool an approval was asked last, by call."""
        return {entry["call"]: entry.get("tool") for entry in self.run_of(run_id) if entry.get("state") == "held"}

    def is_going(self, holder: str | None) -> bool:
        """Whether a process goes on with what it holds, and nothing has kept it from that."""
        going = [process for process in self.processes if process.is_going and not process.dead]
        found = next((process for process in going if holder in process.holders.values()), None)
        return found is not None and not (found.frozen or found.has_failed or self.offset)

    def holder_of(self, row: RunRow) -> str | None:
        """The process that holds a run that another one takes up, or that would, had it done as it should."""
        known = self.disk.rows.get(row.run_id)
        if known is None or known.holder not in lease._holders:  # it was given back, which could not be written
            return None
        going = (process for process in self.processes if process.is_going and not process.dead)
        holder = next((process for process in going if known.holder in process.holders.values()), None)
        if holder is None:
            return None
        is_excused = holder.frozen or holder.has_failed or self.offset
        return holder.name if known.expires > row.updated or not is_excused else None

    def look_at_lines(self, row: RunRow, lines: Lines) -> None:
        """A process has written."""
        about = f"{row.title} {row.detail}".encode("utf-8", "replace")
        shown = any(map(shown_in, (about, *(entry for entry, _ in lines))))
        self.check(not shown, "I17", lambda: "a secret is in the journal")
        for at, (entry, _) in enumerate(lines, row.length):
            before = self._seen.setdefault((row.run_id, at), entry)
            self.check(before == entry, "I14", lambda at=at: f"entry {at} was written twice")

    def look_at_disk(self) -> None:
        """After a process has ended: what is stored is what was written, and can be sent."""
        begun = Counter(row.title for row in self.disk.rows.values())
        forks = any(title.startswith(RIVAL) for title in begun)  # then the agents of both are asked the same
        self.check(forks or set(begun.values()) <= {1}, "I5", lambda: f"a question has begun two runs: {begun}")
        for run_id, row in self.disk.rows.items():
            entries = self.disk.entries[run_id]
            self.check(len(entries) == row.length - row.parent_length, "I14", lambda: "the length of a run is wrong")
            for at, (entry, _) in enumerate(entries, row.parent_length):
                self.check(self._seen.get((run_id, at)) == entry, "I14", lambda at=at: f"entry {at} was changed")
            self._look_at_conversation(row)
            for message in self.turns_of(run_id):
                known = any(encode(message) in replies for replies in self.sent.values())
                self.check(known, "I14", lambda: "a turn is stored that never came whole")

    def _look_at_conversation(self, row: RunRow) -> None:
        """I12: a run has what one user said in it, and what those before it have, and nothing else."""
        begun = [entry for entry in self.run_of(row.run_id) if entry["entry"] == "run"]
        mine = [entry for entry in begun if not entry["resume"]]
        self.check(mine == begun[:1], "I12", lambda: f"{len(mine)} questions are in one run")
        same = all(entry["run_id"] == row.run_id for entry in begun)
        self.check(same, "I12", lambda: "a run has entries of another one")
        chain, at = [row.title], row
        while at.parent:
            at = self.disk.rows[at.parent]
            chain.insert(0, at.title)
        expected = [f"Do {prompt}." for prompt in range(len(chain))]
        if row.title.startswith((RIVAL, ASKED)):
            expected[-1] = row.title
        self.check(chain == expected, "I12", lambda: f"a conversation is {chain}, not {expected}")

    def look_at_result(self, result: RunResult) -> None:
        """At the end of a run."""
        shown = shown_in(encode(result.messages) + repr(result).encode())
        self.check(not shown, "I17", lambda: "a secret is in the history")
        said, prompts = prompts_of(result.messages), [f"Do {prompt}." for prompt in range(self.script.prompts)]
        self.check(said == prompts[: len(said)], "I12", lambda: f"a history has the questions {said}")
        problems = check_history(result.messages)
        self.check(not problems, "I2", lambda: f"the history can't be sent: {problems[0].message}")
        self._look_at_pairs(result.messages)
        log = list(self.log(result.run_id))
        self._look_at_calls(log, {entry["run_id"] for entry in log if entry["entry"] == "run"})
        for row in self.disk.rows.values():
            if row.title.startswith(ASKED) and row.state != "running":  # else the call that asked it was given up
                self._look_at_calls(self.run_of(row.run_id), {row.run_id})

    def _look_at_calls(self, log: list[dict[str, Any]], runs: set[str]) -> None:
        ends = [entry for entry in log if entry.get("state") == "ended"]
        by_call = {entry["call"]: entry for entry in ends}
        self.check(len(by_call) == len(ends), "I1", lambda: "a call has ended twice")
        for entered in self.entered:
            if entered.tool == "look" or entered.run_id not in runs:
                continue
            end = by_call.get(entered.call_id)
            if end and GIVEN_UP in str(end["result"]["content"]):
                self._late.append(entered)  # what it comes to is looked at when it has come
            else:
                self._look_at_outcome(entered, end and end["outcome"])

    def look_at_late(self) -> None:
        """At the end of all: the results of calls that were given up are kept, beside their runs."""
        for entered in self._late:
            if entered.has_ended and not entered.process.dead:
                there = self._has_orphan(entered)
                self.check(there, "I6", lambda entered=entered: f"the late result of {entered.call_id} is lost")

        for run_id, entry, _ in self.rescued:
            stored = (line for line, _ in self.disk.entries.get(run_id, ()))
            kept = {*stored, *self._elsewhere(run_id), *self.disk.orphans.get(run_id, ())}
            self.check(entry in kept, "I6", lambda run_id=run_id: f"what was rescued of {run_id} is lost")

    def look_at_rescued(self, run_id: str) -> None:
        """A run is taken up as it was read: with what was rescued of it before."""
        now, elsewhere = anyio.current_time(), self._elsewhere(run_id)
        left = [entry for run, entry, at in self.rescued if run == run_id and at < now and entry in elsewhere]
        self.check(not left, "I6", lambda: f"{len(left)} lines that were rescued of {run_id} are not taken in")

    def _elsewhere(self, run_id: str) -> list[bytes]:
        return [entry for _, lines in self.disk.rescued.get(run_id, ()) for entry, _ in lines]

    def _has_orphan(self, entered: Entered) -> bool:
        kept = map(parsed, (*self.disk.orphans.get(entered.run_id, ()), *self._elsewhere(entered.run_id)))
        return any(entry.get("call") == entered.call_id for entry in kept)

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
                there = self._has_orphan(entered) or outcome in ("done", "failed")
                self.check(there, "I6", lambda: f"the result of {about} is lost, and no orphan")
            else:
                fits = outcome == ("failed" if entered.tool in ("fail", "crash") else "done")
                self.check(fits, "I6", lambda: f"{about} had a result, and ended as {outcome}")

    def look_at_end(self, result: RunResult, unfaulted: RunResult) -> None:
        """I10: the end is that of the run that had no faults, but for what is declared unknown."""
        expected, ended = unfaulted.finish.reason, result.finish.reason
        said, other = _said(result), _said(unfaulted)
        if expected in LIMITED or ended in LIMITED:  # what is paid for twice counts twice
            same = all(map(_fits, said, other))
        else:
            self.check(ended == expected, "I10", lambda: f"{ended}, not {expected}")
            same = len(said) == len(other) and all(map(_fits, said, other))
        self.check(same, "I10", lambda: f"the run says {said}, not {other}")


def _said(result: RunResult) -> list[str]:
    return contents_of(result.messages)


def _fits(said: str, other: str) -> bool:
    return said == other or any(excuse in text for text in (said, other) for excuse in _EXCUSES)


def drawn_script(seed: object) -> Script:
    """The script of a seed."""
    random = Random(f"{seed} script")
    return Script(random, prompts=random.choice((1, 1, 1, 2)))
