"""The `Agent` that `--agent module:name` or `--agent file.py:name` names."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agentkit.errors import AgentKitError, ConfigurationError

if TYPE_CHECKING:
    from agentkit.agent import Agent

__all__ = ["named_agent"]


def named_agent(named: str, option: str = "--agent") -> Agent:
    """An agent of the user's; its module is imported, from the current folder first.

    Args:
        named: As `module:name` or `file.py:name`.
        option: Where that was written, for errors.

    Raises:
        ConfigurationError: There is none.
    """
    from agentkit.agent import Agent

    source, _, name = named.rpartition(":")
    if not (source and name):
        raise ConfigurationError(f"{option} {named}: write it as module:name or file.py:name, such as desk.py:agent")
    module = _imported(f"{option} {named}", source)
    found: Any = getattr(module, name, None)
    if isinstance(found, Agent):
        return found
    agents = ", ".join(known for known, value in vars(module).items() if isinstance(value, Agent)) or "none"
    raise ConfigurationError(f"{option} {named}: {source} has no Agent {name!r} (there are: {agents})")


def _imported(written: str, source: str) -> ModuleType:
    path = Path(source)
    folder = str(path.parent.resolve()) if path.suffix == ".py" else os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return _loaded(path) if path.suffix == ".py" else import_module(source)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{written}: there is no file {error.filename}") from None
    except AgentKitError as error:
        raise ConfigurationError(f"{written}: {error}") from None
    except (Exception, SystemExit) as error:
        about = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{written}: importing {source} failed: {about}") from None


def _loaded(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"agent in {path.stem}", path)  # no name that another module has
    if spec is None or spec.loader is None:
        raise FileNotFoundError(2, "no such file", str(path))
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module
