"""The SDKs that the API's makers publish, against the emulator: their loops, streams, errors and other routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peer_scripts import ERRORS, PAGE, QUESTION, failures, paused, reader

from agentkit.emulator import Emulator, error, reply, tool_use

pytestmark = [pytest.mark.peers, pytest.mark.slow]

PYTHON = {"anthropic-1": "2023-06-01", "anthropic-2": "2026-10-21"}
PROGRAMS = dict.fromkeys(PYTHON, "anthropic_sdk.py") | {"node": "node_sdk.mjs"}
VERSIONS = PYTHON | {"node": "2026-10-21"}
LOOPS = ("tool_runner", "streamed_runner")
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "ContentTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
    529: "OverloadedError",
}
# The first version has no class of its own for these.
OLDER = CLASSES | {
    402: "APIStatusError",
    413: "RequestTooLargeError",
    503: "InternalServerError",
    504: "InternalServerError",
}


@pytest.fixture(params=PYTHON)
def python_sdk(peer: Any, request: pytest.FixtureRequest) -> Any:
    return peer(request.param)


@pytest.fixture(params=PROGRAMS)
def sdk(peer: Any, request: pytest.FixtureRequest) -> Any:
    return peer(request.param)


@pytest.fixture
def node(peer: Any) -> Any:
    return peer("node")


def test_the_tool_runner_resumes_a_pause_and_calls_the_tool(sdk: Any) -> None:
    with Emulator(script=[*paused(), *paused()], pace=0) as emulator:
        done = sdk.run(PROGRAMS[sdk.name], *(f"{loop}:{QUESTION}" for loop in LOOPS), url=emulator.url)
    for loop in LOOPS:
        assert done[loop] == {
            "stops": ["pause_turn", "tool_use", "end_turn"],
            "text": "It is sunny in Rome.",
            "cited": [PAGE],
            "called": ["Rome"],
        }
    assert len(emulator.requests) == 6, "a request was refused"
    assert {headers["anthropic-version"] for headers in emulator.headers} == {VERSIONS[sdk.name]}
    for answer, stream in zip(emulator.requests[2::3], (False, True), strict=True):
        (result,) = answer["messages"][-1]["content"]
        content = result["content"]
        assert "sunny in Rome" in (content if isinstance(content, str) else content[0]["text"])
        assert bool(answer.get("stream")) is stream


def test_the_tool_runner_talks_with_the_reader(sdk: Any, tmp_path: Path) -> None:
    with reader(tmp_path, pause_after=1) as emulator:
        done = sdk.run(PROGRAMS[sdk.name], *(f"{loop}:{QUESTION}" for loop in LOOPS), url=emulator.url)
    for loop in LOOPS:
        assert done[loop]["called"] == ["Rome"]
        assert done[loop]["stops"][0] == "pause_turn"
        assert done[loop]["stops"][-1] == "end_turn"
        assert done[loop]["cited"]
        assert "sunny in Rome" in done[loop]["text"]


def test_streams_errors_and_retries(python_sdk: Any) -> None:
    broken = reply("Hello", events=lambda events: [*events[:3], _overloaded()])
    again = [error(status, "overloaded_error", "Later.", retry_after="0") for status in (529, 500)]
    script = [
        *[reply("Well, ", tool_use("weather", city="Rome"))] * 3,
        reply("Hello there."),
        *failures(),
        broken,
        *again,
        reply("Now."),
    ]
    tasks = ("streaming", "streamed_async", f"errors:{len(ERRORS)}", "stream_error", "retries")
    with Emulator(script=script, pace=0) as emulator:
        done = python_sdk.run("anthropic_sdk.py", *tasks, url=emulator.url)
    _check_streams(done["streaming"])
    assert done["streamed_async"] == {"text": "Hello there.", "stop": "end_turn"}
    classes = OLDER if python_sdk.name == "anthropic-1" else CLASSES
    assert done["errors"] == [
        {"class": classes[status], "status": status, "type": kind, "message": f"status {status}", "request_id": True}
        for status, kind in ERRORS
    ]
    assert done["stream_error"] == {"class": "APIStatusError", "type": "overloaded_error"}
    assert done["retries"] == {"text": "Now."}


def test_the_other_routes(python_sdk: Any) -> None:
    tasks = ("refusals", "counting", "models", "batches", "files")
    with Emulator(script=lambda body: reply("Yes."), pace=0) as emulator:
        done = python_sdk.run("anthropic_sdk.py", *tasks, url=emulator.url)
    bad = "BadRequestError invalid_request_error"
    assert done["refusals"] == [
        bad,
        "NotFoundError not_found_error",
        bad,
        bad,
        "AuthenticationError authentication_error",
    ]
    assert done["counting"]["plain"] == done["counting"]["beta"] > 10
    models = done["models"]
    assert len(models["ids"]) > 2, "the second page was not fetched"
    assert models["ids"] == models["beta"]
    assert models["one"] == "claude-sonnet-4-6"
    assert models["max_tokens"] > 1000
    assert done["batches"] == {
        "made": "in_progress",
        "ended": "ended",
        "succeeded": 3,
        "results": dict.fromkeys(["q0", "q1", "q2"], "succeeded"),
        "listed": True,
        "deleted": True,
    }
    _check_files(done["files"], python_sdk.name)


def test_node_streams_errors_and_the_other_routes(node: Any) -> None:
    steps = iter([reply("Hello you there."), *failures()])
    with Emulator(script=lambda body: next(steps, reply("Yes.")), pace=0) as emulator:
        done = node.run("node_sdk.mjs", "streaming", f"errors:{len(ERRORS)}", "rest", url=emulator.url)
    assert done["streaming"]["text"] == "Hello you there."
    assert done["streaming"]["content"] == [{"type": "text", "text": "Hello you there."}]
    assert done["streaming"]["kinds"][0] == "message_start"
    assert done["streaming"]["kinds"][-1] == "message_stop"
    assert done["streaming"]["request_id"].startswith("req_")
    assert done["errors"] == [{"class": CLASSES[status], "status": status, "type": kind} for status, kind in ERRORS]
    rest = done["rest"]
    assert len(rest["models"]) > 2
    assert rest["one"] == "claude-sonnet-4-6"
    assert rest["tokens"] > 0
    assert (rest["results"], rest["file"], rest["deleted"]) == (["succeeded"], "facts.txt", True)


def _overloaded() -> dict[str, Any]:
    return {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def _check_streams(done: dict[str, Any]) -> None:
    """The SDK's own events, in order, and the raw ones."""
    kinds = done["kinds"]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    assert {"text", "input_json"} < set(kinds)
    assert done["raw"] == [kind for kind in kinds if kind not in ("text", "input_json")]
    assert done["text"] == "Well, "
    said, use = done["content"]
    assert said["text"] == "Well, "
    assert (use["name"], use["input"], use["id"][:6]) == ("weather", {"city": "Rome"}, "toolu_")
    assert done["stop"] == "tool_use"
    assert done["output_tokens"] > 0
    assert done["request_id"].startswith("req_")


def _check_files(done: dict[str, Any], sdk: str) -> None:
    assert (done["name"], done["size"], done["type"]) == ("facts.txt", 20, "text/plain")
    assert done["metadata"]
    assert done["listed"] == ["facts.txt"]
    assert done["stop"] == "end_turn"
    # What a user uploaded can't be downloaded; the second version has a class for it.
    assert done["downloaded"] == ("BadRequestError" if sdk == "anthropic-1" else "FileNotDownloadableError")
    assert done["deleted"]
