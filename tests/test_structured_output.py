"""Runs with an `output_type`: the API is asked for it, the answer is checked, and put right once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field
from scripted import Message, ScriptedServer, reply, server_tool_use, text, tool_use

from agentkit import Agent, Client, ConfigurationError, RunUnfinished, tool, web_fetch
from agentkit.rules import check_request

pytestmark = pytest.mark.anyio

FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
GOOD = '{"city":"Rome","degrees":31}'
BAD = '{"city":"Rome","degrees":310}'


class Report(BaseModel):
    """A forecast."""

    city: str
    degrees: int = Field(le=60)


@tool
def look(city: str) -> str:
    """Looks out of the window."""
    return f"sunny in {city}"


async def run(script: list[Message], **options: Any) -> tuple[Any, list[Any]]:
    with ScriptedServer(script) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", output_type=Report, tools=[look], client=client, **options)
            result = await agent.run("How warm is it in Rome?")
            server.assert_done()
        for request in server.requests:
            assert not check_request(request.json)
        return result, [request.json for request in server.requests]


async def test_the_output_is_a_value_of_the_type() -> None:
    result, (first, last) = await run([reply(tool_use("look", city="Rome")), reply(text(GOOD))], effort="high")
    assert result.output == Report(city="Rome", degrees=31)
    assert result.text == GOOD
    shape = first["output_config"]["format"]["schema"]
    assert first["output_config"]["effort"] == "high"
    assert shape["additionalProperties"] is False
    assert "maximum" not in shape["properties"]["degrees"]
    assert last["output_config"] == first["output_config"]


async def test_only_the_text_at_the_end_is_the_output() -> None:
    said = [text("I look."), server_tool_use("web_search", query="Rome"), FOUND, text(GOOD[:9]), text(GOOD[9:])]
    result, _ = await run([reply(*said)])
    assert result.output.degrees == 31


async def test_a_misfit_is_put_right_once() -> None:
    result, (_, second) = await run([reply(text(BAD)), reply(text(GOOD))])
    assert result.output.degrees == 31
    assert result.turns == 2
    said = second["messages"][-1]["content"][0]["text"]
    assert "degrees: Input should be less than or equal to 60" in said
    assert [entry["operation"] for entry in result.dump()["entries"] if entry["entry"] == "operation"] == [
        "repair_output"
    ]


async def test_a_second_misfit_is_an_outcome() -> None:
    result, _ = await run([reply(text(BAD)), reply(text("so hot"))])
    assert result.finish.reason == "invalid_output"
    assert "not JSON" in str(result.finish.detail)
    assert result.partial_text == "so hot"
    with pytest.raises(RunUnfinished, match="invalid_output"):
        _ = result.output


async def test_a_run_that_was_killed_while_it_repairs_goes_on() -> None:
    with ScriptedServer([reply(text(BAD)), reply(text(GOOD)), reply(text(GOOD)), reply(text(GOOD))]) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", output_type=Report, client=client)
            dump = (await agent.run("How warm is it in Rome?")).dump()
            at = next(at for at, entry in enumerate(dump["entries"]) if entry["entry"] == "operation")
            for cut in (at, at + 1):
                result = await agent.resume({**dump, "entries": dump["entries"][:cut]})
                assert result.output.degrees == 31
                assert sum(entry["entry"] == "operation" for entry in result.dump()["entries"]) == 1


async def test_a_new_run_may_be_put_right_again() -> None:
    with ScriptedServer([reply(text(turn)) for turn in (BAD, GOOD, BAD, GOOD)]) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", output_type=Report, client=client)
            first = await agent.run("How warm is it in Rome?")
            assert (await agent.run("And in Oslo?", after=first)).output.degrees == 31


async def test_a_half_answer_is_not_repaired() -> None:
    result, _ = await run([reply(text(GOOD[:9]), stop="max_tokens")])
    assert result.finish.reason == "max_tokens"


async def test_lists_and_plain_types() -> None:
    with ScriptedServer([reply(text(f"[{GOOD}]")), reply(text('{"value":3}'))]) as server:
        async with Client(base_url=server.url) as client:
            many = await Agent("claude-sonnet-4-6", output_type=list[Report], client=client).run("All.")
            assert many.output == [Report(city="Rome", degrees=31)]
            assert (await Agent("claude-sonnet-4-6", output_type=int, client=client).run("How many?")).output == 3


async def test_without_an_output_type_the_output_is_the_text() -> None:
    with ScriptedServer([reply(text("Warm."))]) as server:
        async with Client(base_url=server.url) as client:
            assert (await Agent("claude-sonnet-4-6", client=client).run("Well?")).output == "Warm."


def test_what_does_not_go_together_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="make web_fetch without citations=True"):
        Agent("claude-sonnet-4-6", output_type=Report, tools=[web_fetch(citations=True)])
    agent = Agent("claude-sonnet-4-6", output_type=Report)
    with pytest.raises(ConfigurationError, match="make web_fetch without citations=True"):
        agent.preview("Hi.", tools=[web_fetch(citations=True)])
    preview = Agent("claude-sonnet-4-6", output_type=Report, extra_body={"output_config": {"task_budget": 1}}).preview(
        "Hi."
    )
    assert preview.body["output_config"]["task_budget"] == 1
    assert preview.body["output_config"]["format"]["type"] == "json_schema"
