"""One test for each row of the fault table that concerns the way to the API: H (status), T (transport), S (stream).

Each fault is met twice: for ever, when the right exception must come after the right number of requests, and once,
when a turn that may be asked for again must come out right. `test_client_fault_cases.py` has what fits no table.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest
from clock import BACKENDS, LONG, SlowHTTP, jump, settle
from runs import until
from scripted import Drop, Json, Raw, ScriptedServer, Sse, error, reply, text, thinking, tool_use
from sending import HTTP, QUICK, REQUEST, UNSTREAMED, client_for, send, shown

from agentkit.encode import events, sse
from agentkit.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContentTooLargeError,
    GatewayTimeoutError,
    InternalServerError,
    NotFoundError,
    OverloadedError,
    PaymentRequiredError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceUnavailableError,
    StreamTruncated,
    UnprocessableEntityError,
)
from agentkit.events import Event, Retry, TextDelta, TurnEnd, TurnRestarted
from agentkit.request import Request
from agentkit.settings import Timeouts

HELLO = reply(thinking("hm"), text("Hello, world: this is an answer."), tool_use("add", a=1, b=2))
S, U = (REQUEST,), (UNSTREAMED,)
WIRE = [sse(event) for event in events(HELLO)]
BODY = b"".join(WIRE)
STALL, WHOLE = Timeouts(connect=LONG, stall=LONG), Timeouts(connect=LONG, reply=LONG)
HTML = {"content-type": "text/html"}
STREAM = {"content-type": "text/event-stream"}
PAGE = "<html><head><style>p {}</style></head><body><p>Bad\x00 gateway\x1b[31m</p>" + "x" * 2000


@dataclass(frozen=True)
class Fault:
    """A row of the table: what the server does, and what must come of it.

    Attributes:
        row: Its id, and which case of it.
        served: The reply.
        raised: The exact class of the exception.
        requests: How many requests are made before it is raised; one that takes its time is met but once.
        match: Found in its text.
        asked: The requests with which it is met: by default streamed ones, and others where the status says success.
        timeouts: Those of the client. The clock is put forward beyond them.
    """

    row: str
    served: Any
    raised: type[APIError]
    requests: int
    match: str = "."
    asked: tuple[Request, ...] | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)


def comet(status: int, message: str, code: str = "") -> Json:
    """An error in the shape of CometAPI. Source: messages-api.md section 22."""
    return Json({"error": {"code": code, "message": message, "type": "comet_api_error", "param": ""}}, status)


def limit_reached(code: str) -> Json:
    details = {"type": "rate_limit_error", "message": "no more", "details": {"error_code": code}}
    return Json({"type": "error", "error": details}, 429)


def cut(after: str, **delivery: Any) -> Sse:
    """The stream up to and with the event whose bytes hold `after`."""
    return Sse(HELLO, cut=_end_of(after), **delivery)


def _end_of(mark: str) -> int:
    at = next(index for index, event in enumerate(WIRE) if mark.encode() in event)
    return len(b"".join(WIRE[: at + 1]))


def stream(*events_: Any) -> Sse:
    """An event stream that begins well: these events come after the first text."""
    return Sse([*WIRE[:_TEXT], *events_, *WIRE[_TEXT:]])


_TEXT = next(index for index, event in enumerate(WIRE) if b"text_delta" in event) + 1
STATUS = [
    Fault("H1", error(400, "invalid_request_error", "messages.0: bad"), BadRequestError, 1, "messages.0: bad"),
    Fault("H1-comet", comet(400, "bad body (request id: 1)"), BadRequestError, 1, "comet_api_error"),
    Fault("H1-credit", error(400, "invalid_request_error", "Your credit balance is too low"), BadRequestError, 1),
    Fault("H1-402", error(402, "billing_error"), PaymentRequiredError, 1),
    Fault("H1-422", error(422, "invalid_request_error"), UnprocessableEntityError, 1),
    Fault("H2", error(401, "authentication_error", "invalid x-api-key"), AuthenticationError, 1, "invalid x-api-key"),
    Fault("H2-comet", comet(401, "invalid token"), AuthenticationError, 1),
    Fault("H3", error(403, "permission_error"), PermissionDeniedError, 1),
    Fault("H4", error(404, "not_found_error", "model: claude-9"), NotFoundError, 1, "model: claude-9"),
    Fault("H4-html", Raw(404, HTML, "<h1>404 page not found</h1>"), NotFoundError, 1, "check base_url"),
    Fault("H5", error(408, "timeout_error"), GatewayTimeoutError, 4),
    Fault("H6", error(409, "conflict_error"), ConflictError, 3),
    Fault("H7", error(413, "request_too_large"), ContentTooLargeError, 1),
    Fault("H7-html", Raw(413, HTML, "<h1>too large</h1>"), ContentTooLargeError, 1, "too large"),
    Fault("H8", error(429, "rate_limit_error"), RateLimitError, 4),
    Fault("H8-comet", comet(429, "saturated"), RateLimitError, 4),
    Fault("H8-spend", limit_reached("enforced_spend_limit_reached"), RateLimitError, 1),
    Fault("H8-contract", limit_reached("contract_spend_limit_reached"), RateLimitError, 1),
    Fault("H8-ramp", limit_reached("ramp_limit_exceeded"), RateLimitError, 4),
    Fault("H9", error(429, "rate_limit_error", retry_after="0.01"), RateLimitError, 4),
    Fault("H9-ms", error(429, "rate_limit_error", retry_after_ms="10"), RateLimitError, 4),
    Fault("H10-hour", error(429, "rate_limit_error", retry_after="3600"), RateLimitError, 1),
    Fault("H10-days", error(429, "rate_limit_error", retry_after="302400"), RateLimitError, 1),
    Fault("H10-negative", error(429, "rate_limit_error", retry_after="-5"), RateLimitError, 4),
    Fault("H10-garbage", error(429, "rate_limit_error", retry_after="soon"), RateLimitError, 4),
    Fault("H10-date", error(429, "a", retry_after="Fri, 31 Dec 2199 23:59:59 GMT"), RateLimitError, 1),
    Fault("H10-past", error(429, "a", retry_after="Fri, 31 Dec 1999 23:59:59 GMT"), RateLimitError, 4),
    Fault("H11", error(500, "api_error"), InternalServerError, 4),
    Fault("H11-comet", comet(500, "bad field", "invalid_request"), InternalServerError, 1, "bad field"),
    Fault("H11-told-not", error(500, "api_error", x_should_retry="false"), InternalServerError, 1),
    Fault("H11-told", error(400, "api_error", x_should_retry="true"), BadRequestError, 4),
    Fault("H12", Raw(502, HTML, PAGE), InternalServerError, 4, "Bad gateway"),
    Fault("H12-504", Raw(504, HTML, PAGE), GatewayTimeoutError, 4, "Bad gateway"),
    Fault("H12-524", Raw(524, HTML, PAGE), GatewayTimeoutError, 4),
    Fault("H12-empty", Raw(503), ServiceUnavailableError, 4, "HTTP 503"),
    Fault("H12-huge", Raw(502, HTML, "y" * (3 << 20)), InternalServerError, 4),
    Fault("H12-cut", replace(error(503, "api_error"), cut=20, end="close"), ServiceUnavailableError, 4),
    Fault("H12-gzip", Raw(502, {"content-encoding": "gzip"}, b"no gzip"), InternalServerError, 4),
    Fault("H13", error(529, "overloaded_error"), OverloadedError, 4),
    Fault("H14-html", Raw(200, HTML, PAGE), ProtocolError, 2, "check base_url"),
    Fault("H14-text", Raw(200, {"content-type": "text/plain"}, "hello"), ProtocolError, 2, asked=U),
    Fault("H14-no-type", Raw(200, {}, b""), ProtocolError, 2, asked=U),
    Fault("H14-no-events", Raw(200, {"content-type": "text/plain"}, "hello"), StreamTruncated, 4, asked=S),
    Fault("H14-empty", Json({}), ProtocolError, 2),
    Fault("H14-no-content", Json({"type": "message", "role": "assistant"}), ProtocolError, 2),
    Fault("H14-list", Json([1]), ProtocolError, 2),
    Fault("H14-null", Json(None), ProtocolError, 2),
    Fault("H14-no-blocks", Json({**HELLO, "content": ["hello"]}), ProtocolError, 2),
    Fault("H15-301", Raw(301, {"location": "/v1/v1/messages"}), ProtocolError, 1, "redirects to another path"),
    Fault(
        "H15-302", Raw(302, {"location": "http://evil.test/x?y"}), ProtocolError, 1, "redirects to http://evil.test;"
    ),
    Fault("H15-303", Raw(303, {"location": "//evil.test/"}), ProtocolError, 1, "not followed"),
    Fault("H15-304", Raw(304), ProtocolError, 1, "not followed"),
    Fault(
        "H15-307", Raw(307, {"location": "https://u:p@evil.test:8443/"}), ProtocolError, 1, "https://evil.test:8443;"
    ),
    Fault("H15-308", Raw(308, {"location": "http://evil.test"}), ProtocolError, 1, "base_url"),
    Fault("H16-204", Raw(204), ProtocolError, 2, "HTTP 204"),
    Fault("H16-202", replace(Json(HELLO), status=202), ProtocolError, 2, "HTTP 202"),
    Fault("H16-206", replace(Json(HELLO), status=206), ProtocolError, 2),
]
DRIP = replace(error(429, "rate_limit_error"), chunk=1, pause=0.02)
BOMB = Raw(200, {**STREAM, "content-encoding": "gzip"}, gzip.compress(b"data: " + bytes(33 << 20), 1))
TRANSPORT = [
    Fault("T4", Drop("stall"), APITimeoutError, 2, "too slow", S, STALL),
    Fault("T4-reply", Drop("stall"), APITimeoutError, 2, "too slow", U, WHOLE),
    Fault("T5-reset", Drop("reset"), APIConnectionError, 4, "is the endpoint up", S + U),
    Fault("T5-close", Drop("close"), APIConnectionError, 4, "is the endpoint up", S + U),
    Fault("T5-body-close", Json(HELLO, cut=99, end="close"), StreamTruncated, 4, "broke", U),
    Fault("T5-body-reset", Json(HELLO, cut=99, end="reset"), StreamTruncated, 4, "broke", U),
    Fault("T5-body-short", Json(HELLO, cut=99), ProtocolError, 2, "no JSON", U),
    Fault("T6", cut("Hello", end="reset"), StreamTruncated, 4),
    Fault("T6-close", cut("Hello", end="close"), StreamTruncated, 4, "broke inside the reply"),
    Fault("T7", cut("Hello"), StreamTruncated, 4, "before message_stop"),
    Fault("T7-eof", cut("Hello", end="eof"), StreamTruncated, 4, "before message_stop"),
    Fault("T7-half-event", Sse(HELLO, cut=_end_of("Hello") + 30), StreamTruncated, 4),
    Fault("T7-nothing", Sse(HELLO, cut=0), StreamTruncated, 4, "0 events"),
    Fault("T8", Sse([*WIRE[:-2]]), StreamTruncated, 4),
    Fault("T9", Sse([*WIRE[:-1]]), StreamTruncated, 4),
    Fault("T9-half-stop", Sse(HELLO, cut=len(BODY) - 1), StreamTruncated, 4),
    Fault("T10", cut("Hello", end="pings"), APITimeoutError, 2, "no progress", timeouts=STALL),
    Fault("T10-comments", Sse([*WIRE[:_TEXT], *[b": alive\n\n"] * 99], pause=0.01), APITimeoutError, 2, timeouts=STALL),
    Fault("T10-silence", cut("Hello", end="stall"), APITimeoutError, 2, "too slow", timeouts=STALL),
    Fault("T11", Sse(HELLO, chunk=1, pause=0.01), APITimeoutError, 2, "no progress", timeouts=STALL),
    Fault("T11-whole", Json(HELLO, chunk=1, pause=0.01), APITimeoutError, 2, "whole reply", U, WHOLE),
    Fault("T11-error", DRIP, RateLimitError, 2, timeouts=STALL),
    Fault("T16", BOMB, ProtocolError, 1, "longer than", S),
    Fault("T16-broken", Raw(200, {**STREAM, "content-encoding": "gzip"}, b"no gzip"), ProtocolError, 2, "decoded"),
]


def error_event(type_: str, **fields: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type_, "message": "broke down", **fields}}


def delta(index: object, piece: str = "x") -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}


def data(raw: bytes) -> bytes:
    return b"data: " + raw + b"\n\n"


STARTED = {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}
EVENTS = [
    Fault("S1", stream(error_event("overloaded_error")), OverloadedError, 4, "broke down"),
    Fault("S1-rate", stream(error_event("rate_limit_error")), RateLimitError, 4),
    Fault("S1-api", stream(error_event("api_error")), InternalServerError, 4),
    Fault("S1-timeout", stream(error_event("timeout_error")), GatewayTimeoutError, 4),
    Fault("S1-request", stream(error_event("invalid_request_error")), BadRequestError, 1),
    Fault("S1-key", stream(error_event("authentication_error")), AuthenticationError, 1),
    Fault("S1-first", Sse([error_event("overloaded_error"), *WIRE]), OverloadedError, 4),
    Fault("S2", stream(error_event("new_error")), APIStatusError, 1, "new_error"),
    Fault("S2-shape", stream({"type": "error", "error": "out of order"}), APIStatusError, 1, "out of order"),
    Fault("S2-no-json", stream(b"event: error\ndata: upstream failed\n\n"), ProtocolError, 2),
    Fault("S7", stream(WIRE[0]), ProtocolError, 2, "second message"),
    Fault("S7-late", Sse(WIRE[1:]), ProtocolError, 2, "out of order"),
    Fault("S8-missing", stream(delta(7)), ProtocolError, 2, "belongs to no open block"),
    Fault("S8-closed", stream(delta(0)), ProtocolError, 2, "belongs to no open block"),
    Fault("S8-gap", stream({**STARTED, "index": 3}), ProtocolError, 2, "block 3 out of order"),
    Fault("S8-stop", stream({"type": "content_block_stop", "index": 5}), ProtocolError, 2, "not open"),
    Fault("S8-open", Sse([*WIRE[:_TEXT], *WIRE[-2:]]), ProtocolError, 2, "too early"),
    Fault("S8-index", stream(delta("1")), ProtocolError, 2),
    Fault("S9", stream(STARTED), ProtocolError, 2, "out of order"),
    Fault("S9-all", Sse([*WIRE[:-1], *WIRE]), ProtocolError, 2, "second message"),
    Fault("S10", stream(data(b'{"type":"x","y":"\xff"}')), ProtocolError, 2, "event"),
    Fault("S12", stream(data(b'{"type":"' + b"x" * (33 << 20) + b'"}')), ProtocolError, 1, "longer than"),
    Fault("S13", stream(data(b'{"type":')), ProtocolError, 2, f"event {_TEXT + 1} of the stream is broken"),
    Fault("S13-no-object", stream(data(b"7")), ProtocolError, 2, "broken"),
    Fault("S13-no-type", stream(data(b"{}")), ProtocolError, 2, "broken"),
    Fault("S14-nan", stream(data(b'{"type":"x","y":NaN}')), ProtocolError, 2, "broken"),
    Fault("S14-deep", stream(data(b'{"type":' + b"[" * 10_000 + b"]" * 10_000 + b"}")), ProtocolError, 2, "broken"),
    Fault("S15-ids", Sse(reply(tool_use("a"), tool_use("b"))), ProtocolError, 2, "two tool_use blocks with one id"),
    Fault("S15-no-id", Sse(reply(tool_use("a", id=""))), ProtocolError, 2, "id ''"),
]
# Those in which the clock that ends them is ours, so that one HTTP client is as good as another.
OURS = {"T10", "T10-comments", "T11", "T11-whole", "T11-error"}
# Where the decoder of httpx fails, its own generators stay unfinished, and trio warns of them.
BROKEN_GZIP = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")


def cases(faults: list[Fault], *kinds: str) -> Iterator[Any]:
    """Each fault with each request that can meet it, and each HTTP client."""
    for fault in faults:
        marks = BROKEN_GZIP if isinstance(fault.served, Raw) and fault.served.body == b"no gzip" else ()
        for asked in fault.asked or (S if getattr(fault.served, "status", 400) >= 400 else S + U):
            for kind in kinds:
                how = [fault.row, *([] if asked.stream else ["whole"]), *([] if kind == "own" else [kind])]
                yield pytest.param(fault, asked, kind, id="-".join(how), marks=marks)


async def time_passes(fault: Fault, server: ScriptedServer, seen: list[Event]) -> None:
    """The limit of the fault is over once the client waits for what does not come."""
    if fault.timeouts != Timeouts() and fault.row not in OURS:
        await until(lambda: bool(server.requests if isinstance(fault.served, Drop) else seen))
        await settle()
        jump()


def slow_http(fault: Fault) -> dict[str, Any]:
    """Where the clock is ours, what comes takes its time."""
    return {"http": httpx.AsyncClient(transport=SlowHTTP())} if fault.row in OURS else {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "asked", "kind"),
    [*cases(STATUS + TRANSPORT + EVENTS, "own"), *cases([f for f in TRANSPORT if f.row not in OURS], *HTTP[1:])],
)
@BACKENDS
async def test_fault_that_stays(fault: Fault, asked: Request, kind: str) -> None:
    seen: list[Event] = []
    slow = fault.timeouts != Timeouts()
    requests, policy = (1, replace(QUICK, max_attempts=1)) if slow else (fault.requests, QUICK)
    with ScriptedServer(lambda _: fault.served) as server:
        options = {"timeouts": fault.timeouts, "retry": policy, **slow_http(fault)}
        async with client_for(kind, server.url, **options) as client, anyio.create_task_group() as group:
            group.start_soon(time_passes, fault, server, seen)
            with pytest.raises(APIError, match=fault.match) as caught:
                await send(client, asked, into=seen)
    failure = caught.value
    assert type(failure) is fault.raised
    assert failure.attempts == len(server.requests) == requests
    assert failure.retryable or fault.requests == 1
    assert {request.body for request in server.requests} == {server.requests[0].body}
    assert not any(isinstance(event, TurnEnd) for event in seen)
    assert [event.attempt for event in seen if isinstance(event, Retry)] == [*range(1, requests)]
    assert not {chr(number) for number in range(32)} & set(str(failure))
    assert len(str(failure)) < 700
    assert "x" * 600 not in shown(failure)


PASSING = [
    fault
    for fault in STATUS + TRANSPORT + EVENTS
    if fault.requests > 1 and (fault.row not in OURS or fault.row == "T10")
]


@pytest.mark.anyio
@pytest.mark.parametrize(("fault", "asked", "kind"), [*cases(PASSING, "own")])
@BACKENDS
async def test_fault_that_passes(fault: Fault, asked: Request, kind: str) -> None:
    seen: list[Event] = []
    with ScriptedServer([fault.served, HELLO]) as server:
        options = {"timeouts": fault.timeouts, **slow_http(fault)}
        async with client_for(kind, server.url, **options) as client, anyio.create_task_group() as group:
            group.start_soon(time_passes, fault, server, seen)
            await send(client, asked, into=seen)
        server.assert_done()
    assert isinstance(seen[-1], TurnEnd)
    assert json.dumps(seen[-1].message) == json.dumps(HELLO)
    [retry] = [at for at, event in enumerate(seen) if isinstance(event, Retry)]
    restarts = [at for at, event in enumerate(seen) if isinstance(event, TurnRestarted)]
    assert restarts == ([retry + 1] if retry else [])  # only what was shown can be void
    last = seen[retry + len(restarts) + 1 :]
    assert "".join(event.text for event in last if isinstance(event, TextDelta)) == (
        "Hello, world: this is an answer." if asked.stream else ""
    )


def test_every_row_that_concerns_the_client_is_here() -> None:
    rows = [fault.row.partition("-")[0] for fault in (*STATUS, *TRANSPORT, *EVENTS)]
    assert list(dict.fromkeys(rows)) == [
        *(f"H{number}" for number in range(1, 17)),
        *_listed("T", 4, 11, {16}),
        *_listed("S", 1, 2, {*range(7, 11), *range(12, 16)}),
    ]
    names = [fault.row for fault in (*STATUS, *TRANSPORT, *EVENTS)]
    assert all(before != after for before, after in pairwise(sorted(names)))


def _listed(letter: str, first: int, last: int, more: set[int]) -> Iterator[str]:
    return (f"{letter}{number}" for number in sorted({*range(first, last + 1), *more}))
