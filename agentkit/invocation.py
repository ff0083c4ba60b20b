"""One call of one tool: what the tool is told of it, and how it ended, whatever the tool does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.from_thread
from anyio import to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from agentkit.call import Call, Outcome
from agentkit.errors import JournalError, NotDone, ToolError
from agentkit.functions import is_async
from agentkit.messages import Block, encode
from agentkit.redaction import logger_of, redacted
from agentkit.repeats import NOTICE
from agentkit.tool_results import Keep, as_content, as_text
from agentkit.tools import RunContext, Tool

__all__ = [
    "MAY_HAVE_RUN",
    "Ended",
    "answer_of",
    "broken_input",
    "input_of",
    "invoke",
    "invoke_within",
    "is_denied",
    "is_from_code",
    "left_behind",
    "needs_approval",
    "result_of",
    "unknown_tool",
]

MAY_HAVE_RUN = "The outcome is unknown: it may or may not have taken effect. Check before repeating it."
_MOST_ATTEMPTS = 3  # of a call that may repeat. Source: faults.md section 6
_logger = logger_of("agentkit.tools")


@dataclass(slots=True)
class Ended:
    """How a call ended, before it is written down.

    Attributes:
        outcome: In one word.
        content: What the model is told.
        seconds: How long it ran.
        raised: Whether an exception ended it that the tool did not mean for the model: our cancellation may be in it.
    """

    outcome: Outcome
    content: str | list[Block]
    seconds: float = 0.0
    raised: bool = False


async def invoke(
    tool: Tool,
    ctx: RunContext[Any],
    arguments: dict[str, Any],
    *,
    seconds: float,
    threads: anyio.CapacityLimiter,
    available: Collection[str],
    whole: bool,
    keep: Keep | None = None,
    late: Callable[[Ended], None] | None = None,
) -> Ended:
    """Enters the tool. Whatever it does, one end comes out, unless the caller itself is cancelled and the tool lets it.

    Args:
        tool: The tool.
        ctx: For a function that takes one; its `report` gets what the tool reports.
        arguments: What `tool.validate` gave.
        seconds: The tool is cancelled after these.
        threads: The limit for sync functions.
        available: Names of tools that a result may refer to.
        whole: Whether a result that is too long is refused, and not cut.
        keep: Where a text goes that is too long, so that the model can read it.
        late: Is told, in its thread, how a sync function ended that was left behind.
    """
    began = anyio.current_time()
    with anyio.CancelScope(deadline=began + seconds) as scope:
        ended = await _enter(tool, ctx, arguments, threads, available, whole=whole, keep=keep, late=late)
    if scope.cancelled_caught or (scope.cancel_called and ended.raised):
        ended = Ended("timed_out", f"Timed out after {seconds:.6g} seconds. {MAY_HAVE_RUN}")
    ended.seconds = anyio.current_time() - began
    return ended


async def _enter(
    tool: Tool,
    ctx: RunContext[Any],
    arguments: dict[str, Any],
    threads: anyio.CapacityLimiter,
    available: Collection[str],
    *,
    whole: bool,
    keep: Keep | None,
    late: Callable[[Ended], None] | None,
) -> Ended:
    def told(came: str | list[Block] | BaseException) -> None:
        if late:
            late(_failure(tool, came) if isinstance(came, BaseException) else Ended("done", came))

    try:
        content = await tool.run(ctx, arguments, threads=threads, whole=whole, keep=keep, late=told)
        if unknown := _unknown_references(content, available):
            return Ended("failed", f"The result refers to tools that this run does not have: {', '.join(unknown)}.")
        return Ended("done", content)
    except ToolError as error:
        return Ended("failed", error.content)
    except JournalError:  # of an agent within the call: what it did can't be told from here
        raise
    except anyio.get_cancelled_exc_class():
        await checkpoint_if_cancelled()  # ours goes on
        return Ended("failed", f"The tool cancelled itself. {MAY_HAVE_RUN}")
    except BaseException as error:
        return _failure(tool, error)


def _failure(tool: Tool, error: BaseException) -> Ended:
    if isinstance(error, ToolError):
        return Ended("failed", as_content(error.content))
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return Ended("failed", "The tool tried to exit the process.", raised=True)
    # The text of an exception can hold secrets, so the model gets its class alone.
    _logger.warning("tool %s failed: %s", tool.name, type(error).__name__, exc_info=error)
    return Ended("failed", f"The tool failed with {type(error).__name__}.", raised=True)


def invoke_within(tool: Tool, ctx: RunContext[Any], arguments: dict[str, Any], transaction: Any) -> Ended:
    """Enters a transactional tool, in a thread. What it did to the database is undone unless it ends well.

    Args:
        tool: The tool.
        ctx: For a function that takes one.
        arguments: What `tool.validate` gave.
        transaction: The connection, in a transaction.
    """
    began = anyio.from_thread.run_sync(anyio.current_time)
    transaction.execute("SAVEPOINT call")
    try:
        ended = Ended("done", as_content(tool.enter(replace(ctx, transaction=transaction), arguments)))
    except BaseException as error:
        ended = _failure(tool, error)
    if ended.outcome != "done":
        transaction.execute("ROLLBACK TO SAVEPOINT call")
    ended.seconds = anyio.from_thread.run_sync(anyio.current_time) - began
    return ended


async def left_behind(
    tool: Tool, ctx: RunContext[Any], call: Call, *, seconds: float, threads: anyio.CapacityLimiter
) -> Ended | None:
    """How a call ended that a dead process had started; None if it may run again.

    Source: faults.md section 6.

    Args:
        tool: The tool of that name now.
        ctx: For its `verify`.
        call: The call.
        seconds: `verify` is given up after these.
        threads: The limit for a `verify` that is not async.
    """
    is_same = call.tool in (None, tool.digest)
    if is_same and (tool.is_read or tool.transactional or (tool.idempotent and call.attempts < _MOST_ATTEMPTS)):
        return None
    unknown = Ended("unknown", f"The process stopped while this call ran. {MAY_HAVE_RUN}")
    if tool.verify is None:
        return unknown
    try:
        with anyio.fail_after(seconds):
            found = await answer_of(tool.verify, ctx, tool.validate(input_of(call)), threads=threads)
        return Ended("done", as_content(found))
    except NotDone:
        return None if call.attempts < _MOST_ATTEMPTS else unknown
    except BaseException as error:
        await checkpoint_if_cancelled()
        _logger.warning("verify of %s failed", tool.name, exc_info=error)
        return unknown


async def answer_of(function: Callable[..., Any], *given: Any, threads: anyio.CapacityLimiter) -> Any:
    """What a function of the user's says; one that is not async is asked in a thread, for it may wait."""
    if is_async(function):
        return await function(*given)
    # In a tuple: trio lets no thread give a coroutine.
    (answer,) = await to_thread.run_sync(lambda: (function(*given),), limiter=threads, abandon_on_cancel=True)
    return await answer if isinstance(answer, Awaitable) else answer


