"""The model of a simulation: a script drawn from the seed, whose next turn follows from the history alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Literal, TypeAlias

from agentkit import allow, deny, edit
from agentkit.call import Decision

__all__ = ["ASKED", "RIVAL", "Failure", "Planned", "Script", "contents_of", "prompts_of"]

Block: TypeAlias = dict[str, Any]
Failure = Literal["cut", "reset", "overloaded", "error event", "limited", "refused connection", "redirect", "echo"]

FAILURES = {
    "cut": 4,
    "reset": 4,
    "overloaded": 4,
    "error event": 4,
    "limited": 4,
    "refused connection": 4,
    "redirect": 1,
    "echo": 0,  # until keys are taken out of what an endpoint says
}
TOOLS = {
    **{
        "act": 6,
        "look": 3,
        "put": 3,
        "wire": 3,
        "refund": 4,
        "fail": 1,
        "crash": 1,
        "slow": 3,
        "hang": 2,
        "cling": 1,
        "wait": 1,
    },
    "ask": 2,
}
AGENT_TOOLS = {"act": 4, "look": 1, "put": 2, "wire": 2, "crash": 1, "slow": 2}  # of the agent that `ask` asks
TERMINAL = {"answer": 12, "max_tokens": 2, "refusal": 1, "empty": 1}
_MARK = re.compile(r"\[turn (\d+)\]")
_EDITED = 1_000_000
ASKED = "Ask"  # begins what a tool asks an agent
RIVAL = "Rival"  # begins what another one asks in the same conversation


@dataclass(frozen=True)
class Planned:
    """A call that the script makes.

    Attributes:
        n: Its number, which is its input too and no other call's.
        tool: Its name.
        turn: The number of its model turn, from 1.
        runs: Whether it may run: its turn is whole, its input fits, its tool is there.
        before: Seconds that the tool takes until its effect.
        after: Seconds that it takes from there.
    """

    n: int
    tool: str
    turn: int
    runs: bool
    before: float
    after: float


@dataclass
class Script:
    """What the model says, turn by turn.

    Attributes:
        turns: Content and stop reason of each, by number: those of an agent that call n asks begin with 100 n + 1.
        failures: How the first requests for a turn fail.
        calls: By number.
    """

    random: Random
    prompts: int = 1
    turns: dict[int, tuple[list[Block], str]] = field(default_factory=dict)
    failures: dict[int, list[str]] = field(default_factory=dict)
    calls: dict[int, Planned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._open: str | None = None  # a server tool use that has no result yet
        self._ids: list[str] = []
        number = count(1)
        for at in range(self.prompts):
            is_last = at == self.prompts - 1
            for _ in range(self.random.choice((0, 1, 1, 2, 3))):
                self._add(next(number), self.random.choices(("calls", "pause", "mixed"), (8, 1, 1))[0])
            self._add(next(number), _drawn(self.random, TERMINAL) if is_last else "answer")

    def reply_to(self, messages: Iterable[Mapping[str, Any]], max_tokens: int) -> tuple[int, dict[str, Any]]:
        """The next turn and its number: what comes after the last one that the history has. 0: a rival is answered."""
        messages = list(messages)
        said = [block["text"] for role, block in _blocks(messages) if role == "assistant" and block["type"] == "text"]
        prompts = prompts_of(messages)
        first = 100 * int(prompts[0][len(ASKED) : -1]) if prompts[0].startswith(ASKED) else 0
        number = 1 + max((int(found[1]) for text in said if (found := _MARK.match(text))), default=first)
        content, stop = self.turns.get(number, ([], "answer"))
        if any(text.startswith(RIVAL) for text in prompts):
            number, content, stop = 0, [{"type": "text", "text": "Well, well."}], "end_turn"
        if stop == "answer":
            content = [*content, {"type": "text", "text": f"[turn {number}] {json.dumps(contents_of(messages))}"}]
            stop = "end_turn"
        size = number % 100
        usage = {"input_tokens": 100 + 10 * size, "output_tokens": min(50 + 10 * size, max_tokens)}
        usage["cache_read_input_tokens"] = 500 + 30 * size
        about = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6"}
        return number, {**about, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def decision_on(self, n: int) -> Decision:
        """What the human says of a call: the same each time."""
        if n % 4 == 1:
            return deny("no")
        return edit({"n": n + _EDITED}) if n % 4 == 2 else allow()

    def input_of(self, n: int) -> dict[str, Any]:
        """What a call must run with."""
        edited = self.calls[n].tool == "refund" and self.decision_on(n).action == "edit"
        return {"n": n + _EDITED if edited else n}

    def may_take_effect(self, n: int) -> bool:
        """Whether a call may ever run."""
        planned = self.calls[n]
        return planned.runs and not (planned.tool == "refund" and self.decision_on(n).action == "deny")

    def call_of(self, n: int) -> Planned:
        """The call that ran with this input."""
        return self.calls[n % _EDITED]

    def _add(self, number: int, shape: str, tools: Mapping[str, int] = TOOLS) -> None:
        content: list[Block] = []
        if self._open:
            content.append({"type": "web_search_tool_result", "tool_use_id": self._open, "content": []})
            self._open = None
        if self.random.random() < 0.15:
            times = self.random.choice((1, 1, 2, 3, 5))
            self.failures[number] = [_drawn(self.random, FAILURES) for _ in range(times)]
        if shape == "empty":
            self.turns[number] = content, "end_turn"
            return
        if shape == "answer":
            self.turns[number] = content, "answer"
            return
        content.append({"type": "text", "text": f"[turn {number}] {shape}, “naïve” \N{GRINNING FACE}"})
        if shape in ("pause", "mixed"):
            self._open = f"srvtoolu_{number}"
            content.append({"type": "server_tool_use", "id": self._open, "name": "web_search", "input": {"query": "a"}})
        if shape != "pause":
            content += self._uses(number, tools, runs=shape in ("calls", "mixed"))
        if shape == "max_tokens":
            content[-1] = {**content[-1], "input": '{"n": 4'}
        stop = {"pause": "pause_turn", "calls": "tool_use", "mixed": "tool_use"}.get(shape, shape)
        self.turns[number] = content, stop

    def _uses(self, number: int, tools: Mapping[str, int], *, runs: bool) -> Iterator[Block]:
        repeats = bool(self._ids) and self.random.random() < 0.15
        for at in range(self.random.choice((1, 1, 2, 2, 3, 5))):
            n = 10 * number + at
            id_ = self._ids[0] if repeats and not at else f"toolu_{number}_{at}"
            self._ids.append(id_)
            name, odd = _drawn(self.random, tools), self.random.random()
            given: dict[str, Any] = {"n": n}
            if name == "ask":
                given = {"prompt": f"{ASKED} {n}."}
                self._add_agent(n)
            if odd < 0.05:
                name = "lock"
            elif odd < 0.1:
                given = {"n": "many"}
            seconds = (0.0, 0.0, 0.1, 3.0)
            before, after = self.random.choice(seconds), self.random.choice(seconds)
            self.calls[n] = Planned(n, name, number, runs and odd >= 0.1, before, after)
            yield {"type": "tool_use", "id": id_, "name": name, "input": given}

    def _add_agent(self, n: int) -> None:
        its, self._open = self._open, None
        for at in range(1, 1 + self.random.choice((0, 1, 1, 2))):
            self._add(100 * n + at, "calls", AGENT_TOOLS)
        self._open = its


def contents_of(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """The contents of all results in a history, in order."""
    blocks = [block for _, block in _blocks(messages) if block["type"] == "tool_result"]
    return [f"{block['tool_use_id']}: {block['content']}" for block in blocks]


def prompts_of(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """What users have said in a history, in order."""
    return [block["text"] for role, block in _blocks(messages) if role == "user" and block["type"] == "text"]


def _blocks(messages: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Block]]:
    for message in messages:
        if not isinstance(message["content"], str):
            for block in message["content"]:
                yield message["role"], block


def _drawn(random: Random, weights: Mapping[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]
