"""`agentkit doctor`: what is configured, what the endpoint answers, what is missing."""

from __future__ import annotations

import json
import re
from importlib import metadata
from typing import Any

import pytest
from commands import Cli
from scripted import Drop, Json, Raw, ScriptedServer, error

KEY = "sk-ant-api03-0123456789abcdef"
MODELS = Json({"data": [{"id": "claude-sonnet-4-6"}, {"id": "claude-opus-4-8"}], "has_more": False})


def test_all_is_well(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ScriptedServer([MODELS]) as server:
        result = cli("doctor", "--base-url", server.url)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = {line.strip() for line in result.stdout.splitlines()}
    assert f"agentkit              {metadata.version('agentkit-loop')}" in shown
    assert f"httpx                 {metadata.version('httpx')}" in shown
    assert f"tools                 simpleeval {metadata.version('simpleeval')}" in shown
    assert "ANTHROPIC_API_KEY     set (…cdef)" in shown
    assert "ANTHROPIC_BASE_URL    not set" in shown
    assert "NO_PROXY              set" in shown
    assert f"address               {server.url}" in shown
    assert "key                   ANTHROPIC_API_KEY" in shown
    assert "models                2" in shown
    assert "model                 claude-sonnet-4-6" in shown
    assert "index                 not made yet: the first use takes a few seconds" in shown
    assert result.stdout.endswith('\nReady: agentkit run "…"\n')
    assert KEY not in result.stdout
    assert server.requests[0].headers["x-api-key"] == KEY


@pytest.mark.parametrize(
    ("answer", "expected", "advice"),
    [
        (MODELS, {"status": 200, "models": 2, "problem": None}, "agentkit run"),
        (error(404, "not_found_error", "no"), {"status": 404, "models": None, "problem": None}, "key is not tested"),
        (error(401, "authentication_error", "invalid x-api-key"), {"status": 401}, "the key is missing or wrong"),
        (error(500, "api_error", "oops"), {"status": 500}, "check the base URL"),
        (Raw(200, {"content-type": "text/html"}, "<h1>Hi</h1>"), {"status": None}, "check the base URL"),
        (Json(["?"]), {"status": 200, "models": None}, "check the base URL"),
        (Drop(), {"status": None}, "check the base URL"),
    ],
)
def test_what_the_endpoint_answers(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, answer: Any, expected: dict[str, Any], advice: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ScriptedServer([answer]) as server:
        result = cli("doctor", "--base-url", server.url, "--json")
    found = json.loads(result.stdout)
    assert expected.items() <= found["endpoint"].items()
    assert advice in found["advice"]
    assert found["usable"] == (found["endpoint"]["problem"] is None)
    assert result.exit_code == (0 if found["usable"] else 1)
    assert found["endpoint"]["seconds"] >= 0
    assert KEY not in result.stdout


def test_which_key_and_which_model(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    monkeypatch.setenv("COMETAPI_KEY", "another")
    monkeypatch.setenv("AGENTKIT_MODEL", "nope")
    with ScriptedServer([MODELS]) as server:
        result = cli("doctor", "--base-url", server.url)
    shown = {line.strip() for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert "key                   ANTHROPIC_AUTH_TOKEN" in shown
    assert "model                 nope, which is not in that list" in shown
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_endpoint_without_a_key(cli: Cli) -> None:
    with ScriptedServer([MODELS]) as server:
        result = cli("doctor", "--base-url", server.url)
    assert re.search(r"^  key +none$", result.stdout, re.MULTILINE)


def test_nothing_is_configured(cli: Cli) -> None:
    result = cli("doctor")
    assert result.exit_code == 1
    assert "no API key: set ANTHROPIC_API_KEY" in result.stdout
    assert "Not ready: " in result.stdout
    assert "--emulator" in result.stdout.splitlines()[-1]


def test_missing_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name == "uvicorn":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    assert "emulator              missing uvicorn: pip install 'agentkit-loop[emulator]'" in cli("doctor").stdout
    assert json.loads(cli("doctor", "--json").stdout)["extras"]["emulator"]["uvicorn"] is None
