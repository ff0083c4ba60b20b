"""What a function says of itself: its parameters with their types, and its docstring."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from agentkit.errors import ToolDefinitionError

__all__ = ["first_line", "first_parameter", "hints_of", "parameters_of", "read_docstring", "shown", "source_of"]


def source_of(function: Callable[..., Any]) -> Any:
    """The function that was written: without partials, wrappers and the instance of a method."""
    source: Any = function
    while True:
        if isinstance(source, functools.partial):
            source = source.func
        elif hasattr(source, "__wrapped__"):
            source = source.__wrapped__
        elif inspect.ismethod(source):
            source = source.__func__
        else:
            return source


def parameters_of(function: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    """What the function asks for by name; what a partial gives by name is left out.

    Raises:
        ToolDefinitionError: A call from JSON can't give it; the text names the parameter.
    """
    try:
        given = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError, NameError) as error:
        raise ToolDefinitionError(f"tool {name!r}: its signature can't be read ({first_line(error)})") from None
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for parameter in given.values():
        where = f"tool {name!r}: parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise ToolDefinitionError(
                f"{where}: the model can't be told what {stars}{parameter.name} takes: name each parameter"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolDefinitionError(f"{where}: it is positional-only, and a call has names: remove the /")
        if parameter.annotation is parameter.empty and parameter.name not in bound:
            hint = (
                "decorate the bound method, tool(instance.method)"
                if parameter.name in ("self", "cls")
                else (f"say its type, as in `{parameter.name}: str`")
            )
            raise ToolDefinitionError(f"{where}: it has no annotation: {hint}")
    return {key: parameter for key, parameter in given.items() if key not in bound}


def first_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    """The first parameter, if it has an annotation."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):  # written in C
        return None
    return None if first is None or first.annotation is first.empty else first


def hints_of(function: Callable[..., Any], given: Mapping[str, inspect.Parameter], name: str) -> dict[str, Any]:
    """The annotations, those written as strings too, which may name what is local to where the function is defined.

    Raises:
        ToolDefinitionError: A name in one is not known; the text names the parameter.
    """
    source = source_of(function)
    names = getattr(source, "__globals__", {})
    near: dict[str, Any] | None = None
    hints = {}
    for parameter in given.values():
        if isinstance(parameter.annotation, type):
            hints[parameter.name] = parameter.annotation
            continue
        if near is None:
            near = _names_around(source, names)
        annotated = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        try:
            hints |= typing.get_type_hints(annotated, names, near, include_extras=True)
        except Exception as error:
            raise ToolDefinitionError(
                f"tool {name!r}: parameter {parameter.name!r}: {shown(parameter.annotation)} can't be resolved "
                f"({first_line(error)}): define or import it above the tool, and not under TYPE_CHECKING"
            ) from None
    return hints


def _names_around(source: Any, names: dict[str, Any]) -> dict[str, Any]:
    """The local names of the functions and classes that are being run and around `source`, the nearest last."""
    found: list[Mapping[str, Any]] = []
    frame = sys._getframe() if "." in getattr(source, "__qualname__", "") else None
    while frame is not None:
        if frame.f_globals is names and frame.f_locals is not names:
            found.append(frame.f_locals)
        frame = frame.f_back
    return {key: value for near in reversed(found) for key, value in near.items()}


# The docstring.

_STYLES = {
    "REST": re.compile(
        r"^[ \t]*:(param|parameter|arg|argument|key|keyword|raises|returns?|rtype)\b[^:\n]*:", re.MULTILINE
    ),
    "NUMPYDOC": re.compile(r"^[ \t]*(Parameters|Returns|Raises|Yields|Examples?|Notes)[ \t]*\n\s*-{3,}", re.MULTILINE),
    "GOOGLE": re.compile(
        r"^[ \t]*(Args|Arguments|Parameters|Params|Returns|Raises|Yields|Examples?)[ \t]*:", re.MULTILINE
    ),
}
# A line that goes on the one before it, and is no item, heading, table, code or doctest.
_WRAPPED = re.compile(r"(?<=\S)[ \t]*\n(?![\s*+>|#`-]|\d+[.)] )")


def read_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What the function does, and what each parameter is, from a docstring of Google's, NumPy's or Sphinx's style."""
    doc = (function if inspect.isroutine(function) else source_of(function)).__doc__ or ""
    style = next((style for style, pattern in _STYLES.items() if pattern.search(doc)), None)
    if style is None:
        return _unwrapped(inspect.cleandoc(doc)), {}
    import docstring_parser

    try:
        # Told the style, it takes a third of the time that it takes to find it.
        read = docstring_parser.parse(doc, docstring_parser.DocstringStyle[style])
    except docstring_parser.ParseError:
        return inspect.cleandoc(doc), {}
    told = {item.arg_name: _unwrapped(item.description or "") for item in read.params}
    return _unwrapped(read.description or ""), {name: said for name, said in told.items() if said}


def _unwrapped(text: str) -> str:
    return _WRAPPED.sub(" ", text).strip()


def shown(annotation: Any) -> str:
    """An annotation in a message, at most 80 characters."""
    text = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    return text if len(text) <= 80 else f"{text[:80]}…"


def first_line(error: Exception) -> str:
    """What an exception says, in one line; its class where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
