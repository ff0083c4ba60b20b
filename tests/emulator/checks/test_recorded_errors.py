"""The recorded exchanges: what the API refused the emulator refuses in the same words, and what it took it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest

from agentkit.emulator import Emulator, reply

pytestmark = pytest.mark.recordings

# Recorded refusals that the emulator does not give, and why.
_TWO_TEXTS = "a key that is no key has two texts, and nothing recorded says which one when; ours is `invalid x-api-key`"
_USED_UP = "a rate limit that was used up: a script says when, `error(429, …)`"
_CUT = "the recorder put `<MASSIVE_TEXT>` in place of the text; the rule is tested in test_emulator_window.py"
OTHERS = {
    "xe7c49ae3e48eb2b": _TWO_TEXTS,
    "x14b86b03e711eab": _TWO_TEXTS,
    "x7d287ff94e61a53": _USED_UP,
    "xbcfd1627298dcae": _USED_UP,
    "xdc0eea0075f7272": _CUT,
}
# What was taken then and is refused here: the API's own strings, files and containers, and headers that were removed.
_NOT_OURS = re.compile(
    r"Invalid `(signature|data)` in|Invalid encrypted_content|^File file_\w+ not found|^Container container_\w+ has|"
    r'^(mcp_servers|context_management|output_config\.task_budget): Extra inputs|^anthropic-version: "REDACTED"'
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda body: reply("ok"), pace=0) as serving:
        yield serving


def sent(emulator: Emulator, http: httpx.Client, exchange: dict[str, Any]) -> httpx.Response:
    known = {name: value for name, value in exchange["request_headers"].items() if name.startswith("anthropic-")}
    key = "invalid" if exchange["status"] == 401 else "any"  # the recorders removed the key
    headers = {"anthropic-version": "2023-06-01", **known, "x-api-key": key}
    return http.post(emulator.url + exchange["path"], json=exchange["request_body"], headers=headers)


def error_of(status: int, body: dict[str, Any]) -> tuple[int, str, str]:
    return status, body["error"]["type"], body["error"]["message"]


def test_what_the_api_refused(emulator: Emulator, http: httpx.Client, recordings: ModuleType) -> None:
    refused = [exchange for exchange in recordings.exchanges() if exchange["status"] >= 400]
    assert len(refused) == 41
    same = 0
    for exchange in refused:
        answer = sent(emulator, http, exchange)
        if exchange["id"] in OTHERS:
            continue
        wanted = error_of(exchange["status"], exchange["response_body"])
        assert error_of(answer.status_code, answer.json()) == wanted, exchange["id"]
        same += 1
    assert same == 36


@pytest.mark.slow
def test_what_the_api_took(emulator: Emulator, http: httpx.Client, recordings: ModuleType) -> None:
    taken = [
        exchange
        for exchange in recordings.messages()
        if exchange["host"] == "api.anthropic.com"
        and exchange["path"].startswith("/v1/messages")
        and isinstance(exchange["request_body"], dict)
    ]
    assert len(taken) > 1400
    refused = 0
    for exchange in taken:
        answer = sent(emulator, http, exchange)
        if answer.status_code != 200:
            refused += 1
            assert _NOT_OURS.search(answer.json()["error"]["message"]), (exchange["id"], answer.text[:300])
    assert refused < 80
