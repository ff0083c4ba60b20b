"""Safe text for a terminal: what models, tools and pages say can't move the cursor, hide or reorder anything."""

from __future__ import annotations

import re

from agentkit.redaction import redacted

__all__ = ["safe", "safe_line"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")

# Everything with the property Default_Ignorable_Code_Point (bidi marks, zero widths, tags, fillers), the other
# format characters, the two separators that break lines, a blank that looks like none, and lone surrogates.
# Source: Unicode 16, DerivedCoreProperties.txt and UnicodeData.txt (Cf, Zl, Zp, Cs); faults.md, P19.
_UNSEEN = re.compile(
    "["
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
_EMOJI_STYLE = re.compile(
    "(?<=[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u27ff\u2900-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])"
    "\ufe0f|(?<=[0-9#*])\ufe0f(?=\u20e3)"
)
_KEEP = "\x00"


def safe(text: str) -> str:
    r"""`text` as it may go to a terminal: it shows all there is, and does nothing.

    Control characters but newline and tab are dropped; characters that can't be seen are shown as `U+XXXX`. The one
    exception is U+FE0F after a symbol, where it makes a coloured picture of it. Live secrets are redacted, also
    where control characters are strewn in.

    >>> safe("\x1b[31mred\x07 and \u202eback")
    '[31mred and U+202Eback'
    """
    text = redacted(_CONTROL.sub("", text))
    text = _EMOJI_STYLE.sub(_KEEP, text)
    return _UNSEEN.sub(lambda found: f"U+{ord(found[0]):04X}", text).replace(_KEEP, "\ufe0f")


def safe_line(text: str) -> str:
    r"""`text` on one line: as `safe`, with one space for each run of white space.

    >>> safe_line(" two\n\tlines ")
    'two lines'
    """
    return " ".join(safe(text).split())
