"""The proxy that records: what it passes on, and what it stores."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from proxying import BODY, HEADERS, KEY, THREAD, post, recording, replaying, send, serving
from scripted import Json, Raw, ScriptedServer, Sse, refused
from scripted import reply as scripted_reply
from scripted import text as scripted_text
from talking import warned

from agentkit.emulator import Emulator, ScriptError, reply
from agentkit.emulator.recordings.recorder import make_recorder
from agentkit.emulator.recordings.recording import Recording
from agentkit.emulator.recordings.replay import make_replay
from agentkit.errors import ConfigurationError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.jsonl"


def test_other_paths_are_recorded_too(path: Path) -> None:
    with Emulator(script=lambda body: reply("Hi."), pace=0) as upstream, recording(path, upstream.url) as url:
        first = send("GET", f"{url}/v1/models?limit=2", headers=HEADERS)
        assert send("HEAD", url, headers=HEADERS).status_code == 200
        assert send("GET", f"{url}/v1/models/gpt", headers=HEADERS).status_code == 404
    with replaying(path) as url:
        assert send("GET", f"{url}/v1/models?limit=2").json() == first.json()
        assert send("HEAD", url).status_code == 200
        assert send("GET", f"{url}/v1/models/gpt").json()["error"]["type"] == "not_found_error"
    app = make_replay(path)
    with serving(app) as url:
        send("GET", f"{url}/v1/models?limit=3")
    with pytest.raises(ScriptError, match=r"GET /v1/models\?limit=3 is not in .*, which has GET /v1/models/gpt, GET"):
        app.check()


def test_a_form_is_the_same_whatever_its_boundary(path: Path) -> None:
    def upload(url: str) -> httpx.Response:
        return send(
            "POST", f"{url}/v1/files", files={"file": ("a.bin", b"\xff\x00", "application/pdf")}, headers=HEADERS
        )

    with ScriptedServer([Json({"id": "file_1"})]) as upstream, recording(path, upstream.url) as url:
        upload(url)
        assert b"boundary=" in upstream.requests[0].headers["content-type"].encode()
        assert b"\xff\x00" in upstream.requests[0].body
    with replaying(path) as url:
        assert upload(url).json() == {"id": "file_1"}


def keys_in(data: bytes) -> list[bytes]:
    forms = [KEY.encode(), quote(KEY, safe="").encode(), base64.b64encode(KEY.encode()), b"chocolate-chip-cookie"]
    return [form for form in forms if form in data]


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
def test_no_key_is_stored(path: Path, name: str) -> None:
    """It is in the prompt and in the reply, in the query, in cookies, and it goes to the upstream alone."""
    headers = {name: KEY if name == "x-api-key" else f"Bearer {KEY}", "cookie": "s=chocolate-chip-cookie"}
    echo = f"{KEY} {quote(KEY, safe='')} {base64.b64encode(KEY.encode()).decode()}"
    secret = {"set-cookie": "s=chocolate-chip-cookie", "request-id": f"req_{KEY}", "anthropic-organization-id": "org-7"}
    script = [Json(scripted_reply(scripted_text(echo)), headers=secret)] * 2
    body = {**BODY, "messages": [{"role": "user", "content": f"My key is {echo}"}]}
    with ScriptedServer(script) as upstream, recording(path, upstream.url) as url:
        for _ in script:
            answer = send("POST", f"{url}/v1/messages?token={quote(KEY)}", json=body, headers=headers)
            assert KEY in answer.text
            assert answer.headers["set-cookie"] == secret["set-cookie"]
        for request in upstream.requests:
            assert request.headers[name] == headers[name]
            assert request.headers["cookie"] == "s=chocolate-chip-cookie"
            assert KEY in request.body.decode()
    stored = path.read_bytes()
    assert keys_in(json.dumps(body).encode())
    assert keys_in(stored) == []
    assert b"[redacted]" in stored
    assert b"org-7" not in stored
    with replaying(path) as url:
        other = {"x-api-key": "another-key-than-that"}
        again = send("POST", f"{url}/v1/messages?token=other", json=body, headers=headers)
        assert again.json()["content"][0]["text"].startswith("[redacted] ")
        changed = json.loads(json.dumps(body).replace(KEY, other["x-api-key"]))
        changed["messages"][0]["content"] = f"My key is {' '.join([other['x-api-key']] * 3)}"
        assert send("POST", f"{url}/v1/messages?token=x", json=changed, headers=other).status_code == 200


def test_a_key_in_the_pieces_of_a_stream_is_not_recorded(path: Path) -> None:
    with ScriptedServer([scripted_reply(scripted_text(f"It is {KEY}."))]) as upstream:
        app = make_recorder(path, upstream.url)
        with serving(app) as url:
            assert post(url, stream=True).status_code == 200
    with pytest.raises(ScriptError, match="POST /v1/messages was not recorded: the key that was sent is in it"):
        app.check()
    assert Recording(path).exchanges == []


def test_cookies_of_one_client_do_not_reach_another(path: Path) -> None:
    script = [Json({}, headers={"set-cookie": "s=1"}), Json({})]
    with ScriptedServer(script) as upstream, recording(path, upstream.url) as url:
        post(url)
        post(url)
        assert [request.headers.get("cookie") for request in upstream.requests] == [None, None]


def test_events_come_as_they_are_made(path: Path) -> None:
    go_on = threading.Event()
    events: list[object] = [{"type": "ping"}, go_on, {"type": "message_stop"}]
    with ScriptedServer([Sse(events)]) as upstream, recording(path, upstream.url) as url:
        with httpx.stream("POST", f"{url}/v1/messages", json=BODY, headers=HEADERS) as answer:
            chunks = answer.iter_bytes()
            assert b"ping" in next(chunks)
            assert Recording(path).exchanges == []
            go_on.set()
            assert b"message_stop" in b"".join(chunks)
        assert len(Recording(path).exchanges) == 1


def test_a_client_that_goes_away_is_not_recorded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    never = threading.Event()
    with ScriptedServer([Sse([{"type": "ping"}, never]), Json({})]) as upstream, recording(path, upstream.url) as url:
        with httpx.stream("POST", f"{url}/v1/messages", json=BODY, headers=HEADERS) as answer:
            next(answer.iter_bytes())
        post(url)
        never.set()
    assert len(Recording(path).exchanges) == 1
    assert warned(caplog.records, THREAD) == []


def test_a_client_that_leaves_at_the_last_event_is_recorded(path: Path) -> None:
    never = threading.Event()
    script = [Sse([{"type": "ping"}, {"type": "message_stop"}, never]), Json({})]
    with ScriptedServer(script) as upstream, recording(path, upstream.url) as url:
        with httpx.stream("POST", f"{url}/v1/messages", json=BODY, headers=HEADERS, verify=False) as answer:
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if b"message_stop" in body:
                    break
        post(url)
        never.set()
    assert Recording(path).exchanges[0].response == body
    assert len(Recording(path).exchanges) == 2


def test_an_upstream_that_is_not_there(path: Path) -> None:
    with refused() as upstream, recording(path, upstream) as url:
        answer = post(url)
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "api_error"
    assert answer.json()["error"]["message"].startswith(f"can't reach the upstream {upstream}: Connect")
    assert Recording(path).exchanges == []


def test_redirects_and_encodings(path: Path) -> None:
    packed = Raw(200, {"content-type": "application/json", "content-encoding": "gzip"}, gzip.compress(b'{"a":1}'))
    moved = Raw(301, {"location": "http://127.0.0.1:9/else"}, b"")
    with ScriptedServer([moved, packed]) as upstream, recording(path, upstream.url) as url:
        assert post(url).status_code == 301
        assert post(url).json() == {"a": 1}
        assert upstream.requests[1].headers["accept-encoding"] == "identity"
        assert upstream.requests[1].headers["host"] in upstream.url
    with replaying(path) as url:
        assert post(url).status_code == 301
        assert post(url).json() == {"a": 1}


def test_a_disk_that_is_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recording, "append", full)
    with ScriptedServer([Json({})]) as upstream:
        app = make_recorder(path, upstream.url)
        with serving(app) as url:
            assert post(url).status_code == 200
    with pytest.raises(ScriptError, match=r"not recorded: can't write talk\.jsonl: No space left on device"):
        app.check()


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("api.anthropic.com", "must be a URL such as https"),
        ("", "must be a URL"),
        ("ftp://x", "must be a URL"),
        ("http://", "must be a URL"),
        ("http://x:port", "is no URL"),
        ("https://me:hunter2@x", "must not hold a user name or a query"),
        ("https://x?key=hunter2", "must not hold a user name or a query"),
    ],
)
def test_an_upstream_that_is_no_base_url(path: Path, upstream: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        make_recorder(path, upstream)
    assert "hunter2" not in str(caught.value)
    assert not path.exists()


def test_an_upstream_that_ends_in_v1(path: Path) -> None:
    with Emulator(script=[reply("Hi.")], pace=0) as upstream, recording(path, f"{upstream.url}/v1/") as url:
        assert post(url).status_code == 200
