"""Scripts: what is said in place of the reader, checked first, and strict about what does not fit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from talking import SEARCH, Talk, kinds

from agentkit.emulator import (
    Emulator,
    ScriptError,
    error,
    fallback,
    from_code,
    redacted_thinking,
    reply,
    server_result,
    server_tool_use,
    text,
    thinking,
    tool_use,
)
from agentkit.emulator.scripts.script import Player
from agentkit.errors import ConfigurationError
from agentkit.stream import Decoder, Fold

LOOKUP = {"name": "lookup", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
RESULT = {"lookup": "sunny"}


def asked(http: httpx.Client, script: Any, *tools: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The one reply of a script."""
    with Emulator(script=script, pace=0) as emulator:
        talk = Talk(http, emulator.url, *tools)
        talk.messages.append({"role": "user", "content": "Hello?"})
        return talk.turn(**fields)


def test_steps_are_said_in_order(http: httpx.Client) -> None:
    script = [reply("Let me look.", tool_use("lookup", city="Rome")), reply(text("It is sunny."))]
    with Emulator(script=script, pace=0) as emulator:
        talk = Talk(http, emulator.url, LOOKUP)
        answer = talk.ask("How is Rome?", RESULT)
    called, _ = talk.turns
    use = called["content"][1]
    assert (called["stop_reason"], use["name"], use["input"]) == ("tool_use", "lookup", {"city": "Rome"})
    assert use["id"].startswith("toolu_01")
    assert (answer["stop_reason"], answer["content"]) == ("end_turn", [{"type": "text", "text": "It is sunny."}])
    assert answer["id"] != called["id"]
    assert answer["usage"]["input_tokens"] > called["usage"]["input_tokens"] > 10
    assert len(emulator.requests) == 2


@pytest.mark.parametrize("function", [False, True])
def test_functions_get_the_body(function: bool, http: httpx.Client) -> None:
    def said(body: dict[str, Any]) -> Any:
        count = len(body["messages"])
        body["messages"].clear()  # it is a copy
        return reply(f"{count} of {body['model']}")

    message = asked(http, said if function else [said])
    assert message["content"][0]["text"] == "1 of claude-sonnet-4-6"


def test_fields_and_usage_are_as_told(http: httpx.Client) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    step = reply(stop="refusal", usage={"output_tokens": 0}, stop_details=details, stop_sequence="x", surprise=1)
    message = asked(http, [step])
    assert (message["stop_reason"], message["stop_details"], message["content"]) == ("refusal", details, [])
    assert (message["stop_sequence"], message["surprise"], message["usage"]["output_tokens"]) == ("x", 1, 0)


@pytest.mark.parametrize(
    ("blocks", "stop"),
    [
        ([text("a")], "end_turn"),
        ([server_tool_use("web_search", query="a")], "pause_turn"),
        ([server_tool_use("web_search", query="a"), server_result([])], "end_turn"),
        ([server_tool_use("web_search", query="a"), tool_use("lookup")], "tool_use"),
        ([tool_use("lookup"), fallback("a", "b"), text("No.")], "end_turn"),
    ],
)
def test_the_stop_reason_follows(blocks: list[Any], stop: str, http: httpx.Client) -> None:
    assert asked(http, [reply(*blocks)], SEARCH, LOOKUP)["stop_reason"] == stop


def test_what_only_the_api_knows_is_made(http: httpx.Client) -> None:
    found = {"url": "https://a.test", "title": "A"}
    cited = {"type": "web_search_result_location", "cited_text": "six", **found}
    use, result, said = asked(
        http,
        [reply(server_tool_use("web_search", query="a"), server_result([found]), text("six", citations=[cited]))],
        SEARCH,
    )["content"]
    assert use["id"].startswith("srvtoolu_01")
    assert (result["type"], result["tool_use_id"]) == ("web_search_tool_result", use["id"])
    (one,) = result["content"]
    assert (one["type"], one["page_age"], one["url"]) == ("web_search_result", None, "https://a.test")
    assert one["encrypted_content"].startswith("Eo")
    assert said["citations"][0]["encrypted_index"].startswith("Eo")


