"""The tools of `agentkit run`: those given by default, and those that `--tool module:function` names."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from agentkit.cli.problems import notice
from agentkit.errors import AgentKitError, ConfigurationError

__all__ = ["default_tools", "named_tools"]


def default_tools() -> list[Any]:
    """`web_search`, `web_fetch` with citations, and the calculator where its extra is installed."""
    from agentkit.server_tools import web_fetch, web_search

    tools: list[Any] = [web_search(), web_fetch(citations=True)]
    if find_spec("simpleeval") is None:
        notice("no calculator: pip install 'agentkit-loop[tools]' (or --no-default-tools)")
        return tools
    from agentkit_tools import calculator

    return [*tools, calculator]


def named_tools(names: Iterable[str]) -> list[Any]:
    """The tools at `module:function`, looked for in the current folder first.

    Raises:
        ConfigurationError: There is no such module or function.
    """
    names = list(names)
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return [_named(name) for name in names]


def _named(name: str) -> Any:
    module_name, mark, attribute = name.partition(":")
    if not (module_name and mark and attribute):
        raise ConfigurationError(f"--tool {name}: write it as module:function, such as my_tools:lookup")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--tool {name}: there is no module {error.name!r} in this folder or the environment"
        ) from None
    except AgentKitError as error:
        raise ConfigurationError(f"--tool {name}: {error}") from None
    except (Exception, SystemExit) as error:
        about = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"--tool {name}: importing {module_name} failed: {about}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [known for known in dir(found) if not known.startswith("_")], n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigurationError(f"--tool {name}: {module_name} has no {attribute!r}{hint}")
        found = getattr(found, part)
    if not (callable(found) or isinstance(found, dict)):
        raise ConfigurationError(f"--tool {name}: it is of type {type(found).__name__}, not a function")
    return found
