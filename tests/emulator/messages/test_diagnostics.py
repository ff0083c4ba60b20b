"""Why the prompt cache did not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agentkit.emulator import Emulator, reply

TOOL = {"name": "read", "input_schema": {"type": "object"}}
MARK = {"cache_control": {"type": "ephemeral"}}
FIRST = [{"role": "user", "content": "word " * 400}]
BASE = {"model": "claude-sonnet-4-6", "max_tokens": 9, "system": "Be brief.", "tools": [TOOL], "messages": FIRST}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda body: reply("ok"), pace=0) as emulator:
        yield emulator


def ask(http: httpx.Client, emulator: Emulator, before: str | None, **fields: Any) -> dict[str, Any]:
    body = {**BASE, "diagnostics": {"previous_message_id": before}, **fields}
    answer = http.post(f"{emulator.url}/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()
    return message


@pytest.mark.parametrize(
    ("fields", "kind", "least"),
    [
        ({"model": "claude-opus-5"}, "model_changed", 500),
        ({"tools": [{**TOOL, "name": "write"}]}, "tools_changed", 500),
        ({"tools": []}, "tools_changed", 500),
        ({"system": "Be long."}, "system_changed", 500),
        ({"messages": [{"role": "user", "content": "Other"}]}, "messages_changed", 500),
        ({"messages": [*FIRST, {"role": "user", "content": "More"}]}, None, 0),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "word " * 400, **MARK}]}]}, None, 0),
        ({}, None, 0),
    ],
)
def test_what_changed(
    fields: dict[str, Any], kind: str | None, least: int, http: httpx.Client, emulator: Emulator
) -> None:
    first = ask(http, emulator, None)
    assert first["diagnostics"] == {"cache_miss_reason": None}
    reason = ask(http, emulator, first["id"], **fields)["diagnostics"]["cache_miss_reason"]
    if kind is None:
        assert reason is None
    else:
        assert reason["type"] == kind
        assert reason["cache_missed_input_tokens"] >= least


def test_a_message_that_there_was_not(http: httpx.Client, emulator: Emulator) -> None:
    assert ask(http, emulator, "msg_nope")["diagnostics"]["cache_miss_reason"] == {"type": "previous_message_not_found"}


def test_nobody_asked(http: httpx.Client, emulator: Emulator) -> None:
    assert "diagnostics" not in http.post(f"{emulator.url}/v1/messages", json=BASE).json()
