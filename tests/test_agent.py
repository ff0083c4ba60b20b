"""What an agent sends, and what may differ from run to run."""

from __future__ import annotations

import itertools
import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import SEARCH, add, agent_for, drain, look, pause_tools_answer, valid
from scripted import Drop, Request, ScriptedServer, error, reply, server_tool_use, text, tool_use

from agentkit import (
    Agent,
    APIError,
    Client,
    ConfigurationError,
    Limits,
    RetryPolicy,
    RunContext,
    ToolDefinitionError,
    TranscriptError,
    tool,
    web_search,
)
from agentkit.errors import AuthenticationError, BadRequestError
from agentkit.rules import check_history

pytestmark = pytest.mark.anyio


# The body


async def test_the_body_keeps_its_order_and_has_what_was_given() -> None:
    options: Any = {
        "system": "Be brief.",
        "max_tokens": 4000,
        "thinking": {"type": "adaptive"},
        "effort": "high",
        "tool_choice": {"type": "auto"},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "service_tier": "auto",
        "extra_body": {"new_field": {"x": 1}},
        "extra_headers": {"X-Team": "blue"},
        "betas": ["a-1", "b-2"],
    }
    raw = {"type": "bash_20250124", "name": "bash"}
    with ScriptedServer([reply(text("Hi."))]) as server:
        async with Client(base_url=server.url, api_key="k") as client:
            agent = Agent("claude-sonnet-4-6", tools=[add, web_search(max_uses=2), raw], client=client, **options)
            assert (await agent.run("Hello")).output == "Hi."
    (request,) = server.requests
    assert list(request.json)[:4] == ["model", "tools", "system", "messages"]
    assert request.json["messages"] == [{"role": "user", "content": [text("Hello")]}]
    assert [tool["name"] for tool in request.json["tools"]] == ["add", "web_search", "bash"]
    assert request.json["tools"][0] == add.definition
    assert request.json["tools"][2] == raw
    rest = {name: value for name, value in request.json.items() if name not in ("model", "tools", "messages")}
    assert rest == {
        "system": "Be brief.",
        "max_tokens": 4000,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "tool_choice": {"type": "auto"},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "service_tier": "auto",
        "new_field": {"x": 1},
    }
    assert request.headers["anthropic-beta"] == "a-1,b-2"
    assert request.headers["x-team"] == "blue"
    assert request.headers["x-api-key"] == "k"


async def test_what_was_not_given_is_not_sent() -> None:
    async with agent_for([reply(text("Hi."))]) as (agent, server):
        await agent.run("Hello")
    assert list(server.requests[0].json) == ["model", "messages", "max_tokens"]


@pytest.mark.parametrize(("max_tokens", "streamed"), [(8192, False), (21_333, False), (21_334, True)])
async def test_long_replies_are_streamed(max_tokens: int, streamed: bool) -> None:
    async with agent_for([reply(text("Hi."))] * 2, max_tokens=max_tokens) as (agent, server):
        assert (await agent.run("Hello")).text == "Hi."
        async with agent.stream("Hello") as run:
            await drain(run)
        assert run.result.text == "Hi."
    assert [request.json.get("stream", False) for request in server.requests] == [streamed, True]


async def test_the_prefix_of_each_request_is_that_of_the_one_before_byte_for_byte() -> None:
    turns = 20

    def script(request: Request) -> object:
        if request.number == turns - 1:
            return reply(text("Done."))
        made = tool_use("add", id=f"toolu_{request.number}", a=request.number, b=1)
        return reply(text(f"Step {request.number} é\u2028"), made, container={"id": "cont_1"}, new_field=1)

    async with agent_for(script, add, system=[text("Be brief.", cache_control={"type": "ephemeral"})]) as (
        agent,
        server,
    ):
        result = await agent.run("Go")
    assert result.turns == turns
    bodies = [request.body for request in server.requests]
    for before, after in itertools.pairwise(bodies):
        prefix = before[: before.index(b'],"max_tokens"')].removesuffix(b"}").removesuffix(b"]")
        assert after.startswith(prefix)
        assert len(after) > len(before)
    assert "container" not in server.requests[0].json
    assert [request.json["container"] for request in server.requests[1:]] == ["cont_1"] * (turns - 1)
    assert all(check_history(request.json["messages"]) == [] for request in server.requests)


