"""Attempts to read or change files outside the work folder, and those in it that others trust."""

from __future__ import annotations

import os
from pathlib import Path

from escaping import ATTEMPTS, W, attempt, file_made


@attempt
def read_outside() -> bool:
    return W["secret"] in Path(W["outside"], "secret").read_text()


@attempt
def read_by_a_link() -> bool:
    return W["secret"] in Path(W["root"], "link", "secret").read_text()


@attempt
def read_by_a_new_link() -> bool:
    link = Path(W["root"], "new-link")
    link.symlink_to(W["outside"])
    try:
        return W["secret"] in (link / "secret").read_text()
    finally:
        link.unlink()


@attempt
def read_by_dots() -> bool:
    os.chdir(W["root"])
    return W["secret"] in Path("..", Path(W["outside"]).name, "secret").read_text()


@attempt
def read_passwords() -> bool:
    return "root:" in Path("/etc/passwd").read_text()


@attempt
def write_outside() -> bool:
    return file_made(f"{W['outside']}/made")


@attempt
def write_by_a_link() -> bool:
    return file_made(f"{W['root']}/link/made")


@attempt
def write_above() -> bool:
    with open(f"{W['root']}/../made-above", "x"):
        pass
    made = Path(W["root"]).parent / "made-above"
    made.unlink()
    return not W["inside"]


@attempt
def hard_link_outside() -> bool:
    link = f"{W['root']}/hard"
    os.link(f"{W['outside']}/secret", link)
    os.unlink(link)
    return True


@attempt
def move_outside() -> bool:
    moved = Path(W["root"], "moved")
    moved.write_text("x")
    try:
        os.rename(moved, f"{W['outside']}/moved")
        os.unlink(f"{W['outside']}/moved")
        return True
    finally:
        moved.unlink(missing_ok=True)


def into(folder: str) -> None:
    @attempt
    def write() -> bool:
        return file_made(f"{folder}/agentkit-{W['name']}")

    ATTEMPTS[f"write_to_{folder.strip('/').replace('/', '_') or 'the_root'}"] = ATTEMPTS.pop("write")


for _folder in ("/", "/usr", "/usr/bin", "/etc", "/dev", "/var"):
    into(_folder)


@attempt
def write_to_the_home_folder() -> bool:
    return file_made(f"{W['home']}/agentkit-{W['name']}")


@attempt
def the_hosts_tmp() -> bool:
    return os.path.exists(W["in_tmp"])


def kept(path: str) -> None:
    """A file that programs outside trust: it is appended to, and cut again."""

    @attempt
    def change() -> bool:
        with open(f"{W['root']}/{path}", "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.write(b"x")
            file.truncate(size)
            return True

    ATTEMPTS[f"change_{path}"] = ATTEMPTS.pop("change")


for _file in (".git/config", ".git/hooks/pre-commit", ".env", ".bashrc", "sub/.git/config", ".vscode/tasks.json"):
    kept(_file)


@attempt
def a_new_hook() -> bool:
    return file_made(f"{W['root']}/.git/hooks/post-checkout")


@attempt
def another_configuration_for_git() -> bool:
    return file_made(f"{W['root']}/.git/commondir")


@attempt
def another_repository_in_its_place() -> bool:
    os.rename(f"{W['root']}/.git", f"{W['root']}/.git2")
    os.rename(f"{W['root']}/.git2", f"{W['root']}/.git")
    return True


@attempt
def another_folder_with_a_repository() -> bool:
    os.rename(f"{W['root']}/sub", f"{W['root']}/sub2")
    os.rename(f"{W['root']}/sub2", f"{W['root']}/sub")
    return True


@attempt
def mode_of_a_hook() -> bool:
    os.chmod(f"{W['root']}/.git/hooks/pre-commit", 0o755)
    return True
