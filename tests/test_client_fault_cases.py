"""The rows of the fault table that need more than a reply: waits, redirects, addresses, TLS, and what is no fault."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from clock import BACKENDS, LONG, jump
from scripted import Raw, ScriptedServer, Sse, error, refused, reply, text, tool_use
from sending import HTTP, KEY, REQUEST, UNSTREAMED, asked, client_for, http_client, send, shown

from agentkit.encode import events, sse
from agentkit.errors import APIConnectionError, APIError, ConflictError, ProtocolError, RateLimitError
from agentkit.events import Event, Retry, TextDelta, TurnEnd, TurnRestarted, UnknownEvent
from agentkit.messages import Usage
from agentkit.settings import RetryPolicy, Timeouts

http_kinds = pytest.mark.parametrize("kind", HTTP)
callers_kinds = pytest.mark.parametrize("kind", HTTP[1:])
HELLO = reply(text("Hello, world: this is an answer."), tool_use("add", a=1, b=2))
ONCE = RetryPolicy(max_attempts=1)
WIRE = b"".join(map(sse, events(HELLO)))
# A key and a certificate of nobody, made for this test.
PEM = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdYSkdrjHw5rWjs1B
DPQcTT/LbR8DfwJjbEo6guCX6/ehRANCAATlo2H15Nsrpn3GE6UxtJON79pVx6Xq
t5at+EYNebkzkCxKjy2ESDNV7ZOencYH+NUYOqVdNQY0Ts5HDiNqZqMy
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUJ6vm0e6pbePVUU4nJup3qgWkSSAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE0MDgxOVoYDzIxMjYxMDMw
MTQwODE5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATlo2H15Nsrpn3GE6UxtJON79pVx6Xqt5at+EYNebkzkCxKjy2ESDNV
7ZOencYH+NUYOqVdNQY0Ts5HDiNqZqMyo2kwZzAdBgNVHQ4EFgQUMHJ4iOMa5dmq
NjcduQ1CeYYZDu4wHwYDVR0jBBgwFoAUMHJ4iOMa5dmqNjcduQ1CeYYZDu4wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
RwAwRAIgaWDrCNx/0nkXFYpWG73FNsq2bjt0RR9gn6wKdkIrR9QCIASlzKJ1PlLQ
leIoQW3p2HofIVSQwNt2q+amMjjkkL2R
-----END CERTIFICATE-----
"""


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that gives each connection to `answer`."""

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if closing:
                    return
                try:
                    answer(connection)
                except OSError:
                    continue

    closing: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.append(True)
            socket.create_connection(listener.getsockname()).close()
            thread.join()


# H9, H10, H13: how long is waited


@pytest.mark.anyio
@pytest.mark.parametrize("header", [{"retry_after": "0.05"}, {"retry_after_ms": "50"}])
async def test_H9_waits_as_long_as_asked(header: dict[str, str]) -> None:
    with ScriptedServer([error(429, "rate_limit_error", **header), HELLO]) as server:
        async with client_for("own", server.url) as client:
            started = time.monotonic()
            seen = await send(client)
            waited = time.monotonic() - started
    assert isinstance(seen[0], Retry)
    assert (seen[0].attempt, seen[0].reason) == (1, "refused (HTTP 429, rate_limit_error, req_0)")
    assert 0.05 <= seen[0].wait <= 0.055
    assert waited >= 0.05


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["3600", "302400", "Fri, 31 Dec 2199 23:59:59 GMT"])
async def test_H10_is_raised_at_once_with_the_wait(given: str) -> None:
    with ScriptedServer([error(429, "rate_limit_error", retry_after=given)]) as server:
        async with client_for("own", server.url) as client:
            started = time.monotonic()
            with pytest.raises(RateLimitError) as caught:
                await send(client)
    assert time.monotonic() - started < 30
    assert caught.value.retryable
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 3600
    assert caught.value.request_id == "req_0"


@pytest.mark.anyio
async def test_every_attempt_is_an_event_and_counted() -> None:
    script = [error(429, "a"), Sse(HELLO, cut=700), error(500, "api_error"), HELLO]
    with ScriptedServer(script) as server:
        async with client_for("own", server.url) as client:
            seen = await send(client)
        server.assert_done()
    kinds = [event.type for event in seen if event.type in ("retry", "turn_restarted", "turn_end")]
    assert kinds == ["retry", "retry", "turn_restarted", "retry", "turn_end"]
    assert [event.attempt for event in seen if isinstance(event, Retry)] == [1, 2, 3]
    [restarted] = [event for event in seen if isinstance(event, TurnRestarted)]
    assert (restarted.attempt, "before message_stop" in restarted.reason) == (3, True)


@pytest.mark.anyio
async def test_waiting_has_a_limit_of_its_own() -> None:
    policy = RetryPolicy(max_attempts=50, base=0.02, cap=0.02, total=0.05)
    with ScriptedServer(lambda _: error(429, "rate_limit_error", retry_after="0.02")) as server:
        async with client_for("own", server.url, retry=policy) as client:
            with pytest.raises(RateLimitError) as caught:
                await send(client)
    assert caught.value.attempts == len(server.requests) == 3


@pytest.mark.anyio
async def test_policy_of_one_attempt_never_retries() -> None:
    with ScriptedServer([error(409, "conflict_error")]) as server:
        async with client_for("own", server.url, retry=ONCE) as client:
            with pytest.raises(ConflictError):
                await send(client)


# H15, H16


@pytest.mark.anyio
@http_kinds
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("cross", [False, True])
async def test_H15_nothing_is_sent_on(kind: str, status: int, cross: bool) -> None:
    with ScriptedServer(lambda _: HELLO) as other:
        with ScriptedServer(
            lambda r: Raw(status, {"location": f"{other.url if cross else ''}/elsewhere"}) if r.number == 0 else HELLO
        ) as server:
            http = http_client(kind, follow_redirects=True)
            async with client_for(kind, server.url, http=http) as client:
                with pytest.raises(ProtocolError, match="not followed"):
                    await send(client)
        assert len(server.requests) == 1
    assert not other.requests


@pytest.mark.anyio
@http_kinds
async def test_H16_early_hints_are_no_reply(kind: str) -> None:
    body = json.dumps(HELLO).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + head + body)
        connection.recv(1)

    with listening(answer) as port:
        async with client_for(kind, f"http://127.0.0.1:{port}") as client:
            [end] = await send(client)
    assert isinstance(end, TurnEnd)


# T1 to T3: no connection


async def unreachable(kind: str, url: str, attempts: int, match: str) -> None:
    seen: list[Event] = []
    async with client_for(kind, url) as client:
        with pytest.raises(APIConnectionError, match=match) as caught:
            await send(client, into=seen)
    assert type(caught.value) is APIConnectionError
    assert (caught.value.attempts, len(seen)) == (attempts, attempts - 1)
    assert KEY not in shown(caught.value)


@pytest.mark.anyio
@http_kinds
async def test_T1_connection_refused(kind: str) -> None:
    with refused() as url:
        await unreachable(kind, url, 4, "is the endpoint up, and base_url right")


@pytest.mark.anyio
@http_kinds
async def test_T2_name_without_an_address(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: object, *_: object, **__: object) -> None:
        assert host in ("nowhere.invalid", b"nowhere.invalid")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a resolver may be slow to say so
    await unreachable(kind, "http://nowhere.invalid", 4, "is the endpoint up, and base_url right")


@pytest.mark.anyio
@http_kinds
async def test_T3_certificate_that_is_not_trusted(kind: str, tmp_path: Path) -> None:
    pem = tmp_path / "localhost.pem"
    pem.write_text(PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def answer(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    with listening(answer) as port:
        await unreachable(kind, f"https://localhost:{port}", 1, "the certificate is not trusted")


@pytest.mark.anyio
@http_kinds
async def test_T3_handshake_that_breaks(kind: str) -> None:
    with listening(lambda connection: connection.recv(100) and None) as port:
        await unreachable(kind, f"https://127.0.0.1:{port}", 4, "is the endpoint up")


# T12, T13, T15


@pytest.mark.anyio
async def test_T12_all_events_at_the_end() -> None:
    with ScriptedServer([Sse(HELLO, delay=0.05, chunk=1 << 20)]) as server:
        async with client_for("own", server.url) as client:
            seen = await send(client)
    assert "".join(event.text for event in seen if isinstance(event, TextDelta)) == HELLO["content"][0]["text"]


@pytest.mark.anyio
@callers_kinds
async def test_T13_connection_that_the_other_side_gives_up(kind: str) -> None:
    """HTTP/2 needs a package that we do not: what its GOAWAY comes to is raised by a transport of our own."""
    module: Any = __import__(kind)
    calls: list[int] = []

    class GoAway(module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            calls.append(1)
            if len(calls) < 3:
                raise module.RemoteProtocolError("<ConnectionTerminated error_code:0>", request=request)
            return module.Response(200, json=HELLO)

    async with client_for(kind, "http://localhost", http=module.AsyncClient(transport=GoAway())) as client:
        seen = await send(client)
    assert [event.type for event in seen] == ["retry", "retry", "turn_end"]


@pytest.mark.anyio
async def test_T15_wall_clock_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait is measured by the monotonic clock; only the date of a `retry-after` needs the other, and is clamped."""
    jumps = iter([4e9, -4e9, 0.0, 1e12, 2.0, 5e9] * 9)
    monkeypatch.setattr("agentkit.transport.time", SimpleNamespace(time=lambda: next(jumps)))
    date = error(429, "rate_limit_error", retry_after="Fri, 31 Dec 1999 23:59:59 GMT")
    with ScriptedServer([date, error(529, "overloaded_error", retry_after="0.02"), HELLO]) as server:
        async with client_for("own", server.url) as client:
            started = anyio.current_time()
            seen = await send(client)
            assert 0.02 <= anyio.current_time() - started < 30
    assert isinstance(seen[-1], TurnEnd)


