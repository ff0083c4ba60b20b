"""`agentkit emulate`: served until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from commands import Cli, started

BODY = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
HEADERS = {"x-api-key": "emulator", "anthropic-version": "2023-06-01", "content-type": "application/json"}
SCRIPT = "- {expect: {text: Hello}, reply: Hi.}\n- reply: Bye.\n"


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    return str(path)


def asked(url: str, body: Any = BODY) -> tuple[int, Any]:
    """The status and the reply of a message."""
    request = urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), HEADERS)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def served(process: subprocess.Popen[str]) -> str:
    """The URL of a command that has started."""
    assert process.stdout is not None
    shown = [process.stdout.readline() for _ in range(2)]
    url = re.search(r"serves (\S+), until", shown[0])
    assert url, (shown, process.stderr and process.stderr.read())
    return url[1]


@pytest.mark.slow
def test_serves_until_interrupted(corpus: Path) -> None:
    with started("emulate", "--port", "0", "--corpus", str(corpus)) as process:
        assert process.stdout is not None
        shown = "".join(process.stdout.readline() for _ in range(7))
        copied = re.search(r'  ANTHROPIC_BASE_URL=(\S+) ANTHROPIC_API_KEY=emulator agentkit run "…"\n', shown)
        assert copied, shown
        assert f"serves {copied[1]}, until Ctrl-C. What comes is shown at {copied[1]}/_emulator\n" in shown
        assert "not a language model" in shown
        assert "It searches 2 files of the folder 'corpus'." in shown
        request = urllib.request.Request(
            copied[1] + "/v1/models", headers={"x-api-key": "emulator", "anthropic-version": "2023-06-01"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
            assert json.load(reply)["data"]
        process.send_signal(signal.SIGINT)
        assert (*process.communicate(timeout=60), process.returncode) == ("", "", 0)


@pytest.mark.slow
def test_the_dialect_of_a_gateway(corpus: Path) -> None:
    with started("emulate", "--port", "0", "--corpus", str(corpus), "--dialect", "cometapi") as process:
        request = urllib.request.Request(f"{served(process)}/v1/models", headers={"authorization": "Bearer emulator"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
            assert json.load(reply)["object"] == "list"


def test_no_such_dialect(cli: Cli, corpus: Path) -> None:
    result = cli("emulate", "--corpus", corpus, "--dialect", "klingon")
    expected = "error: no dialect 'klingon': there are anthropic, cometapi, local\n"
    assert (result.exit_code, result.stderr) == (2, expected)


def test_port_in_use(cli: Cli, corpus: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("emulate", "--port", port, "--corpus", corpus)
    assert result.exit_code == 2
    assert re.fullmatch(rf"error: can't serve on 127.0.0.1 port {port}: .*; try --port 0\n", result.stderr)


def test_missing_folder(cli: Cli) -> None:
    result = cli("emulate", "--corpus", "nowhere")
    assert (result.exit_code, result.stderr) == (2, "error: there is no folder 'nowhere' to search\n")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_script_that_fits(sent: signal.Signals, script: str) -> None:
    with started("emulate", "--port", "0", "--script", script) as process:
        url = served(process)
        texts = [asked(url)[1]["content"][0]["text"] for _ in range(2)]
        process.send_signal(sent)
        assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
    assert texts == ["Hi.", "Bye."]


@pytest.mark.slow
def test_a_script_that_does_not_fit(script: str) -> None:
    with started("emulate", "--port", "0", "--script", script) as process:
        status, refused = asked(served(process), {**BODY, "messages": [{"role": "user", "content": "Good day"}]})
        process.send_signal(signal.SIGTERM)
        assert (process.communicate(timeout=60)[1], process.returncode) == (
            "request 1 is not what steps.0 expects\n  text: expected a text that contains 'Hello', got 'Good day'\n"
            "1 of 2 steps of the script were not used, after 1 request:\n  reply: text Bye.\n",
            1,
        )
    assert status == 500
    assert refused["error"]["message"].startswith("request 1 is not what steps.0 expects")


@pytest.mark.slow
def test_faults(script: str) -> None:
    options = ["--faults", "overloaded@turn=2", "--faults", "H11@turn=3 H8@turn=9"]
    with started("emulate", "--port", "0", "--script", script, *options) as process:
        url = served(process)
        assert [asked(url)[0] for _ in range(4)] == [200, 529, 500, 200]
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=60)[1]
    assert (stderr, process.returncode) == (
        "faults that never happened, in 4 requests for a message: H8 (turn 9)\n",
        1,
    )


@pytest.mark.slow
def test_record_and_replay(script: str, tmp_path: Path) -> None:
    recording = str(tmp_path / "talk.jsonl")
    with started("emulate", "--port", "0", "--script", script) as upstream:
        options = ["--record", recording, "--upstream", served(upstream)]
        with started("emulate", "--port", "0", *options) as process:
            recorded = asked(served(process))
            process.send_signal(signal.SIGTERM)
            assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
    with started("emulate", "--port", "0", "--replay", recording) as process:
        url = served(process)
        assert asked(url) == recorded
        assert asked(url, {**BODY, "max_tokens": 7})[0] == 500
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "differs first at max_tokens" in stderr


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--script", "nowhere.yaml"], "there is no script 'nowhere.yaml'"),
        (["--script", "bad.yaml"], "bad.yaml: steps.0: unknown key 'rply': there are reply, stop, usage, fields, "),
        (["--faults", "H99"], "no fault 'H99'"),
        (["--faults", "overloaded@at=2"], "can't read the fault 'overloaded@at=2'; write it like T6"),
        (["--replay", "nowhere.jsonl"], "there is no recording nowhere.jsonl"),
        (["--replay", "bad.yaml"], "bad.yaml is no recording of agentkit"),
        (["--replay", "later.jsonl"], "later.jsonl is a recording of format 99, and this agentkit knows format"),
        (["--record", "talk.jsonl"], "record needs upstream: the base URL of the endpoint to forward to"),
        (["--record", "talk.jsonl", "--upstream", "a.test"], "upstream must be a URL such as https://"),
        (["--script", "good.yaml", "--replay", "a.jsonl"], "script and replay don't go together: one of them answers"),
        (["--script", "good.yaml", "--corpus", "."], "--corpus is for the reader"),
        (["--script", "good.yaml", "--upstream", "https://a.test"], "upstream goes with record or replay"),
        (
            ["--script", "good.yaml", "--dialect", "klingon"],
            "no dialect 'klingon': there are anthropic, cometapi, local",
        ),
        (["--script", "good.yaml", "--host", "0.0.0.0"], "the emulator serves on a loopback address only"),
    ],
)
def test_bad_input_gets_one_line(
    options: list[str], wrong: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("- rply: a\n")
    Path("good.yaml").write_text(SCRIPT)
    Path("later.jsonl").write_text('{"agentkit_recording": 99}\n')
    result = cli("emulate", "--port", 0, *options)
    assert result.stderr.startswith(f"error: {wrong}")
    assert (result.exit_code, result.stderr.count("\n"), result.stdout) == (2, 1, "")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "bad.yaml",
        "good.yaml",
        "later.jsonl",
    ]
