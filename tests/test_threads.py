"""Message threads: new messages only, and the whole history when the thread is lost."""

from __future__ import annotations

from typing import Any

import pytest
from runs import agent_for
from scripted import Json, reply, server_tool_use, text, tool_use

from agentkit import Agent, tool
from agentkit.errors import BadRequestError

pytestmark = pytest.mark.anyio

BETA = "message-threads-2026-08-12"
CREATE = {"type": "create"}


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def gone(code: str, status: int = 404) -> Json:
    details = {"error_code": code}
    error = {"type": "not_found_error", "message": "The thread was not found", "details": details}
    return Json({"type": "error", "error": error}, status)


def called(number: int) -> dict[str, Any]:
    return {**reply(tool_use("add", id=f"toolu_{number}", a=1, b=number)), "id": f"msg_{number}"}


async def test_turns_after_the_first_send_what_is_new() -> None:
    script = [called(1), called(2), {**reply(text("3")), "id": "msg_3"}, reply(text("Yes."))]
    async with agent_for(script, add, system="Be terse.", thread=CREATE) as (agent, server):
        result = await agent.run("1 + 2?")
        await agent.run("Sure?", after=result)
        first, *others = [request.json for request in server.requests]
        assert (first["thread"], first["system"], len(first["tools"])) == (CREATE, "Be terse.", 1)
        for number, body in enumerate(others, 1):
            assert body["thread"] == {"type": "continue", "previous_message_id": f"msg_{number}"}
            assert not {"system", "tools"} & body.keys()
            assert [message["role"] for message in body["messages"]] == ["user"]
            assert (body["model"], body["max_tokens"]) == (first["model"], first["max_tokens"])
        assert others[0]["messages"][0]["content"][0]["tool_use_id"] == "toolu_1"
        assert others[2]["messages"][0]["content"] == [text("Sure?")]
        assert {request.headers["anthropic-beta"] for request in server.requests} == {BETA}


@pytest.mark.parametrize(
    "code",
    ["thread_not_found", "thread_already_continued", "thread_continue_in_flight", "thread_fingerprint_mismatch"],
)
async def test_a_thread_that_is_lost_is_begun_again_with_the_whole_history(code: str) -> None:
    async with agent_for([called(1), gone(code), reply(text("3"))], add, thread=CREATE) as (agent, server):
        result = await agent.run("1 + 2?")
        assert result.text == "3"
        whole = server.requests[2].json
        assert whole["thread"] == CREATE
        assert [message["role"] for message in whole["messages"]] == ["user", "assistant", "user"]
        assert len(whole["tools"]) == 1


async def test_what_a_thread_can_not_do_is_an_error() -> None:
    async with agent_for([gone("thread_unsupported_request", 400)], thread=CREATE) as (agent, _):
        with pytest.raises(BadRequestError) as caught:
            await agent.run("Hi")
        assert caught.value.error_code == "thread_unsupported_request"


async def test_a_pause_and_a_rewritten_history_send_all() -> None:
    paused = reply(text("I search."), server_tool_use("web_search"), stop="pause_turn")
    refusal = reply(text("No."), stop="refusal")
    script = [paused, refusal, reply(text("I can't.")), reply(text("Yes."))]
    async with agent_for(script, thread=CREATE) as (agent, server):
        result = await agent.run("Hi")
        assert (await agent.run("Then say yes.", after=result)).text == "Yes."
        assert [request.json["thread"] for request in server.requests] == [CREATE] * 4
        sent = [block["text"] for message in server.requests[3].json["messages"] for block in message["content"]]
        assert sent == ["Hi", "I search.", "I can't.", "Then say yes."]


async def test_what_a_thread_was_not_made_for_sends_all() -> None:
    script = [{**reply(text("Hi.")), "id": f"msg_{number}"} for number in range(6)]
    async with agent_for(script, system="One.", thread=CREATE) as (agent, server):
        first = await agent.run("Hello")
        await agent.run("Sure?", after=first, system="Two.")
        await agent.run("Sure?", after=first, tools=[add])
        await Agent("claude-opus-4-8", client=agent._client, system="One.", thread=CREATE).run("Sure?", after=first)
        await agent.run([text_of("user", "a"), text_of("assistant", "b"), text_of("user", "c")], after=first)
        for request in server.requests[1:]:
            assert request.json["thread"] == CREATE
            assert len(request.json["messages"]) >= 3
            assert request.json["system"] in ("One.", "Two.")
        await agent.run("Sure?", after=first)
        assert server.requests[5].json["thread"]["type"] == "continue"


async def test_a_reply_without_a_thread_begins_one() -> None:
    async with agent_for([reply(text("Hi.")), reply(text("Yes."))]) as (agent, server):
        other = Agent("claude-sonnet-4-6", client=agent._client, thread=CREATE)
        await other.run("Sure?", after=await agent.run("Hello"))
        assert server.requests[1].json["thread"] == CREATE


def text_of(role: str, said: str) -> dict[str, Any]:
    return {"role": role, "content": said}
