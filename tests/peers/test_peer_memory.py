"""Our memory tool against the official SDK's: random calls, the same replies, the same files."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agentkit import ToolError
from agentkit_tools.memory import memory

pytestmark = [pytest.mark.peers, pytest.mark.slow]

CASES = 3000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 600
COMMANDS = ["view", "create", "str_replace", "insert", "delete", "rename"]
NAMES = ["a.txt", "b", "b/c.md", "b/d/e", "b/d/f/g", ".hidden", "b/.h", "ü x", "missing"]
TEXTS = ["", "one", "one\n", "one\ntwo\none\n", "a\r\nb\r\n", "\n\n", "x\n" * 12, "täb\t\n", "aaa"]


def drawn(rng: random.Random, there: list[str]) -> dict[str, Any]:
    """A call as a model might make it, good or not."""

    def path() -> str:
        odd = [
            "/memories",
            "/memories/",
            "/memories/../x",
            "/etc",
            "memories/a.txt",
            "/memories/b/",
            "/memories/b//c.md",
        ]
        return rng.choice(odd) if rng.random() < 0.12 else f"/memories/{rng.choice(rng.choice([NAMES, there]))}"

    command = rng.choice(COMMANDS)
    match command:
        case "view":
            ranges: list[Any] = [{}, {}, {"view_range": [rng.randint(-2, 5), rng.choice([-1, 0, 1, 2, 9])]}]
            return {"command": command, "path": path(), **rng.choice(ranges)}
        case "create":
            return {"command": command, "path": path(), "file_text": rng.choice(TEXTS)}
        case "str_replace":
            old, new = rng.choice(["one", "two", "a", "aa", "x\n", "zzz", "\n"]), rng.choice(["", "1", "p\nq", "one"])
            return {"command": command, "path": path(), "old_str": old, "new_str": new}
        case "insert":
            text = rng.choice(["new", "new\n", "n1\nn2\n\n", ""])
            return {"command": command, "path": path(), "insert_line": rng.randint(-1, 5), "insert_text": text}
        case "delete":
            return {"command": command, "path": path()}
    return {"command": command, "old_path": path(), "new_path": path()}


def test_replies_are_those_of_the_sdk(peer: Any, tmp_path: Path, lines: list[str]) -> None:
    rng = random.Random(20250818)
    cases = [{"files": (files := kept(rng)), "call": drawn(rng, list(files))} for _ in range(CASES)]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    theirs = peer("anthropic-2").run(
        "anthropic_memory.py", str(tmp_path / "cases.json"), str(tmp_path / "sdk"), url="http://127.0.0.1:9"
    )
    counted: Counter[str] = Counter()
    for number, (case, their) in enumerate(zip(cases, theirs, strict=True)):
        folder = tmp_path / "ours" / str(number)
        our = played(folder, case)
        if their[0] == "crashed":  # an OSError, say of a file on the way: ours has words for the model
            assert our[0] == "refused", case
        else:
            assert our == their, case
            assert state(folder) == state(tmp_path / "sdk" / str(number) / "memories"), case
        counted[f"{case['call']['command']} {their[0]}"] += 1
    assert all(counted[f"{command} done"] >= 5 for command in COMMANDS), counted
    lines.append(f"memory: {CASES:,} calls, replies and files as those of the SDK: {dict(counted)}")


def kept(rng: random.Random) -> dict[str, str]:
    """What is there before the call."""
    names = {"a.txt", ".hidden", "ü x"} | rng.choice([{"b"}, {"b/c.md", "b/d/e", "b/d/f/g", "b/.h"}])
    return {name: rng.choice(TEXTS) for name in sorted(names) if rng.random() < 0.7} or {"one": "1"}


def played(folder: Path, case: dict[str, Any]) -> list[str]:
    folder.mkdir(parents=True)
    for name, text in case["files"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    tool = memory(folder)
    try:
        return ["done", tool(**tool.validate(case["call"]))]
    except ToolError as error:
        return ["refused", str(error)]


def state(folder: Path) -> dict[str, bytes]:
    return {str(it.relative_to(folder)): it.read_bytes() for it in folder.rglob("*") if it.is_file()}
