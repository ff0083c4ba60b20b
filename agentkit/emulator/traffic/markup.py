"""HTML that is escaped unless it was made here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Html", "Part", "element", "joined"]


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Part: TypeAlias = "str | Iterable[Part] | None"
"""A text, which is escaped; HTML, which is not; nothing; or several of them."""

_EMPTY = ("br", "input", "link", "meta")


def element(name: str, /, *parts: Part, **attributes: str | bool | None) -> Html:
    """An element.

    Args:
        name: Of its tag.
        *parts: What is in it.
        **attributes: `True` for one without a value, None and `False` for one that is left out; `class_` is `class`,
            and an underscore in other names is a hyphen.
    """
    given = {
        key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value not in (None, False)
    }
    written = "".join(f" {key}" if value is True else f' {key}="{escape(str(value))}"' for key, value in given.items())
    end = "" if name in _EMPTY else f"{joined(parts)}</{name}>"
    return Html(f"<{name}{written}>{end}")


def joined(part: Part) -> Html:
    """Parts one after the other."""
    if part is None:
        return Html("")
    if isinstance(part, Html):
        return part
    if isinstance(part, str):
        return Html(escape(part))
    return Html("".join(joined(one) for one in part))