@pytest.mark.parametrize(
    ("name", "content", "kind", "made"),
    [
        ("web_search", {"error_code": "unavailable"}, "web_search", "web_search_tool_result_error"),
        ("web_fetch", {"error_code": "url_too_long"}, "web_fetch", "web_fetch_tool_result_error"),
        ("code_execution", {"stdout": "1", "return_code": 0}, "code_execution", "code_execution_result"),
        ("bash_code_execution", {"stdout": ""}, "bash_code_execution", "bash_code_execution_result"),
        ("tool_search_tool_regex", ["lookup"], "tool_search", "tool_search_tool_search_result"),
        ("advisor", {"type": "advisor_redacted_result"}, "advisor", "advisor_redacted_result"),
    ],
)
def test_types_of_results_follow_from_the_tool(
    name: str, content: Any, kind: str, made: str, http: httpx.Client
) -> None:
    _, result = asked(http, [reply(server_tool_use(name), server_result(content))], LOOKUP)["content"]
    assert (result["type"], result["content"]["type"]) == (f"{kind}_tool_result", made)


def test_a_result_may_open_the_next_reply(http: httpx.Client) -> None:
    script = [
        reply(server_tool_use("web_search", query="a"), tool_use("lookup", city="Rome")),
        reply(server_result([]), "Nothing was found."),
    ]
    with Emulator(script=script, pace=0) as emulator:
        talk = Talk(http, emulator.url, SEARCH, LOOKUP)
        answer = talk.ask("How is Rome?", RESULT)
    assert kinds(answer) == ["web_search_tool_result", "text"]
    assert answer["content"][0]["tool_use_id"] == talk.turns[0]["content"][0]["id"]


def test_calls_from_code(http: httpx.Client) -> None:
    uses = [server_tool_use("code_execution", code="f()"), from_code(tool_use("lookup", city="Rome"))]
    message = asked(http, [reply(*uses)], LOOKUP)
    code, use = message["content"]
    assert use["caller"] == {"type": "code_execution_20260120", "tool_id": code["id"]}
    assert message["container"]["id"].startswith("container_01")


def test_mcp_calls_and_redacted_thinking(http: httpx.Client) -> None:
    call = {"type": "mcp_tool_use", "name": "read", "server_name": "docs", "input": {}}
    use, result, hidden = asked(http, [reply(call, server_result("text", is_error=False), redacted_thinking())])[
        "content"
    ]
    assert use["id"].startswith("mcptoolu_01")
    assert (result["type"], result["content"], result["is_error"]) == ("mcp_tool_result", "text", False)
    assert hidden["data"].startswith("Eq")


def test_ids_that_are_given_stay(http: httpx.Client) -> None:
    uses = [server_tool_use("web_search", id="srvtoolu_7"), server_result([], id="srvtoolu_7"), tool_use("a", id="t1")]
    message = asked(http, [reply(*uses)], SEARCH)
    assert [block.get("id", block.get("tool_use_id")) for block in message["content"]] == ["srvtoolu_7"] * 2 + ["t1"]


def test_the_same_request_gets_the_same_reply(http: httpx.Client) -> None:
    def script(body: dict[str, Any]) -> Any:
        return reply(thinking("Hm."), tool_use("lookup", city="Rome"))

    thinks = {"thinking": {"type": "adaptive"}}
    assert asked(http, script, LOOKUP, **thinks) == asked(http, script, LOOKUP, **thinks)


def test_streams_are_the_same_message(http: httpx.Client) -> None:
    with Emulator(script=lambda body: reply(thinking("Hm."), "Rome", tool_use("a", b=[1])), pace=0) as emulator:
        talk = Talk(http, emulator.url)
        talk.messages.append({"role": "user", "content": "Hello?"})
        whole, streamed = talk.post().json(), folded(talk.post(stream=True).content)
    del whole["usage"], streamed["usage"]
    assert streamed == whole


