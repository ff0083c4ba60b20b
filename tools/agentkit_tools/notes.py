"""Notes that outlive a run, in one file that the host chooses."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agentkit import Tool, ToolError, tool

__all__ = ["notes"]

_MOST_BYTES = 16 * 1024 * 1024


def notes(path: str | os.PathLike[str], *, untrusted: bool = False) -> list[Tool]:
    """Two tools on one file: `add_note` and `read_notes`. They reach no other file.

    The file has one JSON object a line, `{"title": …, "text": …}`, and is made with the first note. Each note is
    appended by one write and brought to the disk; what a crash left of a line is skipped.

    Args:
        path: The file; its folder must exist.
        untrusted: Whether the runs that write there read what others wrote, so that a note may be theirs.
    """
    file = Path(path)
    lock = threading.Lock()

    @tool(effect="write")
    def add_note(
        title: Annotated[str, Field(min_length=1, max_length=200)],
        text: Annotated[str, Field(max_length=65536)],
    ) -> str:
        """Keep a note for later: a fact found, a decision, something left to do.

        Args:
            title: A few words to find it by.
            text: The note itself, as Markdown.
        """
        title = " ".join(title.split())
        with lock:
            _append(file, {"title": title, "text": text})
        return f"Noted: {title}"

    @tool(effect={"read", "private"} | ({"untrusted"} if untrusted else set()))
    def read_notes(query: str = "") -> str:
        """Read the notes that were kept, the oldest first.

        Args:
            query: Words that a note must have, all of them, in its title or text; empty for every note.
        """
        with lock:
            kept = _read(file)
        words = query.casefold().split()
        found = [note for note in kept if all(word in f"{note['title']}\n{note['text']}".casefold() for word in words)]
        if not found:
            return f"There are {len(kept)} notes, none with all of: {query}" if kept else "There are no notes yet."
        return "\n\n".join(f"## {note['title']}\n\n{note['text']}".rstrip() for note in found)

    return [add_note, read_notes]


def _append(file: Path, note: dict[str, str]) -> None:
    line = f"{json.dumps(note)}\n".encode()
    try:
        with file.open("ab+", buffering=0) as opened:
            size = opened.seek(0, os.SEEK_END)
            if size + len(line) > _MOST_BYTES:
                raise ToolError("The notes are full: no more can be kept.")
            if size:
                opened.seek(-1, os.SEEK_END)
                # A crash may have left half a line.
                line = line if opened.read(1) == b"\n" else b"\n" + line
            if opened.write(line) != len(line):
                raise ToolError("The disk is full: the note was not kept.")
            os.fsync(opened.fileno())
    except OSError as error:
        raise ToolError(f"The notes can't be written: {error.strerror}.") from error


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ToolError(f"The notes can't be read: {error.strerror}.") from error
    return [note for line in lines if (note := _parsed(line)) is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        note = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(note, dict) and isinstance(note.get("title"), str) and isinstance(note.get("text"), str)
    return note if whole else None
