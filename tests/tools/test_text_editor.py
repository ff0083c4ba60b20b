"""The text editor tool: the replies of Anthropic's reference implementation, without its faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit import Agent, ToolError
from agentkit.emulator import reply, tool_use
from agentkit.tools import InvalidInput
from agentkit_tools.text_editor import text_editor

TEN = "".join(f"line {number}\n" for number in range(1, 11))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ten.txt").write_text(TEN)
    (tmp_path / "src" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "src" / "main.py").write_text("def main():\n\treturn 1\n")
    (tmp_path / ".hidden").write_text("")
    return tmp_path


def test_definition(root: Path) -> None:
    tool = text_editor(root, max_characters=10000)
    assert tool.definition == {
        "type": "text_editor_20250728",
        "name": "str_replace_based_edit_tool",
        "max_characters": 10000,
    }
    assert text_editor(root).definition == {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
    assert tool.name == "str_replace_based_edit_tool"
    assert tool.effect == {"read", "private", "write"}
    assert text_editor(root, untrusted=True).effect == {"read", "private", "write", "untrusted"}
    with pytest.raises(InvalidInput):
        tool.validate({"command": "undo_edit", "path": "x"})


def cat(of: str, first: int, *lines: str) -> str:
    numbered = "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))
    return f"Here's the result of running `cat -n` on {of}:\n{numbered}\n"


def call(root: Path, **given_: Any) -> str:
    tool = text_editor(root)
    return str(tool(**tool.validate(given_)))


@pytest.mark.parametrize("form", ["{}", "./{}", "{root}/{}"])
def test_view(root: Path, form: str) -> None:
    def path(name: str) -> str:
        return form.format(name, root=root)

    main = path("src/main.py")
    assert call(root, command="view", path=main) == cat(main, 1, "def main():", "\treturn 1", "")
    ten = path("ten.txt")
    assert call(root, command="view", path=ten, view_range=[2, 3]) == cat(ten, 2, "line 2", "line 3")
    assert call(root, command="view", path=ten, view_range=[10, -1]) == cat(ten, 10, "line 10", "")
    src = path("src")
    assert call(root, command="view", path=src) == (
        f"Here's the files and directories up to 2 levels deep in {src}, excluding hidden items:\n"
        f"{src}\n{src}/deep\n{src}/deep/deeper\n{src}/main.py\n"
    )


def test_view_of_the_root(root: Path) -> None:
    tree = "\n{0}\n{0}/src\n{0}/src/deep\n{0}/src/main.py\n{0}/ten.txt\n"
    for path in (".", str(root)):
        assert call(root, command="view", path=path).endswith(tree.format(path))


REFUSED = [
    ({"command": "view", "path": "none"}, "The path none does not exist. Please provide a valid path."),
    ({"command": "view", "path": "src", "view_range": [1, 2]},
     "The `view_range` parameter is not allowed when `path` points to a directory."),
    ({"command": "view", "path": "ten.txt", "view_range": [1]},
     "Invalid `view_range`. It should be a list of two integers."),
    ({"command": "view", "path": "ten.txt", "view_range": [0, 5]},
     "Invalid `view_range`: [0, 5]. Its first element `0` should be within the range of lines of the file: [1, 11]"),
    ({"command": "view", "path": "ten.txt", "view_range": [1, 12]},
     "Invalid `view_range`: [1, 12]. Its second element `12` should be smaller than the number of lines in the file: "
     "`11`"),
    ({"command": "view", "path": "ten.txt", "view_range": [5, 4]},
     "Invalid `view_range`: [5, 4]. Its second element `4` should be larger or equal than its first `5`"),
    ({"command": "create", "path": "ten.txt", "file_text": "x"},
     "File already exists at: ten.txt. Cannot overwrite files using command `create`."),
    ({"command": "create", "path": "new"}, "Parameter `file_text` is required for command: create"),
    ({"command": "str_replace", "path": "ten.txt"}, "Parameter `old_str` is required for command: str_replace"),
    ({"command": "str_replace", "path": "src", "old_str": "a"},
     "The path src is a directory and only the `view` command can be used on directories"),
    ({"command": "str_replace", "path": "ten.txt", "old_str": "line 11", "new_str": "x"},
     "No replacement was performed, old_str `line 11` did not appear verbatim in ten.txt."),
    ({"command": "str_replace", "path": "ten.txt", "old_str": "line 1", "new_str": "x"},
     "No replacement was performed. Multiple occurrences of old_str `line 1` in lines [1, 10]. Please ensure it is "
     "unique"),
    ({"command": "insert", "path": "ten.txt", "insert_text": "x"},
     "Parameter `insert_line` is required for command: insert"),
    ({"command": "insert", "path": "ten.txt", "insert_line": 1},
     "Parameter `insert_text` is required for command: insert"),
    ({"command": "insert", "path": "ten.txt", "insert_line": 12, "insert_text": "x"},
     "Invalid `insert_line` parameter: 12. It should be within the range of lines of the file: [0, 11]"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_it_refuses(root: Path, given_: dict[str, Any], text: str) -> None:
    with pytest.raises(ToolError) as caught:
        call(root, **given_)
    assert str(caught.value) == text
    assert (root / "ten.txt").read_text() == TEN


def test_create(root: Path) -> None:
    assert call(root, command="create", path="a/b.py", file_text="x = 1\n") == "File created successfully at: a/b.py"
    assert (root / "a" / "b.py").read_text() == "x = 1\n"


def test_str_replace(root: Path) -> None:
    assert call(root, command="str_replace", path="ten.txt", old_str="line 6\n", new_str="six\n6½\n") == (
        "The file ten.txt has been edited. "
        + cat(
            "a snippet of ten.txt",
            2,
            *TEN.split("\n")[1:5],
            "six",
            "6½",
            *TEN.split("\n")[6:],
        )
        + "Review the changes and make sure they are as expected. Edit the file again if necessary."
    )
    call(root, command="str_replace", path="ten.txt", old_str="six\n6½\n")
    assert (root / "ten.txt").read_text() == TEN.replace("line 6\n", "")


def test_insert(root: Path) -> None:
    said = call(root, command="insert", path="ten.txt", insert_line=5, insert_text="new\n")
    assert said == (
        "The file ten.txt has been edited. "
        + cat("a snippet of the edited file", 2, "line 2", "line 3", "line 4", "line 5", "new", *TEN.split("\n")[5:9])
        + "Review the changes and make sure they are as expected (correct indentation, no duplicate lines, etc). "
        "Edit the file again if necessary."
    )
    call(root, command="insert", path="ten.txt", insert_line=0, new_str="first\nsecond")  # its name before 2025-07-28
    assert (root / "ten.txt").read_text() == "first\nsecond\n" + TEN.replace("line 5\n", "line 5\nnew\n")


def test_tabs_and_ends_of_lines_stay(root: Path) -> None:
    (root / "dos").write_bytes(b"\ta\r\nb\r\nc\r\n")
    assert call(root, command="view", path="dos") == cat("dos", 1, "\ta", "b", "c", "")
    call(root, command="str_replace", path="dos", old_str="a\nb", new_str="1\n2")
    call(root, command="insert", path="dos", insert_line=1, insert_text="x\ny")
    assert (root / "dos").read_bytes() == b"\t1\r\nx\r\ny\r\n2\r\nc\r\n"


def test_max_characters(root: Path) -> None:
    tool = text_editor(root, max_characters=13)
    said = tool("view", "ten.txt")
    assert said.startswith(
        "Here's the result of running `cat -n` on ten.txt:\n     1\tline 1\n     2\tline 2<response clipped>"
    )
    assert tool("view", "ten.txt", view_range=[1, 1]) == cat("ten.txt", 1, "line 1")


def test_images_and_other_bytes(root: Path) -> None:
    (root / "dot.gif").write_bytes(b"GIF89a\0\0")
    (root / "data").write_bytes(b"\0\1\2")
    assert text_editor(root)("view", "dot.gif") == b"GIF89a\0\0"
    with pytest.raises(ToolError, match="data is binary"):
        text_editor(root)("view", "data")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("ab\n\t\r", max_size=20), st.text("ab\n", min_size=1, max_size=3), st.text("ab\n", max_size=3))
def test_only_what_is_named_changes(tmp_path: Path, text: str, old: str, new: str) -> None:
    (tmp_path / "f").write_bytes(text.encode())
    try:
        call(tmp_path, command="str_replace", path="f", old_str=old, new_str=new)
    except ToolError:
        assert (tmp_path / "f").read_bytes() == text.encode()
    else:
        ends = "\r\n" if old not in text else "\n"
        old, new = old.replace("\n", ends), new.replace("\n", ends)
        assert text.count(old) == 1
        assert (tmp_path / "f").read_bytes() == text.replace(old, new).encode()


@pytest.mark.anyio
async def test_in_a_run(root: Path, scripted: Any) -> None:
    api = scripted(
        reply(tool_use("str_replace_based_edit_tool", command="view", path="src/main.py", view_range=[1, 1])),
        reply("It defines main."),
    )
    async with Agent("claude-sonnet-4-6", tools=[text_editor(root)]) as agent:
        assert (await agent.run("What is in src/main.py?")).text == "It defines main."
    assert api.requests[0]["tools"][0]["type"] == "text_editor_20250728"
    (answer,) = api.requests[1]["messages"][2]["content"]
    assert answer["content"] == cat("src/main.py", 1, "def main():")
