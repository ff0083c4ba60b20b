"""Batches and files of the emulator, through a `Client` and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from talking import HEADERS

from agentkit.client import Client
from agentkit.emulator import Corpus, Emulator, reply, server_result, server_tool_use
from agentkit.emulator.resources import batches, files
from agentkit.errors import APIStatusError, BadRequestError, ContentTooLargeError, NotFoundError

pytestmark = pytest.mark.anyio
PARAMS = {"model": "claude-sonnet-4-6", "max_tokens": 500, "messages": [{"role": "user", "content": "Hello"}]}
BAD = {**PARAMS, "max_tokens": -1}


@pytest.fixture
def own(corpus: Corpus) -> Iterator[Emulator]:
    """An emulator whose time a test may change."""
    with Emulator(corpus=corpus, pace=0) as serving:
        yield serving


@pytest.fixture
def client(own: Emulator) -> Client:
    return Client(base_url=own.url, api_key="any")


async def outcomes(client: Client, batch_id: str) -> dict[str, Any]:
    return {custom_id: outcome async for custom_id, outcome in client.batches.results(batch_id)}


def refusal(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["message"]


# Batches


async def test_a_batch_from_end_to_end(client: Client) -> None:
    async with client:
        made = await client.batches.create({"good": PARAMS, "bad": BAD, "lost": {**PARAMS, "model": "gpt"}})
        assert (made.ended, made.request_counts["processing"]) == (False, 3)
        with pytest.raises(NotFoundError, match=f"Message Batch {made.id} has no available results"):
            await outcomes(client, made.id)
        ended = await client.batches.wait(made.id, poll=0.01)
        counts = {"processing": 0, "succeeded": 1, "errored": 2, "canceled": 0, "expired": 0}
        assert (ended.ended, ended.request_counts) == (True, counts)
        assert ended.raw["results_url"].endswith(f"/v1/messages/batches/{made.id}/results")
        found = await outcomes(client, made.id)
        await client.batches.delete(made.id)
        with pytest.raises(NotFoundError):
            await client.batches.get(made.id)
    assert found["good"]["type"] == "message"
    assert found["good"]["stop_reason"] == "end_turn"
    assert found["good"]["usage"]["service_tier"] == "batch"
    assert isinstance(found["bad"], BadRequestError)
    assert found["bad"].message.startswith("max_tokens: ")
    assert isinstance(found["lost"], NotFoundError)
    assert all(found[name].request_id.startswith("req_01") for name in ("bad", "lost"))


async def test_cancelling(client: Client) -> None:
    async with client:
        made = await client.batches.create({"a": PARAMS, "b": PARAMS})
        with pytest.raises(BadRequestError, match="still in progress"):
            await client.batches.delete(made.id)
        cancelled = await client.batches.cancel(made.id)
        assert (cancelled.processing_status, cancelled.raw["cancel_initiated_at"] is None) == ("canceling", False)
        ended = await client.batches.get(made.id)
        assert (ended.ended, ended.request_counts["canceled"]) == (True, 2)
        assert [outcome.type for outcome in (await outcomes(client, made.id)).values()] == ["canceled"] * 2
        assert (await client.batches.cancel(made.id)).ended  # too late, and no error


async def test_what_is_not_answered_in_a_day_expires(own: Emulator, client: Client) -> None:
    async with client:
        made = await client.batches.create({"a": PARAMS})
        own.advance(86_400)
        ended = await client.batches.get(made.id)
        assert ended.request_counts["expired"] == 1
        assert (await outcomes(client, made.id))["a"].type == "expired"


async def test_a_batch_is_worked_on_as_long_as_a_look_takes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_WORK_SECONDS", 0.02)
    async with client:
        made = await client.batches.create({str(number): PARAMS for number in range(300)})
        seen: list[int] = []
        ended = await client.batches.wait(made.id, poll=0, progress=lambda batch: seen.append(batch.ended))
    assert len(seen) > 2
    assert ended.request_counts["succeeded"] == 300


async def test_listing(client: Client) -> None:
    async with client:
        made = [(await client.batches.create({"a": PARAMS})).id for _ in range(3)]
        assert [batch.id async for batch in client.batches.list()] == made[::-1]
        ask = client.endpoint.ask
        first = await ask("GET", "/v1/messages/batches?limit=2")
        assert ([item["id"] for item in first["data"]], first["has_more"]) == (made[:0:-1], True)
        rest = await ask("GET", f"/v1/messages/batches?after_id={first['last_id']}")
        assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (made[:1], False)
        before = await ask("GET", f"/v1/messages/batches?before_id={made[0]}")
        assert [item["id"] for item in before["data"]] == made[:0:-1]


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ([], "requests: List should have at least 1 item"),
        ("a", "requests: List should have at least 1 item"),
        ([3], "requests.0.custom_id: String should have 1 to 64 characters"),
        ([{"custom_id": "x" * 65, "params": {}}], "requests.0.custom_id: String"),
        ([{"custom_id": "x", "params": 3}], "requests.0.params: Input should be an object"),
        ([{"custom_id": "x", "params": {}}] * 2, "requests.1.custom_id: custom_id must be unique"),
    ],
)
def test_batches_that_are_refused(own: Emulator, requests: Any, text: str) -> None:
    reply = httpx.post(f"{own.url}/v1/messages/batches", json={"requests": requests}, headers=HEADERS)
    status, message = refusal(reply)
    assert (status, message.startswith(text)) == (400, True)


def test_what_goes_in_no_batch(own: Emulator) -> None:
    """The client would not send it; the API finds it when it looks at the params."""
    wrong = {"stream": {"stream": True}, "zero": {"max_tokens": 0}, "hops": {"fallbacks": "default"}}
    requests = [{"custom_id": name, "params": PARAMS | more} for name, more in wrong.items()]
    with httpx.Client(base_url=own.url, headers=HEADERS) as http:
        made = http.post("/v1/messages/batches", json={"requests": requests}).json()
        assert http.get(f"/v1/messages/batches/{made['id']}").json()["request_counts"]["errored"] == 3


def test_no_json_and_no_key(own: Emulator) -> None:
    url = f"{own.url}/v1/messages/batches"
    assert refusal(httpx.post(url, content=b"{", headers=HEADERS))[1].startswith("The request body is not valid JSON")
    assert refusal(httpx.post(url, json={})) == (401, "invalid x-api-key")
    for path in ("", "/msgbatch_1", "/msgbatch_1/results"):
        assert httpx.get(url + path).status_code == 401
    for path in ("/v1/files", "/v1/files/a", "/v1/files/a/content"):
        assert httpx.get(own.url + path).status_code == 401


# Files


async def test_a_file_from_end_to_end(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) + b"\r\n--x\r\n\r\n")
    async with client:
        made = await client.files.upload(path)
        assert (made.filename, made.mime_type, made.size_bytes) == ("a.bin", "application/octet-stream", 265)
        assert not made.downloadable
        assert await client.files.get(made.id) == made
        second = await client.files.upload(b"%PDF-1.7", filename="b.pdf")
        assert [file.id async for file in client.files.list()] == [second.id, made.id]
        with pytest.raises(BadRequestError, match="is not downloadable"):
            await anext(client.files.download(made.id))
        await client.files.delete(made.id)
        for again in (client.files.get(made.id), client.files.delete(made.id)):
            with pytest.raises(NotFoundError):
                await again


async def test_pages_of_files(client: Client) -> None:
    async with client:
        made = [(await client.files.upload(b"x", filename=f"{n}")).id for n in range(3)]
        first = await client.endpoint.ask("GET", "/v1/files?limit=2")
        rest = await client.endpoint.ask("GET", f"/v1/files?limit=2&page={first['next_page']}")
        assert [item["id"] for item in first["data"] + rest["data"]] == made[::-1]
        assert rest["next_page"] is None
        named = await client.endpoint.ask("GET", f"/v1/files?ids[]={made[1]}&ids[]=file_none")
        assert [item["id"] for item in named["data"]] == [made[1]]
        assert [file.id async for file in client.files.list()] == made[::-1]


async def test_limits_of_files(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_BYTES", 100)
    monkeypatch.setattr(files, "_MOST_STORED_BYTES", 150)
    async with client:
        with pytest.raises(ContentTooLargeError):
            await client.files.upload(b"x" * 101, filename="a")
        with pytest.raises(ContentTooLargeError):
            await client.files.upload(b"x" * 70_000, filename="a")
        await client.files.upload(b"x" * 100, filename="a")
        with pytest.raises(APIStatusError, match="storage"):
            await client.files.upload(b"x" * 100, filename="a")


def test_forms_that_are_refused(own: Emulator) -> None:
    with httpx.Client(base_url=own.url, headers=HEADERS) as http:
        assert refusal(http.post("/v1/files", json={}))[1] == "The request body must be multipart/form-data"
        assert refusal(http.post("/v1/files", files={"other": b"x"})) == (400, "file: Field required")
        kept = http.post("/v1/files", data={"expires_in_seconds": "3600"}, files={"file": ("../x/a.txt", b"hi")}).json()
        assert (kept["filename"], kept["mime_type"], kept["size_bytes"]) == ("a.txt", "text/plain", 2)


def test_a_request_may_name_the_files_that_there_are(http: httpx.Client) -> None:
    with Emulator(script=lambda body: reply("ok"), pace=0) as emulator:
        kept = http.post(f"{emulator.url}/v1/files", files={"file": ("a.txt", b"hi", "text/plain")}).json()["id"]
        url = f"{emulator.url}/v1/messages"

        def status(block: dict[str, Any]) -> tuple[int, str]:
            content = [block, {"type": "text", "text": "What is it?"}]
            body = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
            answer = http.post(url, json=body)
            return answer.status_code, answer.json().get("error", {}).get("message", "")

        for name, wanted in ((kept, (200, "")), ("file_nope", (404, "File file_nope not found."))):
            assert status({"type": "document", "source": {"type": "file", "file_id": name}}) == wanted
            assert status({"type": "image", "source": {"type": "file", "file_id": name}}) == wanted
            assert status({"type": "container_upload", "file_id": name}) == wanted
        http.delete(f"{emulator.url}/v1/files/{kept}")
        assert status({"type": "container_upload", "file_id": kept})[0] == 404


def test_a_request_may_name_the_files_that_code_made(http: httpx.Client) -> None:
    made = {"stdout": "", "stderr": "", "return_code": 0}
    output = {"type": "code_execution_output", "file_id": "file_made"}
    script = [
        reply(server_tool_use("code_execution", code="x"), server_result({**made, "content": [output]})),
        reply("ok"),
    ]
    with Emulator(script=script, pace=0) as emulator:
        tool = {"type": "code_execution_20250825", "name": "code_execution"}
        body: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 9, "tools": [tool]}
        http.post(f"{emulator.url}/v1/messages", json={**body, "messages": [{"role": "user", "content": "Go"}]})
        named = [{"type": "container_upload", "file_id": "file_made"}]
        answer = http.post(
            f"{emulator.url}/v1/messages", json={**body, "messages": [{"role": "user", "content": named}]}
        )
        assert answer.status_code == 200, answer.text