def folded(stream: bytes) -> dict[str, Any]:
    fold = Fold()
    for data in Decoder().feed(stream):
        fold.add(data)
    return fold.message


def test_events_can_be_changed(http: httpx.Client) -> None:
    def changed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [events[0], {"type": "weather", "sky": "blue"}, *events[1:]]

    with Emulator(script=[reply("Hi", events=changed)], pace=0) as emulator:
        talk = Talk(http, emulator.url)
        talk.messages.append({"role": "user", "content": "Hello?"})
        streamed = talk.post(stream=True).text
    assert 'event: weather\ndata: {"type":"weather","sky":"blue"}\n\n' in streamed


def test_errors_are_the_apis(http: httpx.Client) -> None:
    script = [error(529, "overloaded_error", "Overloaded", retry_after="3")]
    with Emulator(script=script, pace=0) as emulator:
        talk = Talk(http, emulator.url)
        talk.messages.append({"role": "user", "content": "Hello?"})
        answer = talk.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "3")
    assert answer.json()["error"] == {"type": "overloaded_error", "message": "Overloaded"}


# What does not fit.


def misfit(http: httpx.Client, script: Any, use: Callable[[Talk], object]) -> str:
    """What leaving the emulator says."""
    with pytest.raises(ScriptError) as raised, Emulator(script=script, pace=0) as emulator:
        use(Talk(http, emulator.url, LOOKUP))
    return str(raised.value)


def test_an_unforeseen_request(http: httpx.Client) -> None:
    def twice(talk: Talk) -> None:
        talk.ask("How is Rome?")
        talk.messages.append({"role": "user", "content": "And Oslo?"})
        refused = talk.post(temperature=0.5)
        assert (refused.status_code, refused.headers["x-should-retry"]) == (500, "false")
        assert refused.json()["error"]["type"] == "api_error"
        assert "request 2 is not foreseen" in refused.json()["error"]["message"]

    assert misfit(http, [reply("Sunny.")], twice) == (
        "request 2 is not foreseen: the script has 1 step\n"
        "  temperature: null → 0.5\n"
        "  messages.1 assistant: text Sunny.\n"
        "  messages.2 user: text And Oslo?"
    )


def test_a_changed_history_is_told(http: httpx.Client) -> None:
    def changed(talk: Talk) -> None:
        talk.ask("How is Rome?")
        talk.messages = [{"role": "user", "content": "How is " + "Oslo" * 50}]
        talk.post()

    assert "  messages.0 (was another) user: text How is OsloOslo" in misfit(http, [reply("Sunny.")], changed)


def test_a_step_that_is_left(http: httpx.Client) -> None:
    def named(body: dict[str, Any]) -> None: ...

    steps = [reply("a"), reply(tool_use("lookup", city="Rome"), server_result(1)), error(500, "api_error", "no"), named]
    assert misfit(http, steps, lambda talk: talk.ask("Hello?")) == (
        "3 of 4 steps of the script were not used, after 1 request:\n"
        '  reply: tool_use lookup {"city":"Rome"} | server result 1\n'
        "  error 500 api_error: no\n"
        "  function named"
    )


def test_a_refused_request_uses_no_step_and_is_told(http: httpx.Client) -> None:
    def wrong(talk: Talk) -> None:
        talk.messages.append({"role": "user", "content": "Hello?"})
        assert talk.post(surprise=1).status_code == 400

    said = misfit(http, [reply("a")], wrong)
    assert "1 of 1 step of the script were not used" in said
    assert said.endswith("refused before the script saw it:\n  400 surprise: Extra inputs are not permitted")


