"""Agent frameworks that others wrote complete a tool loop with a server tool against the emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peer_scripts import PAGE, QUESTION, paused, reader, straight

from agentkit.emulator import Emulator

pytestmark = [pytest.mark.peers, pytest.mark.slow]

ANSWER = "It is sunny in Rome."
MODES = ("whole", "stream")


@pytest.fixture
def frameworks(peer: Any) -> Any:
    return peer("frameworks")


@pytest.fixture
def node(peer: Any) -> Any:
    return peer("node")


def test_llm(frameworks: Any) -> None:
    """It streams always, and leaves a pause to its caller."""
    with Emulator(script=straight(), pace=0) as emulator:
        done = frameworks.run("llm_loop.py", QUESTION, url=emulator.url)
    assert done["text"].endswith(ANSWER)
    assert done["pieces"] > 2
    assert (done["called"], done["stops"], done["cited"]) == (["Rome"], ["tool_use", "end_turn"], [PAGE])
    assert [request["stream"] for request in emulator.requests] == [True, True]


def test_pydantic_ai(frameworks: Any) -> None:
    with Emulator(script=[*paused(), *paused()], pace=0) as emulator:
        whole, streamed = frameworks.run("pydantic_ai_loop.py", QUESTION, *MODES, url=emulator.url)
    for done in (whole, streamed):
        assert done["text"] == ANSWER
        assert done["called"] == ["Rome"]
        assert done["found"] == [PAGE]
        # It makes one reply of a pause and what goes on from it.
        assert done["replies"] == 2
    assert streamed["pieces"] > 2
    assert len(emulator.requests) == 6, "a request was refused"


def test_langchain(frameworks: Any) -> None:
    """It leaves a pause to its caller."""
    with Emulator(script=[*straight(), *straight()], pace=0) as emulator:
        whole, streamed = frameworks.run("langchain_loop.py", QUESTION, *MODES, url=emulator.url)
    for done in (whole, streamed):
        assert done["text"] == ANSWER
        assert done["called"] == ["Rome"]
        assert done["stops"] == ["tool_use", "end_turn"]
        assert done["cited"] == [PAGE]
        assert all(tokens > 0 for tokens in done["output_tokens"])
    assert streamed["pieces"] > 5
    assert len(emulator.requests) == 4, "a request was refused"
    assert [bool(request.get("stream")) for request in emulator.requests] == [False, False, True, True]


def test_the_ai_sdk(node: Any) -> None:
    with Emulator(script=[*straight(), *paused()], pace=0) as emulator:
        whole, streamed = node.run("ai_sdk_loop.mjs", QUESTION, *MODES, url=emulator.url)
    for done in (whole, streamed):
        assert done["text"] == ANSWER
        assert done["called"] == ["Rome"]
        assert set(done["cited"]) == {PAGE}
    assert whole["stops"] == ["tool-calls", "stop"]
    assert streamed["stops"] == ["stop", "tool-calls", "stop"], "the pause was not resumed"
    assert streamed["pieces"] > 2
    assert len(emulator.requests) == 5, "a request was refused"


@pytest.mark.parametrize(
    ("name", "program", "modes", "pause_after"),
    [
        ("frameworks", "llm_loop.py", (), 10),
        ("frameworks", "pydantic_ai_loop.py", MODES, 1),
        ("frameworks", "langchain_loop.py", MODES, 10),
        ("node", "ai_sdk_loop.mjs", MODES, 1),
    ],
)
def test_each_talks_with_the_reader(
    peer: Any, tmp_path: Path, name: str, program: str, modes: tuple[str, ...], pause_after: int
) -> None:
    framework = peer(name)
    with reader(tmp_path, pause_after) as emulator:
        done = framework.run(program, QUESTION, *modes, url=emulator.url)
    for run in done if modes else [done]:
        assert run["called"] == ["Rome"]
        assert "sunny in Rome" in run["text"]
        assert run.get("cited") or run.get("found")