@pytest.mark.anyio
@BACKENDS
async def test_T10_T11_slow_but_steady_is_no_stall() -> None:
    """Longer than the limit in all, with pings and half events between, but never long without an event."""
    wire = [piece for event in events(reply(text("x" * 60))) for piece in (event, {"type": "ping"})]
    seen: list[Event] = []
    with ScriptedServer([Sse(wire, pause=0.005)]) as server:
        async with (
            client_for("own", server.url, timeouts=Timeouts(stall=LONG), retry=ONCE) as client,
            aclosing(client.send(asked(), REQUEST)) as turn,
        ):
            async for event in turn:
                seen.append(event)
                jump(LONG * 2 / 3)
    assert len(seen) > 4
    assert isinstance(seen[-1], TurnEnd)


# S3 to S6, S11, S12, S14 to S18, S28: what is no fault


async def message_of(*wire: Any, chunk: int | None = None) -> tuple[dict[str, Any], list[Event]]:
    with ScriptedServer([Sse(wire, chunk=chunk)]) as server:
        async with client_for("own", server.url) as client:
            seen = await send(client)
    assert isinstance(seen[-1], TurnEnd)
    return seen[-1].message, seen


@pytest.mark.anyio
async def test_S3_S4_S5_what_is_unknown_is_kept() -> None:
    block = {"type": "new_block", "deep": {"list": [1, {"x": None}]}, "text": "a"}
    change = {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "text": "b", "more": 7}}
    wire = [*events(reply(block))]
    wire[3:3] = [{"type": "new_event", "x": 1}, change]
    message, seen = await message_of(*wire)
    assert message["content"] == [{**block, "text": "ab", "more": 7}]
    assert [event.raw for event in seen if isinstance(event, UnknownEvent)] == [{"type": "new_event", "x": 1}, change]


