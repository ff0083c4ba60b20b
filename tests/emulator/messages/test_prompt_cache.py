"""The prompt cache: what is read and written, by marks, look-back, length, time and what was changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from talking import stop

from agentkit.emulator import Emulator, reply

MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
LONG = "word " * 2000  # 2,500 tokens here


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda body: reply("ok"), pace=0) as emulator:
        yield emulator


class Cached:
    """A conversation, and the (read, written 5m, written 1h, other input) of its requests."""

    def __init__(self, http: httpx.Client, emulator: Emulator) -> None:
        self.http, self.url = http, f"{emulator.url}/v1/messages"
        self.body: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 100}
        self.body |= {"system": [{"type": "text", "text": LONG, **MARK}], "messages": [user("Hello")]}

    def ask(self, **fields: Any) -> tuple[int, int, int, int]:
        answer = self.http.post(self.url, json=self.body | fields)
        assert answer.status_code == 200, answer.text
        usage = answer.json()["usage"]
        split = usage["cache_creation"]
        written = (split["ephemeral_5m_input_tokens"], split["ephemeral_1h_input_tokens"])
        assert sum(written) == usage["cache_creation_input_tokens"]
        return (usage["cache_read_input_tokens"], *written, usage["input_tokens"])


def user(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **fields}]}


@pytest.fixture
def cached(http: httpx.Client, emulator: Emulator) -> Cached:
    return Cached(http, emulator)


def test_written_once_and_then_read(cached: Cached) -> None:
    read, written, hour, rest = cached.ask()
    assert (read, hour) == (0, 0)
    assert 2500 < written < 2600
    assert rest < 100
    assert cached.ask() == (written, 0, 0, rest)
    assert cached.ask(max_tokens=7)[0] == written


def test_a_mark_that_moves_on_reads_what_was_before(cached: Cached) -> None:
    cached.body["messages"] = [user(LONG, **MARK)]
    first = cached.ask()
    cached.body["messages"] = [user(LONG), {"role": "assistant", "content": "ok"}, user(LONG, **MARK)]
    second = cached.ask()
    assert second[0] == first[1]
    assert 2500 < second[1] < 2600


def test_automatic_marks(cached: Cached) -> None:
    cached.body["system"] = "Be brief."
    cached.body["messages"] = [user(LONG)]
    assert cached.ask()[:2] == (0, 0)
    assert cached.ask(cache_control={"type": "ephemeral"})[1] > 2500
    assert cached.ask(cache_control={"type": "ephemeral", "ttl": "1h"})[0] > 2500


@pytest.mark.parametrize(("ttl", "alive", "dead"), [({}, 299, 301), ({"ttl": "1h"}, 3599, 3601)])
def test_it_lives_from_its_last_use(
    ttl: dict[str, str], alive: int, dead: int, cached: Cached, emulator: Emulator
) -> None:
    stop(emulator._emulated.clock)
    cached.body["system"][0]["cache_control"] = {"type": "ephemeral", **ttl}
    cached.ask()
    for _ in range(2):
        emulator.advance(alive)
        assert cached.ask()[0] > 2500
    emulator.advance(dead)
    assert cached.ask()[0] == 0


def test_both_lifetimes(cached: Cached) -> None:
    cached.body["system"][0] |= HOUR
    cached.body["messages"] = [user(LONG, **MARK)]
    read, short, hour, _ = cached.ask()
    assert read == 0
    assert short > 2500
    assert hour > 2500


@pytest.mark.parametrize(
    ("model", "is_cached"),
    [("claude-opus-4-7", True), ("claude-opus-4-6", False), ("claude-haiku-4-5", False), ("claude-opus-4-8", True)],
)
def test_short_prefixes_are_not_cached(model: str, is_cached: bool, cached: Cached) -> None:
    assert bool(cached.ask(model=model)[1]) is is_cached


@pytest.mark.parametrize(
    ("fields", "system_holds"),
    [
        ({"effort": True}, True),
        ({"tool_choice": {"type": "none"}}, True),
        ({"tools": [{"name": "b", "input_schema": {"type": "object"}}]}, False),
        ({"model": "claude-opus-4-8"}, False),
        ({"metadata": {"user_id": "u"}}, None),
    ],
)
def test_what_changes_the_prefix(fields: dict[str, Any], system_holds: bool | None, cached: Cached) -> None:
    cached.body |= {"tools": [{"name": "a", "input_schema": {"type": "object"}}], "messages": [user(LONG, **MARK)]}
    whole = cached.ask()[1]
    changed = {"output_config": {"effort": "low"}} if "effort" in fields else fields
    read = cached.ask(**changed)[0]
    if system_holds is None:
        assert read == whole
    else:
        assert (2500 < read < whole) if system_holds else read == 0


def test_a_mark_looks_back_over_twenty_blocks(cached: Cached) -> None:
    def blocks(count: int) -> list[dict[str, Any]]:
        return [{"type": "text", "text": LONG if at == 0 else f"block {at}"} for at in range(count)]

    def ask(count: int) -> int:
        content = blocks(count)
        content[-1] = {**content[-1], **MARK}
        return cached.ask(system="x", messages=[{"role": "user", "content": content}])[0]

    assert ask(1) == 0
    assert ask(20) > 2500
    assert ask(40) == 0


def test_a_prefix_without_a_mark_at_its_end_is_not_written(cached: Cached) -> None:
    del cached.body["system"][0]["cache_control"]
    assert cached.ask()[:3] == (0, 0, 0)