async def test_a_paused_turn_is_sent_back_unchanged() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, server):
        assert (await agent.run("Go")).text == "It is six."
    first, second, third = (request.json["messages"] for request in server.requests)
    paused = pause_tools_answer(server.requests[0])["content"]  # type: ignore[index]
    assert second == [*first, {"role": "assistant", "content": paused}]
    assert third[1]["content"][: len(paused)] == paused
    assert [message["role"] for message in third] == ["user", "assistant", "user"]
    assert [block["tool_use_id"] for block in third[2]["content"]] == ["toolu_a", "toolu_b"]


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("Hi", [text("Hi")]),
        ([text("Hi"), {"type": "image", "source": {"type": "url", "url": "https://a.test/x.png"}}], None),
        ({"type": "text", "text": "Hi"}, [text("Hi")]),
    ],
    ids=["text", "blocks", "block"],
)
async def test_a_prompt_of_any_shape(prompt: Any, sent: Any) -> None:
    async with agent_for([reply(text("Hi."))]) as (agent, server):
        await agent.run(prompt)
    assert server.requests[0].json["messages"] == [{"role": "user", "content": sent or prompt}]


async def test_a_conversation_in_wire_shape() -> None:
    messages = [
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": [text("I add."), tool_use("add", a=1, b=2)]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}, text("So?")]},
    ]
    async with agent_for([reply(text("Three."))]) as (agent, server):
        assert (await agent.run(messages)).text == "Three."
    sent = server.requests[0].json["messages"]
    assert sent[0] == {"role": "user", "content": [text("What is 1 + 2?")]}
    assert sent[1:] == messages[1:]


async def test_messages_that_end_with_an_open_call_are_refused() -> None:
    async with agent_for([]) as (agent, _):
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [tool_use("add", a=1, b=2)]}]
        with pytest.raises(TranscriptError, match="end with a tool_use"):
            await agent.run(messages)


# What may differ from run to run


async def test_agents_are_shared_and_runs_differ() -> None:
    @tool
    def whoami(ctx: RunContext[str]) -> str:
        """Says who asks."""
        return ctx.deps

    answers = [reply(tool_use("whoami")), reply(text("You."))]
    with ScriptedServer(answers) as one, ScriptedServer(answers) as two, ScriptedServer([reply(text("x"))]) as three:
        async with Client(base_url=one.url) as first, Client(base_url=two.url) as second:
            agent = Agent("claude-sonnet-4-6", tools=[whoami], system="A", client=first)
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: agent.run("Who?", deps="ada"))
                group.start_soon(lambda: agent.run("Who?", deps="bob", client=second, system="B"))
            async with Client(base_url=three.url) as third:
                ended = await agent.run("Who?", client=third, tools=[add], limits=Limits(max_turns=1), system="")
    assert ended.text == "x"
    found = [server.requests[1].json["messages"][-1]["content"][0]["content"] for server in (one, two)]
    assert found == ["ada", "bob"]
    assert [server.requests[0].json["system"] for server in (one, two)] == ["A", "B"]
    assert "system" not in three.requests[0].json
    assert [t["name"] for t in three.requests[0].json["tools"]] == ["add"]
    assert repr(agent) == "Agent('claude-sonnet-4-6', tools=['whoami'])"


async def test_a_plain_function_is_a_tool() -> None:
    def double(n: int) -> int:
        """Doubles."""
        return 2 * n

    async with agent_for([reply(tool_use("double", n=4)), reply(text("8"))], double) as (agent, server):
        await agent.run("Go")
    assert server.requests[1].json["messages"][-1]["content"][0]["content"] == "8"


# What can't work


