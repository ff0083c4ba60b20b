"""The log of a run, its folds, and the bytes that are sent.

A transcript is an append-only log of entries, each a JSON object:

| `entry` | means |
|---|---|
| `run` | a run or a continuation begins with what the user said (`messages`), or a resume without |
| `turn` | a message: the model's (`message`, as it came), or the user's (results that are owed, input that waits) |
| `call` | a call of a client tool was held, started or ended with its result |
| `decision` | a held call was allowed, denied or edited |
| `judgement` | what a policy said of a call, and why |
| `operation` | something was done about the conversation itself, mostly a change of what is sent (see below) |

| `operation` | means |
|---|---|
| `repair_output` | the model is asked for another answer |
| `strip_thinking` | thinking so far is no longer sent: another model or endpoint is asked, or the API refused it |
| `drop_block` | from here on the API is told to drop thinking that it can't verify |
| `drop_container` | the container has expired: the next request names none, and code that waits in it is abandoned |
| `abandon_turn` | server tool uses that will never have a result are no longer sent, nor what hangs on them |
| `compact` | a summary by the API stands for all messages before it |
| `spend` | an agent that a tool runs has used this up to now: it counts as what this run has used |

Everything else here is a fold over the log, kept up to date in O(1) at each append.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from agentkit.call import Call, Decision, Outcome
from agentkit.errors import ConfigurationError, TranscriptError
from agentkit.history import History
from agentkit.messages import Block, Message, Usage, client_calls, copy_json, encode, sent_content
from agentkit.repeats import Repeats
from agentkit.spending import Spending
from agentkit.taint import Taint

__all__ = ["FORMAT", "Call", "Decision", "Outcome", "Transcript"]

FORMAT = 1


class Transcript:
    """The log and its folds. Only `append` changes it.

    Attributes:
        entries: The log.
        calls: Calls of the last model turn by `call_id`, in the order of the turn; empty once they are answered.
        waiting: Input that no turn carries yet.
        history: The messages as they are sent.
        last: The last model turn as it came, None before the first.
        at_model_turn: Whether the last turn is the model's.
        turns: Model turns since the run began (resumes are the same run).
        pauses: Paused model turns in a row.
        tool_calls: Calls started since the run began.
        spending: Tokens and money since the run began.
        elapsed: Active seconds since the run began.
        container: Id of the container that the API keeps for this conversation.
        thread: What the thread is for that the API keeps of this conversation, None without one.
        thread_id: Id of the last reply, if a thread has all messages up to it.
        asked: Model and endpoint of the last run, where they are known.
        runs_at_end_turn: Whether calls of a reply that stops with `end_turn` run: some servers say no `tool_use`.
        drops_blocks: Whether the API is to drop thinking that it can't verify.
        operations: Those since the run began.
        repeats: Whether the run goes in circles.
        taint: Whether the conversation has seen what others can write, and what is private.
        stored: How far a journal has the log: run id, entries, digest; None without one.
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.run_id = ""
        self.calls: dict[str, Call] = {}
        self.waiting: list[Block] = []
        self.history = History()
        self.last: dict[str, Any] | None = None
        self.at_model_turn = False
        self.answer_from = 0
        self.run_from = 0
        self.turns = 0
        self.pauses = 0
        self.tool_calls = 0
        self.spending = Spending()
        self.elapsed = 0.0
        self.container: str | None = None
        self.thread: str | None = None
        self.thread_id: str | None = None
        self.asked: tuple[str, str] | None = None
        self.runs_at_end_turn = False
        self.drops_blocks = False
        self.operations: set[str] = set()
        self.stored: tuple[str, int, bytes] | None = None
        self.repeats = Repeats()
        self.taint = Taint()
        self._model_turns = 0

    def append(self, entry: dict[str, Any]) -> None:
        """Writes one entry: folds it, then it is part of the log."""
        _FOLDS[entry["entry"]](self, entry)
        self.entries.append(entry)

    def begin(
        self,
        run_id: str,
        messages: Sequence[Message] | None,
        *,
        asks: tuple[str, str] | None = None,
        runs_at_end_turn: bool = False,
        **about: Any,
    ) -> None:
        """Begins a run with messages of the caller, or with None a resume, where the limits go on counting.

        The last message waits for its turn, if it is the user's; those before it are turns. One entry has it all.

        Args:
            run_id: Names the run.
            messages: In wire shape.
            asks: Model and endpoint that are asked.
            runs_at_end_turn: As the attribute. More is kept in the log as it is.

        Raises:
            TranscriptError: The API would refuse the messages.
        """
        entry = {"entry": "run", "run_id": run_id, "resume": messages is None, "messages": list(messages or ())}
        self.append({**entry, "asks": asks, "runs_at_end_turn": runs_at_end_turn, **about})
        if self.history.problems:
            raise TranscriptError(self.history.problems[0].message)
        last = messages[-1] if messages else None
        if last and last["role"] == "assistant" and client_calls(last["content"]):  # type: ignore[arg-type]
            raise TranscriptError("the messages end with a tool_use: give its tool_result, or continue with after=")

    def take_turn(
        self,
        message: dict[str, Any],
        request_id: str | None,
        elapsed: float,
        cost: float | None = None,
        **about: Any,
    ) -> None:
        """Appends a model turn: `message` as it came, `cost` in US dollars if known, what else is not None."""
        more = {name: value for name, value in about.items() if value is not None}
        turn = {"entry": "turn", "role": "assistant", "message": message, "request_id": request_id}
        self.append({**turn, "elapsed": elapsed, "cost": cost, **more})

    def answer(self) -> list[Call]:
        """Appends the user turn after a model turn: results in call order, then input; what it closed."""
        text = "This call was cut off, and has not run."
        closed = [self.end(call, "not_run", call.closing(text)) for call in self.unended()]
        if self.waiting and self.server_open and not self.calls:
            self.operate("abandon_turn", why="new input came")
        self.append({"entry": "turn", "role": "user"})
        return closed

    def hold(self, call: Call, **about: Any) -> None:
        """Writes that a call waits for an approval."""
        self.append({"entry": "call", "call": call.call_id, "state": "held", **about})

    def start(self, call: Call, **about: Any) -> None:
        """Writes the intent of a call, before its effect."""
        self.append({"entry": "call", "call": call.call_id, "state": "started", **about})

    def end(self, call: Call, outcome: Outcome, result: Block, elapsed: float = 0.0, **about: Any) -> Call:
        """Writes how a call ended, and gives it as it is then."""
        entry = {"entry": "call", "call": call.call_id, "state": "ended", "outcome": outcome, "result": result}
        self.append({**entry, "elapsed": elapsed, **about})
        return self.calls[call.call_id]

    def decide(self, call_id: str, decision: Decision) -> None:
        """Writes a decision on a held call.

        Raises:
            ConfigurationError: No such call waits, or it is no decision.
        """
        if not isinstance(decision, Decision):
            raise ConfigurationError(f"the decision on {call_id!r} must be allow(), deny(…) or edit(…)")
        call = self.calls.get(call_id)
        if call is None or call.state != "held" or call.decision is not None:
            held = ", ".join(call.call_id for call in self.held()) or "none"
            raise ConfigurationError(f"no call {call_id!r} waits for a decision (waiting: {held})")
        self.append({"entry": "decision", "call": call_id, **asdict(decision)})

    def operate(self, operation: str, **about: Any) -> None:
        """Writes an operation: see the top of this file."""
        self.append({"entry": "operation", "operation": operation, **about})

    @property
    def server_open(self) -> set[str]:
        """Ids of server tool uses that have no result yet."""
        return self.history.server_open

    @property
    def stop_reason(self) -> str | None:
        """Of the last model turn."""
        reason = self.last.get("stop_reason") if self.last else None
        return reason if isinstance(reason, str) else None

    def held(self) -> list[Call]:
        """Calls that wait for a decision."""
        return [call for call in self.calls.values() if call.state == "held" and call.decision is None]

    def unended(self) -> list[Call]:
        """Calls of the last model turn that have no result yet."""
        return [call for call in self.calls.values() if call.state != "ended"]

    def call_id(self, tool_use_id: str) -> str:
        """What a call of the next model turn will be called."""
        return f"{self._model_turns + 1}:{tool_use_id}"

    def messages(self) -> list[Message]:
        """The history in wire shape, as it is sent; calls without a result are shown closed, waiting input follows."""
        closed = self.branch()
        for call in closed.unended():
            closed.end(call, "not_run", call.closing(_OPEN[call.state == "started"]))
        if closed.calls or closed.waiting:
            closed.server_open.clear()
            closed.answer()
        return cast("list[Message]", closed.history.messages())

    def branch(self) -> Transcript:
        """A transcript of its own that begins as this one is; encoded bytes are shared."""
        twin = copy.copy(self)
        twin.entries, twin.calls, twin.waiting = self.entries.copy(), self.calls.copy(), self.waiting.copy()
        twin.history, twin.operations = self.history.branch(), self.operations.copy()
        for fold in ("repeats", "spending", "taint"):
            setattr(twin, fold, copy.copy(getattr(self, fold)))
        return twin

    def dump(self) -> dict[str, Any]:
        """The log as JSON, for a database of your own."""
        return {"agentkit": FORMAT, "entries": json.loads(encode(self.entries))}

    @classmethod
    def load(cls, dump: Any) -> Transcript:
        """The transcript of a `dump()`.

        Raises:
            ConfigurationError: It is none, or of a newer agentkit.
        """
        if not isinstance(dump, dict) or not isinstance(dump.get("entries"), list):
            raise ConfigurationError("this is not what result.dump() gave: it needs `agentkit` and `entries`")
        if dump.get("agentkit") != FORMAT:
            raise ConfigurationError(f"this dump has format {dump.get('agentkit')!r}, and this agentkit reads {FORMAT}")
        transcript = cls()
        for at, entry in enumerate(dump["entries"]):
            try:
                transcript.append(copy_json(entry))  # the caller may change the dump
            except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
                raise ConfigurationError(f"entry {at} of the dump is broken: {type(error).__name__}: {error}") from None
        return transcript

    def _on_run(self, entry: dict[str, Any]) -> None:
        self.run_id, self.repeats = entry["run_id"], Repeats()
        self.taint.gain(entry.get("taint", ()))
        before, self.asked = self.asked, tuple(entry["asks"]) if entry.get("asks") else None
        self.runs_at_end_turn = bool(entry.get("runs_at_end_turn") or (entry["resume"] and self.runs_at_end_turn))
        if self.asked != before or not entry["resume"]:
            self.operations = set()
        if entry["resume"]:
            return
        self.turns = self.pauses = self.tool_calls = 0
        self.spending, self.elapsed, self.run_from = Spending(), 0.0, len(self.entries)
        *before, last = entry["messages"]
        for message in before:
            self._give_turn(message)
        content = last["content"]
        if last["role"] == "user" and not any(block["type"] == "tool_result" for block in content):
            self.waiting.extend(content)
        else:  # results can't wait
            self._give_turn(last)

    def _give_turn(self, message: Message) -> None:
        content: list[Block] = message["content"]  # type: ignore[assignment]
        if message["role"] == "user":
            self.waiting.extend(content)
            self._answer()
        elif message["role"] not in ("assistant", "system"):
            raise ValueError(f"no role {message['role']!r}")
        else:
            if self.calls or self.waiting:
                self._answer()
            self.history.add(message["role"], content)
            self.at_model_turn, self.thread_id = False, None

    def _on_turn(self, entry: dict[str, Any]) -> None:
        if "message" in entry:
            self._on_model_turn(entry)
        else:
            self._answer()

    def _answer(self) -> None:
        results = [call.result for call in self.calls.values() if call.result]
        if self.server_open and results:  # input would close the turn that the API has not finished
            self.history.add("user", results)
        else:
            self.history.add("user", results + self.waiting)
            self.waiting = []
        self.calls = {}
        self.at_model_turn = False

    def _on_model_turn(self, entry: dict[str, Any]) -> None:
        message = entry["message"]
        content = sent_content(message)
        if not self.at_model_turn:
            self.answer_from = len(self.entries)  # a chain of pauses is one answer
        self.last = message
        self.at_model_turn = True
        self.turns += 1
        self._model_turns += 1
        self.pauses = self.pauses + 1 if message.get("stop_reason") == "pause_turn" else 0
        calls = client_calls(content)
        self.calls = {call.call_id: call for call in (Call(f"{self._model_turns}:{b['id']}", b) for b in calls)}
        self.repeats.begin_turn(content)
        self.taint.begin_turn(content)
        self.history.add("assistant", content)
        self.thread = entry.get("thread")
        self.thread_id = message.get("id") if content and self.thread else None
        self._spend(entry)
        self.elapsed = max(self.elapsed, entry.get("elapsed") or 0.0)
        container = message.get("container")
        if isinstance(container, dict):
            self.container = container.get("id") or self.container

    def _spend(self, entry: dict[str, Any]) -> None:
        wire = entry["message"].get("usage")
        usage = Usage.from_wire(wire)
        self.history.count(usage.last_prompt(wire).total_tokens)
        self.spending.add(usage, entry.get("cost"), tuple(entry["sent"]["cache_misses"]) if "sent" in entry else ())

    def _on_call(self, entry: dict[str, Any]) -> None:
        call = self.calls[entry["call"]]
        match entry:
            case {"state": "held" | "started" as state}:
                attempts = call.attempts + (state == "started")
                kept = replace(call, state=state, attempts=attempts, tool=entry.get("tool"))
                self.calls[call.call_id] = replace(kept, decision=None) if state == "held" else kept
                self.tool_calls += attempts > call.attempts == 0  # what runs again is no other call
            case {"state": "ended", "outcome": outcome, "result": {"type": _} as result}:
                self.calls[call.call_id] = replace(call, state="ended", outcome=outcome, result=result)
                self.taint.gain(entry.get("taint", ()))
                if digest := entry.get("digest"):
                    self.repeats.add(digest)
            case _:
                raise ValueError("a call is held, started, or ended with its result")
        self.elapsed = max(self.elapsed, entry.get("elapsed") or 0.0)

    def _on_decision(self, entry: dict[str, Any]) -> None:
        if entry["action"] not in ("allow", "deny", "edit"):
            raise ValueError("a decision is allow, deny or edit")
        decision = Decision(entry["action"], entry.get("reason") or "", entry.get("input"), entry.get("until"))
        self.calls[entry["call"]] = replace(self.calls[entry["call"]], decision=decision)

    def _on_operation(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"operation": "repair_output", "content": content}:
                self.waiting.extend(content)
            case {"operation": "strip_thinking"}:
                self.drops_blocks = False
                self._rewrite(self.history.without_thinking())
            case {"operation": "drop_block"}:
                self.drops_blocks = True
            case {"operation": "drop_container"}:
                self.container = None
                if self.history.refused(container=False):  # code in it waits for results
                    self._abandon()
            case {"operation": "abandon_turn"}:
                self._abandon()
            case {"operation": "compact", "message": message}:
                summary = [block for block in message["content"] if block["type"] == "compaction"]
                self._spend(entry)
                self._rewrite(History.of([{"role": "assistant", "content": summary}]))
            case {"operation": "spend", "run": run_id, "usage": usage, "cost": cost}:
                self.spending.add_run(run_id, usage, cost)
                self.taint.gain(entry.get("taint", ()))
            case _:
                raise ValueError("the operation is one that this agentkit does not know")
        self.operations.add(entry["operation"])

    def _abandon(self) -> None:
        told = self.history.abandoned_calls()
        self.waiting[:0] = [{"type": "text", "text": told}] if told else []
        self._rewrite(self.history.without_open_uses())

    def _rewrite(self, history: History) -> None:
        self.history, self.thread_id = history, None


_OPEN = ("This call has not run.", "This call had begun: its outcome is unknown.")
_FOLDS: dict[str, Callable[[Transcript, dict[str, Any]], None]] = {
    "run": Transcript._on_run,
    "turn": Transcript._on_turn,
    "call": Transcript._on_call,
    "decision": Transcript._on_decision,
    "operation": Transcript._on_operation,
    "judgement": lambda transcript, entry: None,
}
