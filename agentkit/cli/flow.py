"""Text that streams onto a screen: words wrap, and the number of a source stays beside what it proves."""

from __future__ import annotations

import re
from collections.abc import Callable

from agentkit.terminal import safe

__all__ = ["Flow"]

_PIECES = re.compile(r"[ \t\n]+|[^ \t\n]+")
_LONG = 30  # what is longer is no word (or of a script without spaces), so it does not wait for its end


class Flow:
    """Writes pieces of text as they come, each word once it is complete.

    Args:
        write: Takes safe text.
        width: Columns of the screen; None does not wrap.
    """

    def __init__(self, write: Callable[[str], None], width: int | None) -> None:
        self._write = write
        self._width = width
        self._gap = ""
        self._word = ""
        self._column = 0
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether something was written since the last `end`."""
        return self._begun

    def feed(self, text: str) -> None:
        """Takes the next piece of text."""
        for piece in _PIECES.findall(text):
            if piece.isspace():
                self._flush()
                self._gap += piece
            else:
                self._word += piece
                if len(self._word) > _LONG:
                    self._flush()

    def mark(self, number: int) -> None:
        """Puts the number of a source after the last word, in front of the white space that follows it."""
        self._flush()
        gap, self._gap = self._gap, ""
        self._put(" ", f"[{number}]")
        self._gap = gap

    def end(self) -> None:
        """Writes what is left, and goes to a new line."""
        self._flush()
        if self._begun:
            self._write("\n")
        self._gap, self._column, self._begun = "", 0, False

    def _flush(self) -> None:
        if self._word:
            word, gap = safe(self._word), self._gap
            self._word = self._gap = ""
            self._put(gap, word)

    def _put(self, gap: str, word: str) -> None:
        from rich.cells import cell_len

        size = cell_len(word)
        if not self._begun:
            gap = gap.rpartition("\n")[2]
        if "\n" in gap:
            gap = "\n" * min(gap.count("\n"), 2) + gap.rpartition("\n")[2]
            self._column = 0
        elif self._width and gap and self._column + len(gap) + size > self._width:
            gap, self._column = "\n", 0
        self._column += len(gap.replace("\n", "")) + size
        if self._width and self._column > self._width:  # what is too long for a line, the terminal breaks
            self._column %= self._width
        self._begun = True
        self._write(safe(gap) + word)
