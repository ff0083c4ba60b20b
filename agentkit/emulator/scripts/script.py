"""A script in place of the reader: what is said to each request, and what is wrong where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, TypeAlias

from agentkit.emulator.replies import ScriptedError, ScriptedReply
from agentkit.errors import ConfigurationError
from agentkit.messages import Block, copy_json, encode

__all__ = ["Differs", "Player", "Script", "ScriptError", "Scripted", "Step", "Unforeseen", "about", "short"]

Scripted: TypeAlias = "ScriptedReply | ScriptedError"
Step: TypeAlias = "Scripted | Callable[[dict[str, Any]], Scripted | None]"
Script: TypeAlias = "Sequence[Step] | Callable[[dict[str, Any]], Scripted | None]"
"""Steps, one a request, or one function for all requests; each function gets the request body."""

_MOST = 120  # characters of one value in a text
_LISTED = 10


class ScriptError(AssertionError):
    """A script and the requests did not fit: one was not foreseen, or a step was not used."""


class Unforeseen(Exception):
    """This request is not in the script; the text says how it differs."""


class Differs(Exception):
    """Raised by a step: the request is not as it has to be; the text says how."""


class Player:
    """Plays a script.

    Args:
        script: See `Script`.
        endless: Steps that come after it, over and over; none of them has to be used.

    Attributes:
        failures: What was not foreseen.

    Raises:
        ConfigurationError: A step is neither a reply nor an error nor a function.
    """

    def __init__(self, script: Script, endless: Sequence[Step] = ()) -> None:
        self._function = script if callable(script) else None
        self._steps: Sequence[Step] = () if callable(script) else list(script)
        for at, step in enumerate(self._steps):
            if not callable(step) and not isinstance(step, ScriptedReply | ScriptedError):
                text = (
                    f"step {at} of the script is of type {type(step).__name__}: give reply(…), error(…) or a function"
                )
                raise ConfigurationError(text)
        self._endless = cycle(endless)
        self.failures: list[str] = []
        self._refused: list[str] = []
        self._used = 0
        self._asked = 0
        self._last: dict[str, Any] | None = None

    def next(self, body: dict[str, Any]) -> Step:
        """The step for this request, which is then used.

        Raises:
            Unforeseen: There is none.
        """
        before, self._last = self._last, body
        self._asked += 1
        if self._function is not None:
            return self._function
        if self._used < len(self._steps):
            self._used += 1
            return self._steps[self._used - 1]
        if (step := next(self._endless, None)) is not None:
            return step
        text = f"request {self._asked} is not foreseen: the script has {_count(len(self._steps), 'step')}"
        raise self._failed("\n".join([text, *_news(before, body)]))

    def played(self, step: Step, body: dict[str, Any]) -> Scripted:
        """What a step says; a function is called with a copy of the body.

        Raises:
            Unforeseen: The function fails, or says nothing.
        """
        try:
            said = step(copy_json(body)) if callable(step) else step
        except Differs as differences:
            raise self._failed(f"request {self._asked} {differences}") from None
        except BaseException as failure:  # a failed assertion of pytest is no Exception
            raise self._failed(f"the script failed on request {self._asked}: {failure!r}") from None
        if isinstance(said, ScriptedReply | ScriptedError):
            return said
        text = f"the script says nothing to request {self._asked}" + (f", but {said!r}" if said is not None else "")
        raise self._failed("\n".join([text, *_news(None, body)]))

    def misfit(self, why: str) -> Unforeseen:
        """A step says what the API can't say to this request."""
        return self._failed(f"the step for request {self._asked} can't be: {why}")

    def refused(self, text: str) -> None:
        """A request was refused before the script saw it, which explains why a step is left."""
        self._refused.append(text)

    def check(self) -> None:
        """Raises `ScriptError` where script and requests did not fit."""
        left = self._steps[self._used :]
        found = list(self.failures)
        if left:
            count = f"{len(left)} of {_count(len(self._steps), 'step')} of the script were not used"
            found.append(
                "\n".join([f"{count}, after {_count(self._asked, 'request')}:", *_first(map(about, left), len(left))])
            )
        if found and self._refused:
            found.append("\n".join(["refused before the script saw it:", *_first(self._refused, len(self._refused))]))
        if found:
            raise ScriptError("\n".join(found))

    def _failed(self, text: str) -> Unforeseen:
        self.failures.append(text)
        return Unforeseen(text)


def _news(before: dict[str, Any] | None, body: dict[str, Any]) -> Iterator[str]:
    """What a request has that the one before had not."""
    for name in dict.fromkeys([*(before or {}), *body]):
        known, value = (before or {}).get(name), body.get(name)
        if name != "messages" and before is not None and known != value:
            yield f"  {name}: {short(known)} → {short(value)}"
    messages = body.get("messages")
    listed = messages if isinstance(messages, list) else []
    earlier = (before or {}).get("messages") or []
    same = 0
    while same < min(len(earlier), len(listed)) and earlier[same] == listed[same]:
        same += 1
    start = same if before is not None else max(0, len(listed) - 1)
    for at, message in enumerate(listed[start:], start):
        mark = " (was another)" if at < len(earlier) else ""
        yield f"  messages.{at}{mark} {message.get('role')}: {_said(message.get('content'))}"


def about(step: Step) -> str:
    """A step in a line."""
    if isinstance(step, ScriptedReply):
        return f"reply: {_said(list(step.blocks))}"
    if isinstance(step, ScriptedError):
        return f"error {step.status} {step.type}: {step.message}"
    name = getattr(step, "__name__", None)
    return f"function {name}" if name else str(step)


def _first(texts: Iterable[str], number: int) -> list[str]:
    """The first lines of a list that may be long."""
    shown = [f"  {text}" for text in islice(texts, _LISTED)]
    return shown if number <= _LISTED else [*shown, f"  … and {number - _LISTED} more"]


def _said(content: Any) -> str:
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return " | ".join(_block(block) for block in blocks) or "nothing"


def _block(block: Block) -> str:
    told = next((block[name] for name in ("text", "input", "content", "thinking") if name in block), "")
    name = f" {block['name']}" if "name" in block else ""
    return f"{block.get('type') or 'server result'}{name} {short(told)}".rstrip()


def short(value: Any) -> str:
    """A value as text, cut where it is long."""
    written = value if isinstance(value, str) else encode(value).decode()
    return written if len(written) <= _MOST else f"{written[:_MOST]}…"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
