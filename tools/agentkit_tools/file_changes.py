"""Changes of files that can be taken back."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentkit import NotDone, RunContext, ToolError
from agentkit_tools.file_text import MOST_BYTES, replaced, text_of
from agentkit_tools.rooted import Entry, Root, shown

__all__ = ["Changes"]

_MOST_KEPT = 64 * 1024 * 1024
_MOST_CHANGES = 100


@dataclass(frozen=True)
class _Change:
    """What was done, how to take it back, and the bytes that are kept for that."""

    said: str
    undo: Callable[[], None]
    kept: int


class Changes:
    """Changes under a root, one at a time, each kept until it is taken back: the last 100, and 64 MiB in all.

    Args:
        root: Where they are made.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._done: deque[_Change] = deque()
        self._lock = threading.Lock()

    def write(self, path: str, content: str) -> str:
        """Makes a file hold `content`."""
        data = _encoded(content)
        with self._lock:
            was_there = self._replace(path, data)
        return f"{'Replaced' if was_there else 'Wrote'} {shown(path)}: {len(data):,} bytes."

    def edit(self, path: str, old: str, new: str) -> str:
        """Replaces a text that is in the file exactly once."""
        with self._lock:
            text = text_of(self._root.read(path, MOST_BYTES), path)
            changed, line = replaced(text, old, new, path)
            if changed == text:
                raise ToolError("The old and the new text are the same.")
            self._replace(path, _encoded(changed))
        return f"Edited {shown(path)}: line {line}."

    def move(self, path: str, destination: str) -> str:
        """Gives a file or folder another path."""
        said = f"Moved {shown(path)} to {shown(destination)}."
        with self._lock:
            self._root.move(path, destination)
            self._keep(said, lambda: self._root.move(destination, path))
        return said

    def delete(self, path: str) -> str:
        """Deletes a file, or a folder that is empty."""
        with self._lock:
            entry = self._root.entry(path)
            if entry is not None and entry.kind == "folder":
                return self._delete_folder(path)
            before = self._content(path, entry)
            self._root.delete(path)
            said = f"Deleted {shown(path)}."
            if entry is None or before is None:
                self._done.clear()
                return f"{said} It is too large to be kept: this can't be taken back."
            mode = entry.mode
            self._keep(said, lambda: self._restore_deleted(path, before, mode), len(before))
        return said

    def undo(self) -> str:
        """Takes the last change back that was not taken back yet."""
        with self._lock:
            if not self._done:
                raise ToolError("There is no change left that could be taken back.")
            change = self._done.pop()
            change.undo()
        return f"Taken back: {change.said}"

    # What became of a call whose process died: `Tool.verify`.

    def was_written(self, ctx: RunContext, arguments: dict[str, Any]) -> str:
        """Whether the file holds what `write` would have written."""
        path, data = arguments["path"], _encoded(arguments["content"])
        if self._content(path, self._root.entry(path)) != data:
            raise NotDone
        return f"Wrote {shown(path)}: {len(data):,} bytes."

    def was_moved(self, ctx: RunContext, arguments: dict[str, Any]) -> str:
        """Whether only the destination is there."""
        path, destination = arguments["path"], arguments["destination"]
        if self._root.entry(path) is not None:
            raise NotDone
        if self._root.entry(destination) is None:
            raise ToolError(f"There is neither {shown(path)} nor {shown(destination)}.")
        return f"Moved {shown(path)} to {shown(destination)}."

    def was_deleted(self, ctx: RunContext, arguments: dict[str, Any]) -> str:
        """Whether it is gone."""
        if self._root.entry(arguments["path"]) is not None:
            raise NotDone
        return f"Deleted {shown(arguments['path'])}."

    def _replace(self, path: str, data: bytes) -> bool:
        entry = self._root.entry(path)
        before = self._content(path, entry)
        self._root.write(path, data)
        said = f"{'Wrote' if entry is None else 'Changed'} {shown(path)}."
        if entry is not None and before is None:  # what came before it could only be taken back after it
            self._done.clear()
        else:
            after = hashlib.sha256(data).digest()
            self._keep(said, lambda: self._restore(path, before, after), len(before or b""))
        return entry is not None

    def _content(self, path: str, entry: Entry | None) -> bytes | None:
        """What the file holds, None if there is none or it is too large to be kept."""
        if entry is None or entry.kind != "file" or entry.size > MOST_BYTES:
            return None
        return self._root.read(path, MOST_BYTES)

    def _delete_folder(self, path: str) -> str:
        if found := len(self._root.entries(path)):
            raise ToolError(f"{shown(path)} is a folder with {found:,} entries: delete those first.")
        self._root.delete(path)
        said = f"Deleted the folder {shown(path)}."
        self._keep(said, lambda: self._root.make_folder(path))
        return said

    def _restore(self, path: str, before: bytes | None, after: bytes) -> None:
        now = self._content(path, self._root.entry(path))
        if now is None or hashlib.sha256(now).digest() != after:
            raise ToolError(f"{shown(path)} was changed by somebody else since: it is left as it is.")
        if before is None:
            self._root.delete(path)
        else:
            self._root.write(path, before)

    def _restore_deleted(self, path: str, before: bytes, mode: int) -> None:
        if self._root.entry(path) is not None:
            raise ToolError(f"There is another {shown(path)} now: it is left as it is.")
        self._root.write(path, before, mode & 0o777)

    def _keep(self, said: str, undo: Callable[[], None], kept: int = 0) -> None:
        self._done.append(_Change(said, undo, kept))
        while len(self._done) > _MOST_CHANGES or sum(change.kept for change in self._done) > _MOST_KEPT:
            self._done.popleft()


def _encoded(content: str) -> bytes:
    try:
        data = content.encode()
    except UnicodeEncodeError:
        raise ToolError("The content has half a character (a lone surrogate): leave it out.") from None
    if len(data) > MOST_BYTES:
        raise ToolError(f"The content has {len(data):,} bytes; at most {MOST_BYTES:,} can be written.")
    return data
