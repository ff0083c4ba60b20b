"""What no tool changes, however its name is spelled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import ToolError
from agentkit_tools.files import files
from agentkit_tools.memory import memory
from agentkit_tools.protected import is_protected
from agentkit_tools.rooted import Root
from agentkit_tools.text_editor import text_editor

PROTECTED = [
    *(".git", ".git/config", ".git/hooks/pre-commit", "sub/.git/hooks/post-checkout", ".git/x", "a/b/.git"),
    *(".env", ".env.local", ".envrc", "app/.env.production", ".environment", ".ssh/authorized_keys", "x/id_rsa"),
    *(".bashrc", ".zshrc", ".profile", "home/.bash_profile", ".gitconfig", ".gitmodules", ".npmrc", ".netrc"),
    *(".github/workflows/ci.yml", ".gitlab-ci.yml", "Jenkinsfile", ".circleci/config.yml", ".ci/run", ".husky/x"),
    *(".vscode/tasks.json", ".idea/x.xml", ".claude/settings.json", ".mcp.json", "CLAUDE.md", "AGENTS.md"),
    *(".cursor/rules", ".agentkit/policy.toml", ".pre-commit-config.yaml", ".cargo/config.toml", "bare/HEAD"),
    # Spellings that some file system takes for the same.
    *(".GIT/config", ".Git/hooks/x", ".git./config", ".git /config", ".git . ./x", "GIT~1/config", ".g\u200cit/config"),
    *("\ufeff.git/x", ".git\u202e/x", ".gi\u200bt/x", ".git::$INDEX_ALLOCATION/x", ".env:stream", ".ENV", ".Env.Local"),
    *("\uff0egit/config", ".\uff47\uff49\uff54/config", ".BASHRC", "./.env", ".//.git//config", "src/./.env", ".env/"),
]
FREE = [
    *(
        "src/main.py",
        "git/config",
        "env",
        ".gitignore",
        "environment.yml",
        "docs/.hidden",
        "config",
        "hooks/pre-commit",
    ),
    *("x.env", "gitconfig", "github/workflows/ci.yml", "headline.md", "README.md", ".editorconfig", "agents/agent.md"),
]


@pytest.mark.parametrize("path", PROTECTED)
def test_protected(tmp_path: Path, path: str) -> None:
    (tmp_path / "free").write_text("x")
    tools = {it.name: it for it in files(tmp_path, write=True)}
    editor, kept = text_editor(tmp_path), memory(tmp_path)
    for call in (
        lambda: tools["write_file"](path, "owned"),
        lambda: tools["move_file"]("free", path),
        lambda: tools["move_file"](path, "free2"),
        lambda: tools["delete_file"](path),
        lambda: editor("create", path, file_text="owned"),
        lambda: kept("create", f"/memories/{path}", file_text="owned"),
        lambda: kept("rename", old_path="/memories/free", new_path=f"/memories/{path}"),
    ):
        with pytest.raises(ToolError, match=r"protected|There is no|does not exist"):
            call()
    with pytest.raises(ToolError, match="is protected: what it says may run or hold secrets"):
        tools["write_file"](path, "owned")
    assert os.listdir(tmp_path) == ["free"]


@pytest.mark.parametrize("path", FREE)
def test_free(tmp_path: Path, path: str) -> None:
    Root(tmp_path).write(path, b"x")
    assert (tmp_path / path).read_bytes() == b"x"


def test_what_is_there_can_be_read_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("[core]\n")
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / ".env").write_text("KEY=1\n")
    tools = {it.name: it for it in files(tmp_path, write=True)}
    assert "[core]" in tools["read_file"](".git/config")
    for call in (
        lambda: tools["edit_file"](".git/config", "core", "owned"),
        lambda: tools["delete_file"](".git/config"),
        lambda: tools["move_file"](".git", "was-git"),
        lambda: tools["move_file"](".git/config", "config"),
        lambda: memory(tmp_path)("delete", "/memories/sub"),
    ):
        with pytest.raises(ToolError, match="protected"):
            call()
    assert (tmp_path / ".git" / "config").read_text() == "[core]\n"
    assert (tmp_path / "sub" / "deep" / ".env").read_text() == "KEY=1\n"


@given(
    st.sampled_from([".git", ".env", ".bashrc", ".ssh"]),
    st.lists(st.sampled_from(["\u200b", "\u200c", "\u200d", "\ufeff", "\u202e", "\u00ad"]), max_size=3),
    st.sampled_from([str, str.upper, str.title, str.swapcase]),
    st.sampled_from(["", ".", " ", "..", ". ", ":x"]),
    st.integers(0, 8),
)
def test_no_spelling_gets_by(name: str, unseen: list[str], cased: type[str], end: str, at: int) -> None:
    spelled = cased(name[:at] + "".join(unseen) + name[at:]) + end
    assert is_protected(("src", spelled, "x"))
