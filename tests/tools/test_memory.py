"""The memory tool: its definition, its replies, and that nothing leads out. tests/peers compares it with the SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ToolError
from agentkit.emulator import reply, tool_use
from agentkit.tools import InvalidInput
from agentkit_tools.memory import memory


def test_definition(tmp_path: Path) -> None:
    tool = memory(tmp_path)
    assert tool.definition == {"type": "memory_20250818", "name": "memory"}
    assert tool.name == "memory"
    assert tool.effect == {"read", "private", "write"}
    assert not tool.is_read
    assert memory(tmp_path, untrusted=True).effect == {"read", "private", "write", "untrusted"}
    with pytest.raises(InvalidInput):
        tool.validate({"command": "shell", "path": "/memories"})


def ask(tool: Any, **given: Any) -> tuple[bool, str]:
    try:
        return True, tool(**tool.validate(given))
    except ToolError as error:
        return False, str(error)


# In order, on one folder.
TALK = [
    ({"command": "view", "path": "/memories"}, True, None),
    ({"command": "create", "path": "/memories/a/b.txt", "file_text": "one\ntwo\none\n"}, True,
     "File created successfully at: /memories/a/b.txt"),
    ({"command": "create", "path": "/memories/a/b.txt", "file_text": ""}, False,
     "File /memories/a/b.txt already exists"),
    ({"command": "create", "path": "/memories/.hidden", "file_text": ""}, True,
     "File created successfully at: /memories/.hidden"),
    ({"command": "view", "path": "/memories/a/b.txt"}, True,
     "Here's the content of /memories/a/b.txt with line numbers:\n     1\tone\n     2\ttwo\n     3\tone\n     4\t"),
    ({"command": "view", "path": "/memories/a/b.txt", "view_range": [2, 3]}, True,
     "Here's the content of /memories/a/b.txt with line numbers:\n     2\ttwo\n     3\tone"),
    ({"command": "view", "path": "/memories/a/b.txt", "view_range": [3, -1]}, True,
     "Here's the content of /memories/a/b.txt with line numbers:\n     3\tone\n     4\t"),
    ({"command": "view", "path": "/memories/none"}, False,
     "The path /memories/none does not exist. Please provide a valid path."),
    ({"command": "str_replace", "path": "/memories/a/b.txt", "old_str": "three", "new_str": "3"}, False,
     "No replacement was performed, old_str `three` did not appear verbatim in /memories/a/b.txt."),
    ({"command": "str_replace", "path": "/memories/a/b.txt", "old_str": "one", "new_str": "1"}, False,
     "No replacement was performed. Multiple occurrences of old_str `one` in lines: 1, 3. Please ensure it is unique"),
    ({"command": "str_replace", "path": "/memories/a/b.txt", "old_str": "two", "new_str": "2"}, True,
     "The memory file has been edited. Here is the snippet showing the change (with line numbers):\n"
     "     1\tone\n     2\t2\n     3\tone\n     4\t"),
    ({"command": "str_replace", "path": "/memories/a", "old_str": "two", "new_str": "2"}, False,
     "The path /memories/a is not a file."),
    ({"command": "str_replace", "path": "/memories/none", "old_str": "two", "new_str": "2"}, False,
     "The path /memories/none does not exist. Please provide a valid path."),
    ({"command": "insert", "path": "/memories/a/b.txt", "insert_line": 4, "insert_text": "x"}, False,
     "Invalid `insert_line` parameter: 4. It should be within the range [0, 3]."),
    ({"command": "insert", "path": "/memories/a/b.txt", "insert_line": 1, "insert_text": "new\n"}, True,
     "The file /memories/a/b.txt has been edited."),
    ({"command": "view", "path": "/memories/a/b.txt", "view_range": [1, 3]}, True,
     "Here's the content of /memories/a/b.txt with line numbers:\n     1\tone\n     2\tnew\n     3\t2"),
    ({"command": "rename", "old_path": "/memories/a/b.txt", "new_path": "/memories/c/d.txt"}, True,
     "Successfully renamed /memories/a/b.txt to /memories/c/d.txt"),
    ({"command": "rename", "old_path": "/memories/none", "new_path": "/memories/x"}, False,
     "The path /memories/none does not exist"),
    ({"command": "rename", "old_path": "/memories/a", "new_path": "/memories/c"}, False,
     "The destination /memories/c already exists"),
    ({"command": "rename", "old_path": "/memories", "new_path": "/memories/x"}, False,
     "Cannot rename the /memories directory itself"),
    ({"command": "view", "path": "/memories/c"}, True, None),
    ({"command": "delete", "path": "/memories/c"}, True, "Successfully deleted /memories/c"),
    ({"command": "delete", "path": "/memories/c"}, False, "The path /memories/c does not exist"),
    ({"command": "delete", "path": "/memories/"}, False, "Cannot delete the /memories directory itself"),
    ({"command": "view", "path": "/etc/passwd"}, False, "Path must start with /memories, got: /etc/passwd"),
    ({"command": "view", "path": "/memoriesx"}, False, "Path must start with /memories, got: /memoriesx"),
    ({"command": "view", "path": "/memories/../x"}, False, "Path /memories/../x would escape /memories directory"),
    ({"command": "view", "path": "/memories/%2e%2e/x"}, False,
     "Path /memories/%2e%2e/x would escape /memories directory"),
    ({"command": "create", "path": "/memories/x"}, False, "Parameter `file_text` is required for command: create"),
    ({"command": "rename", "old_path": "/memories/x"}, False, "Parameter `new_path` is required for command: rename"),
    ({"command": "view"}, False, "Parameter `path` is required for command: view"),
]  # fmt: skip


def test_replies(tmp_path: Path) -> None:
    tool = memory(tmp_path)
    for call, done, text in TALK:
        found = ask(tool, **call)
        assert found[0] == done, (call, found)
        assert text is None or found[1] == text, call


def test_folders_are_shown_two_deep_without_hidden_ones(tmp_path: Path) -> None:
    tool = memory(tmp_path)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / ".x").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    for name, size in {"z": 0, "a/y": 1023, "a/b/x": 1536, "a/b/c/w": 3, ".h": 1, "big": 5 * 1024 * 1024}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    first, *lines = ask(tool, command="view", path="/memories")[1].split("\n")
    assert first == "Here're the files and directories up to 2 levels deep in /memories, excluding hidden items:"
    sizes, paths = zip(*(line.split("\t") for line in lines), strict=True)
    assert paths == (*("/memories", "/memories/a/", "/memories/a/b/", "/memories/a/y", "/memories/big", "/memories/z"),)
    assert sizes[3:] == ("1023B", "5M", "0B")


def test_too_many_lines(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("\n" * 999_999)
    assert ask(memory(tmp_path), command="view", path="/memories/long") == (
        False,
        "File /memories/long exceeds maximum line limit of 999,999 lines.",
    )


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    ask(memory(tmp_path), command="create", path="/memories/a", file_text="x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.anyio
async def test_in_a_run(tmp_path: Path, scripted: Any) -> None:
    api = scripted(
        reply(tool_use("memory", command="create", path="/memories/tea", file_text="Ada likes tea.")), reply("Noted.")
    )
    async with Agent("claude-sonnet-4-6", tools=[memory(tmp_path)]) as agent:
        assert (await agent.run("I like tea.")).text == "Noted."
    assert api.requests[0]["tools"][0]["type"] == "memory_20250818"
    (answer,) = api.requests[1]["messages"][2]["content"]
    assert answer["content"] == "File created successfully at: /memories/tea"
    assert (tmp_path / "tea").read_text() == "Ada likes tea."
