"""Blocks of a script file: short forms as the functions of `replies` take them, or whole as they are on the wire."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from agentkit.emulator import replies
from agentkit.messages import Block

__all__ = ["TAG", "Keys", "ScriptBlock"]

TAG = "the block "
"""Begins the parts of an error's path that are not in the file."""

# What the emulator and every client look for. Source: messages-api.md section 6.
_NEEDED = {
    "text": ("text",),
    "thinking": ("thinking",),
    "tool_use": ("name", "input"),
    "server_tool_use": ("name", "input"),
    "mcp_tool_use": ("name", "input"),
}


class Keys(BaseModel):
    """A mapping of a script file: no other keys than these, and values of just these types."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if not isinstance(value, dict):
            raise ValueError(f"give a mapping with {', '.join(known)}")  # noqa: TRY004 - pydantic's way
        for name in value:
            if name not in known:
                raise ValueError(f"unknown key {name!r}: there are {', '.join(known)}")
        return value


class _Text(Keys):
    text: str
    citations: list[dict[str, JsonValue]] = []

    def block(self) -> Block:
        return replies.text(self.text, **({"citations": self.citations} if self.citations else {}))


class _Thinking(Keys):
    thinking: str

    def block(self) -> Block:
        return replies.thinking(self.thinking)


class _RedactedThinking(Keys):
    redacted_thinking: str | None

    def block(self) -> Block:
        return replies.redacted_thinking(**({"data": self.redacted_thinking} if self.redacted_thinking else {}))


class _ToolUse(Keys):
    tool_use: str
    input: JsonValue = {}
    id: str | None = None
    from_code: bool = False

    def block(self) -> Block:
        use = {**replies.tool_use(self.tool_use, id=self.id), "input": self.input}
        return replies.from_code(use) if self.from_code else use


class _ServerToolUse(Keys):
    server_tool_use: str
    input: JsonValue = {}
    id: str | None = None

    def block(self) -> Block:
        return {**replies.server_tool_use(self.server_tool_use, id=self.id), "input": self.input}


class _ServerResult(Keys):
    server_result: JsonValue
    id: str | None = None

    def block(self) -> Block:
        return replies.server_result(self.server_result, id=self.id)


class _Compaction(Keys):
    compaction: str | None

    def block(self) -> Block:
        return replies.compaction(self.compaction)


class _Models(Keys):
    declined: str = Field(alias="from")
    answers: str = Field(alias="to")


class _Fallback(Keys):
    fallback: _Models

    def block(self) -> Block:
        return replies.fallback(self.fallback.declined, self.fallback.answers)


class _Wire(BaseModel):
    """Any block that has its `type`."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonValue]

    type: str

    @model_validator(mode="after")
    def _is_whole(self) -> _Wire:
        missing = [name for name in _NEEDED.get(self.type, ()) if name not in self.__pydantic_extra__]
        if missing:
            raise ValueError(f"a block of type {self.type} needs {' and '.join(missing)}")
        return self

    def block(self) -> Block:
        return {"type": self.type, **self.__pydantic_extra__}


_SHORT = (
    "text", "tool_use", "server_tool_use", "server_result", "thinking", "redacted_thinking", "compaction", "fallback",
)  # fmt: skip


def _form(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    name = "type" if "type" in value else next((name for name in _SHORT if name in value), None)
    return name and f"{TAG}{name}"


def _spelled_out(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


ScriptBlock: TypeAlias = Annotated[
    Annotated[_Text, Tag(f"{TAG}text")]
    | Annotated[_ToolUse, Tag(f"{TAG}tool_use")]
    | Annotated[_ServerToolUse, Tag(f"{TAG}server_tool_use")]
    | Annotated[_ServerResult, Tag(f"{TAG}server_result")]
    | Annotated[_Thinking, Tag(f"{TAG}thinking")]
    | Annotated[_RedactedThinking, Tag(f"{TAG}redacted_thinking")]
    | Annotated[_Compaction, Tag(f"{TAG}compaction")]
    | Annotated[_Fallback, Tag(f"{TAG}fallback")]
    | Annotated[_Wire, Tag(f"{TAG}type")],
    Discriminator(
        _form,
        custom_error_type="no_block",
        custom_error_message=f"no block: give a text, or a mapping with one of {', '.join(_SHORT)}, or with its type",
    ),
    BeforeValidator(_spelled_out),
]
"""A text, a mapping with one of the short forms' keys, or a block with its `type`; `.block()` is what it says."""
