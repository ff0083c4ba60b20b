"""Plays calls of the memory tool on the folder of the SDK: `anthropic_memory.py CASES.json FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from anthropic.lib.tools import ToolError
from anthropic.tools.memory import BetaLocalFilesystemMemoryTool


def main(cases: str, folder: str) -> None:
    replies: list[list[str]] = []
    for number, case in enumerate(json.loads(Path(cases).read_text("utf-8"))):
        tool = BetaLocalFilesystemMemoryTool(f"{folder}/{number}")
        for name, text in case["files"].items():
            file = tool.memory_root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        try:
            replies.append(["done", str(tool.call(case["call"]))])
        except ToolError as error:
            replies.append(["refused", str(error.content)])
        except Exception as error:
            replies.append(["crashed", repr(error)])
    print(json.dumps(replies))


main(*sys.argv[1:])
