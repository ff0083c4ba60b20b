"""Python for a model: small programs on pydantic-monty, or all of CPython in the sandbox."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import Field

from agentkit import ConfigurationError, RunContext, Tool, ToolError, tool
from agentkit_tools.processes import Kept
from agentkit_tools.sandbox import Sandbox, work_folder
from agentkit_tools.shell import effects_of, run_to_text

__all__ = ["cpython", "python"]

_OUTPUT = 32 * 1024
_WORKERS = 4
_DEEPEST = 200

Code = Annotated[str, Field(max_length=256 * 1024)]
Seconds = Annotated[float, Field(gt=0, le=86400)]

_ABOUT = """Run a small Python program, for calculations, text and data. Nothing is kept for the next call.

It is a subset of Python with math, json, re, datetime and few other modules: no files, network, packages, or yield.
You get what it prints, and the value of its last line."""


def python(functions: Iterable[Tool] = (), *, seconds: float = 5, memory: int = 64 * 1024 * 1024) -> Tool:
    """A tool that runs Python on pydantic-monty: `python`. Needs the extra `agentkit-loop[python]`.

    It is an interpreter of its own, in a process of its own, which has neither files, network nor environment: what a
    program can reach are the functions that you give. Those run in this process.

    Args:
        functions: Sync tools that a program may call as functions, 1000 times at most. What they may do, a call of
            `python` may do.
        seconds: How long a program may calculate; what it waits for in functions is not counted.
        memory: Bytes that it may use.

    Raises:
        ConfigurationError: The extra is not installed, or a function is async or needs approval.
    """
    if find_spec("pydantic_monty") is None:
        raise ConfigurationError("python() is not installed: pip install 'agentkit-loop[python]'")
    given = list(functions)
    for it in given:
        function = inspect.unwrap(it)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"python(functions=…): {it.name} is async: give a sync one")
        if it.needs_approval:
            raise ConfigurationError(f"python(functions=…): {it.name} needs approval: give it to the agent as a tool")
    interpreter = _Interpreter(seconds, memory)
    effect = frozenset({"read"}).union(*(it.effect or {"write", "net", "untrusted"} for it in given))
    listed = "".join(f"\n- {_signature(it)}: {it.description.partition(chr(10))[0]}" for it in given)
    description = f"{_ABOUT}\n\nIt can call these functions:{listed}" if listed else _ABOUT

    @tool(name="python", effect=effect, description=description, timeout=None if given else seconds + 30)
    def run(ctx: RunContext[Any], code: Code) -> str:
        """Run it.

        Args:
            code: The program.
        """
        return interpreter.run(code, {it.name: partial(_call, it, ctx) for it in given})

    return run


def cpython(root: str | os.PathLike[str], *, sandbox: Sandbox | None = None, untrusted: bool = False) -> Tool:
    """A tool that runs Python programs in the sandbox: `run_python`. They have this interpreter and its packages.

    Args:
        root: The work folder, the only place of the host's that programs can change.
        sandbox: Its limits, and what else can be read.
        untrusted: Whether others can write in the folder, so that what programs print is `untrusted`.

    Raises:
        ConfigurationError: There is no sandbox here, or `root` is no folder for it; the text says what to do.
    """
    sandbox = sandbox or Sandbox()
    sandbox = replace(sandbox, readable=(*sandbox.readable, *sorted({sys.prefix, sys.base_prefix})))
    folder = work_folder(root)
    sandbox.check()

    @tool(effect=effects_of(untrusted=untrusted), timeout=sandbox.timeout + 15)
    async def run_python(ctx: RunContext[Any], code: Code, timeout: Seconds | None = None) -> str:
        """Run a Python program in the work folder, and wait for its end. Print what you want to see.

        It has no network, and can write only to the work folder and /tmp. Nothing is kept but files.

        Args:
            code: The program.
            timeout: Seconds that it may take.
        """
        return await run_to_text(ctx, sandbox, folder, [sys.executable, "-"], stdin=code, timeout=timeout)

    return run_python


class _Interpreter:
    """Worker processes of monty, from the first program to the end of the tool."""

    def __init__(self, seconds: float, memory: int) -> None:
        self._limits = {
            "max_feed_duration_secs": seconds,
            "max_memory": memory,
            "max_recursion_depth": _DEEPEST,
        }
        self._pool: Any = None
        self._lock = threading.Lock()

    def run(self, code: str, functions: dict[str, Callable[..., Any]]) -> str:
        """What the program printed, and the value of its last line."""
        import pydantic_monty as monty

        printed = Kept(_OUTPUT)
        try:
            # Sleep costs no time of the program's own, so it is none at all.
            with self._started().checkout(limits=self._limits, os_policy={"sleep": "zero"}) as session:
                value = session.feed_run(
                    code,
                    external_lookup=functions,
                    print_callback=lambda _, text: printed.add(text.encode("utf-8", "replace")),
                )
                shown = "" if value is None else repr(value)
        except monty.MontyError as error:
            raise ToolError(f"{printed.text()}{_told(error)}") from None
        except TimeoutError:
            raise ToolError("Other programs are still running: try again.") from None
        except ValueError as error:  # the value can't be handed on
            raise ToolError(f"{printed.text()}The value of the last line: {error}") from None
        values = Kept(_OUTPUT)
        values.add(shown.encode("utf-8", "replace"))
        return f"{printed.text()}{values.text()}" or "It printed nothing."

    def _started(self) -> Any:
        import pydantic_monty as monty

        with self._lock:
            if self._pool is None:
                self._pool = monty.Monty(max_processes=_WORKERS, checkout_timeout=60)
                self._pool.__enter__()
                weakref.finalize(self, self._pool.__exit__, None, None, None)
            return self._pool


def _call(function: Tool, ctx: RunContext[Any], *values: Any, **named: Any) -> Any:
    """Calls a tool as the program does. Of what goes wrong in it the program hears only what the model may."""
    from pydantic_core import to_jsonable_python

    names = list(function.input_schema["properties"])
    if len(values) > len(names):
        raise TypeError(f"{function.name} takes {len(names)} arguments")
    arguments = function.validate({**dict(zip(names, values, strict=False)), **named})
    takes_context = len(inspect.signature(function).parameters) > len(names)
    try:
        return to_jsonable_python(function(*([ctx] if takes_context else []), **arguments))
    except ToolError as error:
        raise RuntimeError(str(error)) from None
    except Exception as error:
        raise RuntimeError(f"{function.name} failed: {type(error).__name__}") from None


def _signature(function: Tool) -> str:
    names = function.input_schema["properties"]
    required = function.input_schema.get("required", ())
    return f"{function.name}({', '.join(name if name in required else f'{name}=…' for name in names)})"


def _told(error: Any) -> str:
    with suppress(AttributeError, TypeError):
        return str(error.display())
    return f"The program could not be run: {error}"
