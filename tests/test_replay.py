"""The recordings through the whole client over loopback: every reply is served again, whole and cut at many places.

`pytest -s tests/test_replay.py` prints the counts.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
import recordings as recorded
from clock import BACKENDS, stopped
from scripted import Raw, ScriptedServer
from sending import QUICK, asked, client_for, send

from agentkit.client import Client
from agentkit.errors import (
    APIError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    StreamTruncated,
    TranscriptError,
)
from agentkit.events import Event, InputDelta, TextDelta, ThinkingDelta, TurnEnd
from agentkit.loop import begin
from agentkit.messages import Usage
from agentkit.request import Request
from agentkit.retry import RetryBudget
from agentkit.settings import Limits, RetryPolicy
from agentkit.step import Answer, CallModel, next_step
from agentkit.transcript import Transcript

pytestmark = [pytest.mark.recordings, pytest.mark.anyio]

Exchange = dict[str, Any]
ONCE = RetryPolicy(max_attempts=1)
_OWN_FIELDS = {"model", "max_tokens", "system", "tools", "stream", "messages"}


@pytest.fixture(autouse=True)
def _budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = RetryBudget()
    for _ in range(1000):  # requests that went well, so that there is enough for a retry of each stream
        budget.earn()
    monkeypatch.setattr("agentkit.client._budget", budget)


def summary(title: str, counts: Counter[str]) -> None:
    """Prints what was counted."""
    print(f"\n{title}: {sum(counts.values())}")
    for what, count in counts.most_common():
        print(f"  {count:5} {what}")


def request_of(body: dict[str, Any]) -> Request:
    """The recorded request, as agentkit's."""
    params = {name: value for name, value in body.items() if name not in _OWN_FIELDS}
    tools, streamed = tuple(body.get("tools") or ()), bool(body.get("stream"))
    return Request(body["model"], body["max_tokens"], body.get("system"), tools, streamed, params)


def transcript_of(body: dict[str, Any]) -> Transcript:
    """A transcript whose next step is to send the recorded messages."""
    transcript = Transcript()
    begin(transcript, "r", body["messages"])
    while isinstance(step := next_step(transcript, Limits(), 0.0), Answer):
        transcript.answer()
    assert isinstance(step, CallModel)
    return transcript


def written_alike(body: dict[str, Any]) -> dict[str, Any]:
    """A body as agentkit writes it: texts are blocks, neighbours of one role are one message, defaults are left out."""
    messages: list[dict[str, Any]] = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
        if messages and messages[-1]["role"] == message["role"]:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": message["role"], "content": [*blocks]})
    rest = {name: value for name, value in body.items() if value not in ([], False) or name not in ("tools", "stream")}
    return {**rest, "messages": messages}


def first_reply(sse: str) -> list[dict[str, Any]]:
    """The events up to the first `message_stop`, read in another way than by agentkit."""
    found = []
    for line in sse.splitlines():
        if line.startswith("data: {"):
            found.append(json.loads(line[6:]))
            if found[-1]["type"] == "message_stop":
                return found
    raise AssertionError("the recorded stream is cut")


def check_streamed(events: list[Event], message: dict[str, Any], wire: list[dict[str, Any]]) -> None:
    """Every block, piece and count of the recorded stream has arrived."""
    deltas = [event["delta"] for event in wire if event["type"] == "content_block_delta"]
    for kind, piece, shown in (
        ("text_delta", "text", TextDelta),
        ("thinking_delta", "thinking", ThinkingDelta),
        ("input_json_delta", "partial_json", InputDelta),
    ):
        sent = [delta[piece] for delta in deltas if delta["type"] == kind]
        assert [getattr(event, piece) for event in events if isinstance(event, shown)] == sent
    starts = [event["content_block"] for event in wire if event["type"] == "content_block_start"]
    assert [block["type"] for block in message["content"]] == [block["type"] for block in starts]
    assert [block.get("id") for block in message["content"]] == [block.get("id") for block in starts]
    texts = [str(block["text"]) for block in message["content"] if block["type"] == "text"]
    given = [str(block["text"]) for block in starts if block["type"] == "text"]
    pieces = [delta["text"] for delta in deltas if delta["type"] == "text_delta"]
    assert len("".join(texts)) == len("".join(given + pieces))
    [last] = [event for event in wire if event["type"] == "message_delta"][-1:]
    assert message["stop_reason"] == last["delta"]["stop_reason"] is not None
    assert message["usage"]["output_tokens"] == last["usage"]["output_tokens"]
    assert Usage.from_wire(message["usage"]).input_tokens >= 0


