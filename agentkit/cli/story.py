"""What a run did, step by step in the order of its log; as JSON, so that programs can read it too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from agentkit.messages import Block, client_calls, encode, sent_content, text_of
from agentkit.record import searches_of, tool_calls_of
from agentkit.transcript import Transcript

__all__ = ["Step", "digest_of", "parts_of", "story_of"]

Step: TypeAlias = dict[str, Any]
"""One thing that happened: `step` is asked, resumed, forked, turn, judgement, held, decision, call, agent or
operation."""


def story_of(transcript: Transcript, start: int = 0) -> list[Step]:
    """The steps since entry `start` of a log.

    Turns are counted over the conversation, as in the ids of calls. Seconds of a call are those since its model turn,
    or since the run was resumed.

    Args:
        transcript: The log.
        start: Where to begin.
    """
    return list(_Story(transcript).steps(start))


def parts_of(story: Sequence[Step]) -> list[list[Step]]:
    """The steps in parts: each begins with a question or a model turn."""
    parts: list[list[Step]] = []
    for step in story:
        if step["step"] in ("asked", "turn") or not parts:
            parts.append([])
        parts[-1].append(step)
    return parts


def digest_of(part: Sequence[Step]) -> bytes:
    """The same for parts in which the same happened. Ids, times and costs don't count, nor where a run was resumed."""
    told = ("step", "text", "name", "input", "outcome", "result", "action", "reason", "operation", "stop_reason")
    kept: list[Any] = []
    for step in part:
        if step["step"] not in ("resumed", "forked"):
            content = [block for block in step.get("content", ()) if block["type"] != "call"]
            kept.append([content, {name: step.get(name) for name in told}])
    return encode(kept)


class _Story:
    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._calls = {call.call_id: call for call in tool_calls_of(transcript.entries, 0)}
        self._searches = {search.id: search for search in searches_of(transcript.entries, 0)}
        self._asked: dict[str, Any] = {}  # what a call was asked to run with, before a human changed it
        self._run_id = ""
        self._turn = 0
        self._since = 0.0  # when the calls of this turn began, at the earliest
        self._clock = 0.0

    def steps(self, start: int) -> Iterator[Step]:
        for at, entry in enumerate(self._transcript.entries):
            made = list(self._steps_of(entry))
            self._clock = max(self._clock, entry.get("elapsed") or 0.0)
            if at >= start:
                yield from made
        for call in self._transcript.unended():
            if call.state != "held":
                yield self._call(call.call_id, call.state, None)

    def _steps_of(self, entry: Mapping[str, Any]) -> Iterator[Step]:
        match entry:
            case {"entry": "run"}:
                yield self._begin(entry)
            case {"entry": "turn", "message": message}:
                yield self._model_turn(entry, message)
            case {"entry": "call", "call": call_id, "state": "held"}:
                yield {"step": "held", **self._about(call_id), "input": self._asked[call_id]}
            case {"entry": "call", "call": call_id, "state": "ended", "outcome": outcome}:
                seconds = round(max((entry.get("elapsed") or 0.0) - self._since, 0.0), 3)
                yield self._call(call_id, outcome, seconds)
            case {"entry": "decision", "call": call_id}:
                decided = {name: entry.get(name) for name in ("action", "reason", "input")}
                yield {"step": "decision", "call": call_id, "name": self._calls[call_id].name, **decided}
            case {"entry": "judgement", "call": call_id}:
                judged = {name: entry.get(name) for name in ("name", "action", "rule", "taint")}
                yield {"step": "judgement", "call": call_id, **judged}
            case {"entry": "operation", "operation": "spend", "run": run_id, "usage": usage}:
                yield {"step": "agent", "run": run_id, "usage": usage, "cost": entry.get("cost")}
            case {"entry": "operation", "operation": operation}:
                yield {"step": "operation", "operation": operation, "why": entry.get("why")}

    def _begin(self, entry: Mapping[str, Any]) -> Step:
        before, self._run_id = self._run_id, entry["run_id"]
        model, endpoint = entry.get("asks") or (None, None)
        about = {"run_id": self._run_id, "model": model, "endpoint": endpoint}
        self._since = self._clock
        if entry["resume"]:
            return {"step": "resumed" if before == self._run_id else "forked", **about}
        self._since = self._clock = 0.0
        return {"step": "asked", "text": _asked(entry["messages"]), **about}

    def _model_turn(self, entry: Mapping[str, Any], message: Mapping[str, Any]) -> Step:
        self._turn += 1
        self._since = entry.get("elapsed") or 0.0
        return {
            "step": "turn",
            "turn": self._turn,
            "content": list(self._content(message)),
            "stop_reason": message.get("stop_reason"),
            "model": message.get("model"),
            "request_id": entry.get("request_id"),
            "usage": message.get("usage"),
            "cost": entry.get("cost"),
            "seconds": round(max(self._since - self._clock, 0.0), 3),
        }

    def _content(self, message: Mapping[str, Any]) -> Iterator[Block]:
        """Texts, and what the API ran itself, in order; then the calls, which have steps of their own."""
        texts: list[Block] = []
        for block in message.get("content") or ():
            if block.get("type") == "text":
                texts.append(block)
            elif search := self._searches.get(str(block.get("id"))):
                yield from _text(texts)
                texts = []
                about = {"name": search.name, "input": search.input, "results": len(search.results)}
                yield {"type": "server_call", **about, "error": search.error, "ended": search.raw is not None}
        yield from _text(texts)
        for call in client_calls(sent_content(dict(message))):
            call_id = f"{self._turn}:{call.get('id')}"
            self._asked[call_id] = call.get("input")
            yield {"type": "call", "call": call_id}

    def _call(self, call_id: str, outcome: str, seconds: float | None) -> Step:
        result = _result(self._calls[call_id].raw or {})
        return {"step": "call", **self._about(call_id), "outcome": outcome, "seconds": seconds, "result": result}

    def _about(self, call_id: str) -> Step:
        call = self._calls[call_id]
        return {"call": call_id, "name": call.name, "input": call.input}


def _result(block: Block) -> str:
    """What a call gave, with what was added to it on a line of its own; blocks that are no text in brackets."""
    content = block.get("content")
    if not isinstance(content, list):
        return str(content or "")
    return "\n".join(part["text"] if part.get("type") == "text" else f"[{part.get('type')}]" for part in content)


def _text(blocks: Sequence[Block]) -> Iterator[Block]:
    if text := text_of(blocks):
        yield {"type": "text", "text": text}


def _asked(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the user said last; blocks that are no text in brackets."""
    content = messages[-1]["content"] if messages else ""
    if isinstance(content, str):
        return content
    others = [f"[{block.get('type')}]" for block in content if block.get("type") != "text"]
    return " ".join(filter(None, [text_of(content), *others]))
