"""`agentkit run`: what it shows, what it prints for programs, how it ends."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from commands import Cli
from scripted import Drop, Json, Raw, ScriptedServer, Sse, error, refused, reply, server_tool_use, text, tool_use

PAGE = "https://example.org/harbour"


def search_result(use: str, *urls: str) -> dict[str, Any]:
    results = [
        {"type": "web_search_result", "url": url, "title": "Harbour", "encrypted_content": "Eo", "page_age": None}
        for url in urls
    ]
    return {"type": "web_search_tool_result", "tool_use_id": use, "content": results}


def fetch_result(use: str, url: str) -> dict[str, Any]:
    document = {"type": "document", "title": "Harbour rules", "source": {"type": "text", "data": "x" * 2000}}
    content = {"type": "web_fetch_result", "url": url, "content": document}
    return {"type": "web_fetch_tool_result", "tool_use_id": use, "content": content}


def cited(value: str, **citation: Any) -> dict[str, Any]:
    return text(value, citations=[{"type": "char_location", "cited_text": "x", **citation}])


RESEARCH = [
    reply(
        server_tool_use("web_search", id="srvtoolu_1", query="harbour \x1b]0;owned\x07 hours"),
        search_result("srvtoolu_1", PAGE, PAGE + "/2"),
        stop="pause_turn",
    ),
    reply(
        text("Let me read that."),
        server_tool_use("web_fetch", id="srvtoolu_2", url=PAGE),
        fetch_result("srvtoolu_2", PAGE),
        tool_use("calculator", expression="20 + 2"),
    ),
    reply(
        text("The harbour "),
        cited("closes at ten.\n\n", url=PAGE, title="Harbour \u200bhours"),
        cited("It opens at six.", document_title="Harbour rules", document_index=0),
        cited(" Really.", url=PAGE, title="Harbour hours"),
        text(" \x1b[2JGo early."),
        usage={"input_tokens": 12_345, "output_tokens": 1_234},
    ),
]
RESEARCH_SHOWN = """\
  search      harbour ]0;owned hours                               2 results TIME
  paused by the API after 1 server call, resumed

Let me read that.

  fetch       example.org/harbour                                     2.2 kB TIME
  calculator  20 + 2                                                      22 TIME

The harbour closes at ten. [1]

