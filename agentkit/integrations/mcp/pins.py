"""Which tools of a server were approved: a digest of each, in a small JSON file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp_types import Tool

from agentkit.errors import ConfigurationError

__all__ = ["digest_of", "pin", "pinned"]


def digest_of(tool: Tool) -> str:
    """Of all that a server says of a tool that the model or we go by. Source: faults.md, U3."""
    annotations = tool.annotations.model_dump(exclude_none=True) if tool.annotations else {}
    said = [tool.name, tool.title, tool.description, tool.input_schema, annotations]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def pinned(path: str | os.PathLike[str], server: str) -> dict[str, str] | None:
    """The digests of a server's tools; None if it has none in the file, or there is no file.

    Raises:
        ConfigurationError: The file can't be read, or is something else.
    """
    found = _read(Path(path)).get(server)
    return None if found is None else dict(found)


def pin(path: str | os.PathLike[str], server: str, tools: Mapping[str, Tool]) -> None:
    """Writes down that these tools are approved as they are now; what the file has of others stays.

    Raises:
        ConfigurationError: The file can't be read or written, or is something else.
    """
    file = Path(path)
    servers = _read(file)
    servers.setdefault(server, {}).update({name: digest_of(tool) for name, tool in tools.items()})
    text = json.dumps({"servers": servers}, indent=2, sort_keys=True)
    written = file.with_name(f"{file.name}.new")
    try:
        written.write_text(f"{text}\n", "utf-8")
        written.replace(file)
    except OSError as error:
        raise ConfigurationError(f"the pins can't be written: {file}: {error.strerror}") from None


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        found: Any = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"the pins can't be read: {file}: {error.strerror}") from None
    except ValueError:
        found = None
    servers = found.get("servers") if isinstance(found, dict) else None
    if not isinstance(servers, dict) or not all(isinstance(tools, dict) for tools in servers.values()):
        raise ConfigurationError(f"{file} is no file of pins: give another path, or remove it and pin again")
    return servers
