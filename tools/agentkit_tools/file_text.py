"""Text in files: decoded or refused, shown with line numbers, replaced where it is unique."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from agentkit import ToolError
from agentkit_tools.rooted import shown

__all__ = [
    "MOST_BYTES",
    "cut",
    "in_lines_of",
    "is_binary",
    "is_media",
    "line_numbers",
    "numbered",
    "places",
    "replaced",
    "text_of",
]

MOST_BYTES = 32 * 1024 * 1024
"""How large a file may be that is read whole."""

# What the core makes image and document blocks of. Source: messages-api.md section 5.1.
_MEDIA = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"%PDF-")
_MOST_CHARACTERS = 100_000
_LONGEST_LINE = 4000


def is_media(data: bytes) -> bool:
    """Whether it is an image or a PDF that the model can look at."""
    return data.startswith(_MEDIA) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")


def is_binary(data: bytes) -> bool:
    """Whether it has a NUL near its beginning, as git looks for it."""
    return b"\0" in data[:8192]


def text_of(data: bytes, path: str) -> str:
    """The text of a file.

    Raises:
        ToolError: It is none in UTF-8.
    """
    try:
        if not is_binary(data):
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise ToolError(
        f"{shown(path)} is binary, or not in UTF-8 ({len(data):,} bytes, the first are {data[:8].hex(' ')}): "
        "it can't be used as text."
    )


def numbered(lines: Iterable[str], start: int, most: int) -> tuple[str, int]:
    """Lines as they are shown, each after its number and a tab, and how many there are: what is long is cut.

    Args:
        lines: Without their ends.
        start: The number of the first.
        most: How many lines at most; fewer if they are long.
    """
    kept: list[str] = []
    room = _MOST_CHARACTERS
    for number, line in enumerate(islice(lines, most), start):
        shown_line = f"{number:>6}\t{cut(line, _LONGEST_LINE)}"
        room -= len(shown_line)
        if room < 0 and kept:
            break
        kept.append(shown_line)
    return "\n".join(kept), len(kept)


def line_numbers(lines: Iterable[str], start: int) -> str:
    """Lines as `cat -n` shows them, uncut: what Anthropic's own tools reply."""
    return "\n".join(f"{number:>6}\t{line}" for number, line in enumerate(lines, start))


def cut(line: str, most: int) -> str:
    """A line with at most `most` characters, and how many more it had."""
    return line if len(line) <= most else f"{line[:most]} [… {len(line) - most:,} more characters]"


def places(text: str, old: str) -> list[int]:
    """The numbers of the lines where `old` begins in `text`, overlapping ones too."""
    found, at = [], text.find(old)
    while at >= 0:
        found.append(text.count("\n", 0, at) + 1)
        at = text.find(old, at + 1)
    return found


def in_lines_of(text: str, given: str) -> str:
    """`given` with CR LF at the ends of its lines if `text` has them: what is shown of a file is without CR."""
    return given.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else given


def replaced(text: str, old: str, new: str, path: str) -> tuple[str, int]:
    """`text` with `new` in place of `old`, and the number of the line where it begins.

    Where the lines of `text` end with CR LF, those of `old` and `new` may end with LF.

    Raises:
        ToolError: `old` is not there, or more than once.
    """
    if not old:
        raise ToolError("The old text is empty: give the text that is to be replaced, as it stands in the file.")
    if old not in text:
        old, new = in_lines_of(text, old), in_lines_of(text, new)
    match places(text, old):
        case [line]:
            return text.replace(old, new), line
        case []:
            raise ToolError(
                f"The old text is not in {shown(path)}. It must be as it stands there, with its spaces, and without "
                "line numbers: read the file again."
            )
        case [*lines]:
            listed = ", ".join(map(str, lines[:20]))
            raise ToolError(
                f"The old text is in {shown(path)} {len(lines)} times, in lines {listed}: give more of the text "
                "around the one that you mean."
            )
    raise AssertionError