It opens at six. [1] Really. [1] [2JGo early.

Sources
  [1] Harbour U+200Bhours
      https://example.org/harbour

3 turns, 3 requests, 12k tokens in, 1.2k out, 1 search, 1 fetch, 1 call, TIME
"""


def without_times(shown: str) -> str:
    return re.sub(r"(?m) *<?\d+\.\d s$", " TIME", shown)


def one_line(shown: str) -> str:
    assert shown.count("\n") == 1, shown
    assert "Traceback" not in shown
    return shown.strip()


def test_shows_what_happens(cli: Cli) -> None:
    with ScriptedServer(RESEARCH) as server:
        result = cli("run", "When?", "--base-url", server.url)
        server.assert_done()
    assert (result.exit_code, result.stderr) == (0, "")
    assert without_times(result.stdout) == RESEARCH_SHOWN
    assert server.requests[0].json["messages"][0]["content"] == [{"type": "text", "text": "When?"}]
    assert [tool["name"] for tool in server.requests[0].json["tools"]] == ["web_search", "web_fetch", "calculator"]


def test_options_reach_the_request(cli: Cli, tools: Path) -> None:
    arguments = ["--model", "claude-opus-4-8", "--system", "Be brief.", "--max-tokens", 77, "--no-default-tools"]
    with ScriptedServer([reply(text("Hi."))]) as server:
        result = cli(
            "run", "-", "--base-url", server.url, *arguments, "--tool", "my_tools:inside.lookup", input="Hi?\n"
        )
    assert result.exit_code == 0
    sent = server.requests[0].json
    assert (sent["model"], sent["system"], sent["max_tokens"]) == ("claude-opus-4-8", "Be brief.", 77)
    assert [tool["name"] for tool in sent["tools"]] == ["lookup"]
    assert sent["messages"][0]["content"][0]["text"] == "Hi?"


def test_json_has_one_event_a_line(cli: Cli, tools: Path) -> None:
    script = [reply(tool_use("lookup", city="Ulm\u2028")), reply(cited("21 degrees.", url=PAGE, title="Weather"))]
    with ScriptedServer(script) as server:
        result = cli("run", "How warm?", "--base-url", server.url, "--tool", "my_tools:lookup", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert result.stdout.isascii()
    assert "looking up" in result.stderr  # what a tool prints stays out of the way
    kinds = [event["type"] for event in events]
    assert kinds[0] == "turn_start"
    assert {"tool_call", "tool_result", "text_delta", "turn_end"} <= set(kinds)
    assert [event["stop_reason"] for event in events if event["type"] == "turn_end"] == ["tool_use", "end_turn"]
    assert kinds.count("run_end") == 1
    end = events[-1]
    assert {name: end[name] for name in ("type", "finish", "text", "citations", "cost", "turns")} == {
        "type": "run_end",
        "finish": "end_turn",
        "text": "21 degrees.",
        "citations": [{"url": PAGE, "title": "Weather", "cited_text": "x"}],
        "cost": None,
        "turns": 2,
    }
    assert end["usage"]["input_tokens"] == 20


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (error(401, "authentication_error", "invalid x-api-key"), 1, r"error: invalid x-api-key .*agentkit doctor"),
        (error(404, "not_found_error", "model: nope"), 1, r"error: model: nope .*--model"),
        (error(400, "invalid_request_error", "a\x1b[2J\nb"), 1, r"error: a\[2J b"),
        (Raw(200, {"content-type": "text/html"}, "<h1>Hello</h1>"), 1, r"error: .*base_url"),
        (Raw(404, {"content-type": "text/html"}, "<h1>Not here</h1>"), 1, r"error: .*Not here.*base"),
        (reply(text("Half an ans"), stop="max_tokens"), 3, r"no answer: max_tokens; .*--max-tokens"),
        (reply(text("I will not."), stop="refusal"), 3, r"no answer: refusal; "),
        (reply(text("?"), stop="brand_new"), 3, r"no answer: unknown_stop .*--after"),
    ],
)
def test_ends_without_an_answer(cli: Cli, script: Any, code: int, said: str) -> None:
    with ScriptedServer(lambda _request: script) as server:
        result = cli("run", "Hi?", "--base-url", server.url, "--no-default-tools")
    assert result.exit_code == code
    assert re.match(said, one_line(result.stderr))
    assert "Traceback" not in result.stdout


def test_endpoint_down(cli: Cli) -> None:
    with refused() as url:
        result = cli("run", "Hi?", "--base-url", url)
    assert result.exit_code == 1
    assert one_line(result.stderr).startswith("error: can't reach the endpoint")
    assert result.stdout.count("the request failed, again in") == 3


def test_restarted_turn_says_so(cli: Cli) -> None:
    cut = Sse(reply(text("The first half of it, and nothing more"), text("?")), cut=600, chunk=50, end="close")
    with ScriptedServer([cut, reply(text("All of it."))]) as server:
        result = cli("run", "Hi?", "--base-url", server.url, "--no-default-tools")
    assert result.exit_code == 0
    assert "the reply broke off: what was shown of it is void" in result.stdout
    assert result.stdout.index("void") < result.stdout.index("All of it.")
    assert "1 turn, 2 requests" in result.stdout


def test_endpoint_that_does_not_stream(cli: Cli) -> None:
    with ScriptedServer([Json(reply(cited("Closes at ten.", url=PAGE, title="Harbour")))]) as server:
        result = cli("run", "Hi?", "--base-url", server.url)
    assert result.stdout.startswith("Closes at ten. [1]\n\nSources\n  [1] Harbour\n")


def test_failing_tools_are_shown(cli: Cli, tools: Path) -> None:
    script = [
        reply(tool_use("broken", id="toolu_1", city="Ulm"), tool_use("nosuch", id="toolu_2", a=1, b=[2])),
        reply(text("")),
    ]
    with ScriptedServer(script) as server:
        result = cli("run", "Hi?", "--base-url", server.url, "--tool", "my_tools:broken")
    assert re.search(r"broken +Ulm +failed .*\n +The tool failed with RuntimeError\.", result.stdout)
    assert re.search(r"nosuch +a=1, b=\[2\] +failed .*\n +There is no tool 'nosuch'\.", result.stdout)
    assert re.fullmatch(r"tool broken failed: RuntimeError: no such city \(.*my_tools.py, line \d+\)\n", result.stderr)
    assert "the reply has no text" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Hi?"], "no API key: set ANTHROPIC_API_KEY .*--emulator"),
        ([], "ask a question"),
        ([" "], "ask a question"),
        (["Hi?", "--emulator", "--base-url", "http://127.0.0.1:9"], "--base-url and --emulator"),
        (["Hi?", "--emulator", "--tool", "my_tools"], "--tool my_tools: write it as module:function"),
        (["Hi?", "--emulator", "--tool", "nowhere.to:f"], "--tool nowhere.to:f: there is no module 'nowhere'"),
        (["Hi?", "--emulator", "--tool", "my_tools:lookop"], "--tool my_tools:lookop: .* did you mean lookup"),
        (["Hi?", "--emulator", "--tool", "exits:f"], "--tool exits:f: importing exits failed: SystemExit: 3"),
        (["Hi?", "--emulator", "--tool", "my_tools:bare"], ".*'bare'.*'city'.*annotation"),
        (["Hi?", "--emulator", "--tool", "my_tools:slow", "--tool", "my_tools:slow"], "two tools have the name 'slow'"),
        (["Hi?", "--corpus", "missing"], "there is no folder 'missing'"),
        (["Hi?", "--corpus", "latin"], "in the corpus latin: .*byte 3 is not UTF-8; save the file as UTF-8"),
        (["Hi?", "--corpus", "mixed"], r"in the corpus mixed: .*not UTF-8.* \(1 more like it\)"),
        (["Hi?", "--emulator", "--save", "missing/x.json"], "--save missing/x.json: can't write"),
        (["--emulator", "--after", "my_tools.py"], "--after my_tools.py: this is not a file that --save wrote"),
        (["--emulator", "--after", "other.json"], "--after other.json: this is not what result.dump"),
        (["Hi?", "--emulator", "--after", "nowhere.json"], "--after nowhere.json: No such file or directory"),
        (["Hi?", "--emulator", "--tool", "my_tools:__name__"], "--tool my_tools:__name__: .* str, not a function"),
        (["Hi?", "--emulator", "--tool", "undescribed:f"], "--tool undescribed:f: tool 'f': parameter 'x'"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, tools: Path, arguments: list[str], said: str) -> None:
    for name, content in {
        "latin/a": b"caf\xe9",
        "mixed/a": b"\xff",
        "mixed/b": b"\xff",
        "mixed/c": b"ok",
        "good/a": b"ok",
    }.items():
        path = tools / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (tools / "other.json").write_text("[]")
    (tools / "undescribed.py").write_text("import agentkit\n\n@agentkit.tool\ndef f(x): ...\n")
    result = cli("run", *arguments)
    assert result.exit_code == 2
    assert re.match(f"error: {said}", one_line(result.stderr)), result.stderr


def test_stdin_that_is_not_text(cli: Cli) -> None:
    result = cli("run", "-", "--emulator", input=b"caf\xe9")
    assert (result.exit_code, one_line(result.stderr)) == (2, "error: stdin is not UTF-8 (byte 3)")


def test_held_call_without_a_terminal(cli: Cli, tools: Path) -> None:
    saved = tools / "saved.json"
    with ScriptedServer([reply(tool_use("remove", path="a\u202eb"))]) as server:
        arguments = ["--base-url", server.url, "--tool", "my_tools:remove", "--no-default-tools"]
        held = cli("run", "Remove it.", *arguments, "--save", saved)
        resumed = cli("run", *arguments, "--after", saved, "--save", saved)
    for result in (held, resumed):
        assert result.exit_code == 3
        assert re.match(
            r"no answer: needs_approval \(remove .*\); answer on a terminal: .*--after FILE` and the same --tool",
            one_line(result.stderr),
        )
    assert re.search(r"remove +aU\+202Eb +held", held.stdout)


def test_held_call_whose_tool_is_not_given_is_not_lost(cli: Cli, tools: Path) -> None:
    saved = tools / "saved.json"
    with ScriptedServer([reply(tool_use("remove", path="a"))]) as server:
        arguments = ["--base-url", server.url, "--no-default-tools"]
        cli("run", "Remove it.", *arguments, "--tool", "my_tools:remove", "--save", saved)
        before = saved.read_text()
        resumed = cli("run", *arguments, "--after", saved, "--save", saved)
    assert resumed.exit_code == 2
    assert one_line(resumed.stderr) == f"error: --after {saved}: remove waits for approval: name its tool with --tool"
    assert saved.read_text() == before


def test_saved_conversation_goes_on(cli: Cli, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    with ScriptedServer([reply(text("Ten.")), Drop(), reply(text("Six."))]) as server:
        arguments = ["--base-url", server.url, "--no-default-tools", "--save", saved]
        cli("run", "When does it close?", *arguments)
        assert cli("run", "And open?", *arguments, "--after", saved).exit_code == 0
    said = [block["text"] for message in server.requests[-1].json["messages"] for block in message["content"]]
    assert said == ["When does it close?", "Ten.", "And open?"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "saved.json"]
    ended = cli("run", "--emulator", "--after", saved)
    assert ended.exit_code == 2
    assert one_line(ended.stderr) == f"error: --after {saved}: that run has its answer; ask a question to go on"


@pytest.mark.slow
def test_pause_resumed_in_another_process_has_its_sources(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    arguments = ["--corpus", corpus, "--pause-after", 1]
    question = "When does the harbour of Lindholm close?"
    stopped = cli("run", question, *arguments, "--max-turns", 2, "--save", saved)
    assert stopped.exit_code == 3
    resumed = cli("run", *arguments, "--after", saved)
    assert resumed.exit_code == 0
    assert re.search(
        r"Sources\n  \[1\] The harbour of Lindholm\n      https://corpus.local/harbour.md\n", resumed.stdout
    )
    assert "[2]" not in resumed.stdout


def test_failed_run_is_saved(cli: Cli, tools: Path) -> None:
    saved = tools / "saved.json"
    script = [reply(tool_use("lookup", city="Ulm")), error(401, "authentication_error"), reply(text("21."))]
    with ScriptedServer(script) as server:
        arguments = ["--base-url", server.url, "--tool", "my_tools:lookup", "--save", saved]
        failed = cli("run", "How warm?", *arguments)
        assert failed.exit_code == 1
        assert "1 turn, 2 requests" in failed.stdout
        resumed = cli("run", *arguments, "--after", saved)
        server.assert_done()
    assert resumed.stdout.startswith("21.\n")


def test_emulator_answers_from_a_folder(cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        result = cli("run", "When does the harbour of Lindholm close?", "--corpus", corpus, "--pause-after", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    first, *_ = result.stdout.splitlines()
    assert first == "Emulator: a small rule-based reader over a local corpus, not a language model."
    assert "closes at ten in the evening. [1]" in result.stdout
    assert "paused by the API after 1 server call, resumed" in result.stdout
    assert re.search(
        r"Sources\n  \[1\] The harbour of Lindholm\n      https://corpus.local/harbour.md\n", result.stdout
    )
