"""CometAPI, as far as it is documented: each parameter, event, stop reason, usage field, header and error.

Agents with `Client(provider="cometapi")` run against the emulator's dialect. Source: messages-api.md section 22.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from scripted import Raw, ScriptedServer
from sending import QUICK

from agentkit import Agent, Client, tool, web_fetch, web_search
from agentkit.emulator import Emulator, error, reply, server_result, server_tool_use, text, thinking, tool_use
from agentkit.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentTooLargeError,
    GatewayTimeoutError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceUnavailableError,
)
from agentkit.server_tools import code_execution

pytestmark = pytest.mark.anyio

MODEL = "claude-sonnet-4-6"
MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
NOTES = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "My notes."}}
HELLO = [{"role": "user", "content": "Hello"}]


@tool
def lookup(city: str) -> str:
    """Look a city up."""
    return f"{city}: sunny"


@asynccontextmanager
async def gateway(*script: Any, **options: Any) -> AsyncGenerator[tuple[Emulator, Client]]:
    """The dialect, and a client for it."""
    with Emulator(script=list(script), dialect="cometapi", pace=0) as emulator:
        settings = {"base_url": emulator.url, "api_key": "sk-comet", "provider": "cometapi", "retry": QUICK, **options}
        async with Client(**settings) as client:
            yield emulator, client


async def sent(prompt: Any = "Hello", *script: Any, model: str = MODEL, **options: Any) -> dict[str, Any]:
    """The first body that an agent with these options sends; the gateway accepts it and answers."""
    async with gateway(*(script or (reply("Hi."),))) as (emulator, client):
        result = await Agent(model, client=client, **options).run(prompt)
        assert result.finish.reason == "end_turn"
        return emulator.requests[0]


def post(emulator: Emulator, body: dict[str, Any], path: str = "/v1/messages", **headers: str) -> httpx.Response:
    known = {"x-api-key": "sk-comet", "anthropic-version": "2023-06-01"}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(emulator.url + path, json=body, headers=known | headers)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers)


def body_of(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": HELLO} | fields


# Parameters.


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        pytest.param({}, "model", MODEL, id="model"),
        pytest.param({"max_tokens": 1024}, "max_tokens", 1024, id="max_tokens"),
        pytest.param({"system": "Be brief."}, "system", "Be brief.", id="system as text"),
        pytest.param(
            {"system": [{"type": "text", "text": "Be brief.", **MARK}]},
            "system",
            [{"type": "text", "text": "Be brief.", **MARK}],
            id="system as blocks, cached",
        ),
        pytest.param({"temperature": 0.2}, "temperature", 0.2, id="temperature"),
        pytest.param({"top_p": 0.9}, "top_p", 0.9, id="top_p"),
        pytest.param({"top_k": 5}, "top_k", 5, id="top_k"),
        pytest.param({"stop_sequences": ["END"]}, "stop_sequences", ["END"], id="stop_sequences"),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "thinking",
            {"type": "enabled", "budget_tokens": 1024},
            id="thinking",
        ),
        pytest.param(
            {"tools": [lookup], "tool_choice": {"type": "auto"}}, "tool_choice", {"type": "auto"}, id="tool_choice auto"
        ),
        pytest.param(
            {"tools": [lookup], "tool_choice": {"type": "none"}}, "tool_choice", {"type": "none"}, id="tool_choice none"
        ),
        pytest.param({"metadata": {"user_id": "u-1"}}, "metadata", {"user_id": "u-1"}, id="metadata"),
        *(
            pytest.param({"effort": level}, "output_config", {"effort": level}, id=f"effort {level}")
            for level in ("low", "medium", "high", "max")
        ),
        pytest.param({"service_tier": "auto"}, "service_tier", "auto", id="service_tier auto"),
        pytest.param(
            {"service_tier": "standard_only"}, "service_tier", "standard_only", id="service_tier standard_only"
        ),
    ],
)
async def test_parameter(options: dict[str, Any], field: str, value: Any) -> None:
    assert (await sent(**options))[field] == value


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "lookup"}], ids=["any", "tool"])
async def test_forced_tool_choice(choice: dict[str, Any]) -> None:
    script = [reply(tool_use("lookup", city="Rome")), reply("Sunny.")]
    body = await sent("Hello", *script, tools=[lookup], tool_choice=choice)
    assert body["tool_choice"] == choice


async def test_stream() -> None:
    async with gateway(reply("Hi.")) as (emulator, client), Agent(MODEL, client=client).stream("Hello") as run:
        texts = [event.text async for event in run if event.type == "text_delta"]
    assert "".join(texts) == "Hi."
    assert emulator.requests[0]["stream"] is True


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (web_search(max_uses=2), "web_search_20250305"),
        (web_fetch(), "web_fetch_20250910"),
        (code_execution(), "code_execution_20250522"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_server_tool(made: Any, kind: str) -> None:
    """The versions that are documented are the ones that an agent picks for this provider."""
    assert (await sent(tools=[made]))["tools"][0]["type"] == kind


async def test_client_tool() -> None:
    definition = (await sent(tools=[lookup]))["tools"][0]
    assert set(definition) >= {"name", "description", "input_schema"}


@pytest.mark.parametrize(
    "block",
    [{"type": "text", "text": "Hello", **MARK}, PNG, NOTES],
    ids=["text, cached", "image", "document"],
)
async def test_content_block(block: dict[str, Any]) -> None:
    prompt = [block, {"type": "text", "text": "What is it?"}]
    assert (await sent(prompt))["messages"][0]["content"][0] == block


async def test_tool_use_and_tool_result_go_back() -> None:
    async with gateway(reply(tool_use("lookup", city="Rome")), reply("Sunny.")) as (emulator, client):
        await Agent(MODEL, tools=[lookup], client=client).run("How is Rome?")
    _, called, answered = emulator.requests[1]["messages"]
    assert [block["type"] for block in called["content"]] == ["tool_use"]
    (result,) = answered["content"]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", called["content"][0]["id"])


async def test_messages_alternate() -> None:
    """A run after a run sends two texts of the user in a row as one message, as the gateway demands."""
    async with gateway(reply("a"), reply("b")) as (emulator, client):
        agent = Agent(MODEL, client=client)
        await agent.run("two", after=await agent.run([*HELLO, {"role": "user", "content": "again"}]))
        roles = [message["role"] for message in emulator.requests[1]["messages"]]
    assert roles == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ("uu", 'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a'),
        ("uaau", 'but found multiple "assistant" roles in a row'),
        ("au", 'messages: first message must use the "user" role'),
        ("us", 'messages: Unexpected role "system"'),
    ],
)
async def test_history_that_does_not_alternate_is_refused(roles: str, said: str) -> None:
    names = {"u": "user", "a": "assistant", "s": "system"}
    async with gateway() as (emulator, _):
        refused = post(emulator, body_of(messages=[{"role": names[role], "content": "x"} for role in roles]))
    assert refused.status_code == 500
    assert refused.json()["error"]["code"] == "invalid_request"
    assert said in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"container": "container_1"},
        {"mcp_servers": []},
        {"context_management": {"edits": []}},
        {"compaction": {"type": "summarize"}},
        {"thread": {"type": "create"}},
        {"fallbacks": "default"},
        {"speed": "fast"},
        {"inference_geo": "us"},
        {"diagnostics": {"previous_message_id": None}},
        {"cache_control": {"type": "ephemeral"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        {"tools": [{"type": "web_search_20260318", "name": "web_search"}]},
        {"tools": [{"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_undocumented_field_is_blocked(fields: dict[str, Any]) -> None:
    async with gateway() as (emulator, _):
        refused = post(emulator, body_of(**fields))
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "comet_api_error")


async def test_blocked_field_is_told_apart() -> None:
    async with gateway() as (emulator, client):
        with pytest.raises(PermissionDeniedError, match="'inference_geo' is not allowed") as raised:
            await Agent(MODEL, extra_body={"inference_geo": "us"}, client=client).run("Hello")
    assert (raised.value.attempts, len(emulator.requests)) == (1, 1)


# Streaming.


@pytest.mark.parametrize(
    "kind",
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "text_delta",
        "input_json_delta",
        "thinking_delta",
        "signature_delta",
        "citations_delta",
    ],
)
async def test_event(kind: str) -> None:
    """Each arrives, and the run that they make is whole."""
    events: list[dict[str, Any]] = []

    def seen(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
        events.extend(made)
        return made

    cited = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "six"}
    first = reply(thinking("Hm."), text("six", citations=[cited]), tool_use("lookup", city="Rome"), events=seen)
    async with gateway(first, reply("Sunny.")) as (emulator, client):
        agent = Agent(MODEL, tools=[lookup], thinking={"type": "adaptive"}, client=client)
        async with agent.stream("How is Rome?") as run:
            assert [event async for event in run]
    kinds = [event["type"] for event in events]
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert kind in kinds + deltas
    assert "ping" not in kinds
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert run.result.text == "Sunny."
    assert [block["type"] for block in emulator.requests[1]["messages"][1]["content"]] == [
        "thinking",
        "text",
        "tool_use",
    ]


# Stop reasons.


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param([reply("Hi.")], "end_turn", id="end_turn"),
        pytest.param([reply("Hi", stop="max_tokens")], "max_tokens", id="max_tokens"),
        pytest.param([reply("Hi", stop="stop_sequence", stop_sequence="END")], "stop_sequence", id="stop_sequence"),
        pytest.param([reply(tool_use("lookup", city="Rome")), reply("Sunny.")], "end_turn", id="tool_use"),
        pytest.param(
            [reply(server_tool_use("web_search", query="a")), reply(server_result([]), "No.")],
            "end_turn",
            id="pause_turn",
        ),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_stop_reason(script: list[Any], reason: str, streamed: bool) -> None:
    async with gateway(*script) as (emulator, client):
        agent = Agent(MODEL, tools=[lookup, web_search()], client=client)
        if streamed:
            async with agent.stream("Hello") as run:
                assert [event async for event in run]
            result = run.result
        else:
            result = await agent.run("Hello")
        assert result.finish.reason == reason
        assert len(emulator.requests) == len(script)


# Usage.


@pytest.mark.parametrize(
    ("field", "count"),
    [("input_tokens", 12), ("output_tokens", 34), ("cache_creation_input_tokens", 56), ("cache_read_input_tokens", 78)],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_usage_count(field: str, count: int, streamed: bool) -> None:
    async with gateway(reply("Hi.", usage={field: count})) as (_, client):
        agent = Agent(MODEL, client=client)
        if streamed:
            async with agent.stream("Hello") as run:
                assert [event async for event in run]
            result = run.result
        else:
            result = await agent.run("Hello")
    assert getattr(result.usage, field) == count


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cache_creation", {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}),
        ("service_tier", "standard"),
    ],
)
async def test_usage_field_is_kept(field: str, value: Any) -> None:
    async with gateway(reply("Hi.", usage={field: value})) as (_, client):
        result = await Agent(MODEL, client=client).run("Hello")
    turns = [entry["message"] for entry in result.dump()["entries"] if entry.get("message")]
    assert turns[0]["usage"][field] == value


async def test_usage_has_the_documented_fields_alone() -> None:
    async with gateway(reply("Hi.")) as (emulator, _):
        message = post(emulator, body_of()).json()
    assert set(message["usage"]) == {
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "service_tier",
    }
    assert "stop_details" not in message


async def test_the_reply_may_name_another_model() -> None:
    async with gateway(reply("Hi.")) as (emulator, _):
        assert post(emulator, body_of(model="claude-sonnet-4-5")).json()["model"] == "claude-sonnet-4-5-20250929"


# Headers.


async def test_header_key_and_version() -> None:
    async with gateway(reply("Hi.")) as (emulator, client):
        await Agent(MODEL, client=client).run("Hello")
    (headers,) = emulator.headers
    assert "x-api-key" in headers
    assert "authorization" not in headers
    assert (headers["anthropic-version"], headers["content-type"]) == ("2023-06-01", "application/json")
    assert "anthropic-beta" not in headers


async def test_header_authorization() -> None:
    async with gateway(reply("Hi."), api_key=None, auth_token="sk-comet") as (emulator, client):
        await Agent(MODEL, client=client).run("Hello")
    assert "authorization" in emulator.headers[0]
    assert "x-api-key" not in emulator.headers[0]


async def test_header_version_is_pinned() -> None:
    async with gateway(reply("Hi.")) as (emulator, client):
        agent = Agent(MODEL, extra_headers={"anthropic-version": "2026-10-21"}, client=client)
        with pytest.raises(BadRequestError, match="2026-10-21"):
            await agent.run("Hello")
        assert post(emulator, body_of(), anthropic_version="2023-06-01").status_code == 200


@pytest.mark.parametrize(
    "beta", ["max-tokens-3-5-sonnet-2024-07-15", "pdfs-2024-09-25", "output-128k-2025-02-19", "one-to-come-2030-01-01"]
)
async def test_header_beta_passes(beta: str) -> None:
    async with gateway(reply("Hi.")) as (emulator, client):
        await Agent(MODEL, betas=[beta], client=client).run("Hello")
    assert emulator.headers[0]["anthropic-beta"] == beta


async def test_header_request_id_is_not_needed() -> None:
    async with gateway(reply("Hi."), error(403, "forbidden", "no")) as (emulator, client):
        assert "request-id" not in post(emulator, body_of()).headers
        with pytest.raises(PermissionDeniedError, match=r"\(request id: req_") as raised:
            await Agent(MODEL, client=client).run("Hello")
    assert raised.value.request_id is None


# The cache.


async def test_three_marks_of_ours_are_the_most() -> None:
    """The gateway sets one of its own, so that a fourth is one too many for its upstream."""
    marked = [{"type": "text", "text": "x", **MARK}] * 3
    assert len((await sent(marked))["messages"][0]["content"]) == 3
    async with gateway() as (_, client):
        with pytest.raises(APIError, match=r"A maximum of 4 blocks with cache_control may be provided\. Found 5\."):
            await Agent(MODEL, system=[{"type": "text", "text": "x", **MARK}], client=client).run(marked)


# Errors.


@pytest.mark.parametrize(
    ("step", "cls", "requests"),
    [
        pytest.param(error(400, "", "model: Field required"), BadRequestError, 1, id="400"),
        pytest.param(error(401, "", "invalid token"), AuthenticationError, 1, id="401"),
        pytest.param(error(403, "", "no access to this group"), PermissionDeniedError, 1, id="403"),
        pytest.param(error(404, "", "Invalid URL"), NotFoundError, 1, id="404"),
        pytest.param(error(413, "", "body too large"), ContentTooLargeError, 1, id="413"),
        pytest.param(error(429, "", "saturated", retry_after="0.001"), RateLimitError, 2, id="429"),
        pytest.param(error(500, "", "upstream"), InternalServerError, 2, id="500"),
        pytest.param(error(500, "invalid_request", "thinking: no"), InternalServerError, 1, id="500 invalid_request"),
        pytest.param(error(503, "", "no channel"), ServiceUnavailableError, 2, id="503"),
        pytest.param(error(504, "", "timeout"), GatewayTimeoutError, 2, id="504"),
        pytest.param(error(524, "", "timeout"), GatewayTimeoutError, 2, id="524"),
    ],
)
async def test_error(step: Any, cls: type[APIError], requests: int) -> None:
    """Each is its class, with the gateway's text; only those that may pass are sent again."""
    async with gateway(step, *[reply("Hi.")] * (requests - 1)) as (emulator, client):
        agent = Agent(MODEL, client=client)
        if requests > 1:
            assert (await agent.run("Hello")).text == "Hi."
        else:
            with pytest.raises(cls) as raised:
                await agent.run("Hello")
            assert raised.value.type == "comet_api_error"
            assert step.message in raised.value.message
            assert raised.value.retryable is False
    assert len(emulator.requests) == requests


