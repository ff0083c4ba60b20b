"""What a tool returned → what the model gets: text, or content blocks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import Any, TypeAlias

from agentkit.errors import ToolError
from agentkit.image_size import sides
from agentkit.media import media_type_of
from agentkit.messages import Block
from agentkit.redaction import logger_of, redacted

__all__ = [
    "HARD_CAP",
    "KEPT_FROM",
    "TEXT_CAP",
    "Keep",
    "Pieces",
    "as_content",
    "as_text",
    "fitted",
    "is_long",
    "to_content",
]

TEXT_CAP = 256 * 1024
"""Bytes of text in one result that can't be kept; of longer text the model gets the head and the tail."""

KEPT_FROM = 32 * 1024
"""Bytes of text in one result that can be kept and read on. About 8,000 tokens of English, and every later turn carries
them: a window of 200,000 holds 25 such results, but three of `TEXT_CAP`."""

HARD_CAP = 16 * 1024 * 1024
"""Bytes after which a generator is stopped, of content blocks that one result may have, and of text that is kept."""

Keep: TypeAlias = "Callable[[str], str]"
"""Keeps a text whole, and gives the name under which the model can read it; raises OSError where it can't."""

_logger = logger_of("agentkit.tools")
_EXCERPT = 16 * 1024  # bytes of a result that the model can read on: enough to see what it is, and how it ends
_IMAGE_CAP = 5 * 1024 * 1024
_LONGEST_SIDE = 8000  # pixels: with a larger one the API refuses the whole request. Source: messages-api.md section 19
_STOPPED = f"\n[… stopped after {HARD_CAP:,} bytes …]"

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
    """The content of the `tool_result` for what a tool returned: as `to_content`, and `fitted`."""
    return fitted(to_content(value), whole=whole)


def to_content(value: Any) -> str | list[Block]:
    """What a tool returned as text or content blocks, however long.

    Text stays text, None is empty text. Images (PNG, JPEG, GIF, WebP) and PDFs as bytes become blocks, other bytes a
    line with their size and digest. Content blocks stay as they are; so does a list that has some, whose other items
    become blocks. All else is sent as JSON, the way pydantic writes it, NaN and infinity as null. Secrets that are live
    are redacted: model, events and journal get the same.

    Raises:
        ToolError: It is of a type that JSON has not, or too large for the API; the text says which.
    """
    content: str | list[Block] = _without_secrets(_content(value))
    return content


def _content(value: Any) -> str | list[Block]:
    if value is None:
        return ""
    if isinstance(value, str):
        return _clean(str.__str__(value))
    if isinstance(value, list | tuple) and any(map(_makes_block, value)):
        return [_block(item) for item in value]
    if _makes_block(value):
        block = _block(value)
        return str(block["text"]) if isinstance(value, _BYTES) and block["type"] == "text" else [block]
    return _json(value)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"type": str(kind), "source": {"type": "base64", "data": str(data)}} if redacted(data) != data:
            return {"type": "text", "text": f"[{kind} left out: it holds a secret]"}
    return {key: _without_secrets(item) for key, item in value.items()}


def is_long(content: str | list[Block]) -> bool:
    """Whether its text is too long for the model, where it can be kept."""
    if isinstance(content, str):
        return _is_over(content, KEPT_FROM)
    texts = [block["text"] for block in content if block["type"] == "text"]
    return _is_over("\n".join(texts), KEPT_FROM)


def fitted(content: str | list[Block], *, whole: bool = False, keep: Keep | None = None) -> str | list[Block]:
    """The content as it is sent: of text that is too long the head and the tail, and no blank text blocks.

    Args:
        content: What `to_content` gave.
        whole: Whether text that is too long is refused, and not cut: code that reads it could not go on.
        keep: Where the whole of a text that is too long goes, so that the model can read it. Of several text blocks
            that are too long together one is made.

    Raises:
        ToolError: It is too large for the API.
    """
    if isinstance(content, str):
        return _fitted_text(content, whole, keep)
    blocks = content if whole else _cut_blocks(content, keep)
    size = sum(len(_json(block)) for block in blocks)
    if size > HARD_CAP:
        raise ToolError(f"The tool returned content blocks of {size:,} characters; at most {HARD_CAP:,} can be sent.")
    # The API refuses blank text blocks.
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


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


