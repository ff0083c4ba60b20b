"""Who watches a run of the simulation: events come in order, none is lost or doubled, what they show is stored."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from simulated_secrets import shown_in

from agentkit import RunResult
from agentkit.events import (
    ContentBlockStop,
    Event,
    InputDelta,
    Retry,
    RunEnd,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ToolCall,
    ToolHeld,
    ToolResult,
    TurnEnd,
    TurnRestarted,
    TurnStart,
)
from agentkit.messages import encode

if TYPE_CHECKING:
    from simulated_process import Process

__all__ = ["Watch"]

_RAN = ("done", "timed_out", "unknown")
_STOPPED = ("cancelled", "max_seconds")  # then the last events are not waited for


class Watch:
    """What one watcher sees of one run: I7, I17 and I20."""

    def __init__(self, process: Process, run_id: str) -> None:
        self._process = process
        self._world = process.world
        self._run_id = run_id
        self._epoch, self._turn = process.taken[run_id]
        self._is_open = self._is_void = self._has_shown = False
        self._texts: dict[int, str] = {}
        self._blocks: list[Any] = []
        self._turns: list[bytes] = []
        self._called: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._end: RunEnd | None = None

    def see(self, event: Event) -> None:
        """The next event."""
        self._world.check(not shown_in(repr(event)), "I17", lambda: f"a secret is in an event: {event.type}")
        self._holds(self._end is None, "an event comes after the end of the run")
        if self._is_void and not isinstance(event, Retry | RunEnd):
            self._holds(isinstance(event, TurnRestarted), f"{event.type} comes where the turn was to begin again")
        match event:
            case TurnStart():
                self._start(event)
            case TextDelta() | InputDelta() | ContentBlockStop() | ServerToolCall() | ServerToolResult() | TurnEnd():
                self._holds(self._is_open, f"{event.type} comes outside of a turn")
                self._grow(event)
            case Retry():
                self._is_void, self._has_shown = self._is_void or self._has_shown, False
            case TurnRestarted():
                self._texts, self._blocks, self._is_void = {}, [], False
            case ToolCall() | ToolHeld() | ToolResult():
                self._holds(not self._is_open, f"{event.type} comes within a turn")
                self._call(event)
            case RunEnd():
                self._end = event

    def look_at_end(self, result: RunResult) -> None:
        """The run has ended or was left."""
        if self._process.dead or self._end is None:
            return
        end = (self._end.finish, self._end.text, self._end.run_id)
        self._holds(end == (result.finish.reason, result.partial_text, result.run_id), "the end is not the result's")
        row = self._world.disk.rows[self._run_id]
        if row.epoch != self._epoch:  # another has taken it up since
            return
        self._holds((row.state, row.holder) == (result.finish.reason, None), "the end that was shown is not stored")
        if result.finish.reason in _STOPPED:
            return
        entries = self._world.log_since_begun(self._run_id)
        turns = [encode(entry["message"]) for entry in entries if "message" in entry]
        self._holds(turns == self._turns, f"{len(self._turns)} turns are shown, {len(turns)} are stored")
        ended = Counter(entry["call"] for entry in entries if entry.get("state") == "ended")
        self._holds(ended == self._ended, f"ends of {dict(self._ended)} are shown, {dict(ended)} are stored")
        skipped = {entry["call"] for entry in entries if entry.get("outcome") == "not_run"}  # it could not be stored
        states = ((entry["call"], entry.get("state")) for entry in entries if entry["entry"] == "call")
        begun = Counter(call for call, state in states if state == "started" and call not in skipped)
        self._holds(begun == self._called, f"{dict(self._called)} begin, {dict(begun)} are stored")

    def _holds(self, fact: bool, text: str) -> None:
        self._world.check(fact or self._process.dead, "I7", lambda: f"{self._process.name}: {text}")

    def _start(self, event: TurnStart) -> None:
        self._holds(not self._is_open, "a turn begins in another")
        self._turn += 1
        self._holds(event.turn == self._turn, f"turn {event.turn} begins, not {self._turn}")
        self._is_open, self._is_void, self._has_shown = True, False, False
        self._texts, self._blocks = {}, []

    def _grow(self, event: Event) -> None:
        self._has_shown = True
        match event:
            case TextDelta():
                self._texts[event.index] = self._texts.get(event.index, "") + event.text
            case ContentBlockStop():
                self._holds(event.index == len(self._blocks), f"block {event.index} comes after {len(self._blocks)}")
                self._blocks.append(event.block)
            case ServerToolCall():
                self._blocks.append(
                    {"type": "server_tool_use", "id": event.id, "name": event.name, "input": event.input}
                )
            case ServerToolResult():
                self._blocks.append(event.block)
            case TurnEnd():
                self._is_open = False
                self._look_at_turn(event)

    def _look_at_turn(self, event: TurnEnd) -> None:
        content = event.message["content"]
        self._holds(encode(self._blocks) == encode(content), "the blocks that were shown are not those of the turn")
        said = {index: block["text"] for index, block in enumerate(content) if block["type"] == "text"}
        self._holds(said == self._texts, f"the text that was shown is {self._texts}, not {said}")
        whole = encode(event.message)
        self._turns.append(whole)
        known = whole in self._process.received
        self._world.check(known, "I20", lambda: f"{self._process.name} has read a reply otherwise than it was sent")
        stored = any(encode(message) == whole for message in self._world.turns_of(self._run_id))
        self._holds(stored, "a turn is shown before it is stored")

    def _call(self, event: ToolCall | ToolHeld | ToolResult) -> None:
        about, mine = f"{event.name} {event.call_id}", self._process.tools.get(event.name)
        leaves_traces = mine is not None and not mine.is_read
        match event:
            case ToolCall():
                self._called[event.call_id] += 1
                self._holds(self._called[event.call_id] == 1, f"{about} begins twice")
                self._holds(not self._ended[event.call_id], f"{about} begins after its end")
                if leaves_traces:
                    self._holds(self._is_stored(event.call_id, "started"), f"{about} is shown before it is stored")
            case ToolHeld():
                self._holds(self._is_stored(event.call_id, "held"), f"{about} is shown before it is stored")
            case ToolResult():
                self._ended[event.call_id] += 1
                self._holds(self._ended[event.call_id] == 1, f"{about} ends twice")
                ran = event.outcome in _RAN or (event.outcome == "failed" and self._called[event.call_id])
                if ran and leaves_traces:
                    self._holds(
                        self._is_stored(event.call_id, "ended"), f"the end of {about} is shown before it is stored"
                    )

    def _is_stored(self, call_id: str, state: str) -> bool:
        ours = (entry for entry in self._world.log(self._run_id) if entry.get("call") == call_id)
        return any(entry.get("state") == state for entry in ours)