def test_a_function_that_fails_or_says_nothing(http: httpx.Client) -> None:
    def expects(body: dict[str, Any]) -> Any:
        assert body["model"] == "another"

    def nothing(body: dict[str, Any]) -> Any:
        return None

    def ask(talk: Talk) -> None:
        talk.messages.append({"role": "user", "content": "Hello?"})
        assert talk.post().status_code == 500

    assert misfit(http, [expects], ask).startswith("the script failed on request 1: AssertionError(")
    assert misfit(http, nothing, ask) == "the script says nothing to request 1\n  messages.0 user: text Hello?"
    assert misfit(http, lambda body: "hi", ask).startswith("the script says nothing to request 1, but 'hi'")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (reply("a", events=list), "it changes the events of a stream, and the request asks for none"),
        (reply(server_result([])), "server_result: no call of a server tool waits for it"),
        (reply(server_result([], id="srvtoolu_1")), "waits for it (srvtoolu_1)"),
    ],
)
def test_a_step_that_can_not_be(step: Any, why: str, http: httpx.Client) -> None:
    def ask(talk: Talk) -> None:
        talk.messages.append({"role": "user", "content": "Hello?"})
        assert talk.post().status_code == 500

    said = misfit(http, [step], ask)
    assert said.startswith("the step for request 1 can't be: ")
    assert why in said


def test_a_fault_of_the_emulator_is_told(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    def ask(talk: Talk) -> None:
        talk.messages.append({"role": "user", "content": "Hello?"})
        assert talk.post().status_code == 500

    monkeypatch.setattr("agentkit.emulator.app.completed", broken)
    assert misfit(http, [reply("a")], ask) == "the emulator itself failed: ZeroDivisionError()"


def test_fields_that_nobody_knows_may_come_back(http: httpx.Client) -> None:
    cited = {"type": "char_location", "cited_text": "six", "document_index": 0, "mood": "calm"}
    novel = [text("six", aura="blue", citations=[cited]), {"type": "hologram", "depth": 1}]
    with Emulator(script=[reply(*novel), reply("Yes.")], pace=0) as emulator:
        talk = Talk(http, emulator.url)
        talk.ask("Look.")
        talk.messages[1]["content"][0]["of the client"] = 1
        talk.messages.append({"role": "user", "content": "Again."})
        refused = talk.post()
        del talk.messages[1]["content"][0]["of the client"]
        assert talk.post().status_code == 200
    assert "text.of the client: Extra inputs are not permitted" in refused.json()["error"]["message"]


def test_another_exception_gets_a_note(http: httpx.Client) -> None:
    with pytest.raises(ZeroDivisionError) as raised, Emulator(script=[reply("a")], pace=0):
        raise ZeroDivisionError
    assert raised.value.__notes__[0].startswith("The emulator's script: 1 of 1 step")


def test_steps_of_another_kind() -> None:
    with pytest.raises(ConfigurationError, match=r"step 1 of the script is of type str: give reply\(…\), error"):
        Emulator(script=[reply("a"), "b"])  # type: ignore[list-item]


def test_no_corpus_is_opened_for_a_script(http: httpx.Client) -> None:
    with Emulator(script=[], pace=0) as emulator:
        assert not hasattr(emulator, "corpus")
        assert "plays a script" in http.get(emulator.url).text


def test_headers_are_kept_without_keys(http: httpx.Client) -> None:
    with Emulator(script=[reply("a")], pace=0) as emulator:
        Talk(http, emulator.url).ask("Hello?")
    (headers,) = emulator.headers
    assert (headers["anthropic-version"], headers["x-api-key"]) == ("2023-06-01", "…")


def test_ctrl_c_while_it_waits_leaves_the_server_to_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    with Emulator(script=lambda body: reply("Hi.")) as emulator:
        wait = emulator._ended.wait

        def waiting(seconds: float) -> bool:
            if not interrupting.ident:
                interrupting.start()
            return wait(seconds)

        monkeypatch.setattr(emulator._ended, "wait", waiting)
        with pytest.raises(KeyboardInterrupt):
            emulator.wait()
        assert emulator._thread.is_alive()
    assert not emulator._thread.is_alive()


def test_a_long_list_of_steps_is_told_shortly() -> None:
    player = Player([reply(f"{number}") for number in range(5000)])
    with pytest.raises(ScriptError) as caught:
        player.check()
    lines = str(caught.value).splitlines()
    assert lines[-2:] == ["  reply: text 9", "  … and 4990 more"]
    assert len(lines) == 12
