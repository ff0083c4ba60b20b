"""What `/v1/models` says of a model, and the table of models put right by it."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Json, ScriptedServer, error
from sending import client_for

from agentkit.errors import NotFoundError, ProtocolError
from agentkit.model_info import ModelInfo
from agentkit.support import MODELS, model_of

YES, NO = {"supported": True}, {"supported": False}
CAPABILITIES = {
    "batch": YES,
    "effort": {**YES, "low": YES, "medium": YES, "high": YES, "xhigh": NO, "max": YES},
    "thinking": {**YES, "types": {"adaptive": YES, "between_tools": NO, "disabled": NO, "enabled": YES}},
    "future": {"anything": YES},
}
SONNET = {
    "type": "model",
    "id": "claude-sonnet-4-6",
    "display_name": "Claude Sonnet 4.6",
    "created_at": "2026-02-17T00:00:00Z",
    "lifecycle": "active",
    "max_input_tokens": 500_000,
    "max_tokens": 64_000,
    "capabilities": CAPABILITIES,
    "line": "sonnet",
}
KNOWN = MODELS["claude-sonnet-4-6"]


def page(*items: Any, **fields: Any) -> Json:
    return Json({"data": list(items), "has_more": False, **fields})


@pytest.mark.anyio
async def test_models_of_all_pages() -> None:
    opus = {**SONNET, "id": "claude-opus-4-8"}
    with ScriptedServer([page(SONNET, has_more=True, last_id=SONNET["id"]), page(opus)]) as server:
        async with client_for("own", server.url) as client:
            found = await client.models()
    assert [info.id for info in found] == ["claude-sonnet-4-6", "claude-opus-4-8"]
    assert found[0] == ModelInfo(
        id="claude-sonnet-4-6",
        display_name="Claude Sonnet 4.6",
        created_at="2026-02-17T00:00:00Z",
        max_input_tokens=500_000,
        max_tokens=64_000,
        lifecycle="active",
        capabilities=CAPABILITIES,
        raw=SONNET,
    )
    assert len({*found}) == 2  # they can be in a set
    assert server.requests[0].path == "/v1/models?limit=1000"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        {"object": "list", "data": [{"id": "m", "object": "model", "created": 1_700_000_000, "owned_by": "me"}]},
        {"models": [{"name": "m"}], "object": "list", "data": [{"id": "m", "created": 1_700_000_000, "meta": {}}]},
    ],
)
async def test_lists_in_the_shape_of_openai(answer: Any) -> None:
    with ScriptedServer([Json(answer)]) as server:
        async with client_for("own", server.url) as client:
            (found,) = await client.models()
            assert client.known_model("m") is None
    assert (found.id, found.created_at, found.max_tokens, found.capabilities) == ("m", "2023-11-14T22:13:20Z", None, {})
    assert found.raw == answer["data"][0]


def test_what_has_another_type_is_not_said() -> None:
    odd = {"id": "m", "display_name": 3, "created": "soon", "max_tokens": "many", "max_input_tokens": True}
    assert ModelInfo.from_wire({**odd, "capabilities": [1]}) == ModelInfo(id="m", raw={**odd, "capabilities": [1]})
    assert ModelInfo.from_wire({"id": "m", "created": 1e30}).created_at is None


# The table, refined


def test_what_the_endpoint_says_wins() -> None:
    refined = ModelInfo.from_wire(SONNET).refine(KNOWN)
    assert refined is not None
    assert refined.thinking == {"adaptive", "enabled"}
    assert refined.efforts == ("low", "medium", "high", "max")
    assert (refined.context_window, refined.max_tokens) == (500_000, 64_000)
    assert (refined.default_effort, refined.programmatic) == (KNOWN.default_effort, KNOWN.programmatic)
    assert ModelInfo.from_wire(SONNET).refine(None) is None


@pytest.mark.parametrize(
    "capabilities",
    [
        None,
        {},
        {"thinking": None, "effort": []},
        {"thinking": YES, "effort": YES},
        {"thinking": {"types": {"adaptive": {"supported": "yes"}}}, "effort": {"low": True}},
    ],
)
def test_what_is_not_said_stays_as_in_the_table(capabilities: Any) -> None:
    assert ModelInfo.from_wire({"id": "m", "capabilities": capabilities}).refine(KNOWN) == KNOWN


def test_what_a_model_has_not() -> None:
    said: dict[str, Any] = {"thinking": NO, "effort": NO}
    refined = ModelInfo(id="m", capabilities=said).refine(KNOWN)
    assert refined is not None
    assert (refined.thinking, refined.efforts, refined.default_effort) == (frozenset(), (), None)
    few = ModelInfo(id="m", capabilities={"effort": {"low": YES, "high": NO}}).refine(KNOWN)
    assert few is not None
    assert (few.efforts, few.default_effort) == (("low",), None)


@pytest.mark.anyio
async def test_a_client_remembers_what_was_said() -> None:
    dated = {**SONNET, "id": "claude-haiku-4-5-20251001", "max_tokens": 5}
    alias = {**SONNET, "max_tokens": 7}
    with ScriptedServer([page(dated), Json(alias)]) as server:
        async with client_for("own", server.url) as client:
            assert client.known_model("claude-haiku-4-5") == model_of("claude-haiku-4-5")
            assert client.known_model("claude-from-the-future") is None
            await client.models()
            for name in ("claude-haiku-4-5", "claude-haiku-4-5-20251001"):
                assert client.known_model(name).max_tokens == 5  # type: ignore[union-attr]
            assert (await client.model("claude-sonnet-4-6")).max_tokens == 7
            for name in ("claude-sonnet-4-6", "claude-sonnet-4-6-20260217"):
                assert client.known_model(name).max_tokens == 7  # type: ignore[union-attr]
            assert client.known_model("claude-opus-4-8") == MODELS["claude-opus-4-8"]
    assert server.requests[1].path == "/v1/models/claude-sonnet-4-6"


@pytest.mark.anyio
async def test_no_such_model() -> None:
    with ScriptedServer([error(404, "not_found_error", "model: none"), Json({"object": "list"}), Json([])]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(NotFoundError, match="model: none"):
                await client.model("a/b")
            for _ in range(2):
                with pytest.raises(ProtocolError, match="answered with no model"):
                    await client.model("b")
    assert server.requests[0].path == "/v1/models/a%2Fb"