async def test_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"name a model: Agent\(.*AGENTKIT_MODEL"):
        Agent()
    monkeypatch.setenv("AGENTKIT_MODEL", "claude-opus-4-6")
    assert Agent().model == "claude-opus-4-6"


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([add, add], r"two tools have the name 'add': rename one with @tool\(name=…\)"),
        ([web_search(), {"name": "web_search", "input_schema": {"type": "object"}}], "two tools have the name"),
        ([add, 3], r"tools\[1\] is of type int: give a function, a Tool or a definition"),
    ],
    ids=["same", "server", "number"],
)
async def test_tools_that_can_not_be(tools: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Agent("claude-sonnet-4-6", tools=tools)
    async with agent_for([]) as (agent, _):
        with pytest.raises(ConfigurationError, match=message):
            await agent.run("Hi", tools=tools)


async def test_tools_without_a_name_of_their_own_may_be_many() -> None:
    agent = Agent("claude-sonnet-4-6", tools=[{"type": "future_20990101"}, {"type": "future_20990101", "x": 1}])
    assert repr(agent) == "Agent('claude-sonnet-4-6', tools=['future_20990101 0', 'future_20990101 1'])"


async def test_a_function_that_can_not_be_a_tool() -> None:
    def bad(x, y: int) -> None:  # type: ignore[no-untyped-def]
        """No annotation."""

    with pytest.raises(ToolDefinitionError, match="'x'"):
        Agent("claude-sonnet-4-6", tools=[bad])


async def test_what_can_not_be_gone_on_with() -> None:
    async with agent_for([]) as (agent, _):
        with pytest.raises(ConfigurationError, match="a run id needs a journal"):
            await agent.resume("run_123")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="a run id needs a journal"):
            await agent.run("Hi", after="run_123")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"this is not what result\.dump\(\) gave"):
            await agent.run("Hi", after={"messages": []})
        with pytest.raises(ConfigurationError, match="give a prompt, or with after= the run to resume"):
            agent.stream(None)


async def test_no_key_and_no_endpoint() -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        await Agent("claude-sonnet-4-6").run("Hi")


# Clients


async def test_an_agent_makes_its_client_at_the_first_run_and_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer([reply(text("Hi."))] * 2) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        async with Agent("claude-sonnet-4-6") as agent:
            await agent.run("Hello")
            assert agent.run_sync("Hello").text == "Hi."
            assert server.open_connections == 2
            await anyio.to_thread.run_sync(agent.close)
        await anyio.to_thread.run_sync(server.wait_until, lambda: server.open_connections == 0)
        async with Agent("claude-sonnet-4-6") as unused:
            assert repr(unused)


async def test_a_client_of_the_callers_stays_open() -> None:
    with ScriptedServer([reply(text("Hi."))] * 2) as server:
        async with Client(base_url=server.url) as client:
            async with Agent("claude-sonnet-4-6", client=client) as agent:
                await agent.run("Hello")
            assert server.open_connections == 1
            await agent.run("Hello")
            assert {request.connection for request in server.requests} == {0}


# Errors


async def test_errors_carry_a_result_and_the_run_can_be_resumed() -> None:
    script = [reply(tool_use("add", a=1, b=2)), error(401, "authentication_error", "bad key"), reply(text("Three."))]
    async with agent_for(script, add) as (agent, server):
        with pytest.raises(AuthenticationError) as caught:
            await agent.run("Go")
        result = caught.value.result
        valid(result)
        assert (result.finish.reason, result.turns, result.usage.output_tokens) == ("error", 1, 5)
        again = await agent.resume(json.loads(json.dumps(result.dump())))
        assert (again.text, again.run_id, again.turns) == ("Three.", result.run_id, 2)
    assert server.requests[2].body == server.requests[1].body


async def test_the_first_request_may_fail_too() -> None:
    with ScriptedServer([Drop(), Drop(), reply(text("Hi."))]) as server:
        async with Client(base_url=server.url, retry=RetryPolicy(max_attempts=2, base=0.001)) as client:
            agent = Agent("claude-sonnet-4-6", client=client)
            with pytest.raises(APIError) as caught:
                await agent.run("Go")
            assert caught.value.attempts == 2
            assert (await agent.resume(caught.value.result)).text == "Hi."


async def test_a_history_that_the_api_would_refuse_is_not_sent() -> None:
    async with agent_for([]) as (agent, server):
        with pytest.raises(TranscriptError):
            await agent.run(
                [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}]}]
            )
    assert server.requests == []


async def test_a_bad_request_is_the_callers_to_see() -> None:
    async with agent_for([error(400, "invalid_request_error", "max_tokens: too large")]) as (agent, _):
        with pytest.raises(BadRequestError, match="max_tokens: too large"):
            await agent.run("Go")


# Preview


