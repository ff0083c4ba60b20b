"""What the attempts know of the host, and what they have in common."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

W: dict[str, Any] = {}
ATTEMPTS: dict[str, Callable[[], object]] = {}
LIBC = ctypes.CDLL(None, use_errno=True)
IS_X86 = os.uname().machine == "x86_64"


def attempt(function: Callable[[], object]) -> Callable[[], object]:
    ATTEMPTS[function.__name__] = function
    return function


def syscall(x86: int, arm: int, *arguments: Any) -> int:
    """A system call by its number; raises as `os` does."""
    result: int = LIBC.syscall(ctypes.c_long(x86 if IS_X86 else arm), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def file_made(path: str) -> bool:
    with open(path, "x") as file:
        file.write("x")
    os.unlink(path)
    return True