def is_denied(call: Call) -> bool:
    """Whether a human has refused it."""
    return call.decision is not None and call.decision.action == "deny"


async def needs_approval(tool: Tool, call: Call, arguments: dict[str, Any], now: float) -> bool:
    """Whether a human must decide on a call: there is no decision, or it was on another tool, or its time is over.

    Args:
        tool: The tool of that name now.
        call: The call.
        arguments: What the tool would run with.
        now: In seconds since 1970.
    """
    if call.decision is not None:
        until = call.decision.until
        return call.tool not in (None, tool.digest) or (until is not None and until < now)
    if not callable(tool.needs_approval):
        return tool.needs_approval
    try:
        verdict = tool.needs_approval(**arguments)
        return bool(await verdict if isinstance(verdict, Awaitable) else verdict)
    except BaseException as error:
        await checkpoint_if_cancelled()
        _logger.warning("needs_approval of %s failed", tool.name, exc_info=error)
        return True


def result_of(call: Call, ended: Ended, *, repeated: bool) -> Block:
    """The `tool_result` of a call. It says where a human has changed the input, and where the run goes in circles."""
    content = ended.content
    if is_from_code(call.block):  # code may parse it, so nothing is added
        content = as_text(content)
    else:
        first = last = None
        if call.decision and call.decision.action == "edit" and ended.outcome != "unknown":
            first = redacted(f"The user changed the input to {encode(call.decision.input).decode()}.")
        if repeated:
            last = NOTICE
        content = _with_notices(content, first, last)
    block: Block = {"type": "tool_result", "tool_use_id": call.block["id"], "content": content}
    if "toolset_name" in call.block:
        block["toolset_name"] = call.block["toolset_name"]
    if ended.outcome != "done":
        block["is_error"] = True
    return block


def _with_notices(content: str | list[Block], first: str | None, last: str | None) -> str | list[Block]:
    if not first and not last:
        return content
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said = [block for block in blocks if block["type"] != "text" or block["text"].strip()]
    before, after = ([{"type": "text", "text": notice}] if notice else [] for notice in (first, last))
    return [*before, *said, *after]


def unknown_tool(name: str, tools: Iterable[str]) -> str:
    """What is said of a call of a tool that is not there."""
    import difflib

    near = difflib.get_close_matches(name, tools, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(tools) or 'none'}."
    return f"There is no tool {name!r}. {hint}"


def is_from_code(block: Block) -> bool:
    """Whether code that the API runs has made the call. Source: messages-api.md section 11."""
    caller = block.get("caller")
    return isinstance(caller, dict) and str(caller.get("type")).startswith("code_execution_")


def input_of(call: Call) -> Any:
    """What a call runs with: the model's input, or the one that a human put in its place."""
    edited = call.decision.input if call.decision else None
    return call.block.get("input") if edited is None else edited


def broken_input(call: Call) -> str | None:
    """What is said of streamed input that is no JSON. Source: messages-api.md section 8."""
    given = input_of(call)
    return encode({"INVALID_JSON": given}).decode() if isinstance(given, str) else None


def _unknown_references(content: str | list[Block], available: Collection[str]) -> list[str]:
    """Source: messages-api.md section 10.4: the API refuses the whole request for one."""
    blocks = [] if isinstance(content, str) else content
    named = [str(block["tool_name"]) for block in blocks if block.get("type") == "tool_reference"]
    return [name for name in named if name not in available]
