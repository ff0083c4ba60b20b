"""What mutants of `agentkit.invocation` showed untested."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from calls import UNKNOWN, World
from scripted import tool_use

from agentkit.call import Call, Decision
from agentkit.errors import JournalError, NotDone, ToolError
from agentkit.events import ToolHeld, ToolResult
from agentkit.invocation import Ended, answer_of, broken_input, invoke_within, is_from_code, result_of, unknown_tool
from agentkit.repeats import NOTICE
from agentkit.tools import RunContext, Tool, tool

pytestmark = pytest.mark.anyio


def fails(*given: Any, **more: Any) -> Any:
    raise OSError("disk full")


def paid(**options: Any) -> Tool:
    @tool(**options)
    async def pay() -> str:
        """Pays."""
        if options.get("name") == "broken":
            fails()
        return "paid"

    return pay


async def verify(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
    return str(fails())


@pytest.mark.parametrize(
    ("made", "started", "said"),
    [
        (paid(needs_approval=fails), False, "needs_approval of pay failed"),
        (paid(verify=verify), True, "verify of pay failed"),
        (paid(name="broken"), False, "tool broken failed: OSError"),
    ],
    ids=["needs_approval", "verify", "the tool"],
)
async def test_what_fails_in_the_users_own_code_is_logged(
    made: Tool, started: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World([made], [tool_use(made.name)])
    world.commit()
    if started:
        world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    await world.carry_out()
    (record,) = [one for one in caplog.records if one.name == "agentkit.tools"]
    assert record.getMessage() == said
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


@pytest.mark.parametrize(("attempts", "outcome"), [(1, "done"), (2, "done"), (3, "unknown")])
@pytest.mark.parametrize("declared", ["verify", "idempotent"])
async def test_what_was_not_done_runs_again_three_times_in_all(attempts: int, outcome: str, declared: str) -> None:
    async def not_done(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
        raise NotDone

    made = paid(idempotent=True) if declared == "idempotent" else paid(verify=not_done)
    world = World([made], [tool_use("pay")])
    world.commit()
    for _ in range(attempts):
        world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    await world.carry_out()
    assert world.outcomes == [outcome]


@pytest.mark.parametrize("read", [True, False])
async def test_a_tool_that_has_changed_since_does_not_run_again(read: bool) -> None:
    made = paid(effect="read") if read else paid(idempotent=True)
    for digest, outcome in [(made.digest, "done"), (None, "done"), ("another", "unknown")]:
        world = World([made], [tool_use("pay")])
        world.commit()
        world.transcript.start(world.transcript.unended()[0], **({"tool": digest} if digest else {}))
        await world.carry_out()
        assert world.outcomes == [outcome]


async def hang(*given: Any, **more: Any) -> Any:
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("options", "started"), [({"verify": hang}, True), ({"needs_approval": hang}, False)], ids=["verify", "approval"]
)
async def test_a_run_that_is_stopped_while_it_asks_the_users_code_writes_nothing(
    options: dict[str, Any], started: bool
) -> None:
    made = paid(**options)
    world = World([made], [tool_use("pay")])
    world.commit()
    if started:
        world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    before = len(world.transcript.entries)
    async with world.calls() as calls, anyio.create_task_group() as group:
        group.start_soon(world.drain, calls)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(world.transcript.entries) == before


@pytest.mark.parametrize("waits", ["a task", "a thread"])
async def test_verify_is_given_up_when_its_time_is_over(waits: str) -> None:
    free = threading.Event()

    def verify(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
        free.wait(60)
        return "paid"

    made = paid(verify=hang if waits == "a task" else verify, timeout=0.05)
    world = World([made], [tool_use("pay")])
    world.commit()
    world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    try:
        with anyio.fail_after(30):
            await world.carry_out()
        assert world.outcomes == ["unknown"]
    finally:
        free.set()
    (block,) = world.answer()
    assert block["content"] == f"The process stopped while this call ran. {UNKNOWN}"


async def test_how_long_a_call_took_is_said_and_0_for_one_that_never_ran() -> None:
    @tool(timeout=60)
    async def act(seconds: float) -> str:
        """Takes a while."""
        await anyio.sleep(seconds)
        return "done"

    @tool(timeout=0.05)
    async def late() -> None:
        """Takes for ever."""
        await anyio.sleep_forever()

    uses = [tool_use("act", seconds=0.02), tool_use("late", id="toolu_2"), tool_use("act", id="toolu_3", wrong=1)]
    world = World([act, late], uses)
    await world.run()
    took = {event.outcome: event.seconds for event in world.of(ToolResult)}
    assert sorted(world.outcomes) == ["done", "failed", "timed_out"]
    assert took["failed"] == 0.0
    assert 0.02 <= took["done"] < 20
    assert 0.05 <= took["timed_out"] < 20


@pytest.mark.parametrize(("until", "runs"), [(None, True), (99.0, False), (100.0, True), (101.0, True)])
async def test_a_decision_counts_until_its_time_is_over(until: float | None, runs: bool) -> None:
    made = paid(needs_approval=True)
    world = World([made], [tool_use("pay")])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.hold(call, tool=made.digest)
    world.transcript.decide(call.call_id, Decision("allow", until=until))
    async with world.calls() as calls:
        calls._now = lambda: 100.0  # type: ignore[method-assign]
        await world.drain(calls)
    assert world.outcomes == (["done"] if runs else [])


@pytest.mark.parametrize(("digest", "runs"), [("the same", True), (None, True), ("another", False)])
async def test_a_decision_on_another_tool_of_this_name_does_not_count(digest: str | None, runs: bool) -> None:
    made = paid(needs_approval=True)
    world = World([made], [tool_use("pay")])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.hold(call, **({"tool": made.digest if digest == "the same" else digest} if digest else {}))
    world.transcript.decide(call.call_id, Decision("allow"))
    await world.carry_out()
    assert world.outcomes == (["done"] if runs else [])
    assert len(world.of(ToolHeld)) == (0 if runs else 1)


@pytest.mark.parametrize("answers", [True, False, "yes", "", None])
@pytest.mark.parametrize("sort", ["sync", "async"])
async def test_what_needs_approval_says_counts_as_yes_or_no(sort: str, answers: Any) -> None:
    async def later() -> Any:
        return answers

    world = World([paid(needs_approval=(lambda: answers) if sort == "sync" else later)], [tool_use("pay")])
    world.commit()
    await world.carry_out()
    assert world.outcomes == ([] if answers else ["done"])


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
async def test_a_tool_can_not_end_the_process(raised: BaseException) -> None:
    @tool
    async def act() -> str:
        """Leaves."""
        raise raised

    world = World([act], [tool_use("act")])
    (block,) = await world.run()
    assert (world.outcomes, block["content"]) == (["failed"], "The tool tried to exit the process.")


async def test_a_journal_that_fails_within_a_call_ends_the_run() -> None:
    @tool
    async def act() -> str:
        """Runs an agent of its own."""
        raise JournalError("the disk is full")

    world = World([act], [tool_use("act")])
    world.commit()
    async with world.calls() as calls:
        with pytest.raises(JournalError, match="the disk is full"):
            await world.drain(calls)


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("edited", [True, False])
def test_a_result_says_what_a_human_changed_and_that_it_repeats(edited: bool, repeated: bool) -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://a.test/a.png"}}
    first = [{"type": "text", "text": 'The user changed the input to {"to":"Bob"}.'}] if edited else []
    last = [{"type": "text", "text": NOTICE}] if repeated else []
    call = Call("1:toolu_1", tool_use("pay"), decision=Decision("edit", input={"to": "Bob"}) if edited else None)
    contents: list[tuple[Any, list[Any]]] = [
        ("paid", [{"type": "text", "text": "paid"}]),
        (" ", []),
        ([{"type": "text", "text": "\n"}, picture], [picture]),
    ]
    for content, said in contents:
        block = result_of(call, Ended("done", content), repeated=repeated)
        expected = [*first, *said, *last] if edited or repeated else content
        assert block == {"type": "tool_result", "tool_use_id": "toolu_1", "content": expected}
    unknown = result_of(call, Ended("unknown", "lost"), repeated=False)
    assert (unknown["content"], unknown["is_error"]) == ("lost", True), "what was changed has perhaps not run"


def test_the_result_of_a_call_from_code_is_what_it_is() -> None:
    call = Call("1:toolu_1", {**tool_use("pay"), "caller": {"type": "code_execution_20260120"}, "toolset_name": "box"})
    block = result_of(call, Ended("failed", [{"type": "text", "text": "paid"}]), repeated=True)
    assert block == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "paid",
        "toolset_name": "box",
        "is_error": True,
    }


def test_where_a_call_comes_from() -> None:
    callers: list[Any] = [{"type": "code_execution_20260120"}, {"type": "code_execution_1"}]
    assert all(is_from_code({"caller": caller}) for caller in callers)
    others: list[Any] = [{"type": "direct"}, {"type": None}, {}, None, "code_execution_1", []]
    assert not any(is_from_code({"caller": caller}) for caller in others)
    assert not is_from_code({})


def test_what_is_said_of_a_tool_that_is_not_there() -> None:
    assert unknown_tool("x", []) == "There is no tool 'x'. There are: none."
    assert unknown_tool("x", ["look", "pay"]) == "There is no tool 'x'. There are: look, pay."
    assert unknown_tool("lok", ["look", "pay"]) == "There is no tool 'lok'. Did you mean look?"


def test_input_that_is_no_json_is_said_as_the_api_wants_it() -> None:
    assert broken_input(Call("1:a", {**tool_use("pay"), "input": '{"x'})) == '{"INVALID_JSON":"{\\"x"}'
    assert broken_input(Call("1:a", tool_use("pay", x=1))) is None


async def test_a_result_may_refer_to_tools_of_the_run_alone() -> None:
    @tool
    async def find(names: list[str]) -> Any:
        """Finds tools."""
        return [{"type": "tool_reference", "tool_name": name} for name in names]

    for names, outcome in [(["pay"], "done"), (["pay", "gone", "lost"], "failed"), (["find"], "done")]:
        world = World([find], [tool_use("find", names=names)], available={"pay", "find"})
        (block,) = await world.run()
        assert world.outcomes == [outcome]
        if outcome == "failed":
            assert block["content"] == "The result refers to tools that this run does not have: gone, lost."
        else:
            assert block["content"] == [{"type": "tool_reference", "tool_name": name} for name in names]


async def test_what_a_transactional_tool_raised_is_logged_and_undone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    db.execute("CREATE TABLE paid (who)")

    @tool(transactional=True)
    def pay(ctx: RunContext[None], who: str) -> str:
        """Pays."""
        ctx.transaction.execute("INSERT INTO paid VALUES (?)", (who,))
        if who == "Bob":
            raise ToolError("Bob has left")
        if who == "Cid":
            raise OSError("disk full")
        return f"paid {who}"

    ended: dict[str, Ended] = {}
    ctx: RunContext[None] = RunContext(
        deps=None, run_id="run_1", call_id="1:a", tool_use_id="a", tool_name="pay", input={}, attempt=1
    )
    for who in ("Ann", "Bob", "Cid"):
        db.execute("BEGIN")
        ended[who] = await anyio.to_thread.run_sync(invoke_within, pay, ctx, {"who": who}, db)
        db.execute("COMMIT")
    assert [(one.outcome, one.content) for one in ended.values()] == [
        ("done", "paid Ann"),
        ("failed", "Bob has left"),
        ("failed", "The tool failed with OSError."),
    ]
    assert db.execute("SELECT who FROM paid").fetchall() == [("Ann",)]
    assert all(0 < one.seconds < 20 for one in ended.values())
    (record,) = [record for record in caplog.records if record.name == "agentkit.tools"]
    assert (record.getMessage(), record.exc_info is None) == ("tool pay failed: OSError", False)
    db.close()


async def test_what_verify_found_is_the_result_and_the_tool_is_not_entered() -> None:
    entered: list[str] = []

    async def found(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
        return f"found {arguments['who']}"

    @tool(verify=found)
    async def pay(who: str) -> str:
        """Pays."""
        entered.append(who)
        return "paid"

    world = World([pay], [tool_use("pay", who="Ann")])
    world.commit()
    world.transcript.start(world.transcript.unended()[0], tool=pay.digest)
    await world.carry_out()
    assert (world.outcomes, world.answer()[0]["content"], entered) == (["done"], "found Ann", [])


async def test_nothing_failed_where_nobody_can_be_asked(caplog: pytest.LogCaptureFixture) -> None:
    made = paid()
    world = World([made], [tool_use("pay")])
    world.commit()
    world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    await world.carry_out()
    assert world.outcomes == ["unknown"]
    assert [record for record in caplog.records if record.name == "agentkit.tools"] == []


async def test_an_async_function_does_not_wait_for_a_thread() -> None:
    async def approve(given: int) -> int:
        return given + 1

    threads = anyio.CapacityLimiter(1)
    with anyio.fail_after(30):
        async with threads:
            assert await answer_of(approve, 3, threads=threads) == 4
        assert await answer_of(lambda given: given + 1, 3, threads=threads) == 4
        assert await answer_of(lambda given: approve(given), 3, threads=threads) == 4
