"""The sandbox that programs run in: Debian's bubblewrap, with no network and one folder to write to."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agentkit import ConfigurationError
from agentkit_tools.protected import is_protected
from agentkit_tools.syscalls import filter_program

__all__ = ["Sandbox", "Start", "work_folder"]

_MIB = 1024 * 1024
_HANDLE = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/localtime")
_NO_FOLDERS = frozenset(map(Path, ("/", "/usr", "/etc", "/var", "/boot", "/run", "/home", "/root", *_SYSTEM)))
_NO_PARENTS = frozenset(map(Path, ("/proc", "/sys", "/dev", "/usr", "/etc", "/boot")))
_REPOSITORIES = ("*/.git", "*/*/.git")
_FILES = {
    "/etc/passwd": b"sandbox:x:1000:1000::/tmp:/bin/sh\n",
    "/etc/group": b"sandbox:x:1000:\n",
    "/etc/hosts": b"127.0.0.1 localhost sandbox\n::1 localhost\n",
}
_NEEDED = {"bwrap": "bubblewrap", "choom": "util-linux", "prlimit": "util-linux"}
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Where a program runs that a model chose: no network, nothing of the host's to write to but the work folder.

    It sees `/usr`, a few files of `/etc`, an empty `/tmp` and the work folder, at its own path. It gets none of the
    process's environment, and its processes end with it. In the work folder, `.git`, `.env`, shell start files and
    the like, where they are there, stay as they are. Needs Linux and Debian's package `bubblewrap`.

    Args:
        readable: Further files and folders that it can read, at the same path.
        environment: Variables that it gets, beyond `PATH`, `HOME` and a few harmless ones.
        timeout: Seconds that a command may take.
        cpu: Seconds of processor time for each process.
        memory: Bytes of memory for all its processes.
        file_size: Bytes of a single file.
        disk: Bytes by which the free space of the disk may fall while it runs.
        processes: How many there may be at once.
        open_files: How many each process may have open.
        output: Bytes that are kept of what it prints, the first half and the last.

    Raises:
        ConfigurationError: A limit is not more than 0, or a path in `readable` is not there.
    """

    readable: Sequence[str | os.PathLike[str]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 120
    cpu: int = 300
    memory: int = 2048 * _MIB
    file_size: int = 1024 * _MIB
    disk: int = 4096 * _MIB
    processes: int = 256
    open_files: int = 1024
    output: int = 32 * 1024

    def __post_init__(self) -> None:
        for name in ("timeout", "cpu", "memory", "file_size", "disk", "processes", "open_files", "output"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"Sandbox({name}=…) must be more than 0")
        for path in self.readable:
            if not (Path(path).is_absolute() and Path(path).exists()):
                raise ConfigurationError(f"Sandbox(readable=…): {path} must be an absolute path that is there")

    def check(self) -> None:
        """Starts it once.

        Raises:
            ConfigurationError: It can't be started here; the text says what is missing.
        """
        _check()


@dataclass(frozen=True)
class Start:
    """How a program is started in the sandbox: close it when it was.

    Attributes:
        command: The command line of bubblewrap.
        environment: All that it gets.
        files: What it needs open, beyond standard input and output.
        told: Where bubblewrap tells about its first process, as JSON.
    """

    command: list[str]
    environment: dict[str, str]
    files: list[int]
    told: int

    @classmethod
    def of(
        cls, sandbox: Sandbox, root: Path, argv: Sequence[str], *, folder: str = ".", passed: Sequence[int] = ()
    ) -> Start:
        """A program in the work folder.

        Args:
            sandbox: Its limits.
            root: The work folder, as `work_folder` gave it.
            argv: The program and its arguments.
            folder: Where it starts, relative to `root`.
            passed: Further files that the program gets, which stay the caller's.

        Raises:
            OSError: The work folder is gone.
        """
        files: list[int] = []
        with ExitStack() as undo:
            undo.callback(_close, files)
            told, teller = os.pipe()
            undo.callback(os.close, told)
            files.append(teller)
            command = [
                # The first to go when the machine runs out of memory.
                *(_program("choom"), "--adjust", "1000", "--"),
                *(
                    _program("bwrap"),
                    "--unshare-all",
                    "--unshare-user",
                    "--disable-userns",
                    "--die-with-parent",
                    "--new-session",
                ),
                *("--info-fd", str(teller)),
                *("--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
                *_system(files),
                *_folders(sandbox, root, files),
                *("--chdir", str(root / folder), "--remount-ro", "/", "--seccomp", _file(filter_program(), files)),
                *("--", *_limits(sandbox), *argv),
            ]
            undo.pop_all()
        return cls(command, {**_ENVIRONMENT, **sandbox.environment}, [*files, *passed], told)

    def close(self, keep: Sequence[int] = ()) -> None:
        """Closes its files."""
        _close([file for file in (*self.files, self.told) if file not in keep])


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def _program(name: str) -> str:
    """Where it is for this process: the `PATH` of the sandbox may lead to what was put into the work folder."""
    return shutil.which(name) or name


def _system(files: list[int]) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for path in _SYSTEM:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from ("--ro-bind-try", path, path)
    for path in _SETTINGS:
        yield from ("--ro-bind-try", path, path)
    for path, text in _FILES.items():
        yield from ("--ro-bind-data", _file(text, files), path)
    # Read-only: where this user is the host's root, its settings (/proc/sys) are the host's own.
    yield from ("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
    # What is written to these is memory.
    yield from ("--size", str(64 * _MIB), "--perms", "1777", "--tmpfs", "/dev/shm")  # noqa: S108
    yield from ("--remount-ro", "/dev", "--size", str(256 * _MIB), "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108


def _folders(sandbox: Sandbox, root: Path, files: list[int]) -> Iterator[str]:
    """The work folder and what is readable, the outer ones first: what lies in another is mounted over it."""
    handle = os.open(root, _HANDLE | os.O_DIRECTORY)
    files.append(handle)
    # The interpreter that this process runs on must not be changed from inside.
    readable = {Path(sys.prefix), Path(sys.base_prefix)} - {root}
    readable = {path for path in readable if path.is_relative_to(root)}.union(map(Path, sandbox.readable))
    inside = sorted(path.relative_to(root) for path in readable if path.is_relative_to(root) and path != root)
    for path in sorted({root, *(path for path in readable if not path.is_relative_to(root))}, key=_depth):
        if path == root:
            yield from ("--bind-fd", str(handle), str(root))
            yield from _fixed(root, handle, inside, files)
        else:
            yield from ("--ro-bind", str(path), str(path))


def _fixed(root: Path, handle: int, readable: list[Path], files: list[int]) -> Iterator[str]:
    """What is in the work folder and can't be changed, nor the folders on the way be moved, so that another is there.

    Each is mounted by a handle that was reached without following links: an earlier command may have put some.
    """
    fixed = {*readable, *_trusted(root)}
    fixed = {path for path in fixed if not fixed.intersection(path.parents)}
    on_the_way = {parent for path in fixed for parent in path.parents} - {Path()}
    for path in sorted(fixed | on_the_way, key=_depth):
        with suppress(*() if path in readable else (OSError,)):
            option = "--ro-bind-fd" if path in fixed else "--bind-fd"
            yield from (option, str(_opened_within(handle, path, files)), str(root / path))


def _trusted(root: Path) -> Iterator[Path]:
    """What programs outside run or trust without being asked."""
    yield from (Path(path.name) for path in root.iterdir() if is_protected([path.name]) and not path.is_symlink())
    yield from (path.relative_to(root) for pattern in _REPOSITORIES for path in root.glob(pattern))


def _depth(path: Path) -> int:
    return len(path.parts)


def _limits(sandbox: Sandbox) -> Iterator[str]:
    # Set inside, where the kernel counts the processes of this sandbox alone. A core file of 1 byte is none, nor is it
    # handed to the program that takes them: see core(5).
    yield from (_program("prlimit"), "--core=1", f"--cpu={sandbox.cpu}")
    yield from (f"--data={sandbox.memory}", f"--fsize={sandbox.file_size}", f"--nproc={sandbox.processes}")
    yield from (f"--nofile={sandbox.open_files}", "--memlock=8388608", "--msgqueue=819200", "--")


def _opened_within(handle: int, path: Path, files: list[int]) -> int:
    # What is handed on is a mount, and then closed by bubblewrap. A handle of the host's that is not would be a way out
    # for the program: none of a folder on the way may be among `files`.
    with ExitStack() as on_the_way:
        for folder in path.parts[:-1]:
            handle = os.open(folder, _HANDLE | os.O_DIRECTORY, dir_fd=handle)
            on_the_way.callback(os.close, handle)
        opened = os.open(path.name, _HANDLE, dir_fd=handle)
    if stat.S_ISLNK(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    files.append(opened)
    return opened


def _file(text: bytes, files: list[int]) -> str:
    reader, writer = os.pipe()  # which holds more than any of them
    files.append(reader)
    os.write(writer, text)
    os.close(writer)
    return str(reader)


def work_folder(root: str | os.PathLike[str]) -> Path:
    """The folder that tools may write to, without links in its path.

    Raises:
        ConfigurationError: It is none: not there, the home folder, a folder of the system.
    """
    if not os.fspath(root):
        raise ConfigurationError("give the tools a folder of their own to work in, not an empty path")
    path = Path(root).absolute().resolve()
    if not path.is_dir():
        raise ConfigurationError(f"{root} is no folder: make it, or give the tools another one to work in")
    if (
        path in _NO_FOLDERS
        or any(home.is_relative_to(path) for home in _homes())
        or _NO_PARENTS.intersection(path.parents)
    ):
        raise ConfigurationError(f"{path} holds more than an agent's work: give the tools a folder of their own in it")
    return path


def _homes() -> Iterator[Path]:
    import pwd

    yield Path.home().resolve()
    with suppress(KeyError):
        yield Path(pwd.getpwuid(os.getuid()).pw_dir).resolve()


@cache
def _check() -> None:
    if sys.platform != "linux":
        raise ConfigurationError("the sandbox needs Linux: there is none on this system")
    if missing := sorted({package for program, package in _NEEDED.items() if not shutil.which(program)}):
        raise ConfigurationError(f"the sandbox needs {' and '.join(missing)}: apt install {' '.join(missing)}")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        start = Start.of(Sandbox(), Path(folder).resolve(), ["true"])
        try:
            done = subprocess.run(  # noqa: S603
                start.command, env=start.environment, pass_fds=start.files, capture_output=True, text=True, check=False
            )
        finally:
            start.close()
    if done.returncode:
        raise ConfigurationError(_refusal(done.stderr.strip()))


def _refusal(said: str) -> str:
    if "Unknown option" in said:
        return f"the sandbox needs a newer bubblewrap, as in Debian 12 and later ({said})"
    if any(word in said for word in ("namespace", "uid map", "loopback", "user.max")):
        return (
            f"the kernel lets this user make no user namespaces, which the sandbox needs ({said}): allow them with "
            "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces or "
            "kernel.apparmor_restrict_unprivileged_userns=0; in a container, its runtime has to allow them"
        )
    return f"the sandbox does not start here: {said}"