@pytest.mark.anyio
@pytest.mark.parametrize("request_", [REQUEST, UNSTREAMED], ids=["streamed", "whole"])
@pytest.mark.parametrize("stop", ["new_reason", "max_tokens", "refusal", "model_context_window_exceeded", "pause_turn"])
async def test_S6_S16_S17_S22_stop_reason_is_passed_on(stop: str, request_: Any) -> None:
    message = reply(text("x"), tool_use("add", a=1), stop=stop)
    with ScriptedServer([message]) as server:
        async with client_for("own", server.url) as client:
            *_, end = await send(client, request_)
    assert end == TurnEnd(stop, Usage(10, 5), "req_0", message)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda wire: b"\xef\xbb\xbf" + wire,
        lambda wire: wire.replace(b"\n", b"\r\n"),
        lambda wire: wire.replace(b"\n", b"\r"),
        lambda wire: b": hello\n\n" + wire.replace(b"event: ", b"id: 7\nretry: 5\nnonsense\n:x\nevent: "),
        lambda wire: b"".join(line for line in wire.splitlines(True) if not line.startswith(b"event")),
        lambda wire: wire.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
        lambda wire: wire + b"data: [DONE]\n\n",
    ],
    ids=["bom", "crlf", "cr", "fields", "no-names", "no-space", "done"],
)
async def test_S11_streams_are_read_as_the_standard_says(change: Callable[[bytes], bytes], chunk: int | None) -> None:
    message, seen = await message_of(change(WIRE), chunk=chunk)
    assert message == HELLO
    assert not any(isinstance(event, Retry) for event in seen)


