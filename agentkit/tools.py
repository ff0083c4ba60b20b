"""`@tool` and `Tool`: what the model may call, and how a call enters it."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from functools import WRAPPER_ASSIGNMENTS, partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, cast, overload

import anyio

from agentkit.errors import ToolDefinitionError, ToolError
from agentkit.messages import Block
from agentkit.schema import FunctionSchema, GivenSchema, InvalidInput
from agentkit.signature import source_of
from agentkit.tool_results import Pieces, as_content

if TYPE_CHECKING:
    # With defaults, so that `Tool` and `RunContext` need no arguments in annotations.
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any)
    Deps = TypeVar("Deps", default=Any)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    Deps = TypeVar("Deps")

__all__ = ["InvalidInput", "RunContext", "Tool", "tool"]

EFFECTS = frozenset({"read", "private", "untrusted", "write", "net", "exec"})
"""What a call may do: read local state, return sensitive data, return what others can write, change state, send bytes
out, run code. Source: faults.md section 5."""

Effect: TypeAlias = "str | Iterable[str] | None"
Approval: TypeAlias = "bool | Callable[..., bool | Awaitable[bool]]"

# Source: messages-api.md section 9.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class RunContext(Generic[Deps]):
    """What a tool may know of its run: annotate its first parameter `RunContext` or `RunContext[Deps]`.

    Attributes:
        deps: What the run was given as `deps`.
        run_id: The run's.
        call_id: The call's: the same when it runs again, another for every other call of the transcript.
        tool_use_id: The id that the model gave the call.
        tool_name: The tool's.
        deadline: When the call is cancelled, on `anyio.current_time()`'s clock, in seconds; None is never.
        report: Where progress goes; tools call `progress`.
    """

    deps: Deps = field(repr=False)
    run_id: str
    call_id: str
    tool_use_id: str
    tool_name: str
    deadline: float | None = None
    report: Callable[[str], None] | None = field(default=None, repr=False)

    def progress(self, text: str) -> None:
        """Shows `text` to who watches the run; the model does not see it. Works in the thread of a sync tool too."""
        if self.report is not None:
            self.report(text)


class Tool(Generic[P, R]):
    """Something that the model may call. Immutable, so agents share it; it stays callable as its function.

    Made by `@tool` from a function, or from a JSON Schema:

    >>> Tool(name="add", description="Adds.", input_schema={"type": "object"}, call=lambda a, b: a + b)
    Tool('add')

    Args:
        name: 1 to 64 letters, digits, _ and -.
        description: What it does, and when to use it: the model reads this.
        input_schema: The JSON Schema of its input. An input that is an object is handed on as keyword arguments.
        call: An async or sync function, or one that yields. Sync ones run in a thread.
        effect: What a call may do: one or several of `read`, `private`, `untrusted`, `write`, `net`, `exec`. None is
            undeclared: not started early, not repeated.
        timeout: Seconds that a call may take; None is the default of the run.
        needs_approval: Whether a human decides each call, or a (sync or async) function of the arguments that says so.
        strict: Whether the API constrains the input to the schema.
        polls: Whether equal calls in a row are its way of working.
        idempotent: Whether a call whose outcome is unknown may run again.

    Raises:
        ToolDefinitionError: It can't be a tool.
    """

    name: str
    effect: frozenset[str]
    timeout: float | None
    needs_approval: Approval
    strict: bool | None
    polls: bool
    idempotent: bool
    _call: Callable[P, R]
    _description: str | None
    _schema: FunctionSchema | GivenSchema

    def __init__(
        self,
        *,
        name: str,
        description: str | None,
        input_schema: dict[str, Any] | FunctionSchema,
        call: Callable[P, R],
        effect: Effect = None,
        timeout: float | None = None,
        needs_approval: Approval = False,
        strict: bool | None = None,
        polls: bool = False,
        idempotent: bool = False,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ToolDefinitionError(
                f"a tool can't have the name {name!r}: give it 1 to 64 letters, digits, _ or - (name=…)"
            )
        if not callable(call):
            raise ToolDefinitionError(f"tool {name!r}: call must be a function, not a {type(call).__name__}")
        if timeout is not None and not timeout > 0:
            raise ToolDefinitionError(f"tool {name!r}: timeout must be more than 0 seconds")
        if isinstance(input_schema, FunctionSchema):
            self._set(_schema=input_schema)
        else:
            self._set(_schema=GivenSchema(input_schema, name, call, RunContext))
        self._set(**{about: getattr(call, about) for about in WRAPPER_ASSIGNMENTS if hasattr(call, about)})
        self._set(__wrapped__=call, _call=call, _description=description, name=name, effect=_effects(effect, name))
        self._set(timeout=timeout, needs_approval=needs_approval, strict=strict, polls=polls, idempotent=idempotent)

    def _set(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Tool can't be changed: make another one with {name}=…")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Tool can't be changed")

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function itself."""
        return self._call(*args, **kwargs)

    @property
    def description(self) -> str:
        """What the model reads about it."""
        return self._schema.description if self._description is None else self._description

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of its input, as a copy."""
        return self._schema.input_schema

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as it is sent: the same bytes each time. Source: messages-api.md section 9."""
        definition: dict[str, Any] = {"name": self.name}
        if self.description:
            definition["description"] = self.description
        definition["input_schema"] = self.input_schema
        if self.strict is not None:
            definition["strict"] = self.strict
        return definition

    @property
    def is_read(self) -> bool:
        """Whether it may start early and run again: declared `read`, with nothing else but `private`.

        What others can write (`untrusted`) is left out: it should not come in before the turn that asked for it stands.
        """
        return "read" in self.effect and self.effect <= {"read", "private"}

    def validate(self, input: object) -> dict[str, Any]:  # noqa: A002
        """The keyword arguments for `input`, which stays as it is and shares nothing with them.

        Raises:
            InvalidInput: It does not fit; the text is for the model, a line for each problem.
        """
        return self._schema.validate(input)

    async def run(
        self,
        ctx: RunContext[Any],
        arguments: dict[str, Any],
        *,
        threads: anyio.CapacityLimiter,
        progress: Callable[[str], None],
    ) -> str | list[Block]:
        """Calls the function and gives its result as the content of a `tool_result`.

        A generator's pieces are its result: text joined as it stands, other values as JSON, each on a line of its own;
        what a sync generator returns is its last piece. After 16 MB it is stopped.

        Args:
            ctx: For a function that takes one.
            arguments: What `validate` gave.
            threads: The limit for sync functions. A cancelled one is left behind in its thread.
            progress: Gets the texts that the function yields or reports, on this task's thread.

        Raises:
            ToolError: The function raised it, or returned what can't be sent.
        """
        report = _Report(progress)
        given = (replace(ctx, report=report),) if self._schema.takes_context else ()
        enter = partial(self._call, *given, **arguments)
        in_thread = partial(anyio.to_thread.run_sync, limiter=threads, abandon_on_cancel=True)
        try:
            if _is_async(self._call):
                outcome: Any = enter()
            else:
                content, outcome = await in_thread(partial(_enter, enter, report))
                if content is not None:
                    return content
            if inspect.isawaitable(outcome):
                outcome = await outcome
            if inspect.isasyncgen(outcome):
                return await _collect_async(outcome, report)
            if inspect.isgenerator(outcome):
                return await in_thread(partial(_collect, outcome, report))
            return as_content(outcome)
        except ToolError as error:
            error.content = as_content(error.content)
            raise


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    effect: Effect = None,
    timeout: float | None = None,
    needs_approval: Approval = False,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    polls: bool = False,
    idempotent: bool = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Any = None, /, *, name: str | None = None, description: str | None = None, **options: Any) -> Any:
    """Makes a tool of a function: `@tool`, or `@tool(effect="read", timeout=20)`.

    The signature gives the input schema, the docstring (Google, NumPy or Sphinx style) the description and those of the
    parameters. A first parameter annotated `RunContext` is given by the run. The function stays callable as it is.

    Args:
        function: An async or sync function, also one that yields; a bound method, a `functools.partial` or an object
            with `__call__` is taken too.
        name: Another name than the function's.
        description: Another text than the docstring's.
        **options: As for `Tool`: `effect`, `timeout`, `needs_approval`, `strict`, `polls`, `idempotent`.

    Raises:
        ToolDefinitionError: The function can't be a tool; the text names the parameter and says what to do.
    """
    if function is None:
        return partial(tool, name=name, description=description, **options)
    if isinstance(function, Tool | type) or not callable(function):
        raise ToolDefinitionError(f"{function!r} can't be made a tool: give a function")
    entry = _entry(function)
    source = source_of(function)
    named = (getattr(it, "__name__", None) for it in (function, source))
    name = name or next(filter(None, named), type(source).__name__)
    schema = FunctionSchema(entry, name, RunContext)
    return Tool(name=name, description=description, input_schema=schema, call=function, **options)


