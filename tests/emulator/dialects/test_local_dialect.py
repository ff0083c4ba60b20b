"""The dialect of a server on one's own machine: what it answers, and what its answers lack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agentkit import Agent, Client, tool
from agentkit.emulator import Corpus, Emulator, error, reply, text, thinking, tool_use
from agentkit.errors import InternalServerError

HELLO = [{"role": "user", "content": "Hello"}]
ADD = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}


def local(*script: Any) -> Emulator:
    return Emulator(script=list(script), dialect="local", pace=0)


def post(emulator: Emulator, **fields: Any) -> httpx.Response:
    return httpx.post(f"{emulator.url}/v1/messages", json={"messages": HELLO, **fields})


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    return (json.loads(line[5:]) for line in reply.text.splitlines() if line.startswith("data:"))


def test_no_key_no_version_no_model_and_no_limit() -> None:
    with local(reply("Hi.")) as emulator:
        answer = post(emulator)
    assert answer.status_code == 200
    assert "request-id" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("anthropic-")]


def test_a_message_has_few_fields() -> None:
    with local(reply(text("Hi."), tool_use("add", a=1))) as emulator:
        message = post(emulator, model="any", tools=[ADD]).json()
    assert set(message) == {"id", "type", "role", "content", "model", "stop_reason", "stop_sequence", "usage"}
    assert set(message["usage"]) == {"input_tokens", "output_tokens", "cache_read_input_tokens"}
    assert message["id"].startswith("chatcmpl-")
    assert message["content"][1]["id"].startswith("chatcmpl-")
    assert (message["model"], message["stop_reason"]) == ("any", "tool_use")


def test_ids_of_the_script_stay() -> None:
    with local(reply(tool_use("add", id="call_1", a=1))) as emulator:
        assert post(emulator).json()["content"][0]["id"] == "call_1"


def test_a_stream_has_no_ping_and_a_tool_use_starts_without_input() -> None:
    with local(reply(thinking("Hm."), tool_use("add", a=1))) as emulator:
        found = list(events(post(emulator, stream=True)))
    assert "ping" not in [event["type"] for event in found]
    starts = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert "input" not in starts[1]
    assert starts[1]["name"] == "add"
    assert found[-2]["usage"].keys() == {"output_tokens"}


def test_a_stop_sequence_is_reported_as_the_end_of_the_turn() -> None:
    with local(reply("Hi", stop="stop_sequence", stop_sequence="END")) as emulator:
        message = post(emulator, stop_sequences=["END"]).json()
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)


def test_a_tool_choice_of_none_is_ignored(corpus: Corpus) -> None:
    asked = [{"role": "user", "content": "Add 3 please."}]
    with Emulator(corpus=corpus, dialect="local", pace=0) as emulator:
        message = post(emulator, messages=asked, tools=[ADD], tool_choice={"type": "none"}).json()
    assert [block["type"] for block in message["content"]] == ["tool_use"]


def test_it_has_no_server_tools(corpus: Corpus) -> None:
    asked = [{"role": "user", "content": "How do I brew coffee?"}]
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    with Emulator(corpus=corpus, dialect="local", pace=0) as emulator:
        message = post(emulator, messages=asked, tools=tools).json()
    assert [block["type"] for block in message["content"]] == ["text"]


RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "Hi"}],
        [{"role": "user", "content": [RESULT]}],
        [*HELLO, {"role": "assistant", "content": [USE]}, *HELLO],
        [*HELLO, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]}, *HELLO],
        [{"role": "user", "content": ""}],
        [],
    ],
    ids=["assistant first", "orphan result", "missing result", "foreign signature", "empty text", "no messages"],
)
def test_a_broken_history_is_answered(messages: list[Any]) -> None:
    with local(reply("Hi.")) as emulator:
        assert post(emulator, model="gpt-x", surprise=1, messages=messages).status_code == 200


@pytest.mark.parametrize("fields", [{"messages": "Hello"}, {"messages": [{"role": "user"}]}, {"messages": None}])
def test_what_can_not_be_read_is_a_fault_of_the_server(fields: dict[str, Any]) -> None:
    with local() as emulator:
        answer = post(emulator, **fields)
    found = answer.json()
    assert answer.status_code == 500
    assert set(found) == {"error"}
    assert (found["error"]["code"], found["error"]["type"]) == (500, "server_error")
    assert found["error"]["message"]


def test_an_error_of_the_script_has_its_shape() -> None:
    with local(error(503, "unavailable_error", "Loading model")) as emulator:
        answer = post(emulator)
    assert answer.status_code == 503
    assert answer.json() == {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}


def test_its_routes() -> None:
    with local() as emulator:
        models = httpx.get(f"{emulator.url}/v1/models").json()
        assert models["object"] == "list"
        assert models["data"][0]["object"] == "model"
        counted = httpx.post(f"{emulator.url}/v1/messages/count_tokens", json={"messages": HELLO}).json()
        assert counted["input_tokens"] > 0
        assert httpx.get(f"{emulator.url}/health").json() == {"status": "ok"}
        lost = httpx.get(f"{emulator.url}/v1/files")
        assert (lost.status_code, lost.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_agent_works_with_it(streamed: bool) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    with local(reply(text("I add."), tool_use("add", a=1, b=2)), reply("3")) as emulator:
        async with Client(base_url=emulator.url, provider="local") as client:
            agent = Agent("my-model", tools=[add], client=client)
            if streamed:
                async with agent.stream("1 + 2?") as run:
                    async for _ in run:
                        pass
                result = run.result
            else:
                result = await agent.run("1 + 2?")
    assert (result.text, result.turns, result.tool_calls[0].outcome) == ("3", 2, "done")


@pytest.mark.anyio
async def test_its_error_is_read() -> None:
    with local(*[error(500, "server_error", "no slot", x_should_retry="false")]) as emulator:
        async with Client(base_url=emulator.url, provider="local", api_key="any") as client:
            with pytest.raises(InternalServerError, match="no slot"):
                await Agent("my-model", client=client).run("Hi")
