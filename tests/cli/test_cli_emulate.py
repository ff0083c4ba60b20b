"""`agentkit emulate`: served until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from pathlib import Path

from commands import Cli, started


def test_serves_until_interrupted(corpus: Path) -> None:
    with started("emulate", "--port", "0", "--corpus", str(corpus)) as process:
        assert process.stdout is not None
        shown = "".join(process.stdout.readline() for _ in range(5))
        copied = re.search(r'  ANTHROPIC_BASE_URL=(\S+) ANTHROPIC_API_KEY=emulator agentkit run "…"\n', shown)
        assert copied, shown
        assert f"serves {copied[1]} with 2 files of the folder 'corpus', until Ctrl-C" in shown
        assert "not a language model" in shown
        request = urllib.request.Request(
            copied[1] + "/v1/models", headers={"x-api-key": "emulator", "anthropic-version": "2023-06-01"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
            assert json.load(reply)["data"]
        process.send_signal(signal.SIGINT)
        assert (*process.communicate(timeout=10), process.returncode) == ("", "", 0)


def test_the_dialect_of_a_gateway(corpus: Path) -> None:
    with started("emulate", "--port", "0", "--corpus", str(corpus), "--dialect", "cometapi") as process:
        assert process.stdout is not None
        url = re.search(r"serves (\S+) with", process.stdout.readline())
        assert url
        request = urllib.request.Request(f"{url[1]}/v1/models", headers={"authorization": "Bearer emulator"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
            assert json.load(reply)["object"] == "list"


def test_no_such_dialect(cli: Cli, corpus: Path) -> None:
    result = cli("emulate", "--corpus", corpus, "--dialect", "klingon")
    expected = "error: no dialect 'klingon': there are anthropic, cometapi\n"
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
