"""What the API refuses about a history, as a fold: each message is looked at once, when it is added.

Consecutive messages of one role are one *turn* (the API combines them), and the API counts turns: in a text,
`messages.1.content.0` is the first block of the second turn, and a history that begins with an assistant message is
counted as if a user turn came before it. `Problem.path` counts the messages as they were given. Content types and keys
that nobody knows yet are never refused here.

Source: messages-api.md sections 5, 7.1, 7.2, 11, 15, 18.3; the counting of turns is that of three recorded refusals
(opencode, anthropic-sdk-python, Mirascope); the texts are in `texts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from agentkit.messages import Block
from agentkit.rules.texts import TEXTS, Problem

__all__ = ["Check", "check_history"]

_ROLES = ("user", "assistant", "system")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME_LENGTH = 200

# Which rule a block breaks by being in a message of this role. Source: messages-api.md 15.13.
_MISPLACED: dict[tuple[str, str], str] = {
    ("assistant", "tool_result"): "block_role",
    ("assistant", "image"): "media_role",
    ("assistant", "document"): "media_role",
    ("user", "tool_use"): "block_role",
    ("user", "server_tool_use"): "block_role",
    ("user", "mcp_tool_use"): "block_role",
    ("user", "server result"): "block_role",
    ("user", "thinking"): "thinking_role",
    ("user", "redacted_thinking"): "thinking_role",
}
_OTHER_ROLE = {"assistant": "user", "user": "assistant"}
_SYSTEM_BLOCKS = {"text", "tool_addition", "tool_removal"}

# Where the type of the result is not "<name>_tool_result". Source: messages-api.md 5.2.
_RESULT_TYPES = {
    "tool_search_tool_regex": "tool_search_tool_result",
    "tool_search_tool_bm25": "tool_search_tool_result",
}

State: TypeAlias = Literal["open", "answered", "missed"]
Fault: TypeAlias = Literal["unexpected", "duplicate"]

# What is wrong with a result, by the state of the tool use that it names.
_ANSWERS: dict[State | None, Fault | None] = {
    "open": None,
    "answered": "duplicate",
    "missed": None,  # it is too late, which is reported already
    None: "unexpected",
}
_FAULTS: dict[Fault, str] = {"unexpected": "server_result_unexpected", "duplicate": "tool_result_duplicate"}


@dataclass(frozen=True, slots=True)
class _Use:
    """A tool use: what answers it, and where it is as the API and as the caller count."""

    id: str
    name: str
    result: str
    turn: int
    index: int
    from_code: bool = False


class _Uses:
    """Tool uses of one sort. Each is open until a result answers it or none can come any more."""

    __slots__ = ("closed", "open")

    def __init__(self, opened: dict[str, _Use], closed: dict[str, State]) -> None:
        self.open = opened
        self.closed = closed

    def copy(self) -> _Uses:
        return _Uses(dict(self.open), dict(self.closed))

    def add(self, use: _Use) -> None:
        self.open[use.id] = use

    def answer(self, key: str) -> Fault | None:
        """A result arrives."""
        state: State | None = "open" if self.open.pop(key, None) else self.closed.get(key)
        if state:
            self.closed[key] = "answered"
        return _ANSWERS[state]

    def give_up(self) -> list[_Use]:
        """No result can come any more; the uses that had none."""
        given_up = list(self.open.values())
        self.closed.update(dict.fromkeys(self.open, "missed"))
        self.open.clear()
        return given_up

    def __contains__(self, key: str) -> bool:
        return key in self.open or key in self.closed


class Check:
    """The history rules as a fold. Feed it every message that is sent, in order.

    It holds what a later message may depend on: the tool uses of the last assistant turn, server tool uses without a
    result, the last role and counters. So `add` costs what the new message costs, and `copy` what the last turn does.
    """

    __slots__ = (
        "_before",
        "_calls",
        "_ends",
        "_hollow",
        "_index",
        "_offset",
        "_role",
        "_served",
        "_system_ok",
        "_turn",
    )

    def __init__(self) -> None:
        self._index = 0  # of the next message, as the caller counts
        self._turn = -1  # as the API counts
        self._offset = 0  # blocks of this turn in earlier messages
        self._role = ""
        self._before = ""  # the role of the turn before
        self._ends = ""  # what the last assistant turn ends in
        self._hollow: int | None = None  # the first message of this turn, while the turn has no content
        self._calls = _Uses({}, {})  # of the last assistant turn
        self._served = _Uses({}, {})  # of server tools: open ones, and those of the last assistant turn
        self._system_ok = True

    def copy(self) -> Check:
        """A check that goes on from here by itself."""
        other = Check.__new__(Check)
        for name in self.__slots__:
            value = getattr(self, name)
            setattr(other, name, value.copy() if isinstance(value, _Uses) else value)
        return other

    def add(self, role: str, content: str | list[Block]) -> list[Problem]:
        """Takes the next message of the wire.

        Args:
            role: `user`, `assistant` or `system`.
            content: Text or blocks. What is no block is counted and passed over.

        Returns:
            What this message proves, in the order in which it is found; earlier messages may be to blame.
        """
        found = self._message(role, _blocks(content)) if role in _ROLES else [self._problem("role_unknown", role=role)]
        self._index += 1
        return found

    def end(self, *, container: bool = False, server_tools: Collection[str] | None = None) -> list[Problem]:
        """What would be refused if a request ended here; changes nothing.

        Args:
            container: Whether the request names a container.
            server_tools: The names of the tools of the request, those of server tools at least; None: not known.
        """
        found = [] if self._index else [self._problem("messages_empty", path="messages")]
        if self._hollow is not None and self._role == "user":
            found.append(self._problem("content_empty", index=self._hollow))
        found += self._unanswered(list(self._calls.open.values()))
        if not container and any(use.from_code for use in self._served.open.values()):
            found.append(self._problem("container_required", path="container"))
        if server_tools is not None:
            found += self._without_tool(server_tools)
        return found

    def _message(self, role: str, blocks: list[Block]) -> list[Problem]:
        found = self._begin(role) if role != self._role else []
        if blocks:
            self._hollow = None
        if role == "system":
            found += self._system(blocks)
        else:
            fold = self._assistant if role == "assistant" else self._user
            for at, block in enumerate(blocks):
                found += self._misplaced(at, block) or fold(at, block)
        found += self._texts(blocks)
        self._offset += len(blocks)
        return found

    def _begin(self, role: str) -> list[Problem]:
        """A turn begins, so the one before it is whole."""
        found: list[Problem] = []
        if self._hollow is not None:
            found.append(self._problem("content_empty", index=self._hollow))
        if role == "assistant" or self._role == "user":
            found += self._give_up_calls()
        if role == "user" and self._role == "system" and self._system_ok:
            found.append(self._problem("system_before", index=self._index - 1))
        if role == "assistant":
            self._calls = _Uses({}, {})
            self._served.closed = {key: state for key, state in self._served.closed.items() if state == "missed"}
            self._ends = ""
        self._turn += 2 if role == "assistant" and self._turn < 0 else 1
        self._before, self._role, self._offset = self._role, role, 0
        self._hollow = None if role == "system" else self._index
        self._system_ok = True
        return found

    def _system(self, blocks: list[Block]) -> list[Problem]:
        """Where a system message may be and what it may hold, in the order in which the API looks (probe)."""
        rule = ""
        if not blocks:
            rule = "system_empty"
        elif any(_type(block) not in _SYSTEM_BLOCKS for block in blocks):
            rule = "system_blocks"
        elif not self._index:
            rule = "system_first"
        elif self._before == "assistant" and not _is_server_result(self._ends):
            rule = "system_after"
        elif any(_is_blank(block) and block["text"] for block in blocks):
            rule = "system_blank"
        if not rule or not self._system_ok:
            return []
        self._system_ok = False
        return [self._problem(rule)]

    def _assistant(self, at: int, block: Block) -> list[Problem]:
        self._ends = _type(block)
        if self._ends == "tool_use":
            return self._client_use(at, block)
        if self._ends in ("server_tool_use", "mcp_tool_use"):
            return self._server_use(at, block)
        if _is_server_result(self._ends):
            return self._give_up_calls() + self._server_result(at, block)
        if self._ends == "text":  # the model went on, so no result comes right after. Source: A (opencode)
            return self._give_up_calls()
        return self._compaction(at, block)

    def _user(self, at: int, block: Block) -> list[Problem]:
        if _type(block) == "tool_result":
            key = _string(block, "tool_use_id")
            fault = self._calls.answer(key)
            return [self._problem(f"tool_result_{fault}", at=at, id=key, kind="tool_result")] if fault else []
        # Any other content closes the assistant turn. Source: messages-api.md 7.2, 15.6.
        return self._give_up_calls() + self._give_up_served() + self._compaction(at, block)

    def _client_use(self, at: int, block: Block) -> list[Problem]:
        found = self._input(at, block)
        key, name = _string(block, "id"), _string(block, "name")
        if not _ID.fullmatch(key):
            found.append(self._problem("tool_use_id", at=at))
        if len(name) > _NAME_LENGTH:
            found.append(self._problem("tool_use_name", at=at))
        if key in self._calls:
            found.append(self._problem("tool_use_duplicate", at=at))
        else:
            self._calls.add(_Use(key, name, "tool_result", self._turn, self._index))
        caller = block.get("caller")
        code = self._served.open.get(_string(caller, "tool_id")) if isinstance(caller, dict) else None
        if code:
            self._served.add(replace(code, from_code=True))
        return found

    def _server_use(self, at: int, block: Block) -> list[Problem]:
        key, name = _string(block, "id"), _string(block, "name")
        result = _RESULT_TYPES.get(name, f"{name}_tool_result")
        if self._ends == "mcp_tool_use":
            result = "mcp_tool_result"
        self._served.add(_Use(key, name, result, self._turn, self._index))
        return self._input(at, block)

    def _server_result(self, at: int, block: Block) -> list[Problem]:
        key = _string(block, "tool_use_id")
        fault = self._served.answer(key)
        if not fault:
            return []
        use = "mcp_tool_use" if self._ends == "mcp_tool_result" else "server_tool_use"
        return [self._problem(_FAULTS[fault], at=at, id=key, kind=self._ends, use=use)]

    def _input(self, at: int, block: Block) -> list[Problem]:
        fits = isinstance(block.get("input"), dict)
        return [] if fits else [self._problem("tool_use_input", at=at, kind=_type(block))]

    def _compaction(self, at: int, block: Block) -> list[Problem]:
        """A signed compaction replaces all that it summarizes; a threshold one, without signature, follows it."""
        if _type(block) != "compaction" or not block.get("signature") or self._index + at == 0:
            return []
        return [self._problem("compaction_misplaced", at=at)]

    def _misplaced(self, at: int, block: Block) -> list[Problem]:
        kind = _type(block)
        rule = _MISPLACED.get((self._role, "server result" if _is_server_result(kind) else kind))
        return [self._problem(rule, at=at, kind=kind, role=_OTHER_ROLE[self._role])] if rule else []

    def _texts(self, blocks: list[Block]) -> list[Problem]:
        """Empty text is refused anywhere, blank text where a message has nothing else (probe; LibreChat agents#124)."""
        found = [self._problem("text_empty", at=at) for at, block in enumerate(blocks) if _is_blank(block, strict=True)]
        if found or self._role == "system" or not blocks or not all(map(_is_blank, blocks)):
            return found
        return [self._problem("text_blank")]

    def _unanswered(self, uses: list[_Use]) -> list[Problem]:
        if not uses:
            return []
        ids = ", ".join(use.id for use in uses)
        return [self._problem("tool_result_missing", index=uses[0].index, turn=uses[0].turn, ids=ids)]

    def _give_up_calls(self) -> list[Problem]:
        return self._unanswered(self._calls.give_up())

    def _give_up_served(self) -> list[Problem]:
        return [self._unserved("server_result_missing", use) for use in self._served.give_up()]

    def _without_tool(self, server_tools: Collection[str]) -> list[Problem]:
        """Uses that wait for a tool that the request has no more."""
        waiting = [use for use in self._served.open.values() if use.result != "mcp_tool_result" and not use.from_code]
        names = [(use, use.name.removeprefix("bash_").removeprefix("text_editor_")) for use in waiting]
        return [self._unserved("server_tool_missing", use, tool) for use, tool in names if tool not in server_tools]

    def _unserved(self, rule: str, use: _Use, tool: str = "") -> Problem:
        return self._problem(rule, index=use.index, turn=use.turn, name=use.name, id=use.id, kind=use.result, tool=tool)

    def _problem(self, rule: str, *, at: int | None = None, path: str = "", **words: int | str) -> Problem:
        """The problem in the API's words; it is in the message being added unless `index` says otherwise."""
        here = {"index": self._index, "turn": self._turn, "block": self._offset + (at or 0), "at": at}
        place = f"messages.{words.get('index', self._index)}" + (f".content.{at}" if at is not None else "")
        return Problem(rule, path or place, TEXTS[rule].format(**{**here, **words}))


def check_history(
    messages: Iterable[Any], *, container: bool = True, server_tools: Collection[str] | None = None
) -> list[Problem]:
    """Every problem of a whole history, in the order in which its messages prove them.

    Args:
        messages: Messages in wire shape.
        container: Whether the request names a container.
        server_tools: The names of the tools of the request, those of server tools at least; None: not known.
    """
    check = Check()
    found: list[Problem] = []
    for message in messages:
        given = message if isinstance(message, dict) else {}
        found += check.add(given.get("role", ""), given.get("content", ""))
    return found + check.end(container=container, server_tools=server_tools)


def _blocks(content: Any) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block if isinstance(block, dict) else {} for block in content] if isinstance(content, list) else []


def _type(block: Block) -> str:
    return _string(block, "type")


def _string(block: Block, key: str) -> str:
    value = block.get(key)
    return value if isinstance(value, str) else ""


def _is_server_result(kind: str) -> bool:
    return kind.endswith("_tool_result")


def _is_blank(block: Block, *, strict: bool = False) -> bool:
    """Whether it is text without a visible character; `strict`: without any character."""
    text = block.get("text")
    return _type(block) == "text" and isinstance(text, str) and not (text if strict else text.strip())
