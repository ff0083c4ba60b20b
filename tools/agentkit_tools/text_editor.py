"""Anthropic's text editor tool, on the files of one folder."""

from __future__ import annotations

import os
import threading
from typing import Any, Literal

from agentkit import Tool, ToolError, tool
from agentkit_tools.file_text import MOST_BYTES, in_lines_of, is_media, line_numbers, places, text_of
from agentkit_tools.rooted import Root

__all__ = ["given", "text_editor"]

# Replies and the rules behind them. Source: messages-api.md section 9; EditTool20250429 in the computer use demo of
# anthropics/anthropic-quickstarts, which also replaces every tab of the file by spaces: tabs stay here.
_CLIPPED = (
    "<response clipped><NOTE>To save on context only part of this file has been shown to you. You should retry this "
    "tool after you have searched inside the file with `grep -n` in order to find the line numbers of what you are "
    "looking for.</NOTE>"
)
_AROUND = 4


def text_editor(
    root: str | os.PathLike[str], *, max_characters: int | None = None, untrusted: bool = False
) -> Tool[..., Any]:
    """The tool `str_replace_based_edit_tool` that Claude knows: view, create, str_replace, insert.

    It reaches the files of one folder as `files` does, by relative paths, or by absolute ones that lead into it, and
    changes none of those that are protected. Its replies are those of Anthropic's own implementation.

    Args:
        root: The folder.
        max_characters: How much of a file one view shows; None is all of it.
        untrusted: Whether others can write in the folder.

    Raises:
        ConfigurationError: The root is missing, is `/`, or holds the home folder.
    """
    editor = _Editor(Root(root), max_characters)
    definition: dict[str, Any] = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
    if max_characters is not None:
        definition["max_characters"] = max_characters

    @tool(definition=definition, effect={"read", "private", "write"} | ({"untrusted"} if untrusted else set()))
    def edit(
        command: Literal["view", "create", "str_replace", "insert"],
        path: str,
        file_text: str | None = None,
        view_range: list[int] | None = None,
        old_str: str | None = None,
        new_str: str | None = None,
        insert_line: int | None = None,
        insert_text: str | None = None,
    ) -> Any:
        """View and change text files."""
        match command:
            case "view":
                return editor.view(path, view_range)
            case "create":
                return editor.create(path, given("file_text", file_text, command))
            case "str_replace":
                return editor.replace(path, given("old_str", old_str, command), new_str or "")
            case "insert":
                text = new_str if insert_text is None else insert_text  # as it was called before 2025-07-28
                at = given("insert_line", insert_line, command)
                return editor.insert(path, at, given("insert_text", text, command))

    return edit


def given(name: str, value: Any, command: str) -> Any:
    """An argument that `command` can't do without."""
    if value is None:
        raise ToolError(f"Parameter `{name}` is required for command: {command}")
    return value


