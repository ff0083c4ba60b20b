"""Attempts to get rights from the kernel, or to leave something that has them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from escaping import ATTEMPTS, IS_X86, W, attempt, syscall


def set_id(name: str, make: Callable[[str], object]) -> None:
    @attempt
    def try_it() -> bool:
        path = f"{W['root']}/set-id"
        Path(path).write_text("x")
        try:
            make(path)
            return bool(os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID))
        finally:
            os.unlink(path)

    ATTEMPTS[f"set_id_by_{name}"] = ATTEMPTS.pop("try_it")


def _fchmod(path: str) -> None:
    with open(path) as file:
        os.fchmod(file.fileno(), 0o4755)


def _open(path: str) -> None:
    os.unlink(path)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o6755))


def _openat2(path: str) -> None:
    os.unlink(path)
    how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    os.close(syscall(437, 437, -100, path.encode(), how, len(how)))


set_id("chmod", lambda path: os.chmod(path, 0o4755))
set_id("chmod_group", lambda path: os.chmod(path, 0o2755))
set_id("fchmod", _fchmod)
set_id("fchmodat2", lambda path: syscall(452, 452, -100, path.encode(), 0o4755, 0))
set_id("open", _open)
set_id("openat2", _openat2)
set_id("mknod", lambda path: (os.unlink(path), os.mknod(path, 0o104755)))


@attempt
def file_capability() -> bool:
    path = f"{W['root']}/capable"
    Path(path).write_text("x")
    try:
        os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x2000001, 1, 0, 0, 0))
        return True
    finally:
        os.unlink(path)


@attempt
def capabilities() -> bool:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16) != 0


@attempt
def new_privileges() -> bool:
    return "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()


@attempt
def become_root() -> bool:
    os.setuid(0)
    return True


@attempt
def become_another() -> bool:
    os.setuid(12345)
    return True


@attempt
def mount_something() -> bool:
    folder = f"{W['root']}/mounted"
    os.mkdir(folder)
    try:
        syscall(165, 40, b"none", folder.encode(), b"tmpfs", 0, None)
        syscall(166, 39, folder.encode(), 0)
        return True
    finally:
        os.rmdir(folder)


@attempt
def remount_writable() -> bool:
    if not W["inside"]:
        return False
    syscall(165, 40, b"none", b"/usr", None, 32 | 4096, None)  # MS_REMOUNT | MS_BIND
    return True


@attempt
def unmount() -> bool:
    syscall(166, 39, b"/proc" if W["inside"] else b"/nothing", 2)
    return True


@attempt
def new_user_namespace() -> bool:
    syscall(272, 97, 0x10000000)
    return True


@attempt
def new_user_namespace_by_clone() -> bool:
    pid = syscall(56, 220, 0x10000000 | signal.SIGCHLD, None, None, None, None)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


@attempt
def namespace_of_another() -> bool:
    target = 1 if W["inside"] else W["victim"]
    return syscall(308, 268, os.open(f"/proc/{target}/ns/net", os.O_RDONLY), 0) == 0


@attempt
def change_root() -> bool:
    os.chroot(W["root"])
    return True


@attempt
def file_by_its_handle() -> bool:
    try:
        syscall(304, 265, -100, struct.pack("IiII", 8, 1, 2, 0), 0)
    except OSError as error:
        return error.errno not in (errno.EPERM, errno.ENOSYS)
    return True


@attempt
def disk_device() -> bool:
    path = f"{W['root']}/disk"
    os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    os.unlink(path)
    return True


@attempt
def kernel_memory_and_log() -> bool:
    for path in ("/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/proc/kcore"):
        with suppress(OSError):
            os.close(os.open(path, os.O_RDONLY))
            return True
    return False


@attempt
def kernel_settings() -> bool:
    path = Path("/proc/sys/kernel/core_pattern")
    path.write_text(path.read_text())
    return True


@attempt
def core_files() -> bool:
    return resource.getrlimit(resource.RLIMIT_CORE)[1] > 1


@attempt
def host_name() -> bool:
    return socket.gethostname() == W["host"]


@attempt
def kernel_objects() -> bool:
    return bool(os.listdir("/sys"))


@attempt
def kernel_module() -> bool:
    try:
        syscall(175, 105, b"nothing", 7, b"")
    except OSError as error:
        return error.errno not in (errno.EPERM, errno.ENOSYS)
    return True


@attempt
def kernel_program() -> bool:
    return syscall(321, 280, 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(56), 72) > 0  # an array


@attempt
def performance_events() -> bool:
    event = bytearray(112)
    struct.pack_into("IIQ", event, 0, 1, 112, 0)
    return syscall(298, 241, bytes(event), 0, -1, -1, 0) > 0


@attempt
def page_faults() -> bool:
    return syscall(323, 282, 1) > 0


@attempt
def unlimited_memory_file() -> bool:
    return os.memfd_create("x") > 0


@attempt
def queued_system_calls() -> bool:
    return syscall(425, 425, 4, bytearray(120) and ctypes.create_string_buffer(120)) > 0


@attempt
def system_calls_of_32_bits() -> bool:
    if not IS_X86:
        return False
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
        start = ctypes.c_char.from_buffer(code)
        got = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(start))()
        del start
        return bool(got == os.getpid())


@attempt
def system_calls_by_other_numbers() -> bool:
    return bool(IS_X86 and syscall(0x40000000 + 39, 0) > 0)


@attempt
def typing_into_a_terminal() -> bool:
    _, follower = os.openpty()
    fcntl.ioctl(follower, 0x5412, b"x")  # TIOCSTI
    return True
