"""Each call ends with exactly one truthful result, whatever its tool does; siblings finish."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from calls import SECRET, UNKNOWN, World, one
from runs import until
from scripted import tool_use

from agentkit.errors import ToolError
from agentkit.events import ToolProgress
from agentkit.messages import model_turns
from agentkit.tools import RunContext, Tool, tool

pytestmark = pytest.mark.anyio


async def test_X1_an_unknown_tool_names_those_that_are_near() -> None:
    @tool
    async def get_weather() -> str:
        """Weather."""
        return "rain"

    world = World([get_weather], [tool_use("get_wether"), tool_use("zzz", id="toolu_2")])
    near, far = await world.run()
    assert near["content"] == "There is no tool 'get_wether'. Did you mean get_weather?"
    assert far["content"] == "There is no tool 'zzz'. There are: get_weather."
    assert world.outcomes == ["failed", "failed"]
    empty = World([], [tool_use("zzz")])
    assert (await empty.run())[0]["content"] == "There is no tool 'zzz'. There are: none."


@pytest.mark.parametrize(
    ("given_input", "expected"),
    [
        ({"at": "x"}, "at:"),
        ({}, "at: Field required"),
        ({"at": 1, "more": 2}, "more: Unexpected argument"),
        ([1], "object"),
        ('{"at": 1', "object"),
    ],
    ids=["type", "missing", "extra", "list", "broken JSON"],
)
async def test_X2_invalid_input_never_enters_the_tool(given_input: Any, expected: str) -> None:
    entered: list[int] = []

    @tool
    async def take(at: int) -> None:
        """Takes a number."""
        entered.append(at)

    outcome, content = await one(take, given_input)
    assert outcome == "failed"
    assert expected in content
    assert entered == []


async def test_X2_a_check_of_the_tools_own_that_breaks() -> None:
    def explode() -> int:
        raise LookupError(SECRET)

    from typing import Annotated

    from pydantic import Field

    @tool
    async def take(at: Annotated[int, Field(default_factory=explode)]) -> None:
        """Takes a number."""

    outcome, content = await one(take)
    assert (outcome, "LookupError" in content, SECRET in content) == ("failed", True, False)


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_X7_the_text_of_an_exception_is_logged_and_never_shown(
    sort: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_async() -> None:
        """Fails."""
        raise LookupError(SECRET)

    def fail_sync() -> None:
        """Fails."""
        raise LookupError(SECRET)

    made = tool(name="fail")(fail_async if sort == "async" else fail_sync)
    with caplog.at_level(logging.WARNING, "agentkit.tools"):
        world = World([made], [tool_use("fail")])
        (result,) = await world.run()
    assert result["content"] == "The tool failed with LookupError."
    assert result["is_error"] is True
    assert SECRET not in str(world.transcript.dump()) + str(world.events)
    (record,) = [record for record in caplog.records if record.name == "agentkit.tools"]
    assert record.getMessage() == "tool fail failed: LookupError"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == SECRET


class Odd(BaseException):
    """No Exception."""


def _raise(error: BaseException) -> Callable[[], None]:
    def raising() -> None:
        raise error

    return raising


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "X7 ToolError": (_raise(ToolError("No such city.")), "No such city."),
    "X15 sys.exit": (lambda: sys.exit(3), "The tool tried to exit the process."),
    "X16 KeyboardInterrupt": (_raise(KeyboardInterrupt()), "The tool tried to exit the process."),
    "X17 asyncio.CancelledError": (_raise(asyncio.CancelledError()), "cancel"),
    "X7 StopIteration": (_raise(StopIteration()), "The tool failed with RuntimeError."),
    "X7 StopAsyncIteration": (_raise(StopAsyncIteration()), "The tool failed with "),
    "X7 TimeoutError": (_raise(TimeoutError(SECRET)), "The tool failed with TimeoutError."),
    "X7 BaseException": (_raise(Odd(SECRET)), "The tool failed with Odd."),
    "X7 group": (_raise(BaseExceptionGroup(SECRET, [Odd()])), "The tool failed with BaseExceptionGroup."),
    "X12 object": (object, "object"),
}


@pytest.mark.parametrize("sort", ["async", "sync"])
@pytest.mark.parametrize("name", BAD)
async def test_each_ends_with_one_result(name: str, sort: str) -> None:
    act, expected = BAD[name]

    async def act_async() -> object:
        """Does it."""
        return act()

    def act_sync() -> object:
        """Does it."""
        return act()

    outcome, content = await one(tool(name="act")(act_async if sort == "async" else act_sync))
    assert outcome == "failed"
    assert expected.lower() in content.lower()
    assert SECRET not in content


async def test_X7_a_ToolError_may_have_blocks() -> None:
    blocks = [{"type": "text", "text": "Look:"}, {"type": "text", "text": "no."}]

    @tool
    async def fail() -> None:
        """Fails."""
        raise ToolError(blocks)

    assert await one(fail) == ("failed", blocks)


async def test_X17_a_tool_that_cancels_itself() -> None:
    @tool
    async def cancel() -> None:
        """Lets a cancellation of its own out."""
        raise anyio.get_cancelled_exc_class() if asyncio_runs() else asyncio.CancelledError

    def asyncio_runs() -> bool:
        try:
            return asyncio.get_running_loop() is not None
        except RuntimeError:
            return False

    outcome, content = await one(cancel)
    assert outcome == "failed"
    assert content.startswith("The tool cancelled itself" if asyncio_runs() else "The tool failed with CancelledError")


async def test_a_tool_may_use_cancellation_inside() -> None:
    @tool
    async def careful() -> str:
        """Has a time-out of its own."""
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()
        return "gave up"

    assert await one(careful) == ("done", "gave up")


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_X8_time_out(sort: str) -> None:
    release = threading.Event()

    async def hang_async() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    def hang_sync() -> None:
        """Hangs."""
        release.wait(60)

    made = tool(name="hang", timeout=0.05)(hang_async if sort == "async" else hang_sync)
    began = time.monotonic()
    outcome, content = await one(made)
    assert time.monotonic() - began < 20
    assert (outcome, content) == ("timed_out", f"Timed out after 0.05 seconds. {UNKNOWN}")
    release.set()


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("how", ["time-out", "end of the run"])
async def test_X8_a_cancellation_that_comes_wrapped_in_a_group(how: str) -> None:
    @tool(timeout=0.03 if how == "time-out" else 30)
    async def hang() -> None:
        """Hangs in a nursery of trio."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    world = World([hang], [tool_use("hang")])
    if how == "time-out":
        await world.run()
        assert world.outcomes == ["timed_out"]
    else:
        await world.leave_at(lambda: True)
        assert world.outcomes == ["cancelled"]


