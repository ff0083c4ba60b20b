"""`@tool` and `Tool`: what the model may call, and how a call enters it."""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import WRAPPER_ASSIGNMENTS, cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, overload

import anyio

from agentkit.errors import ConfigurationError, ToolDefinitionError
from agentkit.functions import Late, Report, content_of, entry_of, is_async
from agentkit.json_schema import misfits
from agentkit.messages import Block, copy_json, encode
from agentkit.rules.combination import way_out
from agentkit.rules.tools import check_tools
from agentkit.schema import FunctionSchema, GivenSchema, InvalidInput
from agentkit.signature import source_of
from agentkit.tool_results import Keep

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
Verify: TypeAlias = "Callable[[RunContext[Any], dict[str, Any]], Any]"
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
        input: What the call was given, as it came: by the model, or by a human in its place.
        attempt: 1, and more where the call runs again after its process died.
        deadline: When the call is cancelled, on `anyio.current_time()`'s clock, in seconds; None is never.
        report: Where progress goes; tools call `progress`.
        shared: What a run has in common with the agents that its tools run: see `within=`.
        transaction: For a transactional tool, the connection to the journal's database (of sqlite3 or psycopg).
    """

    deps: Deps = field(repr=False)
    run_id: str
    call_id: str
    tool_use_id: str
    tool_name: str
    input: Any = field(default=None, repr=False)
    attempt: int = 1
    deadline: float | None = None
    report: Callable[[str], None] | None = field(default=None, repr=False)
    shared: Any = field(default=None, repr=False)
    transaction: Any = field(default=None, repr=False)

    @cached_property
    def idempotency_key(self) -> str:
        """The same whenever this call runs, in this process or another: for targets that take such a key.

        Source: faults.md section 6.
        """
        digest = hashlib.sha256(encode([self.run_id, self.call_id, self.input])).digest()
        return "ak_" + base64.b32encode(digest).decode()[:48].lower()

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
        transactional: Whether its effect is in the journal's own database: a sync function that writes by
            `ctx.transaction`, in the transaction that also keeps its result, so it happens exactly once.
        verify: Finds out what became of a call whose process died: `verify(ctx, arguments)`, sync or async. It returns
            what the tool would have returned, or raises `NotDone` if the effect has not happened; any other exception
            leaves the outcome unknown.
        defer_loading: Whether the model sees it only once a tool search has found it.
        allowed_callers: Who may call it: `direct` for the model, `code_execution_20260120` for code that it runs. This
            guides the model; every call is checked in the same way, whoever makes it.
        eager_input_streaming: Whether its input is streamed as it is written, and not checked by the API.
        input_examples: Inputs that show how it is called. Each must fit.
        cache_control: A cache mark in wire shape, such as `{"type": "ephemeral", "ttl": "1h"}`.
        definition: What is sent in place of description and schema, for a tool that the API knows, such as
            `{"type": "bash_20250124", "name": "bash"}`; its input is checked by `input_schema` all the same.

    Raises:
        ToolDefinitionError: It can't be a tool, or two of its options don't go together.
    """

    name: str
    effect: frozenset[str]
    timeout: float | None
    needs_approval: Approval
    strict: bool | None
    polls: bool
    idempotent: bool
    transactional: bool
    verify: Verify | None
    _call: Callable[P, R]
    _description: str | None
    _schema: FunctionSchema | GivenSchema
    _options: dict[str, Any]
    _given: dict[str, Any] | None

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
        transactional: bool = False,
        verify: Verify | None = None,
        defer_loading: bool | None = None,
        allowed_callers: Iterable[str] | None = None,
        eager_input_streaming: bool | None = None,
        input_examples: Iterable[Mapping[str, Any]] | None = None,
        cache_control: Mapping[str, Any] | None = None,
        definition: Mapping[str, Any] | None = None,
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
        self._set(timeout=timeout, needs_approval=needs_approval, strict=strict, polls=polls)
        if transactional and (is_async(call) or inspect.isgeneratorfunction(call)):
            raise ToolDefinitionError(f"tool {name!r}: transactional needs a sync function that returns its result")
        self._set(idempotent=idempotent, verify=verify, transactional=transactional)
        options = {  # in the order in which they are sent
            "cache_control": cache_control and dict(cache_control),
            "strict": strict,
            "defer_loading": defer_loading,
            "allowed_callers": [allowed_callers] if isinstance(allowed_callers, str) else _listed(allowed_callers),
            "eager_input_streaming": eager_input_streaming,
            "input_examples": _listed(input_examples),
        }
        self._set(_options=_as_json({key: value for key, value in options.items() if value is not None}, name))
        self._set(_given=definition and _as_json({**definition, "name": name}, name))
        if self._options.keys() - {"strict"} or self._given:
            self._check_options()

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
        if self._given:
            return {**copy_json(self._given), **copy_json(self._options)}
        definition: dict[str, Any] = {"name": self.name}
        if self.description:
            definition["description"] = self.description
        definition["input_schema"] = self.input_schema
        return {**definition, **copy_json(self._options)}

    @cached_property
    def digest(self) -> str:
        """Of what it is and does, as far as it says so: a call that was approved or begun is one of this tool alone."""
        said = [self.definition, sorted(self.effect), self.idempotent, *(["transactional"] * self.transactional)]
        return hashlib.sha256(encode(said)).hexdigest()[:32]

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

    def _check_options(self) -> None:
        """Source: messages-api.md sections 9, 10.4 and 11."""
        callers = self._options.get("allowed_callers", ["direct"])
        if not callers or not all(caller and isinstance(caller, str) for caller in callers):
            raise ToolDefinitionError(f'tool {self.name!r}: allowed_callers must name one or more, such as "direct"')
        if self.needs_approval and "direct" not in callers:
            raise ToolDefinitionError(
                f'tool {self.name!r}: needs_approval can\'t go with allowed_callers without "direct": code waits for a '
                'call for 270 seconds at most, too short for a human; add "direct", or leave needs_approval out'
            )
        for problem in check_tools({"model": "", "tools": [self.definition]}):
            raise ToolDefinitionError(f"tool {self.name!r}: {way_out(problem)}")
        for at, example in enumerate(self._options.get("input_examples", ())):
            if misfit := self._misfit(example):
                raise ToolDefinitionError(f"tool {self.name!r}: input_examples[{at}] does not fit: {misfit}")

    def _misfit(self, example: Any) -> str | None:
        try:
            self.validate(example)
            return next(misfits(example, self.input_schema), None)  # the API is stricter than pydantic
        except InvalidInput as error:
            return str(error)
        except LookupError:  # a reference that only the API can follow
            return None

    def enter(self, ctx: RunContext[Any], arguments: dict[str, Any]) -> Any:
        """Calls the function, with `ctx` if it takes one, and gives what it returns."""
        given = (ctx,) if self._schema.takes_context else ()
        return self._call(*given, **arguments)

    async def run(
        self,
        ctx: RunContext[Any],
        arguments: dict[str, Any],
        *,
        threads: anyio.CapacityLimiter,
        whole: bool = False,
        keep: Keep | None = None,
        late: Late | None = None,
    ) -> str | list[Block]:
        """Calls the function and gives its result as the content of a `tool_result`.

        A generator's pieces are its result: text joined as it stands, other values as JSON, each on a line of its own;
        what a sync generator returns is its last piece. After 16 MB it is stopped.

        Args:
            ctx: For a function that takes one; its `report` gets what the function yields or reports, on this thread.
            arguments: What `validate` gave.
            threads: The limit for sync functions. A cancelled one is left behind in its thread.
            whole: Whether a result that is too long is refused, and not cut.
            keep: Where a text goes that is too long, so that the model can read it; without one it is cut.
            late: Is told, in its thread, what a sync function came to after it was left behind.

        Raises:
            ToolError: The function raised it, or returned what can't be sent.
        """
        report = Report(ctx.report or (lambda text: None), late)
        enter = partial(self.enter, replace(ctx, report=report), arguments)
        on_loop = is_async(self._call)
        return await content_of(enter, on_loop=on_loop, threads=threads, report=report, whole=whole, keep=keep)


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
    transactional: bool = False,
    verify: Verify | None = None,
    defer_loading: bool | None = None,
    allowed_callers: Iterable[str] | None = None,
    eager_input_streaming: bool | None = None,
    input_examples: Iterable[Mapping[str, Any]] | None = None,
    cache_control: Mapping[str, Any] | None = None,
    definition: Mapping[str, Any] | None = None,
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
        **options: As for `Tool`, from `effect` on.

    Raises:
        ToolDefinitionError: The function can't be a tool; the text names the parameter and says what to do.
    """
    if function is None:
        return partial(tool, name=name, description=description, **options)
    if isinstance(function, Tool | type) or not callable(function):
        raise ToolDefinitionError(f"{function!r} can't be made a tool: give a function")
    entry = entry_of(function)
    source = source_of(function)
    named = (getattr(it, "__name__", None) for it in (function, source))
    name = name or (options.get("definition") or {}).get("name") or next(filter(None, named), type(source).__name__)
    schema = FunctionSchema(entry, name, RunContext)
    return Tool(name=name, description=description, input_schema=schema, call=function, **options)


def _effects(effect: Effect, name: str) -> frozenset[str]:
    words = frozenset([effect] if isinstance(effect, str) else effect or ())
    if unknown := words - EFFECTS:
        raise ToolDefinitionError(
            f"tool {name!r}: there is no effect {min(map(repr, unknown))}: use {', '.join(sorted(EFFECTS))}"
        )
    return words


def _listed(items: Iterable[Any] | None) -> list[Any] | None:
    return None if items is None else list(items)


def _as_json(options: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy that is the tool's own."""
    try:
        own: dict[str, Any] = json.loads(encode(options))
    except ConfigurationError as error:
        raise ToolDefinitionError(f"tool {name!r}: {error}") from None
    return own
