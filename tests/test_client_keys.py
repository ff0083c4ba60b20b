"""Whose key goes where, and that no key ever shows."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from scripted import Raw, ScriptedServer, Sse, error, reply, text
from sending import HTTP, KEY, REQUEST, client_for, http_client, send, shown

from agentkit.client import Client
from agentkit.errors import APIError, ConfigurationError
from agentkit.support import ANTHROPIC, COMETAPI

http_kinds = pytest.mark.parametrize("kind", HTTP)
HELLO = reply(text("Hello, world: this is an answer."))


# Where a request goes, and with whose key


A_KEY, A_TOKEN, C_KEY = "sk-ant-api-key-00000001", "sk-ant-token-000000002", "sk-comet-key-000000003"
A_URL, C_URL, LOCAL = ANTHROPIC.base_url, COMETAPI.base_url, "http://localhost:8080"
ENV_A, ENV_T, ENV_C = {"ANTHROPIC_API_KEY": A_KEY}, {"ANTHROPIC_AUTH_TOKEN": A_TOKEN}, {"COMETAPI_KEY": C_KEY}
ENV_URL = {"ANTHROPIC_BASE_URL": LOCAL}


def either(key: str) -> dict[str, str]:
    """Both headers: of an endpoint that is not known nobody knows which one it reads."""
    return {"x-api-key": key, "authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("env", "arguments", "url", "credentials"),
    [
        (ENV_A, {}, A_URL, {"x-api-key": A_KEY}),
        (ENV_T, {}, A_URL, {"authorization": f"Bearer {A_TOKEN}"}),
        (ENV_A | ENV_C, {}, A_URL, {"x-api-key": A_KEY}),
        (ENV_T | ENV_C, {}, A_URL, {"authorization": f"Bearer {A_TOKEN}"}),
        (ENV_C, {}, C_URL, {"x-api-key": C_KEY}),
        (ENV_URL, {}, LOCAL, {}),
        (ENV_URL | ENV_C, {}, LOCAL, {}),
        (ENV_URL | ENV_A, {}, LOCAL, either(A_KEY)),
        (ENV_URL | ENV_T, {}, LOCAL, {"authorization": f"Bearer {A_TOKEN}"}),
        ({}, {"api_key": "other"}, A_URL, {"x-api-key": "other"}),
        (ENV_A | ENV_C, {"api_key": "other"}, A_URL, {"x-api-key": "other"}),
        (ENV_A, {"auth_token": "other"}, A_URL, {"authorization": "Bearer other"}),
        (ENV_C, {"auth_token": "other"}, A_URL, {"authorization": "Bearer other"}),
        (ENV_URL, {"base_url": "http://there", "api_key": "other"}, "http://there", either("other")),
        (ENV_A, {"base_url": LOCAL}, LOCAL, either(A_KEY)),
        ({}, {"base_url": LOCAL, "provider": "local", "api_key": "other"}, LOCAL, either("other")),
        (ENV_C, {"base_url": LOCAL}, LOCAL, {}),
        ({}, {"base_url": LOCAL}, LOCAL, {}),
        (ENV_C, {"provider": "cometapi"}, C_URL, {"x-api-key": C_KEY}),
        (ENV_A | ENV_URL | ENV_C, {"provider": "cometapi"}, C_URL, {"x-api-key": C_KEY}),
        (ENV_C, {"provider": "cometapi", "api_key": "other"}, C_URL, {"x-api-key": "other"}),
        (ENV_C, {"provider": "cometapi", "auth_token": "other"}, C_URL, {"authorization": "Bearer other"}),
        (ENV_C, {"provider": "cometapi", "base_url": LOCAL}, LOCAL, {"x-api-key": C_KEY}),
        ({}, {"provider": "cometapi", "base_url": LOCAL}, LOCAL, {}),
        (ENV_C | ENV_A, {"base_url": C_URL}, C_URL, {"x-api-key": C_KEY}),
        (ENV_C | {"ANTHROPIC_BASE_URL": str(C_URL)}, {}, C_URL, {"x-api-key": C_KEY}),
        (ENV_A, {"base_url": C_URL}, C_URL, {"x-api-key": A_KEY}),
        (ENV_A | {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_AUTH_TOKEN": ""}, {}, A_URL, {"x-api-key": A_KEY}),
    ],
)
def test_arguments_beat_the_environment(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], arguments: dict[str, str], url: str, credentials: Any
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    client = Client(**arguments)  # type: ignore[arg-type]
    headers = client.headers_for(None)
    assert client.base_url == url
    assert {name: headers[name] for name in ("x-api-key", "authorization") if name in headers} == credentials


@pytest.mark.parametrize(
    ("env", "arguments"),
    [
        ({}, {}),
        ({"ANTHROPIC_API_KEY": "", "COMETAPI_KEY": ""}, {}),
        ({}, {"provider": "anthropic"}),
        (ENV_C, {"provider": "anthropic"}),
        ({}, {"provider": "cometapi"}),
        (ENV_A, {"provider": "cometapi"}),  # a key goes only to its own origin
    ],
)
def test_without_a_key_or_an_address_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], arguments: dict[str, str]
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=r"ANTHROPIC_API_KEY.*COMETAPI_KEY.*--emulator") as caught:
        Client(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_environment_is_read_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", A_KEY)
    client = Client()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    assert client.headers_for(None)["x-api-key"] == A_KEY


def test_unknown_provider_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="anthropic, cometapi, generic"):
        Client(api_key="k", provider="else")


def test_only_the_caller_knows_where_a_generic_provider_is() -> None:
    assert Client(api_key="k", provider="generic", base_url=LOCAL).base_url == LOCAL
    with pytest.raises(ConfigurationError, match="provider 'generic' needs a base_url"):
        Client(api_key="k", provider="generic")


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "//"])
def test_base_url_may_end_as_it_likes(end: str) -> None:
    assert Client(api_key="k", base_url=f"{LOCAL}/proxy{end}").base_url == f"{LOCAL}/proxy"


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [(None, "anthropic"), (C_URL, "cometapi"), (LOCAL, "generic"), ("https://openrouter.ai/api", "generic")],
)
def test_provider_is_known_by_its_address(base_url: str | None, provider: str) -> None:
    assert Client(api_key="k", base_url=base_url).provider.name == provider


# A key never shows


@pytest.mark.parametrize("arguments", [{"api_key": KEY}, {"auth_token": KEY}, {"api_key": KEY, "base_url": LOCAL}])
def test_repr_shows_no_key(arguments: dict[str, str]) -> None:
    assert KEY not in repr(Client(**arguments))  # type: ignore[arg-type]
    assert repr(Client(**arguments)).startswith("Client('http")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [KEY + "\n", KEY + " ", KEY + "\x00", "“" + KEY + "”", KEY + "\r\nx-admin: 1"])
@pytest.mark.parametrize("argument", ["api_key", "auth_token"])
def test_key_that_no_header_can_carry_is_refused_without_showing_it(argument: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x-api-key|authorization") as caught:
        Client(**{argument: key})  # type: ignore[arg-type]
    assert KEY not in shown(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("value", [KEY + "\n", "“" + KEY, 7, None])
async def test_header_that_cannot_be_sent_is_named(value: Any) -> None:
    async with client_for("own", LOCAL) as client:
        with pytest.raises(ConfigurationError, match="x-gateway-key") as caught:
            await send(client, replace(REQUEST, headers={"X-Gateway-Key": value}))
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("base_url", [f"http://user:{KEY}@localhost", f"http://{KEY}@localhost/v1", f"{KEY}@host:x"])
def test_address_with_a_password_is_refused_without_showing_it(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        Client(base_url=base_url)
    assert KEY not in shown(caught.value)


@pytest.mark.anyio
@http_kinds
@pytest.mark.parametrize(
    "answer",
    [
        HELLO,
        error(401, "authentication_error", "invalid x-api-key"),
        error(500, "api_error"),
        Raw(302, {"location": "http://evil.test/v1/messages"}),
        Raw(200, {"content-type": "text/event-stream"}, b"data: {\n\n"),
        Raw(200, {"content-type": "application/json"}, b"{}"),
        Sse(HELLO, cut=300, end="reset"),
    ],
    ids=["answer", "401", "500", "redirect", "broken", "empty", "reset"],
)
async def test_key_is_in_no_event_error_or_log(kind: str, answer: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []
    with ScriptedServer(lambda _: answer) as server:
        async with client_for(kind, server.url) as client:
            try:
                await send(client, into=seen)
            except APIError as failure:
                seen.append(shown(failure))
        assert server.requests[0].headers["x-api-key"] == KEY
    assert KEY not in repr(seen)
    assert KEY not in caplog.text


@pytest.mark.anyio
@http_kinds
@pytest.mark.parametrize("base_url", ["http://[::1", "http://127.0.0.1:port", "http://a\nb"])
async def test_address_that_is_none_is_the_callers_error(kind: str, base_url: str) -> None:
    async with client_for(kind, base_url) as client:
        with pytest.raises(ConfigurationError, match="the request can't be sent") as caught:
            await send(client)
    assert KEY not in shown(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", HTTP[1:])
async def test_closed_http_client_of_a_caller_is_the_callers_error(kind: str) -> None:
    http = http_client(kind)
    await http.aclose()
    client = Client(api_key=KEY, http_client=http)
    with pytest.raises(ConfigurationError, match=r"http_client.* is closed"):
        await send(client)


@pytest.mark.parametrize("url", ["notaurl", "localhost:8080", "ftp://x"])
def test_an_address_of_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"base_url must begin with http:// or https://, and it is '{url}'"):
        Client(base_url=url)
