"""The pytest plugin, as pytest runs it: each test here writes a folder of tests, and runs pytest on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from pytest_examples import find_examples
from scripted import Json, ScriptedServer

from agentkit.emulator import Emulator, reply
from agentkit.support import COMETAPI, PROVIDERS

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

HOME = Path.home()
GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "testing-agents.md"
HEAD = """
import os
import httpx
import pytest
from agentkit import Agent, Client, tool
from agentkit.emulator import error, fault, reply, tool_use

@tool
def weather(city: str) -> str:
    "Look up the weather."
    return "sunny"

agent = Agent("claude-sonnet-4-6", tools=[weather])

def asked(url, text="How is Rome?", key="emulator"):
    body = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return httpx.post(f"{url}/v1/messages", json=body, headers=headers).json()
"""


class Runs:
    """Runs tests in a folder of their own, with warnings as errors."""

    def __init__(self, pytester: pytest.Pytester, loaded: dict[str, ModuleType]) -> None:
        self.folder = pytester.path
        self._pytester = pytester
        self._loaded = loaded
        pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")

    def __call__(self, source: str, *options: str, **outcomes: int) -> str:
        """What pytest prints; the test fails where the outcomes are others."""
        self._pytester.makepyfile(HEAD + source)
        done = self.pytest(*options)
        done.assert_outcomes(**outcomes)
        return done.stdout.str()

    def pytest(self, *options: str) -> pytest.RunResult:
        """Runs what is in the folder, in this process."""
        return self._pytester.runpytest_inprocess("-p", "no:cacheprovider", *options, plugins=[self])

    def pytest_unconfigure(self) -> None:
        """Of the run inside."""
        self._loaded.update(sys.modules)


@pytest.fixture
def loaded() -> Iterator[dict[str, ModuleType]]:
    """Modules that stay: pytester forgets what was imported, and of a second copy the classes would be others."""
    modules: dict[str, ModuleType] = {}
    yield modules
    for name, module in modules.items():
        if not name.startswith("test_"):
            sys.modules.setdefault(name, module)


@pytest.fixture
def run(loaded: dict[str, ModuleType], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runs:
    for name in (
        "HOME",
        "USERPROFILE",
    ):  # pytester gives each test a home, and the index of the reader is in the real one
        monkeypatch.setenv(name, str(HOME))
    return Runs(pytester, loaded)


def test_pytest_finds_it() -> None:
    assert [entry.value for entry in entry_points(group="pytest11", name="agentkit")] == ["agentkit.testing"]


def test_until_a_fixture_is_used_it_loads_nothing() -> None:
    script = "import pytest, sys; known = set(sys.modules); import agentkit.testing, json; "
    done = subprocess.run(
        [sys.executable, "-c", script + "print(json.dumps(list(set(sys.modules) - known)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in json.loads(done.stdout) if not name.startswith("json")}
    assert loaded <= {"agentkit", "agentkit.testing", "__future__"}


@pytest.mark.parametrize("name", ["messages_api", "scripted", "replay"])
def test_fixtures_say_what_they_are(run: Runs, name: str) -> None:
    listed = run("", "--fixtures")
    assert re.search(rf"^{name} -- .*testing.py:\d+\n    \S", listed, re.MULTILINE)


def test_a_script_is_played(run: Runs) -> None:
    source = """
    def test_agent(scripted):
        api = scripted(reply(tool_use("weather", city="Rome")), reply("It is sunny."))
        assert agent.run_sync("How is Rome?", client=api.client).text == "It is sunny."
        agent.close()
        assert api.requests[1]["messages"][2]["content"][0]["content"] == "sunny"

    def test_any_client(scripted):
        api = scripted(reply("Hello."))
        assert asked(api.url)["content"][0]["text"] == "Hello."

    @pytest.mark.anyio
    async def test_async(scripted):
        api = scripted(reply("Hello."))
        async with httpx.AsyncClient(base_url=os.environ["ANTHROPIC_BASE_URL"]) as http:
            assert (await http.get("/v1/models")).status_code == 401
        assert (await Agent("claude-sonnet-4-6", client=api.client).run("Hi!")).text == "Hello."
        assert Client().base_url == api.url

    def test_two_at_once(scripted):
        one, other = scripted(reply("1")), scripted(reply("2"))
        assert [asked(api.url)["content"][0]["text"] for api in (other, one)] == ["2", "1"]

    def test_a_function_alone_answers_all(scripted):
        api = scripted(lambda body: reply(body["messages"][-1]["content"]))
        assert [asked(api.url, text)["content"][0]["text"] for text in "ab"] == ["a", "b"]

    def test_a_file(scripted):
        api = scripted("scripts/hello.yaml")
        assert asked(api.url)["content"][0]["text"] == "Hello."

    def test_options(scripted):
        api = scripted(reply("Hello."), dialect="cometapi")
        assert api.client.provider.name == "cometapi"
        assert asked(api.url, key="")["error"]["type"] == "comet_api_error"
        asked(api.url)
    """
    (run.folder / "scripts").mkdir()
    (run.folder / "scripts" / "hello.yaml").write_text("- reply: Hello.\n")
    run(dedent(source), passed=8)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("scripted(reply('One.'))", "1 of 1 step of the script were not used"),
        ("asked(scripted(reply('One.')).url); asked(os.environ['ANTHROPIC_BASE_URL'])", "request 2 is not foreseen"),
        ("asked(scripted().url)", "request 1 is not foreseen: the script has 0 steps"),
        ("asked(scripted(reply('One.'), faults=fault('reset', turn=2)).url)", "T6"),
    ],
)
def test_a_script_that_does_not_fit_fails_the_test(run: Runs, source: str, said: str) -> None:
    shown = run(f"def test_it(scripted):\n    {source}\n", passed=1, errors=1)
    assert said in shown.partition("ERROR at teardown of test_it")[2]
    assert "Traceback" not in shown
    assert "testing.py:" not in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("scripted(42)", "step 0 of the script is of type int: give reply(…), error(…) or a function"),
        ("scripted('none.yaml')", "there is no script '"),
        ("scripted('broken.yaml')", "broken.yaml: "),
        ("scripted(dialect='klingon')", "no dialect 'klingon'"),
        ("scripted(faults='T99')", "T99"),
        ("replay('none.jsonl')", "there is no recording none.jsonl: run this test once with --record-messages"),
        ("replay('broken.yaml')", "is no recording of agentkit"),
    ],
)
def test_a_mistake_is_one_line(run: Runs, call: str, said: str) -> None:
    (run.folder / "broken.yaml").write_text("- reply: [\n")
    shown = run(f"def test_it(scripted, replay):\n    {call}\n", failed=1)
    (_, told) = re.split(r"_+ test_it _+\n", shown)
    assert said in told.splitlines()[0]
    assert told.splitlines()[1].startswith("====")


@pytest.mark.slow
def test_the_reader_answers(run: Runs) -> None:
    source = """
    @pytest.mark.anyio
    async def test_agent(messages_api):
        async with Agent("claude-sonnet-4-6", tools=[weather]) as own:
            assert "sunny" in (await own.run('How is the weather in the city "Rome"?')).text

    @pytest.mark.messages_api(corpus="notes", dialect="local")
    class TestMine:
        def test_class(self, messages_api):
            assert "1 file" in messages_api.emulator.about

        @pytest.mark.messages_api(dialect="cometapi", faults="overloaded")
        def test_nearest_mark(self, messages_api):
            assert asked(messages_api.url)["error"]["type"] == "comet_api_error"
            assert "1 file" in messages_api.emulator.about
    """
    (run.folder / "notes").mkdir()
    (run.folder / "notes" / "a.md").write_text("# Rome\n\nIt is sunny.\n")
    run(dedent(source), passed=4)


@pytest.mark.slow
def test_the_environment_leads_there_and_is_put_back(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_AUTH_TOKEN": "b", "COMETAPI_KEY": "c", "NO_PROXY": "d.test"}
    for name, value in {**own, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    source = """
    def test_within(scripted):
        scripted(reply("Hello."))
        names = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "COMETAPI_KEY")
        assert [os.environ.get(name) for name in names] == ["emulator", None, None]
        assert asked(os.environ["ANTHROPIC_BASE_URL"])["content"][0]["text"] == "Hello."

    def test_after():
        assert "ANTHROPIC_BASE_URL" not in os.environ and "no_proxy" not in os.environ
    """
    run(dedent(source), passed=2)
    assert {name: os.environ[name] for name in own} == own


@pytest.mark.slow
def test_retries_are_quick_and_each_test_has_its_own(run: Runs) -> None:
    source = """
    @pytest.mark.parametrize("number", range(8))
    def test_it(scripted, number):
        busy = [error(529, "overloaded_error", "Overloaded")] * 3
        api = scripted(*busy, reply("Now."))
        assert agent.run_sync("And now?", client=api.client).text == "Now."
        agent.close()
    """
    shown = run(dedent(source), passed=8)
    assert float(re.findall(r"in ([\d.]+)s", shown)[-1]) < 20  # each would wait for 7 s on average


ONE = "def test_it(replay):\n    assert asked(replay('talks/rome.jsonl').url)['content'][0]['text'] == {!r}\n"


def upstream(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-a-key-of-mine")


@pytest.mark.slow
def test_what_was_recorded_is_replayed(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(script=[reply("Sunny.")]) as real:
        upstream(monkeypatch, real.url)
        run(ONE.format("Sunny."), "--record-messages", passed=1)
        assert len(real.requests) == 1
    recorded = (run.folder / "talks" / "rome.jsonl").read_text()
    assert "Sunny." in recorded
    assert "a-key-of-mine" not in recorded
    run(ONE.format("Sunny."), passed=1)  # the real one has ended
    other = ONE.format("Sunny.").replace(".url)", ".url, 'And Paris?')")
    shown = run(other, failed=1, errors=1)
    assert 'recorded "How is Rome?", sent "And Paris?"' in shown


@pytest.mark.slow
def test_a_recording_is_replaced_by_a_new_one_only(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(script=[reply("Sunny."), reply("Cloudy.")]) as real:
        upstream(monkeypatch, real.url)
        run(ONE.format("Sunny."), "--record-messages", passed=1)
        run(ONE.format("Cloudy."), "--record-messages", passed=1)
    assert (run.folder / "talks" / "rome.jsonl").read_text().count("\n") == 2
    run(ONE.format("Cloudy."), "--record-messages", failed=1)  # there is no upstream any more
    run(ONE.format("Cloudy."), passed=1)


@pytest.mark.slow
def test_the_client_is_the_same_when_it_records_and_when_it_replays(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
    def test_it(replay):
        api = replay("rome.jsonl.gz")
        assert api.client.provider.name == "generic"
        assert agent.run_sync("How is Rome?", client=api.client).text == "Sunny."
        agent.close()
    """
    with Emulator(script=[reply("Sunny.")]) as real:
        upstream(monkeypatch, real.url)
        run(dedent(source), "--record-messages", passed=1)
        assert real.headers[0]["anthropic-version"] == "2023-06-01"
    run(dedent(source), passed=1)
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    shown = run(dedent(source), "--record-messages", failed=1)
    assert "no API key: set ANTHROPIC_API_KEY" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({"ANTHROPIC_API_KEY": "one"}, ("x-api-key", "one")),
        ({"ANTHROPIC_AUTH_TOKEN": "two"}, ("authorization", "Bearer two")),
        ({"ANTHROPIC_API_KEY": "one", "ANTHROPIC_AUTH_TOKEN": "two"}, ("x-api-key", "one")),
        ({"ANTHROPIC_API_KEY": "one", "COMETAPI_KEY": "three"}, ("x-api-key", "three")),
    ],
)
def test_the_key_of_the_environment_goes_to_the_endpoint(
    run: Runs, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], key: tuple[str, str]
) -> None:
    with ScriptedServer([Json({"id": "msg_1"})]) as real:
        for name, value in {**environment, "ANTHROPIC_BASE_URL": real.url}.items():
            monkeypatch.setenv(name, value)
        if "COMETAPI_KEY" in environment:
            monkeypatch.setitem(PROVIDERS, "cometapi", replace(COMETAPI, base_url=real.url))
        source = """
        def test_it(replay):
            api = replay("rome.jsonl")
            headers = api.client.headers_for(None)
            assert httpx.post(f"{api.url}/v1/messages", json={}, headers=headers).json() == {"id": "msg_1"}
        """
        run(dedent(source), "--record-messages", passed=1)
        assert real.requests[0].headers[key[0]] == key[1]


