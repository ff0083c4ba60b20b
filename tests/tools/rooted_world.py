"""A root with every kind of thing in it, paths that should not work, and everything that takes a path."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentkit import RunContext
from agentkit_tools.files import files
from agentkit_tools.memory import memory
from agentkit_tools.text_editor import text_editor

__all__ = ["CTX", "SECRET", "World", "attacks", "calls", "resolved"]

SECRET = "SECRET-OF-ANOTHER-FOLDER"
CTX: RunContext = RunContext(deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name="n")


class World:
    """A root with every kind of thing in it, and a folder beside it that nothing may reach."""

    def __init__(self, folder: Path) -> None:
        self.outside, self.root = folder / "outside", folder / "root"
        for made in (self.outside / "inner", self.root / "src" / "deep", self.root / "empty"):
            made.mkdir(parents=True)
        for name in ("secret.txt", "inner/secret.txt", ".env"):
            (self.outside / name).write_text(f"{SECRET}\n")
        (self.root / "src" / "main.py").write_text("print('fine')\n")
        (self.root / "readme.md").write_text("fine\n")
        self._links()
        os.mkfifo(self.root / "pipe")
        with socket.socket(socket.AF_UNIX) as bound, _in(self.root):
            bound.bind("socket")
        self.before = self.state()

    def _links(self) -> None:
        for name, to in {
            "file_link": self.outside / "secret.txt",
            "relative_link": "../outside/secret.txt",
            "folder_link": self.outside,
            "relative_folder": "../outside",
            "parent_link": "..",
            "slash_link": "/",
            "chain": "folder_link",
            "loop": "loop",
            "dangling": self.outside / "made-by-a-tool",
            "null": "/dev/null",
            "proc": "/proc/self/root",
            "src/up": "../../outside",
            "src/deep/up": "../../../outside/secret.txt",
            "inner_link": "src",
            "inner_file": "readme.md",
        }.items():
            (self.root / name).symlink_to(to)

    def state(self) -> dict[str, bytes | None]:
        """All that is outside."""
        return {str(it): it.read_bytes() if it.is_file() else None for it in sorted(self.outside.rglob("*"))}


@contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def attacks(world: World) -> list[str]:
    """Paths that must not work, whatever is asked of them. `name` is of something that the root has not."""
    secret = str(world.outside / "secret.txt")
    return [
        # Up and out.
        *(
            "..",
            "../",
            "../outside",
            "../outside/secret.txt",
            "src/../../outside/secret.txt",
            "./../outside/secret.txt",
        ),
        *("src/deep/../../../outside/secret.txt", "../root/../outside/secret.txt", "../root/readme.md", "src/.."),
        *(
            "src//..//..//outside/secret.txt",
            "../../../../../../../../etc/passwd",
            "empty/../../outside",
            "missing/../..",
        ),
        *("..//outside/secret.txt", "./.././outside/secret.txt", "src/./../../outside/secret.txt", "../outside/inner"),
        # Absolute, home, other systems.
        *(
            "/",
            "//",
            "/etc/passwd",
            "//etc/passwd",
            secret,
            f"/{secret}",
            str(world.outside),
            "/proc/self/root/etc/passwd",
        ),
        *("~", "~/secret.txt", "~root/.profile", "~/../etc/passwd", "/dev/stdin", "/dev/fd/0", "/proc/self/environ"),
        *(
            "C:\\secret.txt",
            "C:/secret.txt",
            "c:secret.txt",
            "\\\\host\\share",
            "..\\outside\\secret.txt",
            "src\\..\\..\\x",
        ),
        *("\\etc\\passwd", "src\\main.py", "\\\\?\\C:\\x", "\\\\.\\pipe\\x", "Z:", "z:\\"),
        # NUL, half characters, and too long.
        *("readme.md\0", "\0", "src\0/main.py", "../outside/secret.txt\0.md", "readme.md\0/../../outside/secret.txt"),
        *("\ud800", "src/\udcff", "../\udc2e", "a" * 5000, "a/" * 2100 + "x", "../" * 1500 + "etc/passwd"),
        # Encoded: these are names like others, and there is nothing of that name.
        *(
            "%2e%2e/outside/secret.txt",
            "..%2foutside%2fsecret.txt",
            "%2e%2e%2foutside%2fsecret.txt",
            "..%c0%af..%c0%af",
        ),
        *("..%252foutside", "\uff0e\uff0e/outside/secret.txt", "\u2024\u2024/outside/secret.txt", "..\u2215outside"),
        *(
            "..\uff0foutside\uff0fsecret.txt",
            "file:///etc/passwd",
            "..;/outside/secret.txt",
            "....//outside/secret.txt",
        ),
        *(".../outside/secret.txt", ".. /outside/secret.txt", " ../outside/secret.txt", "..\n/outside/secret.txt"),
        *("..\u200b/outside/secret.txt", "\u202e../outside", "$HOME/secret.txt", "${HOME}/secret.txt", "`pwd`/../x"),
        *("*/../../outside/secret.txt", "{..,src}/outside/secret.txt", "@", "-", "|", "src/main.py/..", "readme.md/x"),
        # Links, of each kind, as the last name and on the way.
        *("file_link", "relative_link", "folder_link", "relative_folder", "parent_link", "slash_link", "chain", "loop"),
        *("dangling", "null", "proc", "src/up", "src/deep/up", "inner_link", "inner_file", "file_link/", "./file_link"),
        *("folder_link/secret.txt", "folder_link/inner/secret.txt", "relative_folder/secret.txt", "chain/secret.txt"),
        *(
            "parent_link/outside/secret.txt",
            "slash_link/etc/passwd",
            "proc/etc/passwd",
            "src/up/secret.txt",
            "src//up/.",
        ),
        *("loop/x", "dangling/x", "parent_link/root/readme.md", "inner_link/main.py", "folder_link/", "folder_link/."),
        *("folder_link/../outside/secret.txt", "src/up/inner", "chain/inner/secret.txt", "file_link/x", "null/x"),
        # What is no file.
        *("pipe", "socket", "pipe/", "pipe/x", "socket/x", "./pipe"),
    ]


def calls(world: World) -> dict[str, Callable[[str], Any]]:
    """Everything that takes a path."""
    tools = {it.name: it for it in files(world.root, write=True)}
    editor, kept = text_editor(world.root), memory(world.root)
    return {
        "list": lambda path: tools["list_files"](path),
        "glob": lambda path: tools["glob_files"]("**", path),
        "glob pattern": lambda path: tools["glob_files"](path),
        "grep": lambda path: tools["grep_files"](CTX, SECRET[:6], path),
        "grep glob": lambda path: tools["grep_files"](CTX, SECRET[:6], glob=path),
        "read": lambda path: tools["read_file"](path),
        "write": lambda path: tools["write_file"](path, "owned"),
        "write below": lambda path: tools["write_file"](f"{path}/name", "owned"),
        "edit": lambda path: tools["edit_file"](path, SECRET, "owned"),
        "move from": lambda path: tools["move_file"](path, "taken"),
        "move to": lambda path: tools["move_file"]("readme.md", f"{path}/name"),
        "delete": lambda path: tools["delete_file"](path),
        "view": lambda path: editor("view", path),
        "create": lambda path: editor("create", f"{path}/name", file_text="owned"),
        "str_replace": lambda path: editor("str_replace", path, old_str=SECRET, new_str="owned"),
        "insert": lambda path: editor("insert", path, insert_line=0, insert_text="owned"),
        "memory view": lambda path: kept("view", f"/memories/{path}"),
        "memory create": lambda path: kept("create", f"/memories/{path}/name", file_text="owned"),
        "memory str_replace": lambda path: kept("str_replace", f"/memories/{path}", old_str=SECRET, new_str="owned"),
        "memory delete": lambda path: kept("delete", f"/memories/{path}"),
        "memory rename": lambda path: kept("rename", old_path=f"/memories/{path}", new_path="/memories/taken"),
        "memory rename to": lambda path: kept("rename", old_path="/memories/readme.md", new_path=f"/memories/{path}/x"),
    }


def resolved(root: Path, path: str) -> str:
    """As the tools of others do: the path is resolved, found to be inside, and then opened."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise ValueError(path)
    return found.read_text()
