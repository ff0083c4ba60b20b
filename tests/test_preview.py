"""What a run would send first: body, estimate, cost, problems, and a curl line without secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
from logs import asked, begun, take
from recordings import MISSING, PATH, messages
from scripted import ScriptedServer, reply, text

from agentkit.client import Client
from agentkit.preview import Preview, preview_of
from agentkit.request import Request
from agentkit.settings import Limits
from agentkit.transcript import Transcript

KEY = "sk-ant-api03-do-not-show"
HELLO = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


def shown(
    prompt: Any = "Hi", client: Client | None = None, transcript: Transcript | None = None, **fields: Any
) -> Preview:
    request = Request(**{"model": "claude-sonnet-4-6", "max_tokens": 1000, "stream": False, **fields})
    client = client or Client(api_key=KEY, base_url="https://api.anthropic.com")
    return preview_of(transcript or begun(prompt), request, Limits(), client)


def words(preview: Preview) -> list[str]:
    """What a shell makes of the curl line, with no variable set."""
    return shlex.split(preview.curl)


def sent(preview: Preview) -> Any:
    found = words(preview)
    return json.loads(found[found.index("--data") + 1])


def test_the_body_what_it_would_cost_and_where_it_goes() -> None:
    preview = shown()
    assert preview.body == {"model": "claude-sonnet-4-6", "messages": [HELLO], "max_tokens": 1000}
    assert preview.size == len(json.dumps(preview.body, separators=(",", ":")))
    assert preview.input_tokens == preview.size // 3
    assert preview.cost == pytest.approx((preview.input_tokens * 3 + 1000 * 15) / 1e6)
    assert (preview.cost_unknown, preview.problems) == (None, [])
    assert preview.url == "https://api.anthropic.com/v1/messages"
    assert KEY not in repr(preview)


def test_speed_and_place_multiply_the_cost() -> None:
    plain, fast = shown(), shown(params={"speed": "fast", "inference_geo": "us"})
    assert plain.cost
    assert fast.cost == pytest.approx(plain.cost * 2.2, rel=0.01)  # the parameters have tokens of their own


@pytest.mark.parametrize(
    ("model", "base_url", "reason"),
    [
        ("claude-nope", "https://api.anthropic.com", "no price is known for claude-nope at anthropic"),
        ("claude-sonnet-4-6", "https://api.cometapi.com", "no price is known for claude-sonnet-4-6 at cometapi"),
    ],
)
def test_a_cost_that_is_not_known_is_none_and_says_why(model: str, base_url: str, reason: str) -> None:
    preview = shown(model=model, client=Client(api_key=KEY, base_url=base_url))
    assert (preview.cost, preview.cost_unknown) == (None, reason)


def test_what_the_api_would_refuse() -> None:
    preview = shown(params={"temperature": 3})
    assert [problem.path for problem in preview.problems] == ["temperature"]


def test_tools_and_images_are_estimated() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 300_000}}
    by_url = {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}
    preview = shown([{"type": "text", "text": "Look."}, image, by_url, {"type": "image"}])
    assert preview.input_tokens == (preview.size - 300_000) // 3 + 3 * 4784
    tool = {"name": "add", "input_schema": {"type": "object"}}
    preview = shown(tools=(tool,))
    assert preview.input_tokens == preview.size // 3 + 804


def test_what_the_api_has_counted_is_not_estimated_again() -> None:
    transcript = take(asked("Hi"), text("So."), usage={"input_tokens": 50_000, "output_tokens": 10})
    transcript.begin("run_2", [{"role": "user", "content": [text("x" * 300)]}])
    assert 50_100 <= shown(transcript=transcript).input_tokens < 50_200
    uncounted = take(asked("x" * 3000), text("So."), usage={"input_tokens": 0, "output_tokens": None})
    uncounted.begin("run_2", [{"role": "user", "content": [text("More")]}])
    assert shown(transcript=uncounted).input_tokens > 1000


def test_max_tokens_is_what_a_limit_leaves() -> None:
    request = Request("claude-sonnet-4-6", 8192)
    client = Client(api_key=KEY)
    preview = preview_of(begun("Hi"), request, Limits(max_total_tokens=500), client)
    assert preview.body["max_tokens"] < 500


@pytest.mark.slow
@pytest.mark.skipif(not PATH.exists(), reason=MISSING)
def test_the_estimate_is_mostly_enough_and_seldom_far_too_much() -> None:
    ratios = []
    for exchange in messages():
        body, answer = exchange["request_body"], exchange["response_body"]
        if not isinstance(body, dict) or not answer or "response_only" in exchange["features"]:
            continue
        usage, wire = answer["usage"], json.dumps(body)
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        counted = sum(usage.get(name) or 0 for name in names)
        if not counted or usage.get("iterations") or "server_tool_use" in json.dumps(answer) or '"file' in wire:
            continue  # what the server adds is not in the request
        if re.search(r'"type": "(url|document)"', wire):
            continue
        fields: dict[str, Any] = {"tools": tuple(body.get("tools") or ()), "system": body.get("system")}
        left_out = {"model", "max_tokens", "messages", "stream", *fields}
        fields["params"] = {key: value for key, value in body.items() if key not in left_out}
        ratios.append(shown(begun_with(body), model=body["model"], **fields).input_tokens / counted)
    ratios.sort()
    assert len(ratios) > 500
    assert sum(ratio >= 1 for ratio in ratios) / len(ratios) > 0.9
    assert ratios[len(ratios) // 2] < 2


def begun_with(body: dict[str, Any]) -> Any:
    return [{"role": "user", "content": [text(json.dumps(body["messages"]))]}]


# The curl line.


def test_curl_has_the_request_and_not_the_key() -> None:
    preview = shown(betas=("files-api-2025-04-14", "new-2030-01-01"), stream=True)
    assert preview.curl.startswith("curl --no-buffer https://api.anthropic.com/v1/messages -H ")
    assert '-H "x-api-key: $ANTHROPIC_API_KEY"' in preview.curl
    assert "-H 'anthropic-beta: files-api-2025-04-14,new-2030-01-01'" in preview.curl
    assert "-H 'anthropic-version: 2023-06-01' -H 'content-type: application/json'" in preview.curl
    assert sent(preview) == preview.body
    assert "\n" not in preview.curl
    assert KEY not in preview.curl


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"auth_token": KEY}, '"authorization: Bearer $ANTHROPIC_AUTH_TOKEN"'),
        ({"api_key": KEY, "headers": {"authorization": f"Bearer {KEY}"}}, '"authorization: Bearer $ANTHROPIC_API_KEY"'),
        ({"api_key": KEY, "provider": "cometapi"}, '"x-api-key: $COMETAPI_KEY"'),
        (
            {"api_key": KEY, "headers": {"authorization": f"Basic {KEY}"}},
            '"authorization: $AUTHORIZATION"',
        ),
        ({"api_key": KEY, "headers": {"X-Team-Token": KEY}}, '"x-team-token: $X_TEAM_TOKEN"'),
        ({"api_key": KEY, "headers": {"Anthropic-Workspace-Id": "wrk_1"}}, "'anthropic-workspace-id: wrk_1'"),
        ({"api_key": KEY, "headers": {"$(ls)": KEY}}, "'$(ls): $__LS_'"),
    ],
)
def test_keys_and_other_headers_become_variables(options: dict[str, Any], header: str) -> None:
    preview = shown(client=Client(**options))
    assert f" -H {header} " in preview.curl
    assert KEY not in preview.curl


def test_an_endpoint_without_a_key_gets_none() -> None:
    assert "$" not in shown(client=Client(base_url="http://127.0.0.1:9")).curl


def test_without_a_client_it_is_the_environments_or_the_claude_api(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "COMETAPI_"))]:
        monkeypatch.delenv(name)
    request = Request("claude-sonnet-4-6", 9)
    preview = preview_of(begun("Hi"), request, Limits(), None)
    assert preview.url == "https://api.anthropic.com/v1/messages"
    assert '"x-api-key: $ANTHROPIC_API_KEY"' in preview.curl
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    assert preview_of(begun("Hi"), request, Limits(), None).url == "http://127.0.0.1:9/v1/messages"


def test_the_secrets_of_mcp_servers_are_left_out() -> None:
    server = {"type": "url", "name": "docs", "url": f"https://m.test/{KEY}", "authorization_token": KEY}
    preview = shown(params={"mcp_servers": [server, {"name": "bare"}, "new"]})
    assert preview.body["mcp_servers"][0] == server
    hidden = {**server, "url": "<url>", "authorization_token": "<authorization_token>"}
    assert sent(preview)["mcp_servers"] == [hidden, {"name": "bare"}, "new"]
    assert KEY not in preview.curl
    assert sent(shown(params={"mcp_servers": "new"}))["mcp_servers"] == "new"


HOSTILE = "it's $(rm -rf ~) `id` \"q\" \\ !! %s\nJSON\n' é 漢 \x1b[2J \u202e \U000e0041"


def test_whatever_the_text_the_shell_sees_json_and_the_terminal_nothing_to_obey() -> None:
    preview = shown(HOSTILE)
    assert sent(preview)["messages"][0]["content"][0]["text"] == HOSTILE
    assert preview.curl.isprintable()
    assert "é 漢" in preview.curl
    assert sent(shown("\ud83d"))["messages"][0]["content"][0]["text"] == "\ud83d"


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize("size", [10, 300_000])
def test_curl_sends_what_the_run_would_send(size: int) -> None:
    prompt = HOSTILE + "x" * size  # longer than what one argument may be
    with ScriptedServer([reply(text("Hi."))]) as server:
        headers = {"X-Own": "of the client"}
        preview = shown(prompt, client=Client(api_key=KEY, base_url=server.url, headers=headers))
        env = {**os.environ, "ANTHROPIC_API_KEY": "sk-mine", "X_OWN": "it's", "no_proxy": "*"}
        done = subprocess.run(["sh"], input=preview.curl.encode(), env=env, capture_output=True, check=True, timeout=30)
        assert json.loads(done.stdout)["content"][0]["text"] == "Hi."
        (request,) = server.requests
    assert request.json == preview.body
    assert (request.headers["x-api-key"], request.headers["x-own"]) == ("sk-mine", "it's")
    assert request.headers["content-type"] == "application/json"
