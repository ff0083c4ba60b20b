"""Anthropic's memory tool, on the files of one folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import unquote

from agentkit import Tool, ToolError, tool
from agentkit_tools.file_text import MOST_BYTES, line_numbers, places, text_of
from agentkit_tools.rooted import Entry, Root
from agentkit_tools.text_editor import given

__all__ = ["memory"]

# Replies and the rules behind them. Source: messages-api.md section 20.3; anthropic 2.14,
# BetaLocalFilesystemMemoryTool.
_MOUNT = "/memories"
_MOST_LINES = 999_999
_AROUND = 2
_MODE = 0o600


def memory(root: str | os.PathLike[str], *, untrusted: bool = False) -> Tool[..., Any]:
    """The tool `memory` that Claude knows: view, create, str_replace, insert, delete, rename under `/memories`.

    With it in a request, the API tells the model to look into `/memories` before it begins. Its replies are those of
    the official SDK.

    Args:
        root: The folder that the model sees as `/memories`. One for each user: who writes there speaks to later runs.
        untrusted: Whether the runs that write there read what others wrote, so that what is kept may be theirs.

    Raises:
        ConfigurationError: The root is missing, is `/`, or holds the home folder.
    """
    kept = _Memory(Root(root))

    @tool(
        definition={"type": "memory_20250818", "name": "memory"},
        effect={"read", "private", "write"} | ({"untrusted"} if untrusted else set()),
    )
    def memory(
        command: Literal["view", "create", "str_replace", "insert", "delete", "rename"],
        path: str | None = None,
        view_range: list[int] | None = None,
        file_text: str | None = None,
        old_str: str | None = None,
        new_str: str | None = None,
        insert_line: int | None = None,
        insert_text: str | None = None,
        old_path: str | None = None,
        new_path: str | None = None,
    ) -> str:
        """Keep files for later."""
        with kept.lock:
            if command == "rename":
                return kept.rename(given("old_path", old_path, command), given("new_path", new_path, command))
            where = given("path", path, command)
            match command:
                case "view":
                    return kept.view(where, view_range)
                case "create":
                    return kept.create(where, given("file_text", file_text, command))
                case "str_replace":
                    return kept.replace(where, given("old_str", old_str, command), new_str or "")
                case "insert":
                    at = given("insert_line", insert_line, command)
                    return kept.insert(where, at, given("insert_text", insert_text, command))
                case "delete":
                    return kept.delete(where)

    return memory


class _Memory:
    def __init__(self, root: Root) -> None:
        self._root = root
        self.lock = threading.Lock()

    def view(self, path: str, view_range: list[int] | None) -> str:
        inner = _inside(path)
        entry = self._root.entry(inner)
        if entry is None:
            raise ToolError(f"The path {path} does not exist. Please provide a valid path.")
        if entry.kind == "folder":
            lines = [f"{_size(entry.size)}\t{path}", *self._tree(inner, path)]
            header = f"Here're the files and directories up to 2 levels deep in {path}, excluding hidden items:"
            return "\n".join([header, *lines])
        if entry.kind != "file":
            raise ToolError(f"Unsupported file type for {path}")
        lines = self._text(path).split("\n")
        if len(lines) > _MOST_LINES:
            raise ToolError(f"File {path} exceeds maximum line limit of 999,999 lines.")
        first = 1
        if view_range and len(view_range) == 2:
            first, last = max(1, view_range[0]), view_range[1]
            lines = lines[first - 1 : None if last == -1 else last]
        return f"Here's the content of {path} with line numbers:\n{line_numbers(lines, first)}"

    def create(self, path: str, text: str) -> str:
        inner = _inside(path)
        if self._root.entry(inner) is not None:
            raise ToolError(f"File {path} already exists")
        self._root.write(inner, text.encode(errors="replace"), _MODE)
        return f"File created successfully at: {path}"

    def replace(self, path: str, old: str, new: str) -> str:
        text = self._text(path)
        if old not in text:
            raise ToolError(f"No replacement was performed, old_str `{old}` did not appear verbatim in {path}.")
        if text.count(old) > 1:
            lines = ", ".join(map(str, places(text, old)))
            raise ToolError(
                f"No replacement was performed. Multiple occurrences of old_str `{old}` in lines: {lines}. "
                "Please ensure it is unique"
            )
        changed = text.replace(old, new)
        self._root.write(_inside(path), changed.encode(errors="replace"))
        at = text[: text.index(old)].count("\n")
        first = max(0, at - _AROUND)
        snippet = line_numbers(changed.split("\n")[first : at + _AROUND + 1], first + 1)
        return (
            f"The memory file has been edited. Here is the snippet showing the change (with line numbers):\n{snippet}"
        )

    def insert(self, path: str, at: int, text: str) -> str:
        lines = self._text(path).split("\n")
        if not lines[-1]:
            lines.pop()
        if not 0 <= at <= len(lines):
            raise ToolError(f"Invalid `insert_line` parameter: {at}. It should be within the range [0, {len(lines)}].")
        lines.insert(at, text.rstrip("\n"))
        changed = "\n".join(lines)
        changed = changed if changed.endswith("\n") else f"{changed}\n"
        self._root.write(_inside(path), changed.encode(errors="replace"))
        return f"The file {path} has been edited."

    def delete(self, path: str) -> str:
        if not (inner := _inside(path)):
            raise ToolError("Cannot delete the /memories directory itself")
        if self._root.entry(inner) is None:
            raise ToolError(f"The path {path} does not exist")
        self._root.delete(inner, whole=True)
        return f"Successfully deleted {path}"

    def rename(self, old: str, new: str) -> str:
        source, target = _inside(old), _inside(new)
        if not source:
            raise ToolError("Cannot rename the /memories directory itself")
        if self._root.entry(target) is not None:
            raise ToolError(f"The destination {new} already exists")
        if self._root.entry(source) is None:
            raise ToolError(f"The path {old} does not exist")
        self._root.move(source, target)
        return f"Successfully renamed {old} to {new}"

    def _text(self, path: str) -> str:
        entry = self._root.entry(_inside(path))
        if entry is None:
            raise ToolError(f"The path {path} does not exist. Please provide a valid path.")
        if entry.kind != "file":
            raise ToolError(f"The path {path} is not a file.")
        return text_of(self._root.read(_inside(path), MOST_BYTES), path)

    def _tree(self, inner: str, path: str, depth: int = 1) -> Iterator[str]:
        for entry in self._visible(inner):
            name = entry.path.rpartition("/")[2]
            if entry.kind == "folder":
                yield f"{_size(entry.size)}\t{path}/{name}/"
                if depth < 2:
                    yield from self._tree(entry.path, f"{path}/{name}", depth + 1)
            else:
                yield f"{_size(entry.size)}\t{path}/{name}"

    def _visible(self, inner: str) -> Iterator[Entry]:
        for entry in self._root.entries(inner):
            hidden = entry.path.rpartition("/")[2].startswith(".")
            if entry.kind in ("file", "folder") and not hidden:
                yield entry


def _inside(path: str) -> str:
    """The path from the root; empty for `/memories` itself."""
    if path != _MOUNT and not path.startswith(f"{_MOUNT}/"):
        raise ToolError(f"Path must start with /memories, got: {path}")
    inner = path.removeprefix(_MOUNT).strip("/")
    if ".." in unquote(inner).replace("\\", "/").split("/"):
        raise ToolError(f"Path {path} would escape /memories directory")
    return inner


def _size(count: int) -> str:
    """1536 → 1.5K."""
    power = min(max(0, count.bit_length() - 1) // 10, 3)
    size = count / 1024**power
    return f"{int(size)}{'BKMG'[power]}" if size == int(size) else f"{size:.1f}{'BKMG'[power]}"