async def test_a_preview_is_what_is_sent_first() -> None:
    async with agent_for([reply(text("Hi."))] * 3, add, system="Be brief.") as (agent, server):
        shown = agent.preview("Hello")
        result = await agent.run("Hello")
        assert (shown.body, shown.size, shown.problems) == (
            server.requests[0].json,
            len(server.requests[0].body),
            [],
        )
        after = agent.preview("More", after=result, system="Other.")
        await agent.run("More", after=result, system="Other.")
        assert (after.body, after.size) == (server.requests[1].json, len(server.requests[1].body))
        limits = Limits(max_total_tokens=500)
        limited = agent.preview("Hello", limits=limits)
        await agent.run("Hello", limits=limits)
        assert limited.body == server.requests[2].json
        assert limited.body["max_tokens"] < 500


async def test_a_preview_of_a_run_that_has_no_first_request() -> None:
    agent = Agent("claude-sonnet-4-6", limits=Limits(max_turns=0))
    assert agent.preview("Hi").body["messages"] == [{"role": "user", "content": [text("Hi")]}]


async def test_a_preview_lists_what_the_api_would_refuse() -> None:
    agent = Agent("claude-sonnet-4-6", extra_body={"temperature": 3}, client=Client(base_url="http://127.0.0.1:9"))
    assert ["temperature" in problem.message for problem in agent.preview("Hi").problems] == [True]


async def test_a_preview_of_what_waits_for_a_server_tool() -> None:
    mixed = reply(server_tool_use("web_search"), tool_use("add", a=1, b=2))
    async with agent_for([mixed], add, limits=Limits(max_turns=1)) as (agent, _):
        result = await agent.run("Go")
        assert result.finish.reason == "max_turns"
        sent = agent.preview("New", after=result).body["messages"][-1]["content"]
        assert [block["type"] for block in sent] == ["tool_result"]


# Any conversation


@given(st.lists(st.sampled_from(["text", "tool", "pause", "both"]), max_size=4), st.sampled_from(["asyncio", "trio"]))
def test_any_run_sends_valid_histories(turns: list[str], backend: str) -> None:
    def script(request: Request) -> object:
        problems = check_history(request.json["messages"])
        assert problems == []
        at = request.number
        kind = turns[at] if at < len(turns) else "end"
        use = tool_use("add", id=f"toolu_{at}", a=at, b=1)
        served = [server_tool_use("web_search", id=f"srvtoolu_{at}")]
        served.append({"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{at}", "content": []})
        return {
            "text": reply(text("x"), stop="pause_turn"),
            "tool": reply(use),
            "pause": reply(*served, stop="pause_turn"),
            "both": reply(text("y"), *served, use),
            "end": reply(text("Done.")),
        }[kind]

    async def main() -> None:
        async with Client(base_url=server.url) as client:
            result = await Agent("claude-sonnet-4-6", tools=[add], client=client).run("Go")
            assert result.finish.reason == "end_turn"
            assert result.turns == len(turns) + 1
            valid(result)

    with ScriptedServer(script) as server:
        anyio.run(main, backend=backend)


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages", "system", "tools", "stream"])
def test_extra_body_does_not_hold_what_has_an_argument(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"extra_body can't hold {name}"):
        Agent("claude-sonnet-4-6", extra_body={name: 1})


async def test_what_the_caller_changes_later_does_not_change_the_agent() -> None:
    system, thinking = [text("Be kind.")], {"type": "adaptive"}
    definition: dict[str, Any] = {"name": "go", "input_schema": {"type": "object"}}
    async with agent_for([reply(text("Hi."))], definition, system=system, thinking=thinking) as (agent, server):
        system[0]["text"] = thinking["type"] = definition["input_schema"]["type"] = "changed"
        await agent.run("Go")
    assert b"changed" not in server.requests[0].body


async def test_misspelt_options_of_a_run_are_refused_and_named() -> None:
    agent = Agent("claude-sonnet-4-6", client=Client(base_url="http://127.0.0.1:1"))
    with pytest.raises(ConfigurationError, match=r"no option 'max_turns': there are after, deps, client, limits"):
        await agent.run("Hi.", max_turns=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="no option 'dpes'"):
        agent.preview("Hi.", dpes=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"limits must be Limits\(…\)"):
        await agent.run("Hi.", limits={"max_turns": 1})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the prompt is empty"):
        await agent.run(" ")


def test_tools_that_are_no_list() -> None:
    with pytest.raises(ConfigurationError, match="tools must be a list"):
        Agent("claude-sonnet-4-6", tools=print)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_turns", "max_seconds", "max_total_tokens", "max_cost_usd"])
def test_a_negative_limit_is_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} can't be -1"):
        Limits(**{name: -1})