async def test_error_shape() -> None:
    async with gateway(error(500, "invalid_request", "no")) as (emulator, _):
        body = post(emulator, body_of()).json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "type", "param"}
    assert (body["error"]["code"], body["error"]["type"], body["error"]["param"]) == (
        "invalid_request",
        "comet_api_error",
        "",
    )
    assert body["error"]["message"].startswith("no (request id: ")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        pytest.param({"max_tokens": "many"}, 400, "", id="a body of the wrong shape"),
        pytest.param({"messages": []}, 400, "", id="no messages"),
        pytest.param({"thinking": {"type": "enabled", "budget_tokens": 9}}, 500, "invalid_request", id="thinking"),
        pytest.param({"temperature": 0.5, "top_p": 0.5}, 500, "invalid_request", id="temperature and top_p"),
        pytest.param({"model": "gpt-x"}, 503, "model_not_found", id="a model of others"),
    ],
)
async def test_refused_body(fields: dict[str, Any], status: int, code: str) -> None:
    async with gateway() as (emulator, _):
        refused = post(emulator, body_of(model="claude-sonnet-4-5") | fields)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)


async def test_error_of_a_wrong_key() -> None:
    async with gateway(api_key="invalid") as (emulator, client):
        with pytest.raises(AuthenticationError, match=r"invalid token \(request id: "):
            await Agent(MODEL, client=client).run("Hello")
    assert emulator.requests == []


