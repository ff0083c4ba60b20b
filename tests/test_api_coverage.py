"""All of the API: each block and delta passes through on the wire, and a table says which test shows each part.

`python tests/test_api_coverage.py` writes docs/reference/api-coverage.md anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import agent_for, drain
from scripted import Sse, reply, server_tool_use, text, thinking, tool_use

from agentkit import Agent, Client
from agentkit.parameters import Parameters
from agentkit.rules.blocks import _BLOCK
from agentkit.rules.fields import _FIELDS
from agentkit.server_tools import advisor, code_execution, mcp_server, mcp_toolset, tool_search, web_fetch, web_search
from agentkit.step import AFTER
from agentkit.stream_events import DELTAS as KNOWN_DELTAS
from agentkit.support import SERVER_TOOLS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "api-coverage.md"
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
LETTER = {"type": "text", "media_type": "text/plain", "data": "Dear Ada"}
CITED = {
    "type": "web_search_result_location",
    "url": "https://a.test",
    "title": "A",
    "encrypted_index": "x",
    "cited_text": "a",
}
CALLER = {"type": "code_execution_20260120", "tool_id": "srvtoolu_0"}

# Blocks of the user's.
GIVEN: dict[str, dict[str, Any]] = {
    "text": text("Hi", cache_control={"type": "ephemeral"}),
    "image": {"type": "image", "source": PNG, "transformations": {"oversized_image": "downsize"}},
    "document": {"type": "document", "source": LETTER, "title": "T", "context": "C", "citations": {"enabled": True}},
    "search_result": {"type": "search_result", "source": "s", "title": "T", "content": [text("a")]},
    "container_upload": {"type": "container_upload", "file_id": "file_1"},
}  # fmt: skip
# Parts of the results of client tools.
RETURNED: dict[str, dict[str, Any]] = {
    **{kind: block for kind, block in GIVEN.items() if kind != "container_upload"},
    "tool_reference": {"type": "tool_reference", "tool_name": "look"},
}


def served(name: str, kind: str, content: Any, **fields: Any) -> list[dict[str, Any]]:
    return [
        server_tool_use(name, id="srvtoolu_1"),
        {"type": kind, "tool_use_id": "srvtoolu_1", "content": content, **fields},
    ]


OUTPUT = {"stdout": "1", "stderr": "", "return_code": 0, "content": []}
# What replies hold: the block of the name is the last one.
REPLIED: dict[str, list[dict[str, Any]]] = {
    "text": [text("Cited.", citations=[CITED])],
    "thinking": [thinking("so")],
    "redacted_thinking": [{"type": "redacted_thinking", "data": "opaque"}],
    "server_tool_use": served("web_search", "web_search_tool_result", [])[:1],
    "web_search_tool_result": served("web_search", "web_search_tool_result", [], caller=CALLER),
    "web_fetch_tool_result": served(
        "web_fetch", "web_fetch_tool_result", {"type": "web_fetch_tool_result_error", "error_code": "url_too_long"}
    ),
    "code_execution_tool_result": served(
        "code_execution",
        "code_execution_tool_result",
        {"type": "encrypted_code_execution_result", "encrypted_stdout": "x"},
    ),
    "bash_code_execution_tool_result": served(
        "bash_code_execution", "bash_code_execution_tool_result", {"type": "bash_code_execution_result", **OUTPUT}
    ),
    "text_editor_code_execution_tool_result": served(
        "text_editor_code_execution",
        "text_editor_code_execution_tool_result",
        {"type": "text_editor_code_execution_create_result", "is_file_update": False},
    ),
    "tool_search_tool_result": served(
        "tool_search_tool_regex",
        "tool_search_tool_result",
        {"type": "tool_search_tool_search_result", "tool_references": [RETURNED["tool_reference"]]},
    ),
    "advisor_tool_result": served("advisor", "advisor_tool_result", {"type": "advisor_result", "text": "Do."}),
    "mcp_tool_use": [{"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {}}],
    "mcp_tool_result": [
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [text("a")]},
    ],
    "mcp_tool_listing": [{"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []}],
    "container_upload": [{"type": "container_upload", "file_id": "file_1"}],
    "compaction": [{"type": "compaction", "content": "So far.", "encrypted_content": None}],
    "fallback": [{"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}, "trigger": {"type": "refusal"}}],
    "connector_text": [{"type": "connector_text", "text": "Meanwhile"}],
    "hologram (unknown)": [{"type": "hologram", "depth": [1.5, None, {"a": "é"}]}],
}
OPEN = ("server_tool_use", "mcp_tool_use")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", GIVEN)
async def test_a_block_of_the_user_arrives_as_it_is(kind: str) -> None:
    async with agent_for([reply(text("Hi."))]) as (agent, server):
        await agent.run([GIVEN[kind]])
        assert server.requests[0].json["messages"] == [{"role": "user", "content": [GIVEN[kind]]}]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", RETURNED)
async def test_a_block_that_a_tool_returns_arrives_as_it_is(kind: str) -> None:
    async def look() -> list[dict[str, Any]]:
        """Looks."""
        return [RETURNED[kind]]

    async with agent_for([reply(tool_use("look")), reply(text("Seen."))], look) as (agent, server):
        await agent.run("Look.")
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [RETURNED[kind]]}
        assert server.requests[1].json["messages"][-1]["content"] == [result]


@pytest.mark.anyio
async def test_a_result_may_refer_to_a_tool_of_a_remote_server() -> None:
    """Nobody here knows the names of its tools."""

    async def look() -> list[dict[str, Any]]:
        """Looks."""
        return [{"type": "tool_reference", "tool_name": "of_the_server"}]

    remote = mcp_toolset(mcp_server("https://a.test", "a"))
    async with agent_for([reply(tool_use("look")), reply(text("Seen."))], look, remote) as (agent, server):
        result = await agent.run("Look.")
        assert result.tool_calls[0].outcome == "done"
        [answer] = server.requests[1].json["messages"][-1]["content"]
        assert answer["content"] == [{"type": "tool_reference", "tool_name": "of_the_server"}]


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("kind", REPLIED)
async def test_a_block_of_a_reply_goes_back_as_it_came(kind: str, streamed: bool) -> None:
    blocks = REPLIED[kind]
    stop = "pause_turn" if kind in OPEN else "end_turn"
    async with agent_for([reply(*blocks, stop=stop), reply(text("Yes."))], max_tokens=100) as (agent, server):
        if stop == "pause_turn":
            await _run(agent, streamed, "Hi")
        else:
            await _run(agent, streamed, "Sure?", after=await _run(agent, streamed, "Hi"))
        assert server.requests[1].json["messages"][1] == {"role": "assistant", "content": blocks}


async def _run(agent: Agent, streamed: bool, prompt: str, **options: Any) -> Any:
    if not streamed:
        return await agent.run(prompt, **options)
    async with agent.stream(prompt, **options) as run:
        await drain(run)
    return run.result


PLACES: dict[str, dict[str, Any]] = {
    "char_location": {"document_index": 0, "document_title": "T", "start_char_index": 0, "end_char_index": 1},
    "page_location": {"document_index": 0, "document_title": "T", "start_page_number": 1, "end_page_number": 2},
    "content_block_location": {
        "document_index": 0,
        "document_title": "T",
        "start_block_index": 0,
        "end_block_index": 1,
    },
    "web_search_result_location": {"url": "https://a.test", "title": "T", "encrypted_index": "x"},
    "search_result_location": {"source": "https://a.test", "title": "T", "search_result_index": 0},
    "hologram_location (unknown)": {"title": "T", "depth": 1.5},
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", PLACES)
async def test_a_citation_is_shown_and_goes_back_as_it_came(kind: str) -> None:
    citation = {"type": kind.partition(" ")[0], "cited_text": "a", **PLACES[kind]}
    cited = text("Cited.", citations=[citation])
    async with agent_for([reply(cited), reply(text("Yes."))]) as (agent, server):
        result = await _run(agent, True, "Hi")
        [found] = result.citations
        assert (found.cited_text, found.title, found.raw) == ("a", "T", citation)
        assert found.url == ("https://a.test" if {"url", "source"} & citation.keys() else None)
        await agent.run("Sure?", after=result)
        assert server.requests[1].json["messages"][1]["content"] == [cited]


DELTAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text_delta": ({"text": "a"}, text("")),
    "thinking_delta": ({"thinking": "a"}, thinking("", "")),
    "signature_delta": ({"signature": "a"}, thinking("", "")),
    "input_json_delta": ({"partial_json": '{"a":1}'}, server_tool_use("web_search")),
    "citations_delta": ({"citation": CITED}, text("a")),
    "compaction_delta": ({"content": "a"}, {"type": "compaction", "content": None}),
    "hologram_delta (unknown)": ({"depth": "a"}, {"type": "hologram", "depth": ""}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", DELTAS)
async def test_a_delta_is_folded_into_its_block(kind: str) -> None:
    added, start = DELTAS[kind]
    delta = {"type": kind.partition(" ")[0], **added}
    stop = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    }
    events = [
        {"type": "message_start", "message": {**reply(), "stop_reason": None}},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        stop,
        {"type": "message_stop"},
    ]
    async with agent_for([Sse(events)]) as (agent, _):
        result = await _run(agent, True, "Hi")
        [block] = result.dump()["entries"][-1]["message"]["content"]
        key, value = next(iter(added.items()))
        found = block["citations"] if key == "citation" else block["input"] if key == "partial_json" else block[key]
        assert found == ([CITED] if key == "citation" else {"a": 1} if key == "partial_json" else value)


CONSTRUCTORS: dict[str, Any] = {"web_search": web_search, "web_fetch": web_fetch, "code_execution": code_execution}
VERSIONS = [f"{name}_{date}" for name, kinds in SERVER_TOOLS.items() for date in kinds.dates]
OTHERS: dict[str, Any] = {
    "tool_search_tool_regex_20251119": lambda: tool_search("regex"),
    "tool_search_tool_bm25_20251119": lambda: tool_search("bm25"),
    "advisor_20260301": lambda: advisor("claude-opus-5"),
    "mcp_toolset": lambda: mcp_toolset(mcp_server("https://a.test", "a")),
}


@pytest.mark.parametrize("version", [*VERSIONS, *OTHERS])
def test_a_server_tool_of_each_version_is_sent(version: str) -> None:
    name, _, date = version.rpartition("_")
    tool = OTHERS[version]() if version in OTHERS else CONSTRUCTORS[name](version=date)
    client = Client(base_url="http://127.0.0.1:9", provider="anthropic", api_key="k")
    plain = {"name": "look", "input_schema": {"type": "object"}}
    body = Agent("claude-opus-4-6", tools=[plain, tool], client=client).preview("Hi").body
    assert body["tools"][1]["type"] == version


# The table.

HARD = "test_hard_turns.py"
STOPS = {
    "tool_use": "test_step.py::test_only_tool_use_runs_tools",
    "pause_turn": f"{HARD}::test_a_chain_of_pauses",
    "compaction": f"{HARD}::test_a_pause_after_compaction",
    "end_turn": f"{HARD}::test_an_empty_end_after_results",
    "stop_sequence": "test_step.py::test_a_turn_without_a_call",
    "max_tokens": f"{HARD}::test_max_tokens_inside_a_call",
    "model_context_window_exceeded": f"{HARD}::test_the_context_window_is_full",
    "refusal": f"{HARD}::test_a_refusal",
    "unknown": f"{HARD}::test_an_unknown_stop_reason",
}
OWN = {
    "model": "test_agent.py::test_the_body_keeps_its_order_and_has_what_was_given",
    "max_tokens": "test_agent.py::test_the_body_keeps_its_order_and_has_what_was_given",
    "messages": "test_api_coverage.py::test_a_block_of_the_user_arrives_as_it_is",
    "system": "test_agent.py::test_the_body_keeps_its_order_and_has_what_was_given",
    "tools": "test_api_coverage.py::test_a_server_tool_of_each_version_is_sent",
    "stream": "test_client.py::test_body",
    "output_config": "test_structured_output.py::test_the_output_is_a_value_of_the_type",
    "compaction": "test_compaction.py::test_a_summary_stands_for_the_messages_before_it",
    "output_format": "test_parameters.py::test_a_field_without_a_name_goes_in_extra_body",
    "billing_policy": "test_parameters.py::test_a_field_without_a_name_goes_in_extra_body",
}
BY_NAME = "test_parameters.py::test_a_parameter_is_the_field_of_its_name"
IN_OUTPUT_CONFIG = ("effort", "task_budget")


def rows() -> Iterator[tuple[str, str, str]]:
    """Part, name and test of everything that the code knows of the API."""
    for field in sorted({field.name for field in _FIELDS} | {f"output_config.{name}" for name in IN_OUTPUT_CONFIG}):
        name = field.removeprefix("output_config.")
        yield "parameter", field, BY_NAME if name in Parameters.__annotations__ else OWN[field]
    for kind in sorted({*_BLOCK.records, *GIVEN, *REPLIED} - {"tool_use", "tool_result", "tool_reference"}):
        if kind in GIVEN:
            yield "block in input", kind, "test_api_coverage.py::test_a_block_of_the_user_arrives_as_it_is"
        if kind in REPLIED:
            yield "block in a reply", kind, "test_api_coverage.py::test_a_block_of_a_reply_goes_back_as_it_came"
        if kind not in {**GIVEN, **REPLIED}:
            raise LookupError(f"no sample of the block {kind}")
    for kind in sorted(RETURNED):
        yield "block in a tool_result", kind, "test_api_coverage.py::test_a_block_that_a_tool_returns_arrives_as_it_is"
    called = "test_agent.py::test_the_prefix_of_each_request_is_that_of_the_one_before_byte_for_byte"
    yield "block in a reply", "tool_use", called
    yield "block in input", "tool_result", called
    for kind in sorted({*KNOWN_DELTAS, *DELTAS}):
        assert kind in DELTAS, kind
        yield "delta", kind, "test_api_coverage.py::test_a_delta_is_folded_into_its_block"
    for kind in PLACES:
        yield "citation", kind, "test_api_coverage.py::test_a_citation_is_shown_and_goes_back_as_it_came"
    for version in [*VERSIONS, *OTHERS]:
        yield "server tool", version, "test_api_coverage.py::test_a_server_tool_of_each_version_is_sent"
    for reason in [*AFTER, "unknown"]:
        yield "stop reason", reason, STOPS[reason]


def page() -> str:
    lines = [
        "# What of the Messages API is covered",
        "",
        "Made from the code by `python tests/test_api_coverage.py`; a test fails when it is out of date.",
        "What is not listed passes through untouched: fields by `extra_body`, tools and blocks as plain dicts.",
        "",
        "| Part | Name | Test |",
        "|---|---|---|",
        *(f"| {part} | `{name}` | `{test}` |" for part, name, test in rows()),
    ]
    return "\n".join(lines) + "\n"


def test_the_table_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python tests/test_api_coverage.py"


def test_each_row_names_a_test_that_is_there() -> None:
    for _, name, test in rows():
        path, _, function = test.partition("::")
        source = (ROOT / "tests" / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {function}\(", source, re.MULTILINE), (name, test)


def test_each_parameter_is_a_field_that_the_rules_know() -> None:
    known = {field.name for field in _FIELDS} | set(IN_OUTPUT_CONFIG)
    assert set(Parameters.__annotations__) <= known


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
