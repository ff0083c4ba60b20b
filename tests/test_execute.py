"""Calls of a run: at the same time, each with exactly one truthful result, whatever a tool does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import reply, tool_use

from agentkit.errors import ToolError
from agentkit.events import ToolCall, ToolHeld, ToolProgress, ToolResult
from agentkit.execute import Calls
from agentkit.settings import Limits
from agentkit.tools import RunContext, Tool, tool
from agentkit.transcript import Decision, Transcript

pytestmark = pytest.mark.anyio
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
SECRET = "sk-ant-api03-do-not-show"
UNKNOWN = "The outcome is unknown: it may or may not have taken effect. Check before repeating it."


class World:
    """A transcript whose last turn calls tools, and what runs the calls."""

    def __init__(
        self, tools: Iterable[Tool], uses: Iterable[dict[str, Any]] = (), timeout: float = 120.0, **limits: Any
    ) -> None:
        self.transcript = Transcript()
        self.transcript.begin("run_1", [{"role": "user", "content": [{"type": "text", "text": "Go"}]}])
        self.transcript.answer()
        self.limits = Limits(**limits)
        self.tools = {item.name: item for item in tools}
        self.timeout = timeout
        self.uses = list(uses)
        self.events: list[Any] = []

    def commit(self) -> None:
        self.transcript.take_turn(reply(*self.uses), "req_1", 0.0)

    @asynccontextmanager
    async def calls(self) -> AsyncGenerator[Calls]:
        began = anyio.current_time()
        calls = Calls(
            self.transcript,
            self.tools,
            deps={"db": 1},
            limits=self.limits,
            timeout=self.timeout,
            deadline=began + self.limits.max_seconds,
            clock=lambda: anyio.current_time() - began,
        )
        try:
            yield calls
        finally:
            await calls.close()

    async def drain(self, calls: Calls) -> None:
        async for event in calls.run(self.transcript.unended()):
            self.events.append(event)

    async def run(self) -> list[dict[str, Any]]:
        """Commits the turn, runs its calls, answers; the results as the model gets them."""
        self.commit()
        async with self.calls() as calls:
            await self.drain(calls)
        return self.answer()

    def answer(self) -> list[dict[str, Any]]:
        self.transcript.answer()
        message = self.transcript.messages()[-1]
        assert message["role"] == "user"
        blocks: Any = message["content"]
        assert [block["tool_use_id"] for block in blocks] == [use["id"] for use in self.uses]
        assert self.transcript.refused() == []
        return list(blocks)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.transcript.entries if entry.get("state") == "ended"]


def uses_of(name: str, count: int) -> list[dict[str, Any]]:
    return [tool_use(name, id=f"toolu_{at}", at=at) for at in range(count)]


async def one(made: Tool, input: Any = None, **options: Any) -> tuple[str, Any]:
    """Outcome and content of one call; a sibling must finish whatever it does."""

    @tool
    async def sibling() -> str:
        """Is not disturbed."""
        await anyio.sleep(0.01)
        return "fine"

    use = {**tool_use(made.name), "input": {} if input is None else input}
    world = World([made, sibling], [use, tool_use("sibling", id="toolu_2")], **options)
    first, second = await world.run()
    assert (second["content"], "is_error" in second) == ("fine", False)
    ended = {event.block["tool_use_id"]: event for event in world.of(ToolResult)}
    assert ended["toolu_1"].block == first
    assert (ended["toolu_1"].outcome == "done") == ("is_error" not in first)
    return ended["toolu_1"].outcome, first["content"]


# Concurrency


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_X6_calls_overlap_and_results_are_in_call_order(sort: str) -> None:
    if sort == "async":

        @tool
        async def wait(at: int) -> str:
            """Later calls end first."""
            await anyio.sleep(0.05 + 0.001 * (8 - at))
            return f"result {at}"
    else:

        @tool
        def wait(at: int) -> str:
            """Later calls end first."""
            time.sleep(0.05 + 0.001 * (8 - at))
            return f"result {at}"

    world = World([wait], uses_of("wait", 8))
    began = time.monotonic()
    results = await world.run()
    assert time.monotonic() - began < 0.3
    assert [block["content"] for block in results] == [f"result {at}" for at in range(8)]
    assert world.outcomes == ["done"] * 8


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_X6_no_more_than_max_parallel_tools_at_once(sort: str) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    @contextmanager
    def counted() -> Iterator[None]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        yield
        with lock:
            running -= 1

    async def wait_async(at: int) -> int:
        """Counts."""
        with counted():
            await anyio.sleep(0.01)
        return at

    def wait_sync(at: int) -> int:
        """Counts."""
        with counted():
            time.sleep(0.01)
        return at

    made = tool(name="wait")(wait_async if sort == "async" else wait_sync)
    world = World([made], uses_of("wait", 10), max_parallel_tools=3)
    results = await world.run()
    assert most == 3
    assert [block["content"] for block in results] == [str(at) for at in range(10)]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_fifty_calls_do_not_wait_for_each_other() -> None:
    @tool
    async def wait(at: int) -> int:
        """Waits."""
        await anyio.sleep(0.2)
        return at

    world = World([wait], uses_of("wait", 50))
    began = time.monotonic()
    assert len(await world.run()) == 50
    assert time.monotonic() - began < 1.6  # 16 at once


async def test_X19_sync_tools_run_in_threads_with_context_variables() -> None:
    seen: list[tuple[str, bool]] = []
    main = threading.current_thread()

    @tool
    def look() -> None:
        """Looks around."""
        seen.append((who.get(), threading.current_thread() is main))

    who.set("ada")
    world = World([look], [tool_use("look")])
    assert (await world.run())[0]["content"] == ""
    assert seen == [("ada", False)]


async def test_the_context_of_a_call() -> None:
    seen: list[RunContext[Any]] = []

    @tool(timeout=5)
    async def look(ctx: RunContext[Any]) -> None:
        """Looks around."""
        seen.append(ctx)

    world = World([look], [tool_use("look")])
    began = anyio.current_time()
    await world.run()
    (ctx,) = seen
    assert (ctx.deps, ctx.run_id, ctx.call_id, ctx.tool_use_id, ctx.tool_name) == (
        {"db": 1},
        "run_1",
        "1:toolu_1",
        "toolu_1",
        "look",
    )
    assert ctx.deadline is not None
    assert 4.5 < ctx.deadline - began <= 5.5


async def test_intents_are_written_before_and_results_after() -> None:
    seen: list[str] = []

    @tool
    async def look() -> str:
        """Looks at the log."""
        seen.append(world.transcript.calls["1:toolu_1"].state)
        return "x"

    world = World([look], [tool_use("look")])
    world.commit()
    async with world.calls() as calls:
        async for event in calls.run(world.transcript.unended()):
            seen.append(f"{event.type} {world.transcript.calls['1:toolu_1'].state}")
    assert seen[0] == "started"
    assert seen[-1] == "tool_result ended"


# What a tool may do


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
        ("{\"at\": 1", "object"),
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
    assert (outcome, content) == ("failed", "The input could not be checked: LookupError.")


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
    (record,) = caplog.records
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
        release.wait(5)

    made = tool(name="hang", timeout=0.05)(hang_async if sort == "async" else hang_sync)
    began = time.monotonic()
    outcome, content = await one(made)
    assert time.monotonic() - began < 1
    assert (outcome, content) == ("timed_out", f"Timed out after 0.05 seconds. {UNKNOWN}")
    release.set()


async def test_X8_the_default_time_out() -> None:
    @tool
    async def hang() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    outcome, content = await one(hang, timeout=0.03)
    assert (outcome, content) == ("timed_out", f"Timed out after 0.03 seconds. {UNKNOWN}")


async def test_L4_the_deadline_of_the_run_is_not_called_the_tools_time_out() -> None:
    @tool
    async def hang() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    world = World([hang], [tool_use("hang")], max_seconds=0.05)
    (result,) = await world.run()
    assert result["content"] == f"The time of the run was up while this call ran. {UNKNOWN}"
    assert world.outcomes == ["timed_out"]


async def test_X18_the_input_in_the_log_is_not_the_tools_to_change() -> None:
    made = Tool(name="take", description="", input_schema={"type": "object"}, call=lambda items: items.append(1))
    world = World([made], [tool_use("take", items=[])])
    await world.run()
    assert world.transcript.calls == {}
    assert world.transcript.model_turns(0)[0]["content"][0]["input"] == {"items": []}


async def test_X20_what_a_thread_does_after_its_time_out_is_not_written() -> None:
    release = threading.Event()
    ended = threading.Event()

    @tool(timeout=0.03)
    def hang(ctx: RunContext[Any]) -> str:
        """Hangs, then goes on."""
        release.wait(5)
        try:
            ctx.progress("late")
        finally:
            ended.set()
        return "late"

    @tool
    async def sibling() -> str:
        """Ends last."""
        await anyio.sleep(0.05)
        release.set()
        await anyio.to_thread.run_sync(ended.wait, 5)
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
            await anyio.sleep(0)

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


# Approval


def approved(verdict: Any) -> tuple[World, list[int]]:
    entered: list[int] = []

    @tool(needs_approval=verdict)
    async def pay(amount: int) -> str:
        """Pays."""
        entered.append(amount)
        return f"paid {amount}"

    return World([pay], [tool_use("pay", amount=5), tool_use("pay", id="toolu_2", amount=500)]), entered


async def _large_async(amount: int) -> bool:
    await anyio.sleep(0)
    return amount > 100


async def test_needs_approval_holds_and_siblings_go_on() -> None:
    for verdict, held in [
        (True, [5, 500]),
        (lambda amount: amount > 100, [500]),
        (_large_async, [500]),
        (lambda amount: 1 // 0, [5, 500]),
        (lambda amount: sys.exit(1), [5, 500]),
        (False, []),
    ]:
        world, entered = approved(verdict)
        world.commit()
        async with world.calls() as calls:
            await world.drain(calls)
        assert [event.input["amount"] for event in world.of(ToolHeld)] == held
        assert sorted([*entered, *held]) == [5, 500]
        assert [call.block["input"]["amount"] for call in world.transcript.held()] == held


async def test_invalid_input_is_not_held() -> None:
    world, entered = approved(True)
    world.uses = [tool_use("pay", amount="much")]
    (result,) = await world.run()
    assert result["content"].startswith("amount:")
    assert entered == []


async def decided(decision: Decision) -> tuple[dict[str, Any], list[int], World]:
    world, entered = approved(True)
    world.uses = [tool_use("pay", amount=5)]
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        world.events.clear()
        world.transcript.decide("1:toolu_1", decision)
        await world.drain(calls)
    return world.answer()[0], entered, world


async def test_an_allowed_call_runs() -> None:
    result, entered, world = await decided(Decision("allow"))
    assert (result["content"], entered) == ("paid 5", [5])
    assert [event.type for event in world.events] == ["tool_call", "tool_result"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("", "The user declined this call."), ("Too much.", "The user declined this call. Too much.")],
)
async def test_a_denied_call_does_not(reason: str, expected: str) -> None:
    result, entered, world = await decided(Decision("deny", reason))
    assert (result["content"], result["is_error"], entered) == (expected, True, [])
    assert world.outcomes == ["denied"]
    assert [event.type for event in world.events] == ["tool_result"]


async def test_an_edited_call_runs_with_the_other_input_and_the_model_is_told() -> None:
    result, entered, world = await decided(Decision("edit", input={"amount": 1}))
    assert entered == [1]
    assert result["content"] == [
        {"type": "text", "text": 'The user changed the input to {"amount":1}.'},
        {"type": "text", "text": "paid 1"},
    ]
    assert world.of(ToolCall)[0].input == {"amount": 1}


async def test_an_edited_input_is_validated() -> None:
    result, entered, _ = await decided(Decision("edit", input={"amount": "much"}))
    assert entered == []
    assert result["is_error"] is True
    assert result["content"][0]["text"] == 'The user changed the input to {"amount":"much"}.'
    assert result["content"][1]["text"].startswith("amount:")


@pytest.mark.parametrize("given_back", ["", "  \n", [{"type": "text", "text": "x"}]], ids=["empty", "blank", "blocks"])
async def test_what_is_sent_of_an_edited_call_has_no_blank_text(given_back: Any) -> None:
    @tool(needs_approval=True)
    async def act(at: int) -> Any:
        """Acts."""
        return given_back

    world = World([act], [tool_use("act", at=1)])
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        world.transcript.decide("1:toolu_1", Decision("edit", input={"at": 2}))
        await world.drain(calls)
    (result,) = world.answer()
    assert all(block["text"].strip() for block in result["content"])
    assert len(result["content"]) == (2 if isinstance(given_back, list) else 1)


# Calls that an earlier process left


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("unknown", f"The process stopped while this call ran. {UNKNOWN}")),
        ({"effect": "write"}, ("unknown", f"The process stopped while this call ran. {UNKNOWN}")),
        ({"effect": "read"}, ("done", "ran")),
        ({"idempotent": True}, ("done", "ran")),
    ],
    ids=["undeclared", "write", "read", "idempotent"],
)
async def test_C10_a_call_that_was_started_by_a_dead_run(options: dict[str, Any], expected: tuple[str, str]) -> None:
    @tool(**options)
    async def act() -> str:
        """Acts."""
        return "ran"

    world = World([act], [tool_use("act")])
    world.commit()
    world.transcript.start(world.transcript.unended()[0])
    async with world.calls() as calls:
        await world.drain(calls)
    (result,) = world.answer()
    assert (world.outcomes[0], result["content"]) == expected


async def test_a_call_of_a_dead_run_that_was_edited_and_is_unknown_keeps_the_plain_text() -> None:
    @tool(needs_approval=True)
    async def act(at: int) -> str:
        """Acts."""
        return "ran"

    world = World([act], [tool_use("act", at=1)])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.hold(call)
    world.transcript.decide(call.call_id, Decision("edit", input={"at": 2}))
    world.transcript.start(world.transcript.unended()[0])
    async with world.calls() as calls:
        await world.drain(calls)
    assert world.answer()[0]["content"].startswith("The process stopped while this call ran.")


# Cancellation


async def test_C2_started_calls_end_as_cancelled_and_the_others_stay_open() -> None:
    started: list[int] = []

    @tool
    async def hang(at: int) -> None:
        """Hangs."""
        started.append(at)
        await anyio.sleep_forever()

    world = World([hang], uses_of("hang", 4), max_parallel_tools=2)
    world.commit()
    async with world.calls() as calls:
        async for event in calls.run(world.transcript.unended()):
            world.events.append(event)
            if len(started) == 2:
                break
    states = [call.state for call in world.transcript.calls.values()]
    assert sorted(states) == ["ended", "ended", "open", "open"]
    assert world.outcomes == ["cancelled", "cancelled"]
    ended = [call for call in world.transcript.calls.values() if call.result]
    assert all(
        call.result["content"] == f"The run was stopped while this call ran. {UNKNOWN}"  # type: ignore[index]
        for call in ended
    )
    assert sorted(started) == sorted(call.block["input"]["at"] for call in ended)


async def test_C2_a_tool_that_finishes_its_work_while_it_is_cancelled_is_done() -> None:
    @tool
    async def stubborn() -> str:
        """Finishes."""
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.03)
        return "finished"

    world = World([stubborn], [tool_use("stubborn")])
    world.commit()
    async with world.calls() as calls:
        async for _ in calls.run(world.transcript.unended()):
            break
    assert world.outcomes == ["done"]
    assert world.answer()[0]["content"] == "finished"


async def test_C4_closing_twice_and_closing_what_never_ran() -> None:
    world = World([])
    async with world.calls() as calls:
        await calls.close()
    async with world.calls() as calls:
        await world.drain(calls)  # nothing to run
    assert world.events == []


async def test_a_fault_of_the_log_ends_the_run_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool
    async def act() -> str:
        """Acts."""
        return "ran"

    world = World([act], [tool_use("act")])
    world.commit()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(world.transcript, "start", full)
    async with world.calls() as calls:
        with pytest.raises(BaseExceptionGroup) as caught:
            await world.drain(calls)
    assert caught.group_contains(OSError, match="disk full")


# Early calls


def early_world(**options: Any) -> tuple[World, list[int], anyio.Event]:
    entered: list[int] = []
    release = anyio.Event()

    @tool(**options)
    async def look(at: int) -> str:
        """Looks."""
        entered.append(at)
        await release.wait()
        return f"saw {at}"

    return World([look], uses_of("look", 2)), entered, release


@pytest.mark.parametrize("effect", ["read", ("read", "private")], ids=str)
async def test_X23_an_offered_read_runs_early_and_is_written_after_the_commit(effect: Any) -> None:
    world, entered, release = early_world(effect=effect)
    async with world.calls() as calls:
        for use in world.uses:
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        assert sorted(entered) == [0, 1]
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert not any(entry["entry"] == "call" for entry in world.transcript.entries)
        world.commit()
        await world.drain(calls)
    assert sorted(entered) == [0, 1]
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1"]
    assert [entry["state"] for entry in world.transcript.entries if entry["entry"] == "call"].count("started") == 2


async def test_X23_an_early_call_that_still_runs_at_the_commit() -> None:
    world, entered, release = early_world(effect="read")
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        world.commit()
        async for event in calls.run(world.transcript.unended()):
            release.set()
            world.events.append(event)
    assert sorted(entered) == [0, 1]
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1"]


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({}, {}),
        ({"effect": "write"}, {}),
        ({"effect": ("read", "net")}, {}),
        ({"effect": "read", "needs_approval": True}, {}),
        ({"effect": "read", "needs_approval": lambda at: False}, {}),
        ({"effect": "read"}, {"input": {"at": "x"}}),
        ({"effect": "read"}, {"input": '{"at":'}),
        ({"effect": "read"}, {"name": "lok"}),
    ],
    ids=["undeclared", "write", "read and net", "approval", "asks", "invalid", "cut JSON", "unknown"],
)
async def test_X23_never_early(options: dict[str, Any], change: dict[str, Any]) -> None:
    world, entered, _ = early_world(**options)
    async with world.calls() as calls:
        calls.offer({**world.uses[0], **change})
        await anyio.wait_all_tasks_blocked()
    assert entered == []


async def test_X23_what_was_started_for_a_turn_that_failed_is_stopped_and_not_used() -> None:
    world, entered, release = early_world(effect="read")
    world.limits = Limits(max_parallel_tools=1)
    world.uses = world.uses[:1]
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        calls.forget_early()
        world.commit()  # the turn that was asked for again has the same call
        release.set()
        with anyio.fail_after(2):
            await world.drain(calls)
    assert entered == [0, 0]
    assert world.answer()[0]["content"] == "saw 0"


async def test_X23_a_stopped_early_call_gives_its_place_back() -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(at: int) -> str:
        """Hangs the first time."""
        entered.append(at)
        if len(entered) == 1:
            await anyio.sleep_forever()
        return "saw"

    world = World([look], uses_of("look", 1), max_parallel_tools=1)
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        calls.forget_early()
        world.commit()
        with anyio.fail_after(2):
            await world.drain(calls)
    assert world.answer()[0]["content"] == "saw"


async def test_X23_only_the_same_call_may_use_an_early_result() -> None:
    world, entered, release = early_world(effect="read")
    release.set()
    async with world.calls() as calls:
        calls.offer(tool_use("look", id="toolu_0", at=7))
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert sorted(entered) == [0, 1, 7]
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1"]


async def test_X23_a_run_that_ends_before_the_commit_writes_nothing() -> None:
    world, entered, _ = early_world(effect="read")
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
    assert entered == [0]
    assert not any(entry["entry"] == "call" for entry in world.transcript.entries)


async def test_X23_an_early_call_fails_like_any_other() -> None:
    @tool(effect="read")
    async def look(ctx: RunContext[Any]) -> None:
        """Fails."""
        ctx.progress("before the turn")
        raise LookupError(SECRET)

    world = World([look], [tool_use("look")])
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert world.answer()[0]["content"] == "The tool failed with LookupError."
    assert world.of(ToolProgress) == []


async def test_cancelled_while_it_waits_for_an_early_call() -> None:
    world, _, _ = early_world(effect="read")
    async with world.calls() as calls:
        for use in world.uses:
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        world.commit()
        async for _ in calls.run(world.transcript.unended()):
            break
    assert set(world.outcomes) == {"cancelled"}


# Any schedule

_EFFECTS = st.sampled_from([None, "read", "write"])
_ENDS = st.sampled_from(["value", "error", "hang", "thread"])
_SCHEDULE = st.lists(st.tuples(_EFFECTS, _ENDS, st.booleans(), st.integers(0, 3)), max_size=7)


@given(schedule=_SCHEDULE, cap=st.integers(1, 4), backend=st.sampled_from(["asyncio", "trio"]))
def test_any_schedule_ends_with_one_result_each(
    schedule: list[tuple[str | None, str, bool, int]], cap: int, backend: str
) -> None:
    running: list[int] = []
    most = [0]
    entered: list[int] = []

    async def act(at: int) -> str:
        _, end, _, pause = schedule[at]
        entered.append(at)
        running.append(at)
        most[0] = max(most[0], len(running))
        try:
            for _ in range(pause):
                await anyio.sleep(0)
            if end == "hang":
                await anyio.sleep_forever()
            if end == "thread":
                await anyio.to_thread.run_sync(int)
            if end == "error":
                raise LookupError(SECRET)
        finally:
            running.remove(at)
        return f"value {at}"

    tools = [
        Tool(name=f"act{at}", description="", input_schema={"type": "object"}, call=act, effect=effect, timeout=0.005)
        for at, (effect, *_) in enumerate(schedule)
    ]
    uses = [tool_use(f"act{at}", id=f"toolu_{at}", at=at) for at in range(len(schedule))]
    world = World(tools, uses, max_parallel_tools=cap)

    async def main() -> None:
        async with world.calls() as calls:
            for use, (_, _, offered, _) in zip(uses, schedule, strict=True):
                if offered:
                    calls.offer(use)
                    await anyio.sleep(0)
            world.commit()
            with anyio.fail_after(5):
                await world.drain(calls)

    anyio.run(main, backend=backend)
    assert sorted(entered) == list(range(len(schedule)))  # each once, early or not
    assert most[0] <= cap
    expected = {"value": "done", "thread": "done", "error": "failed", "hang": "timed_out"}
    if schedule:
        for (_, end, _, _), block in zip(schedule, world.answer(), strict=True):
            assert ("is_error" in block) == (expected[end] != "done")
    ended = {event.call_id: event.outcome for event in world.of(ToolResult)}
    assert ended == {f"1:toolu_{at}": expected[end] for at, (_, end, _, _) in enumerate(schedule)}
    started = [entry["call"] for entry in world.transcript.entries if entry.get("state") == "started"]
    assert sorted(started) == sorted(ended)


def test_the_events_of_a_call_need_no_reader() -> None:
    """The queue has no end: a tool never waits for a slow consumer."""

    @tool
    async def chatter() -> AsyncGenerator[str]:
        """Talks."""
        for at in range(2000):
            yield f"{at}\n"

    async def main() -> None:
        world = World([chatter], [tool_use("chatter")])
        world.commit()
        async with world.calls() as calls:
            async for _ in calls.run(world.transcript.unended()):
                await anyio.wait_all_tasks_blocked()
                break
        assert world.outcomes == ["done"]

    anyio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("sort", ["early", "called"])
def test_an_event_loop_ends_while_a_tool_hangs(backend: str, sort: str) -> None:
    @tool(effect="read")
    async def hang() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    world = World([hang], [tool_use("hang")])
    kept: list[Awaitable[Any] | Calls | AsyncGenerator[Any]] = []

    async def main() -> None:
        context = world.calls()
        calls = await context.__aenter__()
        kept.append(calls)
        if sort == "early":
            calls.offer(world.uses[0])
            return
        world.commit()
        events = calls.run(world.transcript.unended())
        await anext(events)
        await events.aclose()

    began = time.monotonic()
    anyio.run(main, backend=backend)
    assert time.monotonic() - began < 2
