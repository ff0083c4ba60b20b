"""What a program in the sandbox may not ask of the kernel: a filter of system calls, as seccomp takes it."""

from __future__ import annotations

import errno
import platform
import socket
import struct
from collections.abc import Iterator

from agentkit import ConfigurationError

__all__ = ["filter_program"]

# Numbers of x86_64 and of aarch64; None is a call that aarch64 never had. Source: Linux, syscall_64.tbl and
# asm-generic/unistd.h.
_GONE = {
    # Keys of the session, which no namespace hides.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Other ways to do what is filtered here, or memory that no limit counts.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "openat2": (437, 437),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # Other processes, pid 1 of the sandbox among them.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    # Large parts of the kernel that a build or a test has no use for.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
}
_SET_ID = 0o6000
_CREATES = 0o100 | 0o20000000  # O_CREAT, O_TMPFILE
# A call is refused if all of (argument, bits) have one of the bits. Files that run as their owner would outlive the
# sandbox.
_BITS: list[tuple[str, tuple[int, int | None], list[tuple[int, int]]]] = [
    ("chmod", (90, None), [(1, _SET_ID)]),
    ("fchmod", (91, 52), [(1, _SET_ID)]),
    ("fchmodat", (268, 53), [(2, _SET_ID)]),
    ("fchmodat2", (452, 452), [(2, _SET_ID)]),
    ("creat", (85, None), [(1, _SET_ID)]),
    ("mknod", (133, None), [(1, _SET_ID)]),
    ("mknodat", (259, 33), [(2, _SET_ID)]),
    ("open", (2, None), [(1, _CREATES), (2, _SET_ID)]),
    ("openat", (257, 56), [(2, _CREATES), (3, _SET_ID)]),
    # A pair of datagram sockets can send to other unix sockets, which are refused below.
    ("socketpair", (53, 199), [(1, socket.SOCK_DGRAM)]),
]
# No unix sockets: one in the work folder would lead out. No vsock: it has no namespace.
_SOCKET, _FAMILIES = (41, 198), (2, 10, 16)  # IPv4, IPv6, netlink
_IOCTL, _INJECTS = (16, 29), (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def filter_program() -> bytes:
    """The filter for this machine, for `bwrap --seccomp`.

    Raises:
        ConfigurationError: There is none for this machine.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise ConfigurationError(f"the sandbox has no filter of system calls for {machine}: use x86_64 or aarch64")
    column, architecture = _MACHINES[machine]
    return b"".join(struct.pack("HBBI", *line) for line in _lines(column, architecture))


def _lines(column: int, architecture: int) -> Iterator[tuple[int, int, int, int]]:
    yield _load(4)
    yield _EQUAL, 1, 0, architecture  # else it is a call of 32 bits, with other numbers
    yield _error(errno.ENOSYS)
    yield _load(0)
    yield _AT_LEAST, 0, 1, 0x40000000  # x32, with other numbers too
    yield _error(errno.ENOSYS)
    for numbers in _GONE.values():
        yield _EQUAL, 0, 1, numbers[column]
        yield _error(errno.ENOSYS)
    for _, bits_numbers, bits in _BITS:
        if (number := bits_numbers[column]) is not None:
            yield _EQUAL, 0, 3 * len(bits) + 1, number
            for argument, mask in bits:
                yield _load(16 + 8 * argument)
                yield _ANY_BIT, 1, 0, mask
                yield _RETURN, 0, 0, _ALLOW
            yield _error(errno.EPERM)
    yield from _one_of(_SOCKET[column], 0, _FAMILIES, found=_ALLOW, other=_ERROR | errno.EAFNOSUPPORT)
    yield from _one_of(_IOCTL[column], 1, _INJECTS, found=_ERROR | errno.EPERM, other=_ALLOW)
    yield _RETURN, 0, 0, _ALLOW


def _one_of(
    number: int, argument: int, values: tuple[int, ...], *, found: int, other: int
) -> Iterator[tuple[int, int, int, int]]:
    yield _EQUAL, 0, 2 * len(values) + 2, number
    yield _load(16 + 8 * argument)
    for value in values:
        yield _EQUAL, 0, 1, value
        yield _RETURN, 0, 0, found
    yield _RETURN, 0, 0, other


def _load(offset: int) -> tuple[int, int, int, int]:
    return _LOAD, 0, 0, offset


def _error(number: int) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _ERROR | number
