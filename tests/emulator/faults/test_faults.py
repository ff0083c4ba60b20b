"""Each fault against agentkit's own client, which must come to the same end as in `test_client_faults.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import httpx
import pytest
from clock import BACKENDS, LONG, SlowHTTP, jump, settle
from faulty import ANSWER, ASKED, WHOLE, call
from runs import until
from sending import KEY, QUICK, client_for, send, shown

from agentkit.client import Client
from agentkit.emulator import Emulator
from agentkit.emulator.faults import FAULTS, fault
from agentkit.emulator.faults.row import Damaged, Unmade
from agentkit.emulator.faults.rows import BY_NAME
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
from agentkit.events import Event, Retry, TextDelta, TurnEnd
from agentkit.request import Request
from agentkit.settings import Timeouts

S, U = (ASKED,), (WHOLE,)
STALL, REPLY = Timeouts(connect=LONG, stall=LONG), Timeouts(connect=LONG, reply=LONG)


@dataclass(frozen=True)
class Case:
    """What must come of a fault that stays: the class of the exception, and after how many requests."""

    name: str
    raised: type[APIError]
    requests: int
    asked: tuple[Request, ...] = S
    timeouts: Timeouts = field(default_factory=Timeouts)
    match: str = "."


def of(raised: type[APIError], requests: int, *names: str, **fields: Any) -> list[Case]:
    return [Case(name, raised, requests, **fields) for name in names]


CASES = [
    *of(BadRequestError, 1, "H1", "H1-credit", "S23"),
    *of(PaymentRequiredError, 1, "H1-402"),
    *of(UnprocessableEntityError, 1, "H1-422"),
    *of(AuthenticationError, 1, "H2"),
    *of(PermissionDeniedError, 1, "H3"),
    *of(NotFoundError, 1, "H4", "H4-html"),
    *of(GatewayTimeoutError, 4, "H5", "H12-504", "H12-524"),
    *of(ConflictError, 3, "H6"),
    *of(ContentTooLargeError, 1, "H7", "H7-html"),
    *of(RateLimitError, 4, "H8", "H8-ramp", "H9", "H9-ms", "H10-negative", "H10-garbage", "H10-past"),
    *of(RateLimitError, 1, "H8-spend", "H8-contract", "H10", "H10-days", "H10-date"),
    *of(InternalServerError, 4, "H11", "H12", "H12-huge", "H12-gzip"),
    *of(InternalServerError, 1, "H11-invalid", "H11-told-not"),
    *of(BadRequestError, 4, "H11-told"),
    *of(ServiceUnavailableError, 4, "H12-empty", "H12-cut"),
    *of(OverloadedError, 4, "H13"),
    *of(ProtocolError, 2, "H14", "H14-empty", "H14-no-content", "H14-list", "H14-null", "H14-no-blocks", asked=S + U),
    *of(ProtocolError, 2, "H14-text", "H14-no-type", asked=U),
    *of(StreamTruncated, 4, "H14-text", "H14-no-type"),
    *of(ProtocolError, 1, "H15", "H15-301", "H15-302", "H15-303", "H15-308", match="redirects to http://elsewhere"),
    *of(ProtocolError, 1, "H15-304", "H15-same", match="not followed"),
    *of(ProtocolError, 2, "H16", "H16-202", "H16-206", asked=S + U, match="HTTP 20"),
    *of(APITimeoutError, 2, "T4", timeouts=STALL, match="too slow"),
    *of(APITimeoutError, 2, "T4", timeouts=REPLY, asked=U),
    *of(APIConnectionError, 4, "T5", "T5-close", "T5-headers", asked=S + U, match="is the endpoint up"),
    *of(StreamTruncated, 4, "T5-body-reset", "T5-body-close", asked=U, match="broke"),
    *of(ProtocolError, 2, "T5-body-short", "T7", asked=U, match="no JSON"),
    *of(StreamTruncated, 4, "T6", "T6-close", asked=S + U, match="broke inside the reply"),
    *of(StreamTruncated, 4, "T7", "T7-eof", "T7-half-event", "T8", "T9", "T9-half-stop", match="before message_stop"),
    *of(StreamTruncated, 4, "T7-nothing", match="0 events"),
    *of(ProtocolError, 2, "T7-eof", asked=U),
    *of(APITimeoutError, 2, "T10", "T10-comments", timeouts=STALL, match="no progress"),
    *of(APITimeoutError, 2, "T10-silence", timeouts=STALL, match="too slow"),
    *of(APITimeoutError, 2, "T10-silence", timeouts=REPLY, asked=U),
    *of(APITimeoutError, 2, "T11", timeouts=STALL, match="no progress"),
    *of(APITimeoutError, 2, "T11", timeouts=REPLY, asked=U, match="whole reply"),
    *of(RateLimitError, 2, "T11-error", timeouts=STALL),
    *of(ProtocolError, 1, "T16", match="longer than"),
    *of(ProtocolError, 2, "T16-broken", match="decoded"),
    *of(OverloadedError, 4, "S1", match="broke down"),
    *of(RateLimitError, 4, "S1-rate"),
    *of(InternalServerError, 4, "S1-api"),
    *of(GatewayTimeoutError, 4, "S1-timeout"),
    *of(BadRequestError, 1, "S1-request"),
    *of(AuthenticationError, 1, "S1-key"),
    *of(APIStatusError, 1, "S2", match="fault_error"),
    *of(APIStatusError, 1, "S2-shape", match="out of order"),
    *of(ProtocolError, 2, "S2-text", "S13", "S13-no-object", "S13-no-type", "S14", "S14-deep", match="broken"),
    *of(ProtocolError, 2, "S7", "S9-all", match="second message"),
    *of(ProtocolError, 2, "S7-late", "S8-gap", "S9", match="out of order"),
    *of(ProtocolError, 2, "S8", "S8-closed", match="belongs to no open block"),
    *of(ProtocolError, 2, "S8-stop", match="not open"),
    *of(ProtocolError, 2, "S8-open", match="too early|out of order"),
    *of(ProtocolError, 2, "S8-index", "S10"),
    *of(ProtocolError, 2, "S10", "S13", "S14", "S14-deep", asked=U, match="no JSON"),
    *of(ProtocolError, 1, "S12", match="longer than"),
    *of(ProtocolError, 2, "S15-ids", asked=S + U, match="two tool_use blocks with one id"),
    *of(ProtocolError, 2, "S15-no-id", asked=S + U, match="id ''"),
]
HARMLESS = [name for name, row in BY_NAME.items() if isinstance(row, Damaged) and not row.lost]
# Where the decoder of httpx fails, its own generators stay unfinished, and trio warns of them.
BROKEN_GZIP = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")


# Those that never fall silent: each piece takes its time.
DRIPPING = {"T10", "T10-comments", "T11", "T11-error"}


@asynccontextmanager
async def meeting(case: Case, emulator: Emulator, seen: list[Event], **options: Any) -> AsyncGenerator[Client]:
    """A client, for which the limit of the case is over once it waits for what does not come."""
    http = {"http": httpx.AsyncClient(transport=SlowHTTP())} if case.name in DRIPPING else {}

    async def time_passes() -> None:
        await until(lambda: bool(seen if case.name == "T10-silence" and case.timeouts == STALL else emulator.requests))
        await settle()
        jump()

    async with (
        client_for("own", emulator.url, timeouts=case.timeouts, **http, **options) as client,
        anyio.create_task_group() as group,
    ):
        if case.timeouts != Timeouts() and not http:
            group.start_soon(time_passes)
        yield client


def params(cases: list[Case]) -> Iterator[Any]:
    for case in cases:
        marks = BROKEN_GZIP if case.name in ("T16-broken", "H12-gzip") else ()
        for asked in case.asked:
            yield pytest.param(case, asked, id=case.name + ("" if asked.stream else "-whole"), marks=marks)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(("case", "asked"), [*params(CASES)])
@BACKENDS
async def test_fault_that_stays(case: Case, asked: Request) -> None:
    seen: list[Event] = []
    slow = case.timeouts != Timeouts()
    requests, policy = (1, replace(QUICK, max_attempts=1)) if slow else (case.requests, QUICK)
    with Emulator(faults=fault(case.name, times=None), script=call, pace=0) as emulator:
        async with meeting(case, emulator, seen, retry=policy) as client:
            with pytest.raises(APIError, match=case.match) as caught:
                await send(client, asked, into=seen)
    assert type(caught.value) is case.raised
    assert caught.value.attempts == len(emulator.requests) == requests
    assert caught.value.retryable or case.requests == 1
    assert not any(isinstance(event, TurnEnd) for event in seen)
    assert KEY not in shown(caught.value)


# A whole reply has one clock, which would end the second attempt too.
PASSING = [case for case in CASES if case.requests > 1 and case.timeouts != REPLY]


@pytest.mark.anyio
@pytest.mark.parametrize(("case", "asked"), [*params(PASSING)])
@BACKENDS
async def test_fault_that_passes(case: Case, asked: Request) -> None:
    """The same request gets the same reply, whole: the script has one step, and it is used once."""
    seen: list[Event] = []
    with Emulator(faults=fault(case.name), script=[call], pace=0) as emulator:
        async with meeting(case, emulator, seen) as client:
            await send(client, asked, into=seen)
    assert [event.attempt for event in seen if isinstance(event, Retry)] == [1]
    end = seen[-1]
    assert isinstance(end, TurnEnd)
    assert [block["type"] for block in end.message["content"]] == ["thinking", "text", "tool_use"]
    assert end.message["content"][1]["text"] == ANSWER
    assert end.message["content"][2]["input"] == {"a": 1, "b": 2}


@pytest.mark.anyio
@pytest.mark.parametrize("name", HARMLESS)
async def test_what_is_no_fault_changes_nothing(name: str) -> None:
    async def said(*faults: Any) -> tuple[str, list[Event]]:
        with Emulator(faults=faults, script=call, pace=0) as emulator:
            async with client_for("own", emulator.url) as client:
                seen = await send(client, ASKED)
        end = seen[-1]
        assert isinstance(end, TurnEnd)
        assert isinstance(end.message.pop("usage"), dict)
        return json.dumps(end.message), seen

    plain, _ = await said()
    faulty, seen = await said(fault(name))
    assert faulty == plain
    assert not any(isinstance(event, Retry) for event in seen)
    assert "".join(event.text for event in seen if isinstance(event, TextDelta)) == ANSWER


def test_every_fault_is_met_somewhere() -> None:
    made = {name for name, row in BY_NAME.items() if not isinstance(row, Unmade)}
    elsewhere = {"S4", "S6", *(f"S{number}" for number in range(15, 29))}
    assert made == {case.name for case in CASES} | set(HARMLESS) | elsewhere
    rows = {name.partition("-")[0] for name in BY_NAME}
    assert rows == {f"{letter}{at}" for letter, last in (("H", 16), ("T", 16), ("S", 28)) for at in range(1, last + 1)}
    assert all(about and "\n" not in about for about in FAULTS.values())
