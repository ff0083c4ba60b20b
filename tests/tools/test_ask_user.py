"""A question to the user: sync or async, answered, or with nobody there."""

from __future__ import annotations

import threading
from typing import Any

import anyio.lowlevel
import pytest

from agentkit import Agent, ConfigurationError, ToolError
from agentkit.emulator import reply, tool_use
from agentkit_tools.ask_user import ask_user

pytestmark = pytest.mark.anyio


async def asynchronous(question: str, suggestions: list[str]) -> str:
    await anyio.lowlevel.checkpoint()
    return f"{question} {suggestions}"


class Asker:
    async def __call__(self, question: str, suggestions: list[str]) -> str:
        return await asynchronous(question, suggestions)


def synchronous(question: str, suggestions: list[str]) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return f"{question} {suggestions}"


def awaitable(question: str, suggestions: list[str]) -> Any:
    return asynchronous(question, suggestions)


@pytest.mark.parametrize("ask", [asynchronous, Asker(), synchronous, awaitable])
async def test_an_answer(ask: Any) -> None:
    assert await ask_user(ask)("Which?", ["a", "b"]) == "Which? ['a', 'b']"
    assert await ask_user(ask)(question="Which?") == "Which? []"


@pytest.mark.parametrize("ask", [None, lambda question, suggestions: None])
async def test_nobody(ask: Any) -> None:
    with pytest.raises(ToolError, match=r"Nobody is there to answer\. Decide by yourself what you can"):
        await ask_user(ask)("Which?")


async def test_an_empty_answer_is_one() -> None:
    assert await ask_user(lambda question, suggestions: "")("Which?") == "(an empty answer)"


def test_definition() -> None:
    tool = ask_user(synchronous)
    assert tool.name == "ask_user"
    assert not tool.is_read  # it is not asked early, and not again
    assert not tool.effect & {"write", "net", "exec"}  # nor forbidden where that would need a human
    assert tool.timeout is not None
    assert tool.timeout > 86400
    with pytest.raises(ConfigurationError, match="ask_user needs a function"):
        ask_user("me")  # type: ignore[arg-type]


async def test_in_a_run(scripted: Any) -> None:
    api = scripted(
        reply(tool_use("ask_user", question="Which city?", suggestions=["Rome"])),
        reply(tool_use("ask_user", question="Sure?")),
        reply("Done."),
    )
    answers = iter(["Rome", None])

    async def ask(question: str, suggestions: list[str]) -> str | None:
        return next(answers)

    async with Agent("claude-sonnet-4-6", tools=[ask_user(ask)]) as agent:
        assert (await agent.run("Book it.")).text == "Done."
    (first,), (second,) = (api.requests[at]["messages"][2 * at]["content"] for at in (1, 2))
    assert first["content"] == "Rome"
    assert second["is_error"]
    assert second["content"].startswith("Nobody is there to answer.")


async def test_a_run_that_is_cancelled_does_not_wait_for_the_answer(scripted: Any) -> None:
    scripted(reply(tool_use("ask_user", question="Which?")))
    asked, never = anyio.Event(), anyio.Event()

    async def ask(question: str, suggestions: list[str]) -> str:
        asked.set()
        await never.wait()
        return ""

    async with Agent("claude-sonnet-4-6", tools=[ask_user(ask)]) as agent, anyio.create_task_group() as group:
        group.start_soon(agent.run, "Book it.")
        with anyio.fail_after(10):
            await asked.wait()
        group.cancel_scope.cancel()
