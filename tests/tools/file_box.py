"""The tools of a folder, called as functions; and small real files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

from agentkit import RunContext
from agentkit_tools.files import files

__all__ = ["Box", "pdf", "png", "state", "written"]


def png() -> bytes:
    """One grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    )


def pdf() -> bytes:
    return b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


class Box:
    """The tools of a folder, called as functions."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.tools = {it.name: it for it in files(root, write=True, **options)}
        self.progress: list[str] = []
        self.ctx: RunContext = RunContext(
            deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name="n", report=self.progress.append
        )

    def __getattr__(self, name: str) -> Any:
        return self.tools[name]

    def grep(self, *given: Any, **options: Any) -> str:
        return str(self.tools["grep_files"](self.ctx, *given, **options))


def written(box: Box, name: str, text: str) -> Box:
    """The box, with one file more."""
    (box.root / name).write_text(text)
    return box


def state(root: Path) -> dict[str, Any]:
    """All that is under a folder: mode, and content."""
    return {
        str(it.relative_to(root)): (it.stat().st_mode, it.read_bytes() if it.is_file() else None)
        for it in root.rglob("*")
    }
