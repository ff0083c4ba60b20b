"""Files of one folder: list, find, search and read them, and change them where that is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from agentkit import RunContext, Tool, ToolError, tool
from agentkit_tools.file_changes import Changes
from agentkit_tools.file_search import SKIPPED, Grep, files_under
from agentkit_tools.file_text import MOST_BYTES, is_media, numbered, text_of
from agentkit_tools.rooted import Entry, Root, shown

__all__ = ["files"]

_MOST_ENTRIES = 500
_MOST_MATCHES = 200
_MOST_LINES = 2000
_GREP_SECONDS = 45

Start = Annotated[int, Field(ge=1)]


def files(root: str | os.PathLike[str], *, write: bool = False, untrusted: bool = False) -> list[Tool]:
    """Tools for the files of one folder; they reach no other, whatever path or link they are given.

    `list_files`, `glob_files`, `grep_files` and `read_file` are `read` and `private`: what is in your folder is yours,
    and it shall not leave unseen. With `write`, there are `write_file`, `edit_file`, `move_file`, `delete_file` and
    `undo_change` too, which are `write`. Git's own files, shell start files, `.env*` and others that run or hold
    secrets are never changed.

    Args:
        root: The folder.
        write: Whether the files may be changed.
        untrusted: Whether others can write in the folder: downloads, mail, a repository of somebody else. Then what is
            read is `untrusted` too, and a policy asks before it can have effects.

    Raises:
        ConfigurationError: The root is missing, is `/`, or holds the home folder.
    """
    place = Root(root)
    effect = {"read", "private", "untrusted"} if untrusted else {"read", "private"}
    reading = [_list_files(place, effect), _glob_files(place, effect), _grep_files(place, effect)]
    reading.append(_read_file(place, effect))
    return [*reading, *_changing(place)] if write else reading


def _list_files(root: Root, effect: set[str]) -> Tool:
    @tool(effect=effect, idempotent=True)
    def list_files(path: str = ".", start: Start = 1) -> str:
        """List what a folder holds: folders with / after the name, files with their size.

        Args:
            path: A folder, relative to the root, such as src/app; . is the root.
            start: The number of the first entry to show, where a list was too long.
        """
        lines = [_listed(entry) for entry in root.entries(path)]
        return _page(lines, start, _MOST_ENTRIES, "entries") if lines else f"{shown(path)} is empty."

    return list_files


def _glob_files(root: Root, effect: set[str]) -> Tool:
    skipped = ", ".join(sorted(SKIPPED))

    @tool(
        effect=effect,
        idempotent=True,
        description=f"Find files by their paths. It does not enter {skipped}, unless path is in one.",
    )
    def glob_files(pattern: str, path: str = ".", start: Start = 1) -> str:
        """Find files.

        Args:
            pattern: *.py for names in any folder; src/**/*.md for paths: ** is any number of folders.
            path: The folder to look in.
            start: The number of the first path to show, where there were too many.
        """
        lines = list(map(shown, files_under(root, path, pattern)))
        return _page(lines, start, _MOST_ENTRIES, "files") if lines else f"No file matches {pattern} in {shown(path)}."

    return glob_files


def _grep_files(root: Root, effect: set[str]) -> Tool:
    @tool(effect=effect, idempotent=True, timeout=2 * _GREP_SECONDS)
    def grep_files(
        ctx: RunContext,
        pattern: str,
        path: str = ".",
        glob: str = "*",
        ignore_case: bool = False,
        around: Annotated[int, Field(ge=0, le=20)] = 0,
        start: Start = 1,
    ) -> str:
        """Search the lines of text files with a regular expression. It skips the folders that glob_files skips.

        Of a line, the first 32,768 characters are searched.

        Args:
            pattern: A regular expression, without look-around and back-references; it matches within a line.
            path: A folder or a file to search.
            glob: Which files, as for glob_files.
            ignore_case: Whether capitals and small letters are the same.
            around: How many lines to show before and after each match.
            start: The number of the first match to show, where there were too many.
        """
        most = max(10, _MOST_MATCHES // (2 * around + 1))
        grep = Grep(root, pattern, ignore_case, around, start, most, _GREP_SECONDS)
        grep.run(files_under(root, path, glob), ctx.progress)
        return "\n".join([*grep.lines, *_about(grep)])

    return grep_files


def _read_file(root: Root, effect: set[str]) -> Tool:
    @tool(effect=effect, idempotent=True)
    def read_file(path: str, start: Start = 1, end: Start | None = None) -> Any:
        """Read a text file, each line after its number and a tab; or look at an image (PNG, JPEG, GIF, WebP) or a PDF.

        Args:
            path: The file, relative to the root, such as src/app/main.py.
            start: The first line to show.
            end: The last line to show; without it, as many as fit.
        """
        data = root.read(path, MOST_BYTES)
        if is_media(data):
            return data
        if not data:
            return f"{shown(path)} is empty."
        text = text_of(data, path)
        lines = text.removesuffix("\n").split("\n")
        if start > len(lines) or (end is not None and end < start):
            raise ToolError(
                f"{shown(path)} has {len(lines):,} lines: there are none from {start} to {end or 'its end'}."
            )
        wanted = [line.removesuffix("\r") for line in lines[start - 1 : end]]
        said, count = numbered(wanted, start, _MOST_LINES)
        rest = f"\n[{start + count - 1:,} of {len(lines):,} lines: go on with start={start + count}]"
        return said + rest if count < len(wanted) else said

    return read_file


def _changing(root: Root) -> list[Tool]:
    changes = Changes(root)

    @tool(effect="write", verify=changes.was_written)
    def write_file(path: str, content: str) -> str:
        """Write a text file: a new one, with the folders on its way, or in place of the one that is there.

        Args:
            path: The file, relative to the root.
            content: All that it shall hold.
        """
        return changes.write(path, content)

    @tool(effect="write")
    def edit_file(path: str, old: str, new: str) -> str:
        """Replace a text in a file. It must be there exactly once; to insert, replace a line by itself and more.

        Args:
            path: The file, relative to the root.
            old: The text to replace, as it stands in the file, without line numbers; it may have many lines.
            new: What comes in its place; empty to delete it.
        """
        return changes.edit(path, old, new)

    @tool(effect="write", verify=changes.was_moved)
    def move_file(path: str, destination: str) -> str:
        """Move or rename a file or folder.

        Args:
            path: What to move.
            destination: Its new path, relative to the root, its name included. Nothing may be there yet.
        """
        return changes.move(path, destination)

    @tool(effect="write", verify=changes.was_deleted)
    def delete_file(path: str) -> str:
        """Delete a file, or an empty folder.

        Args:
            path: What to delete.
        """
        return changes.delete(path)

    @tool(effect="write")
    def undo_change() -> str:
        """Take back the last change that these tools made; again, the one before it."""
        return changes.undo()

    return [write_file, edit_file, move_file, delete_file, undo_change]


def _listed(entry: Entry) -> str:
    name = shown(entry.path.rpartition("/")[2])
    match entry.kind:
        case "folder":
            return f"{name}/"
        case "file":
            return f"{name}  {entry.size:,} bytes"
    return f"{name}  ({entry.kind}: it can't be used)"


def _page(lines: list[str], start: int, most: int, what: str) -> str:
    page = lines[start - 1 : start - 1 + most]
    if not page:
        raise ToolError(f"There are {len(lines):,} {what}: none from {start} on.")
    end = start - 1 + len(page)
    more = [f"[{start:,} to {end:,} of {len(lines):,} {what}: go on with start={end + 1}]"] if end < len(lines) else []
    return "\n".join([*page, *more])


def _about(grep: Grep) -> Iterable[str]:
    """What the model must know of a search beside its lines."""
    if not grep.lines:
        yield f"{grep.found or 'No'} matches in {grep.searched:,} files" + (
            ", none from there on." if grep.found else "."
        )
    if grep.has_more:
        yield f"[There are more: go on with start={grep.first + grep.most}, or narrow the pattern, path or glob]"
    if grep.is_late:
        yield f"[Stopped after {grep.seconds} seconds and {grep.searched:,} files: narrow the path or glob]"
    if grep.too_large:
        yield f"[{grep.too_large:,} files over {MOST_BYTES:,} bytes were not searched]"
