"""Text without secrets: the values that are live, and what takes them out of all that is shown or kept."""

from __future__ import annotations

import base64
import logging
import re
import threading
from functools import cached_property
from itertools import groupby
from weakref import WeakValueDictionary

__all__ = ["REDACTED", "Hidden", "can_hide", "hide", "logger_of", "redacted", "without_begun"]

REDACTED = "[redacted]"
"""What stands where a secret was."""

_SHORTEST = 8
_WORD = re.compile(r"[a-z]{,15}|[A-Z]{,15}|[A-Z][a-z]{,14}")
_AS_IS = re.compile(r"[A-Za-z0-9._~-]+")  # what neither JSON nor a URL writes in another way


class Hidden:
    """One value that is redacted while this lives.

    Args:
        value: The secret.
    """

    def __init__(self, value: str) -> None:
        self.value = value

    def is_in(self, text: str) -> bool:
        """Whether some spelling of the value is in a text."""
        if any(form in text for form in self._forms):
            return True
        return bool(self._pattern and ("\\" in text or "%" in text) and self._pattern.search(text))

    def out_of(self, text: str) -> str:
        """The text without the value, in whatever spelling."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def begun_in(self, text: str) -> int:
        """Where the end of a text begins that may be the beginning of the value; its length where none is."""
        at = max(len(text) - len(self.value), 0)
        while (at := text.find(self.value[0], at)) >= 0:
            if self.value.startswith(text[at:]):
                return at
            at += 1
        return len(text)

    @cached_property
    def _spellings(self) -> list[str]:
        """The value with each sort of line ends."""
        lines = self.value.replace("\r\n", "\n")
        return list(dict.fromkeys([lines, lines.replace("\n", "\r\n"), self.value]))

    @cached_property
    def _forms(self) -> list[str]:
        """Those that are written as they are: to look for each costs less than one regular expression for all."""
        forms = {form for value in self._spellings for form in (value, value.replace(" ", "+"))}
        for value in self._spellings:
            data = value.encode("utf-8", "surrogatepass")
            forms |= {data.hex(), data.hex().upper()}
            forms |= {form for it in _base64_forms(data) for form in (it, it.translate(_URL_SAFE))}
        return sorted(forms, key=len, reverse=True)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        """Those that escapes can make of it; None where nothing of it is ever escaped."""
        texts = [self._spellings[0]]
        for value in self._spellings:
            texts += _base64_forms(value.encode("utf-8", "surrogatepass"))
        escaped = [_escaped(text) for text in texts if not _AS_IS.fullmatch(text)]
        return re.compile("|".join(escaped)) if escaped else None


_URL_SAFE = str.maketrans("+/", "-_")
_NAMES = {
    " ": [r"\+"],
    **{char: [rf"\\{{1,8}}{name}"] for char, name in zip("\b\f\r\t", "bfrt", strict=True)},
    "\n": [r"(?:\\{1,8}r)?\\{1,8}n", "%(?:25)*0(?i:d)%(?:25)*0(?i:a)"],
}
_live: WeakValueDictionary[str, Hidden] = WeakValueDictionary()
_adding = threading.RLock()


def can_hide(value: str) -> bool:
    """Whether a value can be taken out of text without taking ordinary words with it.

    It has 8 characters or more, 4 different ones, and is no single word of fewer than 16 letters.
    """
    value = value.strip()
    return len(value) >= _SHORTEST and len(set(value)) >= 4 and not _WORD.fullmatch(value)


def hide(value: str) -> Hidden | None:
    """Redacts a value, from now on and while what this gives is kept; None for one that `can_hide` refuses."""
    if not can_hide(value):
        return None
    value = value.strip()
    with _adding:
        hidden = _live.get(value)
        if hidden is None:
            hidden = _live[value] = Hidden(value)
        return hidden


def redacted(text: str) -> str:
    """The text with `[redacted]` in the place of every live secret.

    Found are the value as it is, in JSON and in URLs (escaped once or several times), in base64 at any place of what
    was encoded, and in hexadecimal. It takes time in proportion to the text, and to the number of live secrets.
    """
    if not _live:
        return text
    found = [hidden for hidden in _all_live() if hidden.is_in(text)]
    for hidden in sorted(found, key=lambda hidden: len(hidden.value), reverse=True):  # one may be a part of another
        text = hidden.out_of(text)
    return text


def without_begun(text: str) -> tuple[str, str]:
    """Redacted text of a stream, and its end where that may begin a secret: to be put before the next piece."""
    text = redacted(text)
    begun = min((hidden.begun_in(text) for hidden in _all_live()), default=len(text))
    return text[:begun], text[begun:]


def _all_live() -> list[Hidden]:
    return [hidden for ref in _live.valuerefs() if (hidden := ref())]


def logger_of(name: str) -> logging.Logger:
    """A logger whose records hold no secrets: neither message nor traceback, whatever handles them."""
    logger = logging.getLogger(name)
    logger.addFilter(_redact_record)  # the same one twice is added once
    return logger


def _redact_record(record: logging.LogRecord) -> bool:
    if not _live:
        return True
    message = record.getMessage()
    if (shown := redacted(message)) != message:
        record.msg, record.args = shown, ()
    if record.exc_info and record.exc_info[1]:
        error = _shown(record.exc_info[1])  # first each text: the traceback of a group indents the lines of a secret
        about = (type(error), error, error.__traceback__)
        trace, shown = map(logging.Formatter().formatException, (record.exc_info, about))
        if (shown := redacted(shown)) != trace:
            record.exc_text, record.exc_info = shown, about
    return True


def _shown(error: BaseException, depth: int = 20) -> BaseException:
    """What may be shown of an exception, for handlers that look at it: its name, place, text and causes."""
    kind = type(error)
    like = type(kind.__name__, (Exception,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
    shown: BaseException = like(redacted(str(error)))
    if depth and isinstance(error, BaseExceptionGroup):
        shown = BaseExceptionGroup(redacted(error.message), [_shown(each, depth - 1) for each in error.exceptions])
    for note in getattr(error, "__notes__", ()):
        shown.add_note(redacted(str(note)))
    if depth:
        shown.__cause__ = error.__cause__ and _shown(error.__cause__, depth - 1)
        if not error.__suppress_context__:  # else it is mostly the cause again
            shown.__context__ = error.__context__ and _shown(error.__context__, depth - 1)
    shown.__suppress_context__ = error.__suppress_context__
    return shown.with_traceback(error.__traceback__)


def _base64_forms(data: bytes) -> list[str]:
    """What base64 makes of the data, wherever in it they begin: the letters that stand for them alone."""
    forms = []
    for before, cut in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(before) + data).decode()
        forms.append(encoded[cut : (before + len(data)) * 8 // 6])
    return forms


def _escaped(text: str) -> str:
    """A regular expression for a text, each letter of which may be escaped."""
    parts = []
    for char, run in groupby(text):
        size = len(list(run))
        if _AS_IS.fullmatch(char):
            parts.append(re.escape(char) * size)
        elif char == "\\":  # as one part, so that no two can share the backslashes between them
            parts.append(rf"(?:\\{{{size},{8 * size}}}|(?:{_in_other_words(char)}){{{size}}})")
        else:
            raw = rf"\r?{char}" if char == "\n" else re.escape(char)
            parts.append(rf"(?:{raw}|\\{{1,8}}{raw}|{_in_other_words(char)}){{{size}}}")
    return "".join(parts)


def _in_other_words(char: str) -> str:
    r"""Its escapes: `\u0022`, `\x22`, `\n`, `%22` (also `%2522`), and a blank as `+`."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    words = ["".join(rf"\\{{1,8}}u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4))]
    words.append(rf"\\{{1,8}}U(?i:{ord(char):08x})")
    if ord(char) < 256:
        words.append(rf"\\{{1,8}}x(?i:{ord(char):02x})")
    data = char.encode("utf-8", "surrogatepass").hex()
    words.append("".join(f"%(?:25)*(?i:{data[at : at + 2]})" for at in range(0, len(data), 2)))
    return "|".join([*words, *_NAMES.get(char, ())])