def _cut_blocks(blocks: list[Block], keep: Keep | None) -> list[Block]:
    texts = [block for block in blocks if block["type"] == "text"]
    if keep and is_long(blocks):
        joined = _fitted_text("\n".join(block["text"] for block in texts), False, keep)
        at = blocks.index(texts[0])
        return [*blocks[:at], {"type": "text", "text": joined}, *(it for it in blocks[at:] if it["type"] != "text")]
    if sum(len(block["text"]) for block in texts) > TEXT_CAP // 4:
        share = TEXT_CAP // len(texts)
        return [{**it, "text": _cut(it["text"], share)} if it["type"] == "text" else it for it in blocks]
    return blocks


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
    if kind == "image" and max(sides(encoded) or (0,)) > _LONGEST_SIDE:
        text = f"The tool returned an image with more than {_LONGEST_SIDE:,} pixels on a side: make it smaller."
        raise ToolError(text)
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


def _fitted_text(text: str, whole: bool, keep: Keep | None) -> str:
    if whole:
        if _is_over(text, HARD_CAP):
            size = len(text.encode())
            raise ToolError(f"The tool returned text of {size:,} bytes; at most {HARD_CAP:,} can be sent.")
        return text
    if keep is None:
        return _cut(text, TEXT_CAP)
    return _kept(text, keep) if _is_over(text, KEPT_FROM) else text


def _kept(text: str, keep: Keep) -> str:
    """What the model gets of a text that it can read on."""
    kept = _cut(text, HARD_CAP + len(_STOPPED.encode()))
    try:
        name = keep(kept)
    except OSError as error:
        _logger.warning("a long result could not be kept: %s", error)
        return _cut(text, TEXT_CAP, f"; the whole could not be kept: {error.strerror or 'the disk failed'}")
    head, tail = _ends(kept.encode(), _EXCERPT // 2)
    line, column = head.count("\n") + 1, len(head) - head.rfind("\n")
    size, missing = len(text.encode()), len(text.encode()) - len(head.encode()) - len(tail.encode())
    part = "All of it is kept" if kept is text else f"Kept of it are {len(kept.encode()):,} bytes, head and tail"
    start = f"start_line={line}" + (f", start_column={column}" if column > 1 else "")
    note = f'[… {missing:,} of {size:,} bytes left out here. {part}: read_output(output="{name}", {start}) reads on, '
    return f"{head}{'' if head.endswith(chr(10)) else chr(10)}{note}a pattern searches …]\n{tail}"


def _ends(data: bytes, most: int) -> tuple[str, str]:
    """The head and the tail of a longer text, whole lines where that costs no more than half of them."""
    head, tail = data[:most].decode(errors="ignore"), data[-most:].decode(errors="ignore")
    end, start = head.rfind("\n") + 1, tail.find("\n") + 1
    return head[:end] if end > len(head) // 2 else head, tail[start:] if start < len(tail) // 2 else tail


def _is_over(text: str, most: int) -> bool:
    """Whether it has more bytes in UTF-8; of short text, that is known without encoding it."""
    return len(text) > most // 4 and (len(text) > most or len(text.encode()) > most)


def _cut(text: str, most: int, remark: str = "") -> str:
    """`text` in at most `most` bytes of UTF-8 and a line in the middle that says how much is missing."""
    if not _is_over(text, most):
        return text
    data = text.encode()
    head, tail = data[: most // 2].decode(errors="ignore"), data[-(most // 2) :].decode(errors="ignore")
    missing = len(data) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[… {missing:,} of {len(data):,} bytes left out{remark} …]\n{tail}"


class Pieces:
    """What a generator yields, until it is too much."""

    def __init__(self) -> None:
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
        """What it is as content, however long: text joined as it stands, other values as JSON, each on a line."""
        note = [_STOPPED] if self.are_enough else []
        parts: list[Any] = []
        for is_text, pieces in groupby([*self._pieces, *note], key=lambda piece: isinstance(piece, str)):
            run = list(pieces)
            parts += ["".join(run)] if is_text else run
        return to_content(parts[0] if len(parts) == 1 else parts or None)
