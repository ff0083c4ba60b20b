"""Text as `search_result` blocks, which Claude cites."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["paragraphs", "search_result"]

_LONGEST = 1200


def search_result(source: str, title: str, text: str, *, citations: bool) -> dict[str, Any]:
    """A `search_result` block, or without citations the same as a text block: not every endpoint knows the former.

    Citations quote whole blocks of its content, so each paragraph is one.

    Args:
        source: Its address or path, which a citation names.
        title: What a citation calls it.
        text: What was found, as Markdown or plain text.
        citations: Whether it is cited.

    Source: messages-api.md section 5.1.
    """
    title = " ".join(title.split()) or source
    if not citations:
        return {"type": "text", "text": f"# {title}\n{source}\n\n{text}".rstrip()}
    content = [{"type": "text", "text": part} for part in paragraphs(text) or [title]]
    return {
        "type": "search_result",
        "source": source,
        "title": title,
        "content": content,
        "citations": {"enabled": True},
    }


def paragraphs(text: str, longest: int = _LONGEST) -> list[str]:
    """`text` in pieces of whole paragraphs, or lines where one is longer; none is blank.

    Args:
        text: As Markdown or plain text.
        longest: Characters of a piece, about; a longer line is cut.
    """
    pieces = [""]
    for line in re.split(r"(?<=\n)", text):
        for at in range(0, len(line), longest):
            part = line[at : at + longest]
            ends = pieces[-1].endswith("\n\n") and len(pieces[-1]) > longest // 4
            if ends or len(pieces[-1]) + len(part) > longest:
                pieces.append("")
            pieces[-1] += part
    return [piece.strip("\n") for piece in pieces if piece.strip()]