async def test_X8_the_default_time_out() -> None:
    @tool
    async def hang() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    outcome, content = await one(hang, timeout=0.03)
    assert (outcome, content) == ("timed_out", f"Timed out after 0.03 seconds. {UNKNOWN}")


async def test_X18_the_input_in_the_log_is_not_the_tools_to_change() -> None:
    made = Tool(name="take", description="", input_schema={"type": "object"}, call=lambda items: items.append(1))
    world = World([made], [tool_use("take", items=[])])
    await world.run()
    assert world.transcript.calls == {}
    assert model_turns(world.transcript.entries)[0]["content"][0]["input"] == {"items": []}


async def test_X20_what_a_thread_does_after_its_time_out_is_not_written() -> None:
    release = threading.Event()
    ended = threading.Event()

    @tool(timeout=0.15)
    def hang(ctx: RunContext[Any]) -> str:
        """Hangs, then goes on."""
        release.wait(60)
        try:
            ctx.progress("late")
        finally:
            ended.set()
        return "late"

    @tool
    async def sibling() -> str:
        """Ends last."""
        await until(lambda: "timed_out" in world.outcomes)
        release.set()
        await anyio.to_thread.run_sync(ended.wait, 30)
        return "fine"

    world = World([hang, sibling], [tool_use("hang"), tool_use("sibling", id="toolu_2")])
    results = await world.run()
    assert results[0]["content"].startswith("Timed out")
    assert world.of(ToolProgress) == []
    assert world.outcomes == ["timed_out", "done"]


async def test_progress_is_shown_in_order() -> None:
    @tool
    async def count() -> AsyncGenerator[str]:
        """Counts."""
        for at in range(3):
            yield f"{at} "
            await checkpoint()

    @tool
    def report(ctx: RunContext[Any]) -> str:
        """Reports from its thread."""
        ctx.progress("half")
        return "whole"

    world = World([count, report], [tool_use("count"), tool_use("report", id="toolu_2")])
    results = await world.run()
    assert [block["content"] for block in results] == ["0 1 2 ", "whole"]
    shown = [(event.call_id, event.name, event.text) for event in world.of(ToolProgress)]
    assert sorted(shown) == [
        *[("1:toolu_1", "count", f"{at} ") for at in range(3)],
        ("1:toolu_2", "report", "half"),
    ]
    assert [event.text for event in world.of(ToolProgress) if event.name == "count"] == ["0 ", "1 ", "2 "]


async def test_an_input_with_half_a_character_as_a_name_fails_alone() -> None:
    @tool
    async def add(a: int) -> int:
        """Adds."""
        return a

    odd = {**tool_use("add"), "input": {"a": 1, "\ud800": 2}}
    world = World([add], [odd, tool_use("add", id="toolu_2", a=3)])
    refused, done = await world.run()
    assert refused["content"] == "\ufffd: Unexpected argument (this tool takes a)"
    assert done["content"] == "3"