@pytest.mark.anyio
async def test_S11_line_separators_inside_text_are_text() -> None:
    message, _ = await message_of(*events(reply(text("a\u2028b\u2029c\x85d\ve")), text_piece=1))
    assert message["content"][0]["text"] == "a\u2028b\u2029c\x85d\ve"


@pytest.mark.anyio
async def test_S12_time_is_linear_in_one_long_event() -> None:
    """1 KB chunks of a line eight times as long take about eight times as long, not 64 times."""
    took: list[float] = []
    for size in (1 << 19, 4 << 20):
        started = time.process_time()
        message, _ = await message_of(*events(reply(text("x" * size)), text_piece=size), chunk=1024)
        took.append(time.process_time() - started)
        assert len(message["content"][0]["text"]) == size
    assert all(later < 25 * max(sooner, 0.05) for sooner, later in pairwise(took))


@pytest.mark.anyio
@pytest.mark.parametrize("request_", [REQUEST, UNSTREAMED], ids=["streamed", "whole"])
async def test_S14_integers_stay_exact(request_: Any) -> None:
    message = reply(tool_use("add", a=2**63 + 1, b=10**40, c=0.1))
    with ScriptedServer([message]) as server:
        async with client_for("own", server.url) as client:
            *_, end = await send(client, request_)
    assert isinstance(end, TurnEnd)
    assert end.message["content"][0]["input"] == {"a": 2**63 + 1, "b": 10**40, "c": 0.1}


@pytest.mark.anyio
@pytest.mark.parametrize("stop", ["tool_use", "max_tokens"])
async def test_S15_cut_input_is_never_repaired(stop: str) -> None:
    cut = '{"path": "a.txt", "content": "rm me ple'
    message, _ = await message_of(*events(reply({**tool_use("write"), "input": cut}, stop=stop)))
    assert message["content"][0]["input"] == cut


@pytest.mark.anyio
@pytest.mark.parametrize("request_", [REQUEST, UNSTREAMED], ids=["streamed", "whole"])
async def test_S18_S28_empty_content_and_missing_usage(request_: Any) -> None:
    message = {name: value for name, value in reply().items() if name != "usage"}
    with ScriptedServer([message]) as server:
        async with client_for("own", server.url, retry=ONCE) as client:
            [end] = await send(client, request_)
    assert isinstance(end, TurnEnd)
    assert (end.message["content"], end.usage, end.stop_reason) == ([], Usage(), "end_turn")


@pytest.mark.anyio
async def test_error_inside_a_stream_names_the_request() -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with ScriptedServer(lambda _: Sse([overloaded])) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(APIError) as caught:
                await send(client)
    assert str(caught.value) == "Overloaded (HTTP 200, overloaded_error, req_3, 4 attempts)"
