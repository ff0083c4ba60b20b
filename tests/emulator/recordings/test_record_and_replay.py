"""Recorded over real HTTP from another server, and replayed without it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from proxying import BODY, HEADERS, SCRIPT, THREAD, asked, post, recording, replaying, send, serving
from scripted import Json, ScriptedServer, Sse
from scripted import error as scripted_error
from scripted import reply as scripted_reply
from scripted import text as scripted_text
from talking import warned

from agentkit.emulator import Emulator, ScriptError, error, reply
from agentkit.emulator.recordings.fork import forked_request
from agentkit.emulator.recordings.recording import Recording
from agentkit.emulator.recordings.replay import Replay, make_replay
from agentkit.errors import APIError, RateLimitError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.jsonl"


def misfit(app: Replay) -> str:
    """What a replay says that was not in its recording."""
    with pytest.raises(ScriptError) as caught:
        app.check()
    return str(caught.value)


@pytest.mark.parametrize("name", ["talk.jsonl", "talk.jsonl.gz"])
def test_an_agent_that_is_recorded_and_replayed(tmp_path: Path, name: str) -> None:
    with Emulator(script=SCRIPT, pace=0) as upstream, recording(tmp_path / name, upstream.url) as url:
        events = asked(url)
    with replaying(tmp_path / name) as url:
        assert asked(url) == events
    assert events[-1]["text"] == "It is sunny."
    assert events[-1]["turns"] == 2
    assert len(events) > 10


@pytest.mark.parametrize("stream", [False, True])
def test_any_client_gets_the_same_bytes(path: Path, stream: bool) -> None:
    with Emulator(script=[reply("Grüezi.")], pace=0) as upstream, recording(path, upstream.url) as url:
        first = post(url, stream=stream)
        assert upstream.headers[0]["anthropic-version"] == "2023-06-01"
    with replaying(path) as url:
        second = post(url, stream=stream)
    assert first.content == second.content
    assert "Grüezi" in first.text or stream
    for name in ("content-type", "request-id"):
        assert first.headers[name] == second.headers[name]


def test_fields_in_another_order_and_beta_in_the_query_are_the_same_request(path: Path) -> None:
    with Emulator(script=[reply("Hi.")], pace=0) as upstream, recording(path, upstream.url) as url:
        post(url)
    with replaying(path) as url:
        twin = json.dumps(dict(reversed(BODY.items())), indent=2)
        assert send("POST", f"{url}/v1/messages?beta=true", content=twin).status_code == 200


def test_a_replay_fails_closed_and_names_the_point(path: Path) -> None:
    with Emulator(script=SCRIPT, pace=0) as upstream, recording(path, upstream.url) as url:
        asked(url)
    app = make_replay(path)
    with serving(app) as url, pytest.raises(APIError, match="is not in the recording") as refused:
        asked(url, "Where is the rain?")
    assert refused.value.attempts == 1
    text = misfit(app)
    assert "POST /v1/messages is not in the recording talk.jsonl; the nearest there (line 2) differs first at" in text
    assert 'messages.0.content.0.text: recorded "Where is the sun?", sent "Where is the rain?"' in text
    assert "\n" not in text


def test_the_nearest_request_is_the_one_that_shares_most(path: Path) -> None:
    with Emulator(script=SCRIPT, pace=0) as upstream, recording(path, upstream.url) as url:
        asked(url)
    second = Recording(path).exchanges[1]
    body = json.loads(second.request)
    body["messages"][2]["content"][0]["content"] = "rain"
    app = make_replay(path)
    with serving(app) as url:
        assert send("POST", f"{url}/v1/messages", json=body).status_code == 500
    place = 'messages.2.content.0.content: recorded "sunny in Rome", sent "rain"'
    assert f"(line 3) differs first at {place}" in misfit(app)


def test_each_answer_is_given_once_in_its_order(path: Path) -> None:
    script = [error(529, "overloaded_error", "Busy", retry_after="0"), reply("One."), reply("Two.")]
    with Emulator(script=script, pace=0) as upstream, recording(path, upstream.url) as url:
        first = [post(url) for _ in script]
    app = make_replay(path)
    with serving(app) as url:
        second = [post(url) for _ in script]
        late = post(url)
    text = misfit(app)
    assert "was recorded 3 times in talk.jsonl, and it is sent once more (lines 2, 3, 4)" in text
    assert [reply.content for reply in second] == [reply.content for reply in first]
    assert [reply.status_code for reply in second] == [529, 200, 200]
    assert second[0].headers["retry-after"] == "0"
    assert (late.status_code, late.headers["x-should-retry"]) == (500, "false")
    assert late.json() == {"type": "error", "error": {"type": "api_error", "message": text}}


def test_bodies_that_are_no_json_differ_too(path: Path) -> None:
    with ScriptedServer([Json({})]) as upstream, recording(path, upstream.url) as url:
        send("POST", f"{url}/v1/files", content=b"\xff")
    app = make_replay(path)
    with serving(app) as url:
        assert send("POST", f"{url}/v1/files", content=b"\xfe").status_code == 500
    assert misfit(app).endswith("differs first at bytes that are no JSON")


def test_requests_in_parallel_find_their_answers(path: Path) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return reply(body["messages"][0]["content"][::-1])

    def said(url: str) -> dict[str, str]:
        found: dict[str, str] = {}

        def one(text: str) -> None:
            content = post(url, messages=[{"role": "user", "content": text}]).json()["content"]
            found[text] = content[0]["text"]

        threads = [threading.Thread(target=one, args=(f"number {at}",)) for at in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    with Emulator(script=answer, pace=0) as upstream, recording(path, upstream.url) as url:
        first = said(url)
    with replaying(path) as url:
        assert said(url) == first
    assert len(first) == 12


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_stream_that_breaks_off_breaks_off_again(path: Path, end: Any, caplog: pytest.LogCaptureFixture) -> None:
    whole = scripted_reply(scripted_text("a long text that is cut somewhere"))
    with ScriptedServer([Sse(whole, cut=600, end=end), whole]) as upstream, recording(path, upstream.url) as url:
        events = asked(url)
    first, second = Recording(path).exchanges
    assert (first.cut_off, second.cut_off) == (True, False)
    assert first.key == second.key
    with replaying(path) as url:
        again = asked(url)
    assert again[-1]["text"] == events[-1]["text"] == "a long text that is cut somewhere"
    with replaying(path) as url:
        body = json.loads(first.request)
        with pytest.raises(httpx.RemoteProtocolError):
            send("POST", f"{url}/v1/messages", json=body, headers=HEADERS)
    assert warned(caplog.records, THREAD) == []


def test_a_stream_without_an_end_stays_one(path: Path) -> None:
    """The framing is whole, so the bytes are: what is missing is `message_stop`."""
    cut = reply("Hello.", events=lambda events: events[:-1])
    with Emulator(script=[cut], pace=0) as upstream, recording(path, upstream.url) as url:
        first = post(url, stream=True)
    assert [one.cut_off for one in Recording(path).exchanges] == [False]
    with replaying(path) as url:
        assert post(url, stream=True).content == first.content


def test_a_whole_body_that_breaks_off(path: Path) -> None:
    with (
        ScriptedServer([Json({"id": "x" * 50}, cut=20, end="close")]) as upstream,
        recording(path, upstream.url) as url,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        post(url)
    with replaying(path) as url, pytest.raises(httpx.RemoteProtocolError):
        post(url)


def test_errors_are_recorded(path: Path) -> None:
    refused = scripted_error(429, "rate_limit_error", "Slow", retry_after="9000")
    with ScriptedServer([refused]) as upstream, recording(path, upstream.url) as url, pytest.raises(RateLimitError):
        asked(url)
    with replaying(path) as url, pytest.raises(RateLimitError) as caught:
        asked(url)
    assert caught.value.retry_after == 9000


def test_what_is_not_in_the_recording_goes_to_the_upstream(path: Path) -> None:
    with Emulator(script=[reply("One."), reply("Two.")], pace=0) as upstream:
        for _ in range(2):
            with replaying(path, upstream.url) as url:  # the file is made by the first one
                assert post(url).json()["content"][0]["text"] == "One."
        with replaying(path, upstream.url) as url:
            assert post(url, max_tokens=7).json()["content"][0]["text"] == "Two."
    with replaying(path) as url:
        assert post(url, max_tokens=7).json()["content"][0]["text"] == "Two."
        assert post(url).json()["content"][0]["text"] == "One."


def test_a_fork_is_asked_of_another_model(path: Path) -> None:
    with Emulator(script=SCRIPT, pace=0) as upstream, recording(path, upstream.url) as url:
        asked(url)
    body = forked_request(path, 2, model="claude-opus-4-8", prompt="In one word.")
    with Emulator(script=[reply("Sun.")], pace=0) as upstream:
        with replaying(path, upstream.url) as url:
            answer = send("POST", f"{url}/v1/messages", json={**body, "stream": False}, headers=HEADERS).json()
            assert (answer["content"][0]["text"], answer["model"]) == ("Sun.", "claude-opus-4-8")
        sent = upstream.requests[0]["messages"][2]["content"]
    assert [block.get("content") or block["text"] for block in sent] == [
        "sunny in Rome",
        "In one word.",
    ]


def test_a_stream_is_replayed_event_by_event(path: Path) -> None:
    """One chunk of ASGI for each event, since that is where faults are put in."""
    with Emulator(script=[reply("Hello, hello, hello.")], pace=0) as upstream, recording(path, upstream.url) as url:
        stream = post(url, stream=True).content
    sent: list[Any] = []
    body = json.dumps({**BODY, "stream": True}).encode()

    async def run() -> None:
        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(received, None) or await anyio.sleep_forever()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/messages", "headers": [], "query_string": b""}
        await make_replay(path)(scope, receive, send)

    anyio.run(run)
    chunks = [message["body"] for message in sent[1:] if message["body"]]
    assert b"".join(chunks) == stream
    assert len(chunks) == stream.count(b"event: ") > 5


def test_through_the_emulator(path: Path) -> None:
    with Emulator(script=SCRIPT, pace=0) as upstream, Emulator(record=path, upstream=upstream.url) as recorder:
        events = asked(recorder.url)
        assert len(recorder.requests) == 2
    with Emulator(replay=path) as replay:
        assert asked(replay.url) == events
    with pytest.raises(ScriptError, match="is not in the recording") as caught, Emulator(replay=path) as replay:
        post(replay.url)
    assert "differs first at tools: recorded [" in str(caught.value)
