"""Calls that the model does not make directly: from code that it runs, of a toolset, and results that name tools."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from calls import UNKNOWN, World
from clock import BACKENDS, jump
from scripted import server_tool_use, tool_use

from agentkit import execute
from agentkit.errors import ToolError
from agentkit.events import ToolCall, ToolHeld
from agentkit.tool_results import HARD_CAP, TEXT_CAP
from agentkit.tools import RunContext, tool
from agentkit.transcript import Decision

pytestmark = pytest.mark.anyio

CODE = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
PNG = b"\x89PNG\r\n\x1a\n"


def from_code(name: str, id_: str = "toolu_1", **given: Any) -> dict[str, Any]:
    return {**tool_use(name, id=id_, **given), "caller": CODE}


def in_code(*tools: Any, uses: list[dict[str, Any]], **options: Any) -> World:
    """A turn whose code has called tools, and waits."""
    world = World(tools, uses, **options)
    world.others = [server_tool_use("code_execution", id="srvtoolu_1", code="…")]
    return world


async def one(made: Any, **given: Any) -> dict[str, Any]:
    """The result of one call from code."""
    (result,) = await in_code(made, uses=[from_code(made.name, **given)]).run()
    return result


# Calls from code.


async def test_code_gets_json_as_it_is() -> None:
    @tool
    def rows() -> list[dict[str, Any]]:
        """Rows."""
        return [{"city": "Lindholm", "degrees": 21.5}]

    result = await one(rows)
    assert json.loads(result["content"]) == [{"city": "Lindholm", "degrees": 21.5}]
    assert "is_error" not in result


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["Look:", PNG], "Look:\n[image left out (image/png): code gets text alone]"),
        (b"%PDF-1.7", "[document left out (application/pdf): code gets text alone]"),
        ({"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}, "[image left out (url): …"),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}}, "a,b"),
        ({"type": "document", "source": {"type": "content", "content": "whole"}}, "whole"),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "part"}, None]}},
            "part",
        ),
        ({"type": "document", "source": {}}, "[document left out: code gets text alone]"),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]},
            "found",
        ),
        ({"type": "tool_reference", "tool_name": "show"}, "show"),
        (None, ""),
    ],
)
async def test_code_gets_text_alone(value: Any, text: str) -> None:
    @tool
    def show() -> Any:
        """Shows."""
        return value

    content = (await one(show))["content"]
    assert content == text.replace("…", "code gets text alone]")


async def test_code_gets_long_json_whole_and_no_text_that_was_cut() -> None:
    @tool
    def long(size: int) -> list[str]:
        """Is long."""
        return ["x" * size]

    @tool
    async def pieces(size: int) -> Any:
        """Yields."""
        yield "x" * size
        yield "y"

    assert len(json.loads((await one(long, size=2 * TEXT_CAP))["content"])[0]) == 2 * TEXT_CAP
    assert len((await one(pieces, size=2 * TEXT_CAP))["content"]) == 2 * TEXT_CAP + 1
    for made in (long, pieces):
        refused = await one(made, size=HARD_CAP)
        assert refused["is_error"] is True
        assert "16,777,216" in refused["content"]
        assert len(refused["content"]) < 200


async def test_errors_stay_errors_with_text() -> None:
    @tool
    def broken() -> None:
        """Breaks."""
        raise ToolError([{"type": "text", "text": "No such city."}, {"type": "image", "source": {"type": "url"}}])

    assert await one(broken) == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "No such city.\n[image left out (url): code gets text alone]",
        "is_error": True,
    }


async def test_an_edited_input_is_not_told_to_code() -> None:
    @tool(needs_approval=True)
    def look(city: str) -> dict[str, str]:
        """Looks."""
        return {"city": city}

    world = in_code(look, uses=[from_code("look", city="Lindholm")])
    world.commit()
    await world.carry_out()
    assert len(world.of(ToolHeld)) == 1  # code is asked about as the model is
    world.transcript.decide("1:toolu_1", Decision("edit", input={"city": "Aldham"}))
    await world.carry_out()
    assert world.answer()[0]["content"] == '{"city":"Aldham"}'


@pytest.mark.parametrize("sort", ["direct", "code", "old code"])
async def test_a_call_from_code_has_240_seconds(sort: str) -> None:
    left: list[float] = []

    @tool(timeout=1000)
    async def wait(ctx: RunContext) -> None:
        """Waits."""
        assert ctx.deadline is not None
        left.append(ctx.deadline - anyio.current_time())

    caller = {"direct": {"type": "direct"}, "code": CODE, "old code": {**CODE, "type": "code_execution_20250825"}}[sort]
    await in_code(wait, uses=[{**tool_use("wait"), "caller": caller}]).run()
    assert execute._CODE_WAITS == 240
    assert left == [pytest.approx(1000 if sort == "direct" else 240, abs=20)]


@BACKENDS
async def test_the_time_that_calls_from_code_wait_for_others_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.jobs.GRACE", 600)

    @tool(timeout=200)
    async def wait() -> None:
        """Takes 150 seconds."""
        jump(150)
        await anyio.sleep(0.05)

    uses = [from_code("wait", f"toolu_{at}") for at in range(3)]
    results = await in_code(wait, uses=uses, max_parallel_tools=1).run()
    late = [block["content"] for block in results if "is_error" in block]  # trio begins them in any order
    assert len(late) == 2
    assert all(text.startswith("Timed out after ") and text.endswith(UNKNOWN) for text in late)
    assert any(text.startswith("Timed out after 0 seconds.") for text in late)


@BACKENDS
async def test_a_later_turn_has_its_time_anew() -> None:
    @tool(effect="read")
    async def look(at: int) -> int:
        """Looks."""
        await checkpoint()
        return at

    world = in_code(look, uses=[from_code("look", at=1)])
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        world.answer()
        jump(250)
        use = from_code("look", "toolu_2", at=2)
        world.uses, world.others = [use], []
        calls.offer(use)  # before its turn is committed
        await anyio.sleep(0.01)
        world.commit()
        await world.drain(calls)
    assert world.outcomes == ["done", "done"]


# Toolsets.


def member(name: str, id_: str) -> dict[str, Any]:
    return {**tool_use(name, id=id_), "toolset_name": "browser"}


async def test_members_of_a_toolset_run_in_order_and_say_whose_they_are() -> None:
    seen: list[str] = []

    @tool(effect="read")
    async def navigate() -> None:
        """Navigates."""
        await anyio.sleep(0.02)
        seen.append("navigate")

    @tool(effect="read")
    async def left_click() -> None:
        """Clicks."""
        seen.append("left_click")

    uses = [member("navigate", "toolu_1"), member("left_click", "toolu_2")]
    world = World([navigate, left_click], uses)
    async with world.calls() as calls:
        for use in uses:
            calls.offer(use)  # too early: another may come before it
        await anyio.sleep(0.01)
        world.commit()
        await world.drain(calls)
    assert seen == ["navigate", "left_click"]
    assert [block["toolset_name"] for block in world.answer()] == ["browser", "browser"]


async def test_after_a_failure_the_rest_of_the_toolset_is_not_executed() -> None:
    ran: list[str] = []

    @tool
    async def click(fails: bool = False) -> None:
        """Clicks."""
        ran.append("click")
        if fails:
            raise ToolError("There is no such button.")

    uses = [
        member("click", "toolu_1"),
        {**member("click", "toolu_2"), "input": {"fails": True}},
        tool_use("click", id="toolu_3"),
        {**member("click", "toolu_4"), "toolset_name": "computer"},
        member("click", "toolu_5"),
        member("nowhere", "toolu_6"),
    ]
    world = World([click], uses)
    results = await world.run()
    assert [block.get("is_error", False) for block in results] == [False, True, False, False, True, True]
    assert [block.get("toolset_name") for block in results] == [
        "browser",
        "browser",
        None,
        "computer",
        "browser",
        "browser",
    ]
    assert results[4]["content"] == "Not executed: click, an earlier call of this toolset, did not succeed."
    assert world.outcomes.count("not_run") == 2
    assert (len(ran), len(world.of(ToolCall))) == (4, 4)


async def test_what_follows_a_held_member_waits_with_it() -> None:
    ran: list[str] = []

    @tool(needs_approval=True)
    async def submit() -> None:
        """Submits."""
        ran.append("submit")

    @tool
    async def screenshot() -> None:
        """Shows."""
        ran.append("screenshot")

    world = World([submit, screenshot], [member("submit", "toolu_1"), member("screenshot", "toolu_2")])
    world.commit()
    await world.carry_out()
    assert [held.call_id for held in world.of(ToolHeld)] == ["1:toolu_1", "1:toolu_2"]
    assert ran == []
    world.transcript.decide("1:toolu_1", Decision("deny", "Not yet."))
    world.transcript.decide("1:toolu_2", Decision("allow"))
    await world.carry_out()
    first, second = world.answer()
    assert (first["content"], first["toolset_name"]) == ("The user declined this call. Not yet.", "browser")
    assert second["content"].startswith("Not executed: submit")
    assert ran == []


async def test_a_member_that_was_allowed_runs_while_another_is_held() -> None:
    @tool(needs_approval=True)
    async def submit(at: int) -> int:
        """Submits."""
        return at

    uses = [{**member("submit", f"toolu_{at}"), "input": {"at": at}} for at in (1, 2)]
    world = World([submit], uses)
    world.commit()
    await world.carry_out()
    world.transcript.decide("1:toolu_2", Decision("allow"))
    async with world.calls() as calls, anyio.create_task_group() as group:
        due = [call for call in world.transcript.unended() if call.decision]
        async for event in calls.run(due):
            world.events.append(event)
        group.cancel_scope.cancel()
    assert world.outcomes == ["done"]


# Results that name tools.


@tool
def find(names: list[str]) -> list[dict[str, str]]:
    """Finds tools."""
    return [{"type": "tool_reference", "tool_name": name} for name in names]


async def test_a_search_of_ones_own_gives_references() -> None:
    (result,) = await World([find], [tool_use("find", names=["find"])]).run()
    assert result["content"] == [{"type": "tool_reference", "tool_name": "find"}]
    assert "is_error" not in result


@pytest.mark.parametrize("available", [None, {"find", "deferred"}])
async def test_a_reference_to_no_tool_of_the_run_is_an_error_result(available: Any) -> None:
    world = World([find], [tool_use("find", names=["find", "deferred"])], available=available)
    (result,) = await world.run()
    if available:
        assert [block["tool_name"] for block in result["content"]] == ["find", "deferred"]
    else:
        assert result["content"] == "The result refers to tools that this run does not have: deferred."
        assert result["is_error"] is True
