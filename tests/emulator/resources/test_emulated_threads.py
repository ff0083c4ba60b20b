"""Threads that the emulator keeps, containers that end, and references to tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from talking import FETCH, Talk, stop

from agentkit.emulator import Emulator, from_code, reply, server_result, server_tool_use, tool_use

BETA = {"anthropic-beta": "message-threads-2026-08-12"}
LOOKUP = {"name": "lookup", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
CODE = {"type": "code_execution_20260120", "name": "code_execution"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
HELLO = {"role": "user", "content": "Hello?"}
MORE = {"role": "user", "content": "And?"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """It says how many messages it was sent, and how many it reads."""
    with Emulator(script=lambda body: reply(f"{len(body['messages'])} sent"), pace=0) as emulator:
        yield emulator


def post(http: httpx.Client, emulator: Emulator, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": list(messages)}
    return http.post(f"{emulator.url}/v1/messages", json=body | fields, headers=BETA)


def created(http: httpx.Client, emulator: Emulator, **fields: Any) -> Any:
    answer = post(http, emulator, HELLO, thread={"type": "create"}, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def go_on(http: httpx.Client, emulator: Emulator, name: str, *messages: Any, **fields: Any) -> httpx.Response:
    thread = {"type": "continue", "previous_message_id": name}
    return post(http, emulator, *(messages or (MORE,)), thread=thread, **fields)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["details"]["error_code"]


def test_only_new_messages_are_sent(http: httpx.Client, emulator: Emulator) -> None:
    name = created(http, emulator, system="Be brief.", tools=[LOOKUP])
    second = go_on(http, emulator, name)
    assert second.json()["content"][0]["text"] == "1 sent"
    third = go_on(http, emulator, second.json()["id"], MORE)
    assert third.status_code == 200
    assert len({name, second.json()["id"], third.json()["id"]}) == 3


def test_the_whole_history_is_checked(http: httpx.Client) -> None:
    script = [reply(tool_use("lookup", id="toolu_1")), reply("Sunny.")]
    with Emulator(script=script, pace=0) as emulator:
        name = created(http, emulator, tools=[LOOKUP])
        wrong = go_on(http, emulator, name, MORE)
        assert "`tool_use` ids were found without `tool_result` blocks" in wrong.json()["error"]["message"]
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
        assert go_on(http, emulator, name, result).status_code == 200  # what was refused continued nothing


def test_a_thread_is_continued_once(http: httpx.Client, emulator: Emulator) -> None:
    name = created(http, emulator)
    assert go_on(http, emulator, name).status_code == 200
    assert code_of(go_on(http, emulator, name)) == (400, "thread_already_continued")


@pytest.mark.parametrize("how", ["unknown", "time", "expired"])
def test_a_thread_that_is_gone(how: str, http: httpx.Client, emulator: Emulator) -> None:
    stop(emulator._emulated.clock)
    name = created(http, emulator)
    if how == "time":
        emulator.advance(299)
        name = go_on(http, emulator, name).json()["id"]
        emulator.advance(301)
    if how == "expired":
        emulator.expire_threads()
    gone = go_on(http, emulator, "msg_1" if how == "unknown" else name)
    assert code_of(gone) == (404, "thread_not_found")
    assert gone.json()["error"]["type"] == "not_found_error"


def test_two_continuations_at_once(http: httpx.Client) -> None:
    answers: list[httpx.Response] = []

    def slow(body: dict[str, Any]) -> Any:
        answers.append(go_on(http, emulator, name))
        return reply("done")

    with Emulator(script=[reply("hi"), slow], pace=0) as emulator:
        name = created(http, emulator)
        with httpx.Client(headers=http.headers) as other:
            assert go_on(other, emulator, name).status_code == 200
    assert code_of(answers[0]) == (400, "thread_continue_in_flight")


@pytest.mark.parametrize("fields", [{"model": "claude-opus-4-6"}, {"system": "Be long."}, {"tools": []}])
def test_a_thread_is_of_one_kind(fields: dict[str, Any], http: httpx.Client, emulator: Emulator) -> None:
    name = created(http, emulator, system="Be brief.", tools=[LOOKUP])
    assert code_of(go_on(http, emulator, name, **fields)) == (400, "thread_fingerprint_mismatch")
    assert go_on(http, emulator, name, system="Be brief.", tools=[LOOKUP]).status_code == 200


def test_what_threads_can_not_do(http: httpx.Client, emulator: Emulator) -> None:
    refused = post(http, emulator, HELLO, thread={"type": "create"}, cache_control={"type": "ephemeral"})
    assert code_of(refused) == (400, "thread_unsupported_request")
    assert refused.json()["error"]["details"]["unsupported"] == ["cache_control"]
    assert post(http, emulator, HELLO, thread={"type": "resume"}).status_code == 400
    assert go_on(http, emulator, created(http, emulator), messages="x").status_code == 400


def test_a_reply_without_content_adds_no_message(http: httpx.Client) -> None:
    with Emulator(script=[reply(), reply("hi")], pace=0) as emulator:
        assert go_on(http, emulator, created(http, emulator)).status_code == 200


# Containers.


def test_a_container_lives_while_it_is_used(http: httpx.Client) -> None:
    script = [
        reply(server_tool_use("code_execution", code="1"), server_result({"stdout": "1"})),
        reply("a"),
        reply("b"),
    ]
    with Emulator(script=script, pace=0) as emulator:
        container = post(http, emulator, HELLO, tools=[CODE]).json()["container"]
        assert set(container) == {"id", "expires_at", "skills"}
        for _ in range(2):
            emulator.advance(200)
            answer = post(http, emulator, HELLO, tools=[CODE], container=container["id"]).json()
            assert answer["container"]["id"] == container["id"]
            assert answer["container"]["expires_at"] > container["expires_at"]
        emulator.advance(301)
        gone = post(http, emulator, HELLO, tools=[CODE], container={"id": container["id"]})
    assert gone.status_code == 400
    assert gone.json()["error"]["message"] == f"Container {container['id']} has expired or does not exist"


def test_containers_can_be_expired_and_named(http: httpx.Client) -> None:
    named = {"id": "container_mine", "expires_at": "2026-01-01T00:00:00Z"}
    with Emulator(script=[reply("a", container=named), reply("b"), reply("c")], pace=0) as emulator:
        assert post(http, emulator, HELLO).json()["container"] == named
        assert post(http, emulator, HELLO, tools=[CODE], container="container_mine").status_code == 200
        emulator.expire_containers()
        assert post(http, emulator, HELLO, tools=[CODE], container="container_mine").status_code == 400
        skills = {"skills": [{"type": "anthropic", "skill_id": "pdf", "version": "1"}]}
        assert post(http, emulator, HELLO, tools=[CODE], container=skills).status_code == 200


@pytest.mark.parametrize("content", ["sunny", [{"type": "text", "text": "sunny"}], None, [IMAGE]])
def test_results_for_code_are_text(content: Any, http: httpx.Client) -> None:
    script = [
        reply(server_tool_use("code_execution", code="f()"), from_code(tool_use("lookup", city="Rome"))),
        lambda body: reply(server_result({"stdout": "sunny", "return_code": 0})),
    ]
    with Emulator(script=script[0:1] if content == [IMAGE] else script, pace=0) as emulator:
        talk = Talk(http, emulator.url, CODE, LOOKUP)
        talk.messages.append(HELLO)
        first = talk.turn()
        result = {"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": content}
        talk.messages.append({"role": "user", "content": [result]})
        answer = talk.post(container=first["container"]["id"])
    if content != [IMAGE]:
        assert answer.json()["content"][0]["type"] == "code_execution_tool_result"
        return
    text = "messages.2.content.0.tool_result.content: results of programmatic tool calls must be text"
    assert answer.json()["error"]["message"] == text


def test_references_to_tools_that_are_not_there(http: httpx.Client, emulator: Emulator) -> None:
    uses = [{"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}]

    def with_reference(name: str) -> httpx.Response:
        content = [{"type": "tool_reference", "tool_name": name}]
        result = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": content}]
        messages = [HELLO, {"role": "assistant", "content": uses}, {"role": "user", "content": result}]
        find = {**LOOKUP, "name": "find"}
        return post(http, emulator, *messages, tools=[find, {**LOOKUP, "defer_loading": True}, FETCH])

    assert with_reference("lookup").status_code == 200
    refused = with_reference("unknown")
    assert refused.json()["error"]["message"] == "Tool reference 'unknown' not found in available tools"
