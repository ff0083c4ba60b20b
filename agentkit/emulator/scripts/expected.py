"""Conditions on a request: what a step of a script file expects, and which branch fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from agentkit.emulator.scripts.blocks import Keys
from agentkit.emulator.scripts.script import short
from agentkit.messages import Block

__all__ = ["Expected"]


class _Text(Keys):
    """A condition on a text; all that is given must hold."""

    contains: str | None = None
    equals: str | None = None
    matches: str | None = None

    @field_validator("matches")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _says_something(self) -> _Text:
        if self == _Text.model_construct():
            raise ValueError("give contains, equals or matches")
        return self

    def wanted(self, text: str) -> str | None:
        """What is not so."""
        if self.contains is not None and self.contains not in text:
            return f"a text that contains {short(self.contains)!r}"
        if self.equals is not None and self.equals != text:
            return repr(short(self.equals))
        if self.matches is not None and not re.search(self.matches, text):
            return f"a text that matches {short(self.matches)!r}"
        return None


def _containing(value: Any) -> Any:
    return {"contains": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_Condition: TypeAlias = Annotated[_Text, BeforeValidator(_containing)]


class Expected(Keys):
    """Conditions on a request; all that are given must hold."""

    messages: int | None = None
    text: _Condition | None = None
    tool_result: _Condition | None = None
    is_error: bool | None = None
    tools: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    model: _Condition | None = None
    system: _Condition | None = None
    fields: dict[str, JsonValue] = Field(default_factory=dict)

    def differences(self, body: dict[str, Any]) -> Iterator[str]:
        """What is not so in a request, a line each."""
        messages = body["messages"]
        newest = next((_blocks(one["content"]) for one in reversed(messages) if one["role"] == "user"), [])
        results = [block for block in newest if block["type"] == "tool_result"]
        if self.messages not in (None, len(messages)):
            yield f"messages: expected {self.messages} of them, got {len(messages)}"
        yield from _differs("text", self.text, [_text(newest)])
        yield from _differs("tool_result", self.tool_result, [_text(_blocks(one.get("content"))) for one in results])
        failed = any(one.get("is_error") for one in results)
        if self.is_error not in (None, failed):
            yield f"is_error: expected {short(self.is_error)}, got {short(failed)}"
        offered = [tool.get("name", tool.get("type")) for tool in body.get("tools") or ()]
        for name in self.tools:
            if name not in offered:
                yield f"tools: expected {name} among them, got {', '.join(offered) or 'none'}"
        yield from _differs("model", self.model, [body["model"]])
        yield from _differs("system", self.system, [_text(_blocks(body.get("system")))])
        for name, value in self.fields.items():
            if body.get(name) != value:
                yield f"{name}: expected {short(value)}, got {short(body.get(name))}"


def _differs(name: str, condition: _Text | None, texts: list[str]) -> Iterator[str]:
    """A condition holds if it does for one of the texts."""
    if condition is None:
        return
    wanted = [condition.wanted(text) for text in texts]
    if not texts:
        yield f"{name}: expected {condition.wanted('') or 'one'}, got none"
    elif all(wanted):
        yield f"{name}: expected {wanted[-1]}, got {' and '.join(repr(short(text)) for text in texts)}"


def _blocks(content: str | list[Block] | None) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _text(blocks: list[Block]) -> str:
    return "\n".join(block["text"] for block in blocks if block["type"] == "text")
