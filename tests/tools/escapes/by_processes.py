"""Attempts to reach other processes, and what processes share."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from contextlib import suppress
from pathlib import Path

from escaping import W, attempt, syscall


@attempt
def signal_the_parent() -> bool:
    os.kill(W["parent"], 0)
    return b"python" in Path(f"/proc/{W['parent']}/cmdline").read_bytes()


@attempt
def signal_another() -> bool:
    os.kill(W["victim"], 0)
    return True


@attempt
def kill_all() -> bool:
    with suppress(ProcessLookupError):
        os.kill(-1, 0)
    return len(processes()) > 20


def processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


@attempt
def environment_of_another() -> bool:
    return W["secret"].encode() in Path(f"/proc/{W['victim']}/environ").read_bytes()


@attempt
def environments_of_all() -> bool:
    for pid in processes():
        with suppress(OSError):
            if W["secret"].encode() in Path(f"/proc/{pid}/environ").read_bytes():
                return True
    return False


@attempt
def command_line_of_another() -> bool:
    return b"sleep" in Path(f"/proc/{W['victim']}/cmdline").read_bytes()


@attempt
def files_of_another() -> bool:
    return bool(os.listdir(f"/proc/{W['victim']}/fd"))


@attempt
def root_of_another() -> bool:
    return W["secret"] in Path(f"/proc/{W['victim']}/root{W['outside']}/secret").read_text()


@attempt
def root_of_any() -> bool:
    for pid in processes():
        with suppress(OSError):
            if W["secret"] in Path(f"/proc/{pid}/root{W['outside']}/secret").read_text():
                return True
    return False


@attempt
def trace_another() -> bool:
    syscall(101, 117, 16, W["victim"], 0, 0)  # PTRACE_ATTACH
    os.waitpid(W["victim"], 0x40000000)
    syscall(101, 117, 17, W["victim"], 0, 0)
    return True


@attempt
def trace_the_first() -> bool:
    """The first process of the sandbox is bubblewrap's."""
    target = 1 if W["inside"] else W["victim"]
    syscall(101, 117, 0x4206, target, 0, 0)  # PTRACE_SEIZE
    return True


@attempt
def memory_of_another() -> bool:
    target = 1 if W["inside"] else W["victim"]
    vector = struct.pack("PN", ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    try:
        syscall(310, 270, target, vector, 1, struct.pack("PN", 4096, 8), 1, 0)
    except OSError as error:
        return error.errno == errno.EFAULT  # it was let look
    return True


@attempt
def memory_file_of_another() -> bool:
    target = 1 if W["inside"] else W["victim"]
    with open(f"/proc/{target}/mem", "rb+"):
        return True


@attempt
def handle_of_another() -> bool:
    return bool(os.pidfd_open(W["victim"]))


@attempt
def priority_of_another() -> bool:
    os.setpriority(os.PRIO_PROCESS, W["victim"], os.getpriority(os.PRIO_PROCESS, W["victim"]))
    return True


@attempt
def limits_of_another() -> bool:
    resource.prlimit(W["victim"], resource.RLIMIT_NOFILE)
    return True


def shared_memory(key: int) -> int:
    return int(syscall(29, 194, key, 0, 0))


@attempt
def shared_memory_segment() -> bool:
    return shared_memory(W["key"]) >= 0


@attempt
def semaphores() -> bool:
    return syscall(64, 190, W["key"], 0, 0) >= 0


@attempt
def message_queue() -> bool:
    return syscall(68, 186, W["key"], 0) >= 0


@attempt
def shared_memory_file() -> bool:
    return Path("/dev/shm", W["name"]).exists()


@attempt
def keys_of_the_session() -> bool:
    description = W["name"].encode()
    return syscall(249, 218, b"user", description, None, 0) > 0


@attempt
def keys_added() -> bool:
    return syscall(248, 217, b"user", b"agentkit-test-2", b"x", 1, ctypes.c_int(-1)) > 0


@attempt
def open_files_inherited() -> bool:
    for number in range(3, 256):
        with suppress(OSError):
            if W["secret"].encode() in os.pread(number, 1000, 0):
                return True
    return False


def beyond(folder: str, at: int | None = None) -> bool:
    """Whether the secret is reached from a folder that is open somewhere."""
    with suppress(OSError):
        file = os.open(f"{folder}{'../' * 20}{W['outside'][1:]}/secret", os.O_RDONLY, dir_fd=at)
        return W["secret"].encode() in os.read(file, 1000)
    return False


@attempt
def folders_inherited() -> bool:
    return any(beyond("", number) for number in range(3, 1000))


@attempt
def folders_of_others() -> bool:
    for pid in processes():
        with suppress(OSError):
            for name in ("cwd", *(f"fd/{number}" for number in os.listdir(f"/proc/{pid}/fd"))):
                if beyond(f"/proc/{pid}/{name}/"):
                    return True
    return False


@attempt
def environment() -> bool:
    return W["secret"] in str(dict(os.environ))


@attempt
def limits_lifted() -> bool:
    if not W["inside"]:
        resource.setrlimit(resource.RLIMIT_DATA, (2**40, 2**40))
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True


@attempt
def the_first_process_is_free() -> bool:
    """Nothing is gained by taking it over: it is confined as the others are."""
    status = Path("/proc/1/status").read_text()
    return any(f"{name}:\t0" in status for name in ("NoNewPrivs", "Seccomp"))
