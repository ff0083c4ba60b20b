"""Message batches: what is checked before sending, what is read while it arrives, and waiting for the end."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Json, Raw, ScriptedServer, error, reply, text
from sending import HTTP, client_for

from agentkit import batches
from agentkit.batches import Batch, BatchOutcome, Unanswered
from agentkit.client import Client
from agentkit.errors import (
    APIConnectionError,
    APIStatusError,
    BadRequestError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    ProtocolError,
    StreamTruncated,
)
from agentkit.messages import encode

pytestmark = pytest.mark.anyio
http_kinds = pytest.mark.parametrize("kind", HTTP)
PARAMS = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-22T10:00:00Z",
    "expires_at": "2026-11-23T10:00:00Z",
    "ended_at": None,
    "results_url": None,
}
ENDED = {**BATCH, "processing_status": "ended", "ended_at": "2026-11-22T10:05:00Z"}
HELLO = reply(text("Hello"))
REFUSED = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}, "request_id": "req_7"}
RESULTS = [
    {"custom_id": "b", "result": {"type": "succeeded", "message": HELLO}},
    {"custom_id": "a", "result": {"type": "errored", "error": REFUSED}},
    {"custom_id": "c", "result": {"type": "canceled"}},
    {"custom_id": "d", "result": {"type": "expired"}},
    {"custom_id": "e", "result": {"type": "postponed", "until": "later"}},
]


def jsonl(*results: Any) -> bytes:
    return b"".join(encode(result) + b"\n" for result in results)


def refusal(requests: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        batches._body(requests)
    return str(caught.value)


async def outcomes(client: Client, batch_id: str = "msgbatch_1") -> dict[str, BatchOutcome]:
    return {custom_id: outcome async for custom_id, outcome in client.batches.results(batch_id)}


async def collect(client: Client, found: list[str]) -> None:
    async for custom_id, _ in client.batches.results("msgbatch_1"):
        found.append(custom_id)


# Making one


@http_kinds
async def test_create(kind: str) -> None:
    with ScriptedServer([Json(BATCH)]) as server:
        async with client_for(kind, server.url) as client:
            made = await client.batches.create({"a": PARAMS, "ü" * 64: {**PARAMS, "stream": False}}, betas=["x-1"])
    assert (made.id, made.processing_status, made.ended, made.raw) == ("msgbatch_1", "in_progress", False, BATCH)
    assert (made.created_at, made.expires_at, made.ended_at) == (BATCH["created_at"], BATCH["expires_at"], None)
    assert made.request_counts == BATCH["request_counts"]
    request = server.requests[0]
    assert (request.method, request.path, request.headers["anthropic-beta"]) == ("POST", "/v1/messages/batches", "x-1")
    assert request.json == {
        "requests": [
            {"custom_id": "a", "params": PARAMS},
            {"custom_id": "ü" * 64, "params": {**PARAMS, "stream": False}},
        ]
    }


async def test_a_batch_is_never_made_twice() -> None:
    with ScriptedServer([error(500, "api_error")]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(InternalServerError):
                await client.batches.create({"a": PARAMS})
        server.assert_done()


def test_a_large_one_is_sent_in_slabs() -> None:
    long = {**PARAMS, "messages": [{"role": "user", "content": "x" * 300_000}]}
    parts = batches._body({str(number): long for number in range(10)})
    assert len(parts) == 3
    sent = json.loads(b"".join(parts))["requests"]
    assert [request["custom_id"] for request in sent] == [str(number) for number in range(10)]
    assert all(request["params"] == long for request in sent)


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ({}, "a batch has 1 to 100,000 requests, and this one 0"),
        (dict.fromkeys(map(str, range(100_001)), PARAMS), "and this one 100,001"),
        ([PARAMS], "a batch is given as a dict"),
        ({"": PARAMS}, "request '' can't go in a batch: its id must be text of 1 to 64 characters"),
        ({"x" * 65: PARAMS}, "its id must be text of 1 to 64"),
        ({3: PARAMS}, "request '3' can't go in a batch: its id must be text"),
        ({"a": PARAMS, "b": "Hello"}, "request 'b' can't go in a batch: its body must be a dict, not str"),
        ({"a": {**PARAMS, "stream": True}}, "request 'a' can't go in a batch: nothing is streamed there"),
        ({"a": {**PARAMS, "max_tokens": 0}}, "max_tokens 0 only fills the prompt cache"),
        ({"a": {**PARAMS, "fallbacks": "default"}}, "there are no fallbacks in batches"),
        ({"a": {**PARAMS, "metadata": object()}}, "can't be sent as JSON"),
    ],
)
def test_what_is_refused_before_sending(requests: Any, text: str) -> None:
    assert text in refusal(requests)


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_MOST_BYTES", 1000)
    told = refusal({str(number): PARAMS for number in range(20)})
    assert told.startswith("a batch has at most 1,000 bytes, and request 9 of 20 is past that")


# Looking at one


async def test_get_cancel_delete() -> None:
    deleted = {"id": "msgbatch_1", "type": "message_batch_deleted"}
    with ScriptedServer([Json(ENDED), Json({**BATCH, "processing_status": "canceling"}), Json(deleted)]) as server:
        async with client_for("own", server.url) as client:
            found = await client.batches.get("msgbatch_1")
            assert (found.ended, found.ended_at) == (True, ENDED["ended_at"])
            assert (await client.batches.cancel("msgbatch_1")).processing_status == "canceling"
            assert await client.batches.delete("msgbatch_1") is None  # type: ignore[func-returns-value]
    path = "/v1/messages/batches/msgbatch_1"
    shown = [(request.method, request.path) for request in server.requests]
    assert shown == [("GET", path), ("POST", f"{path}/cancel"), ("DELETE", path)]


async def test_list_over_pages() -> None:
    pages = [
        {"data": [{**BATCH, "id": "msgbatch_2"}], "has_more": True, "last_id": "msgbatch_2"},
        {"data": [BATCH], "has_more": False},
    ]
    with ScriptedServer([Json(page) for page in pages]) as server:
        async with client_for("own", server.url) as client:
            assert [batch.id async for batch in client.batches.list()] == ["msgbatch_2", "msgbatch_1"]
    assert server.requests[1].path == "/v1/messages/batches?limit=100&after_id=msgbatch_2"


async def test_wait_until_the_end() -> None:
    seen: list[Batch] = []
    with ScriptedServer([Json(BATCH), error(529, "overloaded_error"), Json(BATCH), Json(ENDED)]) as server:
        async with client_for("own", server.url) as client:
            ended = await client.batches.wait("msgbatch_1", poll=0.001, progress=seen.append)
        server.assert_done()
    assert ended.ended
    assert [batch.ended for batch in seen] == [False, False, True]


@pytest.mark.parametrize("answer", [[], {}, {"id": 3}, "batch"])
async def test_no_batch(answer: Any) -> None:
    with ScriptedServer([Json(answer)]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(ProtocolError, match="no message batch"):
                await client.batches.get("msgbatch_1")


# Its results


@http_kinds
@pytest.mark.parametrize("chunk", [None, 1, 7])
async def test_results(kind: str, chunk: int | None) -> None:
    with ScriptedServer([Raw(200, {}, jsonl(*RESULTS), chunk=chunk)]) as server:
        async with client_for(kind, server.url) as client:
            found = await outcomes(client)
    assert server.requests[0].path == "/v1/messages/batches/msgbatch_1/results"
    assert list(found) == ["b", "a", "c", "d", "e"]
    assert found["b"] == HELLO
    refused = found["a"]
    assert isinstance(refused, BadRequestError)
    assert (refused.message, refused.type, refused.request_id) == ("no", "invalid_request_error", "req_7")
    assert [found[name].type for name in "cde"] == ["canceled", "expired", "postponed"]  # type: ignore[union-attr]
    assert found["e"] == Unanswered("postponed", {"type": "postponed", "until": "later"})


async def test_each_result_as_it_arrives() -> None:
    """The first is here long before the last; leaving early closes the connection."""
    body = jsonl(RESULTS[0], RESULTS[1])
    with ScriptedServer([Raw(200, {}, body, cut=len(body) - 5, end="stall")]) as server:
        async with client_for("own", server.url) as client, aclosing(client.batches.results("msgbatch_1")) as results:
            assert await anext(results) == ("b", HELLO)


@pytest.mark.parametrize("end", ["clean", "close", "reset"])
async def test_results_that_end_early(end: Any) -> None:
    body = jsonl(*RESULTS[:2])
    with ScriptedServer([Raw(200, {}, body, cut=len(body) - 9, end=end)]) as server:
        async with client_for("own", server.url) as client:
            found: list[str] = []
            with pytest.raises(StreamTruncated) as caught:
                await collect(client, found)
    assert found == ["b"] or end == "reset"
    assert isinstance(caught.value, APIConnectionError)


async def test_a_last_line_without_its_end() -> None:
    with ScriptedServer([Raw(200, {}, jsonl(*RESULTS)[:-1])]) as server:
        async with client_for("own", server.url) as client:
            assert len(await outcomes(client)) == 5


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"{}", b"<html>", b'{"custom_id": "a", "result": {"type": "succeeded"}}']
)
async def test_lines_that_are_no_results(line: bytes) -> None:
    with ScriptedServer([Raw(200, {"request-id": "req_8"}, line + b"\n" + jsonl(RESULTS[0]))]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(ProtocolError, match="a line of the results is none") as caught:
                await outcomes(client)
    assert caught.value.request_id == "req_8"


async def test_there_are_no_results_yet() -> None:
    text = "Message Batch msgbatch_1 has no available results."
    with ScriptedServer([error(404, "not_found_error", text)]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(NotFoundError, match="has no available results"):
                await outcomes(client)


@given(body=st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\n")), cuts=st.lists(st.integers(0, 60)))
async def test_lines_are_the_same_however_they_arrive(body: bytes, cuts: list[int]) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
        for start, end in pairwise(places):
            yield body[start:end]

    found = [line async for line in batches._lines(chunks())]
    assert [line for line, _ in found] == body.split(b"\n")
    assert [complete for _, complete in found] == [True] * body.count(b"\n") + [False]


async def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_REPLY_BYTES", 10_000)
    with ScriptedServer([Raw(200, {}, b"x" * 100_000)]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(ProtocolError, match="longer than 10000 bytes"):
                await outcomes(client)


async def test_memory_does_not_grow_with_the_results() -> None:
    """40 MB of results need less than 4 MB."""
    message = reply(text("y" * 20_000))

    async def chunks() -> AsyncGenerator[bytes]:
        for number in range(2_000):
            yield jsonl({"custom_id": str(number), "result": {"type": "succeeded", "message": message}})

    tracemalloc.start()
    try:
        count = 0
        async for line, complete in batches._lines(chunks()):
            count += bool(line) and batches._result(line, complete)[1] is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (count, peak < 4_000_000) == (2_000, True)


def test_an_error_is_an_api_error() -> None:
    assert isinstance(batches._outcome({"type": "errored", "error": REFUSED}), APIStatusError)
