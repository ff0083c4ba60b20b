"""How large an image is, by the first bytes of its file.

Source: messages-api.md section 19; the formats' own specifications.
"""

from __future__ import annotations

import base64
import binascii

__all__ = ["sides"]

_READ = 4 * 2**16  # characters of base64: where a JPEG says its size, as a rule
_NO_SIZE = {0xC4, 0xC8, 0xCC}  # among the markers of a JPEG that look like those with a size


def sides(data: str) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, JPEG or WebP.

    Args:
        data: The file in base64.

    Returns:
        None where they can't be told.
    """
    try:
        start = base64.b64decode(data[: min(len(data) // 4 * 4, _READ)])
    except (binascii.Error, ValueError):
        return None
    if start.startswith(b"\x89PNG") and len(start) >= 24:
        return _big(start[16:20]), _big(start[20:24])
    if start.startswith(b"GIF8") and len(start) >= 10:
        return _little(start[6:8]), _little(start[8:10])
    if start.startswith(b"RIFF") and len(start) >= 30:
        return _webp(start)
    return _jpeg(start) if start.startswith(b"\xff\xd8") else None


def _big(part: bytes) -> int:
    return int.from_bytes(part, "big")


def _little(part: bytes) -> int:
    return int.from_bytes(part, "little")


def _webp(start: bytes) -> tuple[int, int] | None:
    kind = start[12:16]
    if kind == b"VP8X":
        return _little(start[24:27]) + 1, _little(start[27:30]) + 1
    if kind == b"VP8L":
        bits = _little(start[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (_little(start[26:28]) & 0x3FFF, _little(start[28:30]) & 0x3FFF) if kind == b"VP8 " else None


def _jpeg(start: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(start) and start[at] == 0xFF:
        marker = start[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            return _big(start[at + 7 : at + 9]), _big(start[at + 5 : at + 7])
        at += 2 + _big(start[at + 2 : at + 4])
    return None
