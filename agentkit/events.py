"""What a run reports while it goes on. Every event has a `type`; `as_dict` gives it as JSON."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypeAlias

from agentkit.messages import Block, Citation, Usage, copy_json, encode

__all__ = [
    "CacheMiss",
    "ContentBlockStop",
    "Event",
    "InputDelta",
    "Retry",
    "RunEnd",
    "ServerToolCall",
    "ServerToolResult",
    "TextDelta",
    "ThinkingDelta",
    "ToolCall",
    "ToolHeld",
    "ToolJudged",
    "ToolProgress",
    "ToolResult",
    "TurnEnd",
    "TurnRestarted",
    "TurnStart",
    "UnknownEvent",
]


class _Event:
    __slots__ = ()
    type: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON: `type`, then the fields."""
        return {"type": self.type, **{field.name: _json(getattr(self, field.name)) for field in fields(self)}}  # type: ignore[arg-type]


def _json(value: Any) -> Any:
    if isinstance(value, Usage):
        return value.as_dict()
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if isinstance(value, Citation):
        return {"url": value.url, "title": value.title, "cited_text": value.cited_text}
    return value


@dataclass(slots=True)
class TurnStart(_Event):
    """A model turn is asked for: `turn` counts from 1 in this run."""

    type: ClassVar[Literal["turn_start"]] = "turn_start"
    turn: int


@dataclass(slots=True)
class CacheMiss(_Event):
    """The next request will not be read from the prompt cache as far as it could be: `reasons` says why, in words."""

    type: ClassVar[Literal["cache_miss"]] = "cache_miss"
    reasons: tuple[str, ...]


@dataclass(slots=True)
class TextDelta(_Event):
    """A piece of the text of content block `index`."""

    type: ClassVar[Literal["text_delta"]] = "text_delta"
    text: str
    index: int


@dataclass(slots=True)
class ThinkingDelta(_Event):
    """A piece of the model's thinking, as far as the API shows it."""

    type: ClassVar[Literal["thinking_delta"]] = "thinking_delta"
    thinking: str
    index: int


@dataclass(slots=True)
class InputDelta(_Event):
    """A piece of the JSON input of a call: to show, never to run."""

    type: ClassVar[Literal["input_delta"]] = "input_delta"
    partial_json: str
    index: int


@dataclass(slots=True)
class ContentBlockStop(_Event):
    """Content block `index` of the reply is complete: `block` is it as it came. The turn may still fail."""

    type: ClassVar[Literal["content_block_stop"]] = "content_block_stop"
    index: int
    block: Block


@dataclass(slots=True)
class UnknownEvent(_Event):
    """A stream event of a type that agentkit does not know, as it came."""

    type: ClassVar[Literal["unknown_event"]] = "unknown_event"
    raw: dict[str, Any]


@dataclass(slots=True)
class ServerToolCall(_Event):
    """The API calls a server tool."""

    type: ClassVar[Literal["server_tool_call"]] = "server_tool_call"
    id: str
    name: str
    input: Any


@dataclass(slots=True)
class ServerToolResult(_Event):
    """The result of a server tool. `size` is its length in bytes as JSON; `error` its error code."""

    type: ClassVar[Literal["server_tool_result"]] = "server_tool_result"
    id: str
    name: str
    size: int
    error: str | None
    block: Block


@dataclass(slots=True)
class TurnRestarted(_Event):
    """The turn failed after some of it was shown: what was shown of it is void, attempt `attempt` begins."""

    type: ClassVar[Literal["turn_restarted"]] = "turn_restarted"
    attempt: int
    reason: str


@dataclass(slots=True)
class Retry(_Event):
    """The request failed and is sent again after `wait` seconds."""

    type: ClassVar[Literal["retry"]] = "retry"
    attempt: int
    wait: float
    reason: str


@dataclass(slots=True)
class TurnEnd(_Event):
    """A model turn is complete and in the transcript: `message` is the reply as it came, `cost` as in `RunEnd`."""

    type: ClassVar[Literal["turn_end"]] = "turn_end"
    stop_reason: str | None
    usage: Usage
    request_id: str | None
    message: dict[str, Any]
    cost: float | None = None


@dataclass(slots=True)
class ToolCall(_Event):
    """A client tool starts."""

    type: ClassVar[Literal["tool_call"]] = "tool_call"
    call_id: str
    name: str
    input: Any


@dataclass(slots=True)
class ToolProgress(_Event):
    """What a running tool yields."""

    type: ClassVar[Literal["tool_progress"]] = "tool_progress"
    call_id: str
    name: str
    text: str


@dataclass(slots=True)
class ToolResult(_Event):
    """A call has ended: `outcome` is done, failed, denied, timed_out, cancelled, unknown or not_run."""

    type: ClassVar[Literal["tool_result"]] = "tool_result"
    call_id: str
    name: str
    outcome: str
    seconds: float
    size: int
    block: Block

    @classmethod
    def of(cls, call_id: str, name: str, outcome: str, seconds: float, block: Block) -> ToolResult:
        """With the size of the block's content, and a copy of the block."""
        content = block.get("content") or ""
        size = len(content.encode() if isinstance(content, str) else encode(content))
        return cls(call_id, name, outcome, seconds, size, copy_json(block))


@dataclass(slots=True)
class ToolHeld(_Event):
    """A call waits for an approval: `agent.resume(result, decisions={call_id: allow()})`."""

    type: ClassVar[Literal["tool_held"]] = "tool_held"
    call_id: str
    name: str
    input: Any


@dataclass(slots=True)
class ToolJudged(_Event):
    """A policy has decided on a call: `action` is allow, ask or deny, `rule` says why, `taint` what had been seen."""

    type: ClassVar[Literal["tool_judged"]] = "tool_judged"
    call_id: str
    name: str
    action: str
    rule: str
    taint: tuple[str, ...]


@dataclass(slots=True)
class RunEnd(_Event):
    """The run is over: `finish` is its reason. `cost` is US dollars, None where it is not known."""

    type: ClassVar[Literal["run_end"]] = "run_end"
    finish: str
    detail: str | None
    text: str
    citations: tuple[Citation, ...]
    usage: Usage
    cost: float | None
    turns: int
    seconds: float
    run_id: str


Event: TypeAlias = (
    TurnStart
    | CacheMiss
    | TextDelta
    | ThinkingDelta
    | InputDelta
    | ContentBlockStop
    | UnknownEvent
    | ServerToolCall
    | ServerToolResult
    | TurnRestarted
    | Retry
    | TurnEnd
    | ToolCall
    | ToolProgress
    | ToolResult
    | ToolHeld
    | ToolJudged
    | RunEnd
)
"""Any event of a run: `event.type` tells which."""
