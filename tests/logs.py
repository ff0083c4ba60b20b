"""Transcripts for tests: by hand, and random ones that hold every kind of entry in every valid order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st
from scripted import reply, server_tool_use, text, thinking, tool_use

from agentkit.messages import Usage, as_messages
from agentkit.settings import Limits
from agentkit.step import Answer, CallModel, CallTools, next_step
from agentkit.transcript import Call, Decision, Outcome, Transcript

__all__ = ["asked", "begun", "end", "logs", "random_log", "result", "take", "wire"]


def begun(*prompts: Any) -> Transcript:
    """A transcript that a run has begun in: with one prompt of any form, or several messages."""
    transcript = Transcript()
    transcript.begin("run_1", as_messages(prompts[0] if len(prompts) == 1 else [*prompts]))
    return transcript


def asked(*prompts: Any) -> Transcript:
    """A transcript that waits for the model."""
    transcript = begun(*(prompts or ("Hi",)))
    if transcript.waiting:
        transcript.answer()
    return transcript


def result(id_: str, content: str = "3") -> dict[str, Any]:
    """A `tool_result` block."""
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def take(transcript: Transcript, *content: dict[str, Any], **fields: Any) -> Transcript:
    """Appends a model turn with these blocks; see `scripted.reply`."""
    transcript.take_turn(reply(*content, **fields), "req_1", 1.0)
    return transcript


def end(transcript: Transcript, *contents: str) -> Transcript:
    """Starts and ends the open calls, with these results."""
    for number, call in enumerate(transcript.unended()):
        transcript.start(call)
        transcript.end(call, "done", result(call.block["id"], contents[number] if contents else "3"), 2.0)
    return transcript


def wire(transcript: Transcript) -> Any:
    """The messages as they are sent."""
    return json.loads(b"".join(transcript.history.body.parts()))


_KINDS = ["text", "text", "blank", "thinking", "fallback", "new"]
_MORE: list[Any] = [
    "More",
    [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}],
]


@dataclass
class _Author:
    """Appends one random entry at a time, of those that a run may append there."""

    transcript: Transcript
    random: Random
    ids: int = 0
    tokens: int = 0

    def go_on(self) -> None:
        transcript = self.transcript
        match next_step(transcript, Limits(), 0.0):
            case Answer():
                transcript.answer()
            case CallModel():
                self._model_turn()
            case CallTools(calls):
                self._call(self.random.choice(calls))
            case _:
                self._end_or_begin()
        if self.random.random() < 0.1:
            transcript.begin(transcript.run_id, None)
        if self.random.random() < 0.1:
            self._spend()

    def _model_turn(self) -> None:
        found = {"type": "web_search_tool_result", "content": [{"title": "é\u2028"}]}
        content = [{**found, "tool_use_id": id_} for id_ in sorted(self.transcript.server_open)]
        must_answer = bool(content)
        content += [self._block(kind) for kind in self.random.choices(_KINDS, k=self.random.randrange(4))]
        uses = [self._use(kind) for kind in self.random.choices(["tool", "search"], k=self.random.randrange(4))]
        calls = any(use["type"] == "tool_use" for use in uses)
        stop = "tool_use" if calls else "pause_turn" if uses else "end_turn"
        if (calls or not uses) and not must_answer:
            stop = self.random.choice([stop, stop, stop, "max_tokens", "refusal", "new"])
        usage = {"input_tokens": self.random.randrange(1000), "output_tokens": None}
        container = self.random.choice([None, {"id": "c_1"}, {"id": "c_2"}])
        message = reply(*content, *uses, stop=stop, usage=usage, container=container)
        self.transcript.take_turn(message, None, self.random.uniform(0, 99))

    def _block(self, kind: str) -> dict[str, Any]:
        return {
            "text": text("ü \ud83d"),
            "blank": text(" "),
            "thinking": thinking("so"),
            "fallback": {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
            "new": {"type": "hologram", "x": [1.5, None]},
        }[kind]

    def _use(self, kind: str) -> dict[str, Any]:
        self.ids += 1
        if kind == "search":
            return server_tool_use("web_search", id=f"srvtoolu_{self.ids}", query="q")
        use = tool_use("add", id=f"toolu_{self.ids}", x=1)
        return self.random.choice([use, {**use, "input": '{"x'}])

    def _spend(self) -> None:
        self.tokens += self.random.randrange(100)
        usage = Usage(self.tokens, self.tokens).as_dict()
        self.transcript.operate("spend", run=self.random.choice("ab"), usage=usage, cost=self.tokens / 8)

    def _call(self, call: Call) -> None:
        if call.state == "open":
            self.random.choice([self.transcript.hold, self.transcript.start])(call)
        elif call.state == "held" and self.random.random() < 0.5:
            self.transcript.start(call)
        else:
            outcomes: list[Outcome] = ["done", "failed", "denied", "unknown"]
            elapsed = self.random.choice([None, self.random.uniform(0, 99)])
            self.transcript.end(call, self.random.choice(outcomes), result(call.block["id"]), elapsed)

    def _end_or_begin(self) -> None:
        transcript = self.transcript
        if transcript.held() and self.random.random() < 0.5:
            held = self.random.choice(transcript.held())
            decisions = [Decision("allow"), Decision("deny", "no"), Decision("edit", input={"x": 2})]
            transcript.decide(held.call_id, self.random.choice(decisions))
            return
        for call in transcript.unended():
            transcript.end(call, "not_run", result(call.block["id"]))
        prompt = "More" if transcript.server_open else self.random.choice(_MORE)
        transcript.begin(f"run_{len(transcript.entries)}", as_messages(prompt))


def random_log(seed: int) -> Transcript:
    """A transcript of up to 40 entries, the same for a seed."""
    author = _Author(begun("Hi"), Random(seed))
    for _ in range(author.random.randrange(40)):
        author.go_on()
    return author.transcript


logs: st.SearchStrategy[Transcript] = st.builds(random_log, st.integers(0, 2**32))
"""Random logs. Drawn from a seed, so that a log costs a few hundred microseconds."""