async def replayed(client: Client, exchange: Exchange, requests: list[Any]) -> str:
    """Sends a recorded request, gets the recorded reply, compares both; how it went."""
    body = exchange["request_body"]
    streamed = bool(exchange["response_sse"])
    if body:
        request, transcript = request_of(body), transcript_of(body)
    else:
        request, transcript = Request("claude-sonnet-4-6", 1000, stream=streamed), asked()
    events = await send(client, request, transcript)
    end = events[-1]
    assert isinstance(end, TurnEnd)
    if streamed:
        check_streamed(events, end.message, first_reply(exchange["response_sse"]))
    else:
        assert end.message == exchange["response_body"]
    assert end.stop_reason == end.message["stop_reason"] is not None
    if not body:
        return "accepted, for a request of ours: none was recorded"
    assert written_alike(requests[-1].json) == written_alike(body)
    if streamed and not exchange["response_sse"].endswith("\n\n"):
        return "accepted, streamed, with the last empty line put back"
    return "accepted, streamed" if streamed else "accepted, whole"


@pytest.mark.slow
@BACKENDS
async def test_every_successful_exchange_is_accepted() -> None:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    current: list[Exchange] = [{}]
    with ScriptedServer(lambda _: replayed_body(current[0])) as server:
        async with client_for("own", server.url, retry=ONCE) as client:
            for exchange in recorded.messages():
                current[0] = exchange
                try:
                    with stopped():  # on a busy machine the end of a body may come too late to keep its connection
                        how = await replayed(client, exchange, server.requests)
                except (APIError, TranscriptError, AssertionError) as failure:
                    how = f"{type(failure).__name__}: {failure}"[:150]
                    wrong.append(f"{exchange['id']}: {how}")
                counts[how] += 1
        connections = {request.connection for request in server.requests}
    others = [exchange for exchange in recorded.exchanges() if exchange["status"] == 200][len(recorded.messages()) :]
    summary("Successful exchanges", counts)
    print(f"  {len(others):5} are of another endpoint, or have no reply: not sent")
    assert not wrong, "\n".join(wrong[:20])
    assert sum(counts.values()) == len(recorded.messages()) > 0
    assert len(connections) == 1


def replayed_body(exchange: Exchange) -> Raw:
    """The recorded response; six fixtures are text files that lost the empty line after their last event."""
    served = recorded.replay(exchange)
    body = bytes(served.body)  # type: ignore[arg-type]
    if exchange["response_sse"] and not body.endswith(b"\n\n"):
        body = body.rstrip(b"\n") + b"\n\n"
    return Raw(served.status, served.headers, body)


async def test_every_recorded_error_is_of_its_class() -> None:
    classes = {400: BadRequestError, 401: AuthenticationError, 404: NotFoundError, 429: RateLimitError}
    counts: Counter[str] = Counter()
    current: list[Exchange] = [{}]
    with ScriptedServer(lambda _: recorded.replay(current[0])) as server:
        async with client_for("own", server.url, retry=ONCE) as client:
            for exchange in (exchange for exchange in recorded.exchanges() if exchange["status"] >= 400):
                current[0] = exchange
                with pytest.raises(APIStatusError) as caught:
                    await send(client)
                failure, body = caught.value, exchange["response_body"]
                assert type(failure) is classes[exchange["status"]]
                assert (failure.message, failure.type) == (body["error"]["message"], body["error"]["type"])
                headers = {name.lower(): value for name, value in exchange["response_headers"].items()}
                assert failure.request_id == headers.get("request-id", body.get("request_id"))
                assert failure.retryable == (exchange["status"] == 429)
                counts[f"{exchange['status']} {type(failure).__name__}"] += 1
    summary("Recorded errors", counts)
    assert sum(counts.values()) == sum(exchange["status"] != 200 for exchange in recorded.exchanges()) > 0