def _entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a call enters: an object's `__call__`, else itself."""
    plain = inspect.isroutine(function) or isinstance(function, partial)
    return function if plain else cast("Any", function).__call__


def _is_async(function: Callable[..., Any]) -> bool:
    entry = _entry(function)
    return inspect.iscoroutinefunction(entry) or inspect.isasyncgenfunction(entry)


def _effects(effect: Effect, name: str) -> frozenset[str]:
    words = frozenset([effect] if isinstance(effect, str) else effect or ())
    if unknown := words - EFFECTS:
        raise ToolDefinitionError(
            f"tool {name!r}: there is no effect {min(map(repr, unknown))}: use {', '.join(sorted(EFFECTS))}"
        )
    return words


class _Report:
    """Progress from wherever the function runs to the task that waits for it."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._thread = threading.get_ident()

    def __call__(self, text: str) -> None:
        if threading.get_ident() == self._thread:
            self._progress(text)
        else:
            anyio.from_thread.run_sync(self._progress, text)

    def keep(self, pieces: Pieces, piece: Any) -> bool:
        """Takes a piece of a generator; false if it is to be stopped."""
        if text := pieces.add(piece):
            self(text)
        if threading.get_ident() != self._thread:
            anyio.from_thread.check_cancelled()
        return not pieces.are_enough


def _enter(function: Callable[[], Any], report: _Report) -> tuple[str | list[Block] | None, Any]:
    """Runs a sync function in its thread: its content, or what it gave to be awaited on the event loop."""
    outcome = function()
    if inspect.isawaitable(outcome) or inspect.isasyncgen(outcome):
        return None, outcome
    return _collect(outcome, report) if inspect.isgenerator(outcome) else as_content(outcome), None


def _collect(generator: Any, report: _Report) -> str | list[Block]:
    pieces = Pieces()
    with closing(generator):
        for piece in _with_return(generator):
            if not report.keep(pieces, piece):
                break
    return pieces.content()


def _with_return(generator: Generator[Any, None, Any]) -> Iterator[Any]:
    last = yield from generator
    if last is not None:
        yield last


async def _collect_async(generator: Any, report: _Report) -> str | list[Block]:
    pieces = Pieces()
    async with aclosing(generator):
        async for piece in generator:
            if not report.keep(pieces, piece):
                break
    return pieces.content()