@pytest.mark.slow
def test_workers_do_not_meet(run: Runs, pytester: pytest.Pytester) -> None:
    source = """
    @pytest.mark.parametrize("number", range(8))
    def test_it(scripted, messages_api, number):
        api = scripted(reply(str(number)))
        assert asked(api.url)["content"][0]["text"] == str(number)
        assert asked(messages_api.url)["type"] == "message"
    """
    pytester.makepyfile(HEAD + dedent(source))
    pytester.runpytest_subprocess("-n", "2").assert_outcomes(passed=8)


def blocks_with_fixtures() -> list[Any]:
    """The blocks of the guide that are files of tests, which tests/test_docs.py only reads."""
    found = [block for block in find_examples(GUIDE) if block.prefix_settings().get("test") == "skip"]
    return [pytest.param(block.source, id=f"line {block.start_line}") for block in found]


@pytest.mark.slow
@pytest.mark.parametrize("source", blocks_with_fixtures())
def test_the_guide(run: Runs, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (run.folder / "test_guide.py").write_text(source, "utf-8")
    with Emulator(script=lambda body: reply("It is sunny in Rome.")) as real:
        upstream(monkeypatch, real.url)
        for options in [["--record-messages"], []] if "(replay)" in source else [[]]:
            done = run.pytest(*options)
            assert done.parseoutcomes().keys() == {"passed"}, done.stdout.str()