# Cut streams


@cache
def small_streams() -> tuple[Exchange, ...]:
    """The smallest stream of each mix of blocks and stop reason, 20 in all."""
    by_mix: dict[object, Exchange] = {}
    others = []
    for exchange in sorted(recorded.streams(), key=lambda exchange: len(exchange["response_sse"])):
        kinds = re.findall(r'"type":\s*"(\w+(?:_tool_result|tool_use|text|thinking))"', exchange["response_sse"])
        stop = re.findall(r'"stop_reason":\s*"(\w+)"', exchange["response_sse"])
        mix = (frozenset(kinds), *stop)
        if "message_stop" in exchange["response_sse"] and by_mix.setdefault(mix, exchange) is not exchange:
            others.append(exchange)
    return tuple([*by_mix.values(), *others][:20])


def end_of(body: bytes) -> int:
    """Where the first reply is complete: after the empty line that ends its `message_stop`."""
    found = re.search(rb'data: \{"type":\s*"message_stop"[^\n]*\n\n', body)
    assert found
    return found.end()


def cuts_of(body: bytes, more: int, seed: int) -> Iterable[int]:
    """All borders of events, and some places between; all before the reply is complete."""
    end = end_of(body)
    borders = [at.end() for at in re.finditer(rb"\n\n", body[:end])][:-1]
    anywhere = random.Random(seed).sample(range(end), min(more, end))
    return sorted({0, end - 1, *borders, *anywhere})


@pytest.mark.slow
async def test_no_prefix_of_a_stream_is_an_answer(anyio_backend: str) -> None:
    counts: Counter[str] = Counter()
    current: list[Any] = [None]
    rng = random.Random(1)
    with ScriptedServer(lambda _: current[0]) as server:
        async with client_for("own", server.url, retry=ONCE) as client:
            for number, exchange in enumerate(small_streams()):
                served = replayed_body(exchange)
                body = bytes(served.body)  # type: ignore[arg-type]
                for cut in cuts_of(body, 60 if anyio_backend == "asyncio" else 5, number):
                    ending = rng.choice(["clean", "clean", "clean", "eof", "close"])
                    current[0] = Raw(served.status, served.headers, body, cut=cut, end=ending)  # type: ignore[arg-type]
                    seen: list[Event] = []
                    with pytest.raises(StreamTruncated):
                        await send(client, into=seen)
                    assert not any(isinstance(event, TurnEnd) for event in seen)
                    counts[f"raised, {'nothing' if not seen else 'part of it'} was shown"] += 1
                current[0] = Raw(served.status, served.headers, body)
                assert isinstance((await send(client))[-1], TurnEnd)
    summary(f"Prefixes of {len(small_streams())} streams ({anyio_backend})", counts)
    assert len(small_streams()) == 20


async def test_cut_stream_is_asked_for_again() -> None:
    """The reply that counts is the whole one, and nothing of the cut one is in it."""
    with ScriptedServer(lambda _: current.pop(0)) as server:
        async with client_for("own", server.url, retry=QUICK) as client:
            for number, exchange in enumerate(small_streams()):
                served = replayed_body(exchange)
                body = bytes(served.body)  # type: ignore[arg-type]
                cut = random.Random(number).randrange(end_of(body))
                current = [Raw(served.status, served.headers, body, cut=cut), served, served]
                cut_first, whole = (await send(client))[-1], (await send(client))[-1]
                assert isinstance(cut_first, TurnEnd)
                assert isinstance(whole, TurnEnd)
                assert cut_first.message == whole.message