@pytest.mark.parametrize("path", ["/v1", "/elsewhere"], ids=["a redirect", "a page"])
async def test_error_of_a_wrong_path(path: str) -> None:
    """`base_url` may end in `/v1`; in `/v1/v1` it redirects, and elsewhere there is a web page."""
    with Emulator(script=[], dialect="cometapi", pace=0) as emulator:
        base_url = f"{emulator.url}{path}{path if path == '/v1' else ''}"
        async with Client(base_url=base_url, api_key="k", provider="cometapi", retry=QUICK) as client:
            with pytest.raises(ProtocolError, match="check base_url"):
                await Agent(MODEL, client=client).run("Hello")


async def test_base_url_may_end_in_v1() -> None:
    with Emulator(script=[reply("Hi.")], dialect="cometapi", pace=0) as emulator:
        async with Client(base_url=f"{emulator.url}/v1", api_key="k", provider="cometapi") as client:
            assert (await Agent(MODEL, client=client).run("Hello")).text == "Hi."


async def test_error_of_its_relatives() -> None:
    """The same gateway software elsewhere puts an Anthropic text into another shape."""
    body = '{"error":{"type":"<nil>","message":"prompt is too long (request id: 2026)"},"type":"error"}'
    with ScriptedServer([Raw(400, {"content-type": "application/json"}, body)]) as server:
        async with Client(base_url=server.url, api_key="k", provider="cometapi") as client:
            with pytest.raises(BadRequestError, match="prompt is too long"):
                await Agent(MODEL, client=client).run("Hello")


# Other routes.


async def test_models_are_listed_as_openai_does() -> None:
    async with gateway() as (emulator, _):
        listed = get(f"{emulator.url}/v1/models", authorization="Bearer k").json()
    assert listed["object"] == "list"
    assert {"id", "object", "created", "owned_by"} == set(listed["data"][0])
    assert MODEL in [model["id"] for model in listed["data"]]


async def test_tokens_are_not_counted() -> None:
    async with gateway() as (_, client):
        with pytest.raises(NotFoundError):
            await client.count_tokens(body_of())


async def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-comet")
    client = Client()
    assert (client.base_url, client.provider.name, client.provider.version) == (
        "https://api.cometapi.com",
        "cometapi",
        "2023-06-01",
    )
    monkeypatch.delenv("COMETAPI_KEY")
    with pytest.raises(ConfigurationError):
        Client(provider="cometapi")