class _Editor:
    def __init__(self, root: Root, max_characters: int | None) -> None:
        self._root = root
        self._most = max_characters
        self._lock = threading.Lock()

    def view(self, path: str, view_range: list[int] | None) -> Any:
        inner = self._inside(path)
        if self._kind(inner, path) == "folder":
            if view_range:
                raise ToolError("The `view_range` parameter is not allowed when `path` points to a directory.")
            found = "\n".join(self._tree(inner, path))
            return f"Here's the files and directories up to 2 levels deep in {path}, excluding hidden items:\n{found}\n"
        data = self._root.read(inner, MOST_BYTES)
        if is_media(data):
            return data
        lines = text_of(data, path).split("\n")
        first, last = _checked_range(view_range, len(lines)) if view_range else (1, len(lines))
        text = "\n".join(lines[first - 1 : last])
        if self._most is not None and len(text) > self._most:
            text = text[: self._most] + _CLIPPED
        return _numbered(text.split("\n"), first, path)

    def create(self, path: str, text: str) -> str:
        inner = self._inside(path)
        with self._lock:
            if self._root.entry(inner) is not None:
                raise ToolError(f"File already exists at: {path}. Cannot overwrite files using command `create`.")
            self._root.write(inner, text.encode(errors="replace"))
        return f"File created successfully at: {path}"

    def replace(self, path: str, old: str, new: str) -> str:
        with self._lock:
            text = self._text(path)
            if old not in text:
                old, new = in_lines_of(text, old), in_lines_of(text, new)
            if old not in text:
                raise ToolError(f"No replacement was performed, old_str `{old}` did not appear verbatim in {path}.")
            if text.count(old) > 1:
                raise ToolError(
                    f"No replacement was performed. Multiple occurrences of old_str `{old}` in lines "
                    f"{places(text, old)}. Please ensure it is unique"
                )
            changed = text.replace(old, new)
            self._root.write(self._inside(path), changed.encode(errors="replace"))
        at = text[: text.index(old)].count("\n")
        first = max(0, at - _AROUND)
        snippet = changed.split("\n")[first : at + _AROUND + new.count("\n") + 1]
        return (
            f"The file {path} has been edited. {_numbered(snippet, first + 1, f'a snippet of {path}')}Review the "
            "changes and make sure they are as expected. Edit the file again if necessary."
        )

    def insert(self, path: str, at: int, text: str) -> str:
        with self._lock:
            before = self._text(path)
            lines = before.split("\n")
            if not 0 <= at <= len(lines):
                raise ToolError(
                    f"Invalid `insert_line` parameter: {at}. It should be within the range of lines of the file: "
                    f"{[0, len(lines)]}"
                )
            block = text if text.endswith("\n") else f"{text}\n"
            new = in_lines_of(before, block).split("\n")[:-1]
            changed = [*lines[:at], *new, *lines[at:]]
            self._root.write(self._inside(path), "\n".join(changed).encode(errors="replace"))
        first = max(0, at - _AROUND)
        snippet = changed[first : at + len(new) + _AROUND]
        return (
            f"The file {path} has been edited. {_numbered(snippet, first + 1, 'a snippet of the edited file')}Review "
            "the changes and make sure they are as expected (correct indentation, no duplicate lines, etc). Edit the "
            "file again if necessary."
        )

    def _inside(self, path: str) -> str:
        """The path from the root: models like to give absolute ones."""
        root = str(self._root.path)
        return path[len(root) :].lstrip("/") if path == root or path.startswith(f"{root}/") else path

    def _kind(self, inner: str, path: str) -> str:
        entry = self._root.entry(inner)
        if entry is None:
            raise ToolError(f"The path {path} does not exist. Please provide a valid path.")
        return entry.kind

    def _text(self, path: str) -> str:
        inner = self._inside(path)
        if self._kind(inner, path) == "folder":
            raise ToolError(f"The path {path} is a directory and only the `view` command can be used on directories")
        return text_of(self._root.read(inner, MOST_BYTES), path)

    def _tree(self, inner: str, path: str) -> list[str]:
        found = [path]
        base = path.rstrip("/")
        for entry in self._root.entries(inner):
            name = entry.path.rpartition("/")[2]
            if not name.startswith("."):
                found.append(f"{base}/{name}")
                below = self._root.entries(entry.path) if entry.kind == "folder" else []
                names = (it.path.rpartition("/")[2] for it in below)
                found += [f"{base}/{name}/{it}" for it in names if not it.startswith(".")]
        return found


def _checked_range(view_range: list[int], count: int) -> tuple[int, int]:
    if len(view_range) != 2:
        raise ToolError("Invalid `view_range`. It should be a list of two integers.")
    first, last = view_range
    wrong = f"Invalid `view_range`: {view_range}."
    if not 1 <= first <= count:
        raise ToolError(
            f"{wrong} Its first element `{first}` should be within the range of lines of the file: {[1, count]}"
        )
    if last > count:
        raise ToolError(
            f"{wrong} Its second element `{last}` should be smaller than the number of lines in the file: `{count}`"
        )
    if last != -1 and last < first:
        raise ToolError(f"{wrong} Its second element `{last}` should be larger or equal than its first `{first}`")
    return first, count if last == -1 else last


def _numbered(lines: list[str], first: int, of: str) -> str:
    shown = line_numbers((line.removesuffix("\r") for line in lines), first)
    return f"Here's the result of running `cat -n` on {of}:\n{shown}\n"
