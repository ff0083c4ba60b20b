"""A folder that is reached through its own handle: no path, link or swap of folders leads out of it."""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from agentkit import ConfigurationError, ToolError
from agentkit_tools.protected import is_protected

__all__ = ["Entry", "Root", "parts_of", "shown"]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | _NO_LINK | getattr(os, "O_DIRECTORY", 0)
# Not blocking: what was a file when it was looked at may be a pipe when it is opened.
_READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
_LONGEST = 4096
_DEEPEST = 100
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


@dataclass(frozen=True)
class Entry:
    """What a folder holds under one name.

    Attributes:
        path: From the root, with `/` between the names.
        kind: `file`, `folder`, `symbolic link`, `pipe`, `socket` or `device`.
        size: In bytes.
        links: How many names the file has: more than one, and others may see what is written to it.
        mode: Its permissions, such as 0o644.
        owner: Its user and group.
    """

    path: str
    kind: str
    size: int
    links: int
    mode: int
    owner: tuple[int, int]


class Root:
    """A folder and what is in it; nothing else can be reached.

    Each name of a path is opened in the handle of the folder before it, and links are not followed, so a folder that
    another process swaps for a link meanwhile leads nowhere. Pipes, sockets and devices are refused. What `protected`
    names can be read, but not changed. Paths are relative, with `/`; every refusal is a `ToolError` for the model.

    Args:
        path: The folder; it must exist, and be neither `/`, nor the home folder, nor a folder that holds that.

    Raises:
        ConfigurationError: It is no such folder, or this system can't open files in a folder's handle.

    Source: faults.md, P8 to P10.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _chosen(path)
        try:
            self._handle = os.open(self.path, _FOLDER)
        except OSError as error:
            raise ConfigurationError(f"root {str(self.path)!r} can't be opened: {error.strerror}") from None
        weakref.finalize(self, os.close, self._handle)

    def entry(self, path: str) -> Entry | None:
        """What is there; None if there is nothing, or a link on the way."""
        parts = parts_of(path)
        with _told(path), suppress(FileNotFoundError, NotADirectoryError):
            if not parts:
                return _entry("", os.fstat(self._handle))
            with self._folder(parts[:-1]) as at:
                return _entry("/".join(parts), os.stat(parts[-1], dir_fd=at, follow_symlinks=False))
        return None

    def entries(self, path: str) -> list[Entry]:
        """What the folder `path` holds, by name."""
        parts = parts_of(path)
        with self._existing(parts, path) as at:
            return [_entry("/".join((*parts, it.name)), it.stat(follow_symlinks=False)) for it in _listed(at)]

    def walk(self, path: str, skipped: frozenset[str] = frozenset()) -> Iterator[Entry]:
        """All that is under the folder `path`, by name, each folder before what it holds; links are not followed.

        Args:
            path: The folder.
            skipped: Names of folders that are not entered. What can't be opened is passed over.
        """
        parts = parts_of(path)
        with self._existing(parts, path) as at:
            yield from _walk(at, parts, skipped)

    def open(self, path: str) -> BinaryIO:
        """The regular file `path`, open to be read."""
        *parts, name = named(path)
        with self._existing(parts, path) as at:
            _check(_stat(name, at), path)
            opened = os.open(name, _READ, dir_fd=at)
        if not stat.S_ISREG(os.fstat(opened).st_mode):  # it was swapped since
            os.close(opened)
            raise ToolError(f"{shown(path)} is no regular file.")
        return os.fdopen(opened, "rb")

    def read(self, path: str, most: int) -> bytes:
        """The bytes of the file `path`, if they are at most `most`."""
        with self.open(path) as file, _told(path):
            data = file.read(most + 1)
            if len(data) > most:
                size = os.fstat(file.fileno()).st_size
                raise ToolError(f"{shown(path)} has {size:,} bytes; at most {most:,} can be read.")
            return data

    def write(self, path: str, data: bytes, mode: int = 0o666) -> None:
        """Makes the file `path` hold `data`, at once or not at all, and brings it to the disk.

        Args:
            path: The file. Folders on the way are made. One that is there is replaced, and keeps its permissions.
            data: All that it shall hold.
            mode: The permissions of a new file, less the umask.
        """
        *parts, name = _changeable(path)
        with _told(path), self._folder(parts, make=True) as at:
            before = _replaceable(name, at, path)
            temporary = f".agentkit-{token_hex(8)}.tmp"
            opened = os.open(temporary, _NEW, mode, dir_fd=at)
            try:
                with os.fdopen(opened, "wb") as file:
                    if before is not None:
                        _take_after(opened, before)
                    file.write(data)
                    file.flush()
                    os.fsync(opened)
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=at)
                raise
            _sync(at)

    def make_folder(self, path: str) -> None:
        """Makes the folder `path`, and those on the way."""
        with _told(path), self._folder(_changeable(path), make=True):
            pass

    def move(self, path: str, destination: str) -> None:
        """Gives a file or folder another path, where nothing may be yet. Folders on the way are made."""
        parts, target = _changeable(path), _changeable(destination)
        if target[: len(parts)] == parts:
            raise ToolError(f"{shown(path)} can't be moved into itself.")
        with self._existing(parts[:-1], path) as source:
            _check(_stat(parts[-1], source), path, "folder")
            with _told(destination), self._folder(target[:-1], make=True) as at:
                with suppress(FileNotFoundError):
                    _stat(target[-1], at)
                    raise ToolError(f"There is {shown(destination)} already: delete it first, or choose another path.")
                os.rename(parts[-1], target[-1], src_dir_fd=source, dst_dir_fd=at)
                _sync(at)
                _sync(source)

    def delete(self, path: str, *, whole: bool = False) -> None:
        """Deletes a file or a folder.

        Args:
            path: What to delete. Of a link in a folder only the link is deleted, not what it leads to.
            whole: Whether a folder may hold something.
        """
        *parts, name = _changeable(path)
        if whole and (entry := self.entry(path)) is not None and entry.kind == "folder":
            for inner in self.walk(path):
                _refuse_protected(inner.path, inner.path.split("/"))
        with self._existing(parts, path) as at:
            if _check(_stat(name, at), path, "folder") == "file":
                os.unlink(name, dir_fd=at)
            elif whole:
                _delete_whole(name, at)
            else:
                os.rmdir(name, dir_fd=at)
            _sync(at)

    @contextmanager
    def _existing(self, parts: Sequence[str], path: str) -> Iterator[int]:
        with _told(path), self._folder(parts) as at:
            yield at

    @contextmanager
    def _folder(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """The handle of a folder."""
        at = os.dup(self._handle)
        try:
            for name in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=at)
                inner = os.open(name, _FOLDER, dir_fd=at)
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)


def parts_of(path: str) -> tuple[str, ...]:
    """The names in a relative path; empty for the root itself. `a//b/./c/` is `a/b/c`.

    Raises:
        ToolError: It is absolute, has `..`, or what no path should have.
    """
    why = None
    if "\0" in path or len(path) > _LONGEST or not _is_unicode(path):
        why = "that is no path"
    elif "\\" in path:
        why = "write / between the names, not \\"
    elif path.startswith(("/", "~")) or path[1:2] == ":":
        why = "give a path inside the folder, such as src/main.py, or . for the folder itself"
    elif ".." in path.split("/"):
        why = ".. is not allowed: give the path from the folder itself"
    if why is not None:
        raise ToolError(f"{shown(path)}: {why}.")
    return tuple(name for name in path.split("/") if name not in ("", "."))


def named(path: str) -> tuple[str, ...]:
    """As `parts_of`, of something in the root."""
    if parts := parts_of(path):
        return parts
    raise ToolError("That is the folder itself: name what is in it.")


def shown(path: str) -> str:
    """A path on one line, whatever is in it."""
    path = path if len(path) <= 1000 else f"{path[:1000]}…"
    return path if path.isprintable() else ascii(path)


def _chosen(path: str | os.PathLike[str]) -> Path:
    if os.open not in os.supports_dir_fd or not getattr(os, "O_NOFOLLOW", 0):
        raise ConfigurationError(
            "the file tools need a system with openat and O_NOFOLLOW: Linux, macOS or another Unix"
        )
    if not path:
        raise ConfigurationError("the file tools need a root: give the one folder that they may use")
    chosen = Path(os.path.realpath(path))
    if not chosen.is_dir():
        raise ConfigurationError(f"root {str(path)!r} is no folder: make it first, or give another")
    if any(home.is_relative_to(chosen) for home in _homes()):
        raise ConfigurationError(
            f"root {str(path)!r} holds the home folder: give one folder in it, such as a project's"
        )
    return chosen


def _homes() -> Iterator[Path]:
    import pwd

    yield Path("/")
    yield Path(os.path.realpath(os.path.expanduser("~")))
    with suppress(KeyError):
        yield Path(os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir))


def _is_unicode(path: str) -> bool:
    with suppress(UnicodeEncodeError):
        path.encode()
        return True
    return False


def _changeable(path: str) -> tuple[str, ...]:
    parts = named(path)
    _refuse_protected(path, parts)
    return parts


def _refuse_protected(path: str, parts: Sequence[str]) -> None:
    if is_protected(parts):
        raise ToolError(f"{shown(path)} is protected: what it says may run or hold secrets. Ask the user to change it.")


def _stat(name: str, at: int) -> os.stat_result:
    return os.stat(name, dir_fd=at, follow_symlinks=False)


def _check(found: os.stat_result, path: str, *wanted: str) -> str:
    """What it is: a file, or one of the kinds that are `wanted` too."""
    kind = _kind(found)
    if kind == "symbolic link":
        raise ToolError(f"{shown(path)} is a symbolic link, and links are not followed.")
    if kind not in ("file", *wanted):
        raise ToolError(f"{shown(path)} is a {kind}, not a file.")
    return kind


def _replaceable(name: str, at: int, path: str) -> os.stat_result | None:
    with suppress(FileNotFoundError):
        found = _stat(name, at)
        _check(found, path)
        if found.st_nlink > 1:
            raise ToolError(f"{shown(path)} has other hard links, and is not changed: write another file.")
        return found
    return None


def _take_after(opened: int, before: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(opened, before.st_uid, before.st_gid)
    os.fchmod(opened, stat.S_IMODE(before.st_mode) & 0o777)


def _sync(at: int) -> None:
    with suppress(OSError):  # not every file system can
        os.fsync(at)


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "device")


def _entry(path: str, found: os.stat_result) -> Entry:
    mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
    return Entry(path, _kind(found), found.st_size, found.st_nlink, mode, owner)


def _listed(at: int) -> list[os.DirEntry[str]]:
    with os.scandir(at) as found:
        return sorted(found, key=lambda entry: entry.name)


def _walk(at: int, parts: tuple[str, ...], skipped: frozenset[str]) -> Iterator[Entry]:
    for item in _listed(at):
        here = (*parts, item.name)
        try:
            entry = _entry("/".join(here), item.stat(follow_symlinks=False))
        except OSError:  # it is gone
            continue
        yield entry
        if entry.kind == "folder" and item.name not in skipped and len(here) < _DEEPEST:
            try:
                inner = os.open(item.name, _FOLDER, dir_fd=at)
            except OSError:
                continue
            try:
                yield from _walk(inner, here, skipped)
            finally:
                os.close(inner)


def _delete_whole(name: str, at: int) -> None:
    inner = os.open(name, _FOLDER, dir_fd=at)
    try:
        for item in _listed(inner):
            if item.is_dir(follow_symlinks=False):
                _delete_whole(item.name, inner)
            else:
                os.unlink(item.name, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=at)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What the system refuses, in words for the model."""
    try:
        yield
    except FileNotFoundError:
        raise ToolError(f"There is no {shown(path)}.") from None
    except NotADirectoryError:
        raise ToolError(f"There is no {shown(path)}: a name on the way is a file or a link, not a folder.") from None
    except OSError as error:
        raise ToolError(f"{shown(path)}: {error.strerror or error}.") from None
