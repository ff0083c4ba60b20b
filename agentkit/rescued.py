"""Files beside a store, for what has happened and can't be written into it now. They need no database and no lock."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from agentkit.errors import JournalError
from agentkit.store import Lines, RunRow

__all__ = ["read", "rescued", "write"]


def write(beside: Path, row: RunRow, lines: Lines) -> Path:
    """Writes lines of a run to a file that outlives a loss of power. The same lines go to the same file.

    Args:
        beside: The store.
        row: The run; `length` is where the lines belong.
        lines: At least one.

    Returns:
        The file; its owner alone may read it.

    Raises:
        JournalError: It can't be written.
    """
    # A longer one has another name: who has read a file may remove it, whatever came meanwhile.
    path = beside.with_name(f"{_prefix(beside, row.run_id)}{row.epoch}-{lines[-1][1].hex()}")
    kept = {"row": asdict(row), "lines": [[_text(entry), digest.hex()] for entry, digest in lines]}
    try:
        file, new = tempfile.mkstemp(prefix=f".{beside.name}-", suffix=".new", dir=beside.parent)
        try:
            with os.fdopen(file, "w", encoding="ascii") as out:
                json.dump(kept, out)
                out.flush()
                os.fsync(out.fileno())
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise
        _sync_folder(beside.parent)
    except OSError as error:
        raise JournalError(f"nor can a file be written beside the journal {beside}: {error}") from error
    return path


def rescued(beside: Path, run_id: str) -> list[Path]:
    """The files of a run.

    Args:
        beside: The store.
        run_id: The run.
    """
    prefix = _prefix(beside, run_id)
    with os.scandir(beside.parent) as found:
        return [beside.with_name(name) for name in sorted(one.name for one in found) if name.startswith(prefix)]


def read(path: Path) -> tuple[RunRow, Lines] | None:
    """What a file holds; None if another process has taken it in meanwhile.

    Raises:
        JournalError: It can't be read.
    """
    try:
        kept = json.loads(path.read_bytes())
        lines = [(_bytes(entry), bytes.fromhex(digest)) for entry, digest in kept["lines"]]
        return RunRow(**kept["row"]), lines
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        text = f"{path} can't be read, and holds results that are not in the journal: {error!r}"
        raise JournalError(f"{text}; mend it, or move it away to go on without them") from error


def _prefix(beside: Path, run_id: str) -> str:
    # A run's id may be the user's own, and no name of a file.
    run = blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{beside.name}-rescued-{run}-"


def _text(entry: bytes) -> str:
    return entry.decode("utf-8", "surrogateescape")


def _bytes(entry: str) -> bytes:
    return entry.encode("utf-8", "surrogateescape")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder can't be opened
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
