"""`agentkit run --curl`: the request as a curl line; nothing is sent."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import Cli
from scripted import ScriptedServer, reply, text

KEY = "sk-ant-api03-do-not-show"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "COMETAPI_", "AGENTKIT_"))]:
        monkeypatch.delenv(name)


def body(line: str) -> Any:
    words = shlex.split(line)
    return json.loads(words[words.index("--data") + 1])


def test_it_needs_no_key(cli: Cli, tools: Path) -> None:
    done = cli("run", "--curl", "--system", "Be terse.", "--tool", "my_tools:lookup", "What's up?")
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("curl https://api.anthropic.com/v1/messages -H ")
    assert '-H "x-api-key: $ANTHROPIC_API_KEY"' in done.stdout
    sent = body(done.stdout)
    assert sent["system"] == "Be terse."
    assert [tool["name"] for tool in sent["tools"]] == ["web_search", "web_fetch", "calculator", "lookup"]
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "What's up?"}]}]
    assert "nothing was sent: " in done.stderr
    assert "input tokens, at most $0.12" in done.stderr


def test_the_endpoint_of_the_environment_and_a_key_that_does_not_show(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    done = cli("run", "--curl", "--no-default-tools", "Hi.")
    assert done.stdout.startswith("curl https://api.cometapi.com/v1/messages ")
    assert '"x-api-key: $COMETAPI_KEY"' in done.stdout
    assert KEY not in done.output
    assert "no known cost (no price is known for claude-sonnet-4-6 at cometapi)" in done.stderr


def test_an_address_of_ones_own_and_a_conversation_that_goes_on(cli: Cli, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    with ScriptedServer([reply(text("Hello."))]) as server:
        options = ["--no-default-tools", "--base-url", server.url]
        assert cli("run", *options, "--save", saved, "Hi.").exit_code == 0
        done = cli("run", *options, "--after", saved, "--curl", "And now?")
        assert len(server.requests) == 1
    assert done.stdout.startswith(f"curl {server.url}/v1/messages ")
    assert "$" not in done.stdout
    assert [message["role"] for message in body(done.stdout)["messages"]] == ["user", "assistant", "user"]


def test_what_the_api_would_refuse_is_refused(cli: Cli) -> None:
    done = cli("run", "--curl", "--no-default-tools", "--model", "claude-opus-4-5", "--max-tokens", "999999", "Hi.")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "999999 > 64000" in done.stderr


@pytest.mark.parametrize("other", [["--emulator"], ["--corpus", "."], ["--json"], ["--save", "x.json"]])
def test_it_sends_nothing_so_some_options_make_no_sense(cli: Cli, other: list[str]) -> None:
    done = cli("run", "--curl", *other, "Hi.")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"--curl sends nothing, so it can't go with {other[0]}" in done.stderr


def test_it_needs_a_question(cli: Cli, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    with ScriptedServer([reply(text("Half"), stop="max_tokens")]) as server:
        cli("run", "--no-default-tools", "--base-url", server.url, "--save", saved, "Hi.")
    done = cli("run", "--curl", "--after", saved)
    assert (done.exit_code, done.stdout) == (2, "")
    assert '--curl needs a question: agentkit run --curl "…"' in done.stderr
