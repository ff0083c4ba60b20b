"""What a tool returned → what the model gets: text, or content blocks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from agentkit.errors import ToolError
from agentkit.media import media_type_of
from agentkit.messages import Block

__all__ = ["HARD_CAP", "TEXT_CAP", "Pieces", "as_content", "as_text"]

TEXT_CAP = 256 * 1024
"""Bytes of text in one result; of longer text the model gets the head and the tail."""

HARD_CAP = 16 * 1024 * 1024
"""Bytes after which a generator is stopped, and of content blocks that one result may have."""

_IMAGE_CAP = 5 * 1024 * 1024

# The blocks that a tool result may hold, and the field that tells them from data with a `type` of its own.
# Source: messages-api.md section 5.1.
_BLOCKS = {
    "text": ("text", str),
    "image": ("source", dict),
    "document": ("source", dict),
    "search_result": ("content", list),
    "tool_reference": ("tool_name", str),
}
_BYTES = (bytes, bytearray, memoryview)


def as_content(value: Any, *, whole: bool = False) -> str | list[Block]:
    """The content of the `tool_result` for what a tool returned.

    Text stays text, None is empty text. Images (PNG, JPEG, GIF, WebP) and PDFs as bytes become blocks, other bytes a
    line with their size and digest. Content blocks stay as they are; so does a list that has some, whose other items
    become blocks. All else is sent as JSON, the way pydantic writes it, NaN and infinity as null.

    Args:
        value: What it returned.
        whole: Whether text that is too long is refused, and not cut: code that reads it could not go on.

    Raises:
        ToolError: It is of a type that JSON has not, or too large for the API; the text says which.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return _fitted(_clean(str.__str__(value)), whole)
    if isinstance(value, list | tuple) and any(map(_makes_block, value)):
        return _blocks(value, whole)
    if _makes_block(value):
        blocks = _blocks([value], whole)
        return str(blocks[0]["text"]) if isinstance(value, _BYTES) and blocks[0]["type"] == "text" else blocks
    return _fitted(_json(value), whole)


def as_text(content: str | list[Block]) -> str:
    """The content of a `tool_result` as one text, for code that called the tool: it can be given nothing else.

    Text blocks and the text of documents stay as they are, each on lines of its own; of a block that has no text one
    line says what was left out.

    Source: messages-api.md section 11.
    """
    return content if isinstance(content, str) else "\n".join(map(_text_of, content))


def _text_of(block: Block) -> str:
    match block:
        case {"text": str(text)} | {"tool_name": str(text)} | {"source": {"type": "text", "data": str(text)}}:
            return text
        case {"content": list(parts)} | {"source": {"content": list(parts)}}:
            return as_text([part for part in parts if isinstance(part, dict)])
        case {"source": {"content": str(text)}}:
            return text
        case {"source": {"media_type": str(sort)} | {"type": str(sort)}}:
            return f"[{block['type']} left out ({sort}): code gets text alone]"
    return f"[{block.get('type')} left out: code gets text alone]"


def _makes_block(value: Any) -> bool:
    return isinstance(value, _BYTES) or _is_block(value)


def _is_block(value: Any) -> bool:
    known = _BLOCKS.get(str(value.get("type"))) if isinstance(value, dict) else None
    return known is not None and isinstance(value.get(known[0]), known[1])


