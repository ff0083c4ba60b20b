"""The command in this process, and tools and documents for it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from commands import MY_TOOLS, Cli
from typer.testing import CliRunner, Result

from agentkit.cli.app import app
from agentkit.settings import RetryPolicy


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: it has the module `my_tools`, and one that can't be imported."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "my_tools.py").write_text(MY_TOOLS)
    (folder / "exits.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_tools", "exits"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder that the emulator can search."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "harbour.md").write_text(
        "# The harbour of Lindholm\n\nThe harbour of Lindholm closes at ten in the evening.\n\n"
        "Boats that come later moor at the pier outside.\n"
    )
    (folder / "bakery.md").write_text("# The bakery\n\nThe bakery sells rye bread from six in the morning.\n")
    return folder


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs the command in this process; nothing of it stays in the home folder, and retries wait for milliseconds."""
    monkeypatch.setenv("AGENTKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("agentkit.client.RetryPolicy", partial(RetryPolicy, base=0.01))

    def run(*arguments: object, **options: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="agentkit", **options)  # type: ignore[arg-type]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
