"""MCP servers that others wrote, in environments as those of `tests/peers`; tests skip where they can't be had."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

# Exact, so that a red run is of our making; raise them now and then.
PYTHON = ("mcp-server-time==2026.10.19", "mcp-server-git==2026.10.19", "mcp-server-fetch==2026.10.24")
NODE = ("@modelcontextprotocol/server-everything@2026.8.31", "@modelcontextprotocol/server-filesystem@2026.8.31")
_LOADED = "integrations_peer_environments"


def _environments() -> Any:
    if _LOADED not in sys.modules:
        path = Path(__file__).parents[1] / "peers" / "environments.py"
        spec = importlib.util.spec_from_file_location(_LOADED, path)
        assert spec
        assert spec.loader
        sys.modules[_LOADED] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_LOADED])
    return sys.modules[_LOADED]


@functools.cache
def _python() -> Path | str:
    peers = _environments()
    peers.PEERS["mcp"] = PYTHON
    try:
        return peers.environment("mcp") / "bin"
    except peers.Missing as why:
        return f"no MCP servers of Python: {why}"


@functools.cache
def _node() -> Path | str:
    peers = _environments()
    folder, stamp = peers.HOME / "mcp-node", json.dumps(NODE)
    if shutil.which("node") is None:
        return "no MCP servers of npm: there is no node"
    options = ["--no-fund", "--no-audit", "--ignore-scripts"]
    try:
        peers.made_once(folder, stamp, [["npm", "install", "--prefix", str(folder), *options, *NODE]])
    except peers.Missing as why:
        return f"no MCP servers of npm: {why}"
    return folder / "node_modules" / ".bin"


def program(name: str) -> str:
    """The path of a server's program; the test skips, saying so, where there is none."""
    folder = _python() if name in {package.partition("==")[0] for package in PYTHON} else _node()
    if isinstance(folder, str):
        pytest.skip(folder)
    return str(folder / name)