def _blocks(values: Sequence[Any], whole: bool) -> list[Block]:
    """A block for each value; texts that are too long together are each cut to an equal share, unless `whole`."""
    blocks = [_block(item) for item in values]
    texts = [block for block in blocks if block["type"] == "text"]
    if not whole and sum(len(block["text"]) for block in texts) > TEXT_CAP // 4:
        for block in texts:
            block["text"] = _cut(block["text"], TEXT_CAP // len(texts))
    size = sum(len(_json(block)) for block in blocks)
    if size > HARD_CAP:
        raise ToolError(f"The tool returned content blocks of {size:,} characters; at most {HARD_CAP:,} can be sent.")
    # The API refuses blank text blocks.
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _block(value: Any) -> Block:
    if isinstance(value, _BYTES):
        return _from_bytes(bytes(value))
    if _is_block(value):
        block: Block = _cleaned(json.loads(_json(value)))
        return block
    return {"type": "text", "text": _clean(value) if isinstance(value, str) else _json(value)}


def _from_bytes(data: bytes) -> Block:
    media_type = media_type_of(data)
    if media_type is None:
        digest = hashlib.sha256(data).hexdigest()
        return {"type": "text", "text": f"{len(data):,} bytes, sha256 {digest}"}
    kind, most = ("document", HARD_CAP * 3 // 4) if media_type == "application/pdf" else ("image", _IMAGE_CAP)
    if len(data) > most:
        raise ToolError(f"The tool returned {media_type} of {len(data):,} bytes; at most {most:,} can be sent.")
    encoded = base64.b64encode(data).decode()
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": encoded}}


def _json(value: Any) -> str:
    from pydantic_core import to_json, to_jsonable_python

    with suppress(ValueError, RecursionError):
        return to_json(value, inf_nan_mode="null").decode()
    try:  # again, in case it was a lone surrogate
        return to_json(_cleaned(to_jsonable_python(_cleaned(value))), inf_nan_mode="null").decode()
    except (ValueError, RecursionError) as error:
        raise ToolError(_unsendable(value, error)) from error


def _unsendable(value: Any, error: Exception) -> str:
    why = str(error).partition("\n")[0]
    return (
        f"The tool returned {type(value).__qualname__}, which can't be sent ({why}): "
        "it should return text, JSON values, a pydantic model, bytes or content blocks."
    )


def _cleaned(value: Any) -> Any:
    """A copy whose texts can be sent, as far as dicts and lists reach."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _clean(text: str) -> str:
    """Without lone surrogates, which UTF-8 has not, and NUL: each becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # A pair of surrogates is one character there, only a lone one is an error.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def _fitted(text: str, whole: bool) -> str:
    if not whole:
        return _cut(text, TEXT_CAP)
    if len(text) > HARD_CAP // 4 and (size := len(text.encode())) > HARD_CAP:
        raise ToolError(f"The tool returned text of {size:,} bytes; at most {HARD_CAP:,} can be sent.")
    return text


def _cut(text: str, most: int) -> str:
    """`text` in at most `most` bytes of UTF-8 and a line in the middle that says how much is missing."""
    if len(text) <= most // 4:
        return text
    data = text.encode()
    if len(data) <= most:
        return text
    head, tail = data[: most // 2].decode(errors="ignore"), data[-(most // 2) :].decode(errors="ignore")
    missing = len(data) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[… {missing:,} of {len(data):,} bytes left out …]\n{tail}"


class Pieces:
    """What a generator yields, until it is too much.

    Args:
        whole: As for `as_content`.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._pieces: list[Any] = []
        self._left = HARD_CAP

    def add(self, piece: Any) -> str:
        """Keeps `piece` and gives it as text to show; empty for one that is no text.

        Raises:
            ToolError: It can't be sent.
        """
        if _is_block(piece) or isinstance(piece, _BYTES):
            block = _block(piece)
            self._keep(block, len(_json(block)))
            return ""
        text = _clean(str.__str__(piece)) if isinstance(piece, str) else f"{_json(piece)}\n"
        self._keep(text[: self._left], len(text))
        return text

    def _keep(self, piece: str | Block, size: int) -> None:
        self._pieces.append(piece)
        self._left = max(self._left - size, 0)

    @property
    def are_enough(self) -> bool:
        """Whether the generator is to be stopped."""
        return self._left == 0

    def content(self) -> str | list[Block]:
        """What the model gets: text joined as it stands, other values as JSON, each on a line of its own.

        Raises:
            ToolError: It was stopped, but is to be whole.
        """
        note = [f"\n[… stopped after {HARD_CAP:,} bytes …]"] if self.are_enough else []
        parts: list[Any] = []
        for is_text, pieces in groupby([*self._pieces, *note], key=lambda piece: isinstance(piece, str)):
            run = list(pieces)
            parts += ["".join(run)] if is_text else run
        return as_content(parts[0] if len(parts) == 1 else parts or None, whole=self._whole)
