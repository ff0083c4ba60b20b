"""What a run did, as typed views: what the API ran itself, and the calls of its own tools."""

from __future__ import annotations

from typing import Any

import pytest
from recordings import MISSING, PATH, messages
from scripted import reply, server_tool_use, text, tool_use
from test_result import transcript_of

from agentkit.record import CodeOutput, FoundTool, OtherResult, Page, Search
from agentkit.result import RunResult
from agentkit.step import Finish
from agentkit.stream import Decoder, Fold
from agentkit.transcript import Decision, Transcript

CODE = {"type": "code_execution_20260120", "tool_id": "srvtoolu_0"}


def ended(kind: str, content: Any, id_: str = "srvtoolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": f"{kind}_tool_result", "tool_use_id": id_, "content": content, **fields}


def one(name: str, block: dict[str, Any], **given: Any) -> Search:
    (search,) = result_of(transcript_of(reply(server_tool_use(name, **given), block, text("So.")))).searches
    return search


def result_of(transcript: Transcript) -> RunResult:
    return RunResult(transcript, Finish("end_turn"))


def test_a_search_with_its_pages() -> None:
    page = {"type": "web_search_result", "url": "https://a.test", "title": "A", "encrypted_content": "x", "new": [1]}
    block = ended("web_search", [page, {**page, "url": "https://b.test", "title": None, "page_age": "1 week"}])
    search = one("web_search", block, query="a")
    assert (search.id, search.name, search.input) == ("srvtoolu_1", "web_search", {"query": "a"})
    assert (search.caller, search.error, search.error_message, search.raw) == ("direct", None, None, block)
    assert search.results == (
        Page("https://a.test", "A", None, None, page),
        Page("https://b.test", None, None, "1 week", block["content"][1]),
    )
    assert one("web_search", ended("web_search", [])).results == ()


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "Six."}, "Six."),
        ({"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, None),
    ],
)
def test_a_fetched_page_has_its_text(source: dict[str, Any], shown: str | None) -> None:
    document = {"type": "document", "source": source, "title": "A"}
    content = {"type": "web_fetch_result", "url": "https://a.test", "retrieved_at": None, "content": document}
    search = one("web_fetch", ended("web_fetch", content, caller=CODE), url="https://a.test")
    assert search.results == (Page("https://a.test", "A", shown, None, content),)


@pytest.mark.parametrize("kind", ["code_execution", "bash_code_execution", "encrypted_code_execution"])
def test_code_has_its_output(kind: str) -> None:
    content = {
        "type": f"{kind}_result",
        "stdout": "6\n",
        "stderr": "",
        "return_code": 0,
        "content": [{"type": f"{kind}_output", "file_id": "file_1"}, {"type": "new"}],
    }
    if kind.startswith("encrypted"):
        content["encrypted_stdout"] = content.pop("stdout")
    (output,) = one("code_execution", ended("code_execution", content)).results
    assert isinstance(output, CodeOutput)
    assert output.stdout == (None if kind.startswith("encrypted") else "6\n")
    assert (output.stderr, output.return_code, output.file_ids, output.raw) == ("", 0, ("file_1",), content)


def test_a_tool_search_has_what_it_found() -> None:
    references = [{"type": "tool_reference", "tool_name": name} for name in ("add", "look")]
    content = {"type": "tool_search_tool_search_result", "tool_references": references}
    search = one("tool_search_tool_regex", ended("tool_search", content), pattern="a")
    assert search.results == (FoundTool("add", references[0]), FoundTool("look", references[1]))


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ({"type": "advisor_result", "text": "Ship it.", "stop_reason": "end_turn"}, "Ship it."),
        ({"type": "advisor_redacted_result", "encrypted_content": "x"}, None),
        ({"type": "text_editor_code_execution_view_result", "file_type": "text", "content": "Hi."}, "Hi."),
        ({"type": "text_editor_code_execution_create_result", "is_file_update": False}, None),
        ([{"type": "text", "text": "From a server."}], "From a server."),
        ("Plain.", "Plain."),
        ({"type": "hologram_result", "x": 1}, None),
        ({"type": "web_search_result", "url": 5}, None),
        ({"type": "code_execution_result"}, None),
        ([7], None),
    ],
)
def test_other_and_newer_results_are_shown_as_they_came(content: Any, shown: str | None) -> None:
    raw = content[0] if isinstance(content, list) else content
    assert one("advisor", ended("advisor", content)).results == (OtherResult(shown, raw),)


# Source: messages-api.md sections 10.1 to 10.5.
EXECUTION = "invalid_tool_input unavailable too_many_requests execution_time_exceeded"
ERRORS = {
    "web_search": "too_many_requests invalid_tool_input max_uses_exceeded query_too_long request_too_large unavailable",
    "web_fetch": "invalid_tool_input url_too_long url_not_allowed url_not_in_prior_context url_not_accessible "
    "unsupported_content_type too_many_requests max_uses_exceeded unavailable content_too_large",
    "code_execution": EXECUTION,
    "bash_code_execution": f"{EXECUTION} output_file_too_large",
    "text_editor_code_execution": f"{EXECUTION} file_not_found",
    "tool_search": EXECUTION,
    "advisor": "max_uses_exceeded prompt_too_long too_many_requests overloaded unavailable execution_time_exceeded "
    "model_not_found",
    "hologram": "of_the_future",
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in ERRORS.items() for code in codes.split()])
def test_each_error_code_is_data(kind: str, code: str) -> None:
    block = ended(kind, {"type": f"{kind}_tool_result_error", "error_code": code, "error_message": "Why."})
    search = one(kind, block)
    assert (search.error, search.error_message, search.results, search.raw) == (code, "Why.", (), block)


def test_an_mcp_tool_that_failed() -> None:
    use = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "ask", "server_name": "docs", "input": {}}
    found = ended("mcp", [{"type": "text", "text": "No."}], "mcptoolu_1", is_error=True)
    (search,) = result_of(transcript_of(reply(use, found))).searches
    assert (search.name, search.error) == ("ask", "is_error")
    assert search.results == (OtherResult("No.", {"type": "text", "text": "No."}),)


def test_a_use_without_a_result_and_results_in_a_later_turn() -> None:
    first = reply(
        {**server_tool_use("code_execution", id="srvtoolu_0"), "caller": {"type": "direct"}},
        {**server_tool_use("web_fetch", id="srvtoolu_1"), "caller": CODE},
        stop="pause_turn",
    )
    late = ended("web_fetch", {"type": "web_fetch_tool_result_error", "error_code": "unavailable"})
    open_, fetch = result_of(transcript_of(first, reply(late, text("No.")))).searches
    assert (open_.id, open_.caller, open_.results, open_.error, open_.raw) == ("srvtoolu_0", "direct", (), None, None)
    assert (fetch.id, fetch.caller, fetch.error) == ("srvtoolu_1", "code_execution_20260120", "unavailable")


def test_a_result_of_nothing_known_is_left_out_and_null_is_no_result() -> None:
    result = result_of(transcript_of(reply(ended("web_search", [], "srvtoolu_9"), text("Hm."))))
    assert result.searches == []
    assert one("web_search", ended("web_search", None)).results == ()


def test_a_view_is_of_its_run_and_shares_nothing_with_the_log() -> None:
    transcript = transcript_of(reply(server_tool_use("web_search", query="old"), stop="pause_turn"))
    result = result_of(transcript)
    result.searches[0].input["query"] = "changed"
    assert result.searches[0].input == {"query": "old"}
    transcript.begin("run_2", [{"role": "user", "content": [text("More")]}])
    assert result_of(transcript).searches == []
    transcript.take_turn(reply(ended("web_search", []), server_tool_use("web_search", id="srvtoolu_2")), None, 0.0)
    assert [search.id for search in result_of(transcript).searches] == ["srvtoolu_1", "srvtoolu_2"]


@pytest.mark.skipif(not PATH.exists(), reason=MISSING)
def test_every_recorded_use_has_a_view() -> None:
    uses = results = errors = 0
    for exchange in messages():
        content = recorded_content(exchange)
        searches = result_of(transcript_of(reply(*content))).searches
        here = {search.id for search in searches}
        assert here == {str(b["id"]) for b in content if b["type"] in ("server_tool_use", "mcp_tool_use")}
        uses += len(searches)
        results += sum(search.raw is not None for search in searches)
        errors += sum(search.error is not None for search in searches)
        for search in searches:
            assert not any(isinstance(item, OtherResult) for item in search.results if search.name.startswith("web_"))
    assert (uses, results, errors) == (199, 197, 1)


def recorded_content(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    if exchange["response_body"]:
        return list(exchange["response_body"]["content"])
    fold = Fold()
    for data in Decoder().feed(exchange["response_sse"].encode()):
        try:
            fold.add(data)
        except Exception:
            return []
    return list(fold.blocks)


# Calls of the run's own tools.


def answered(transcript: Transcript, outcome: Any = "done", content: Any = "3") -> None:
    for call in transcript.unended():
        transcript.start(call)
        block = {"type": "tool_result", "tool_use_id": call.block["id"], "content": content}
        transcript.end(call, outcome, block, 2.0)


def test_calls_with_how_they_ended() -> None:
    transcript = transcript_of(reply(tool_use("add", a=1), {**tool_use("look", id="toolu_2"), "caller": CODE}))
    add, look = result_of(transcript).tool_calls
    assert (add.call_id, add.name, add.input, add.caller) == ("1:toolu_1", "add", {"a": 1}, "direct")
    assert (add.outcome, add.text, add.raw) == (None, "", None)
    assert look.caller == "code_execution_20260120"
    answered(transcript, "failed", [text("No"), {"type": "image", "source": {}}, text("way.")])
    transcript.answer()
    transcript.take_turn(reply(tool_use("add", a=2)), None, 0.0)  # the same id again, as recorded traffic has it
    answered(transcript)
    first, _, last = result_of(transcript).tool_calls
    assert (first.outcome, first.text) == ("failed", "No\n\nway.")
    assert (last.call_id, last.input, last.outcome, last.text) == ("2:toolu_1", {"a": 2}, "done", "3")
    assert last.raw == {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}
    last.raw["content"] = last.input["a"] = 9
    assert result_of(transcript).tool_calls[-1].text == "3"


def test_an_edited_call_has_the_input_that_it_ran_with() -> None:
    transcript = transcript_of(reply(tool_use("pay", amount=500), tool_use("pay", id="toolu_2", amount=1)))
    for call in transcript.unended():
        transcript.hold(call)
    transcript.decide("1:toolu_1", Decision("edit", input={"amount": 5}))
    transcript.decide("1:toolu_2", Decision("deny", "no"))
    assert [call.input for call in result_of(transcript).tool_calls] == [{"amount": 5}, {"amount": 1}]


def test_calls_of_an_earlier_run_are_not_of_this_one() -> None:
    transcript = transcript_of(reply(tool_use("add", a=1)))
    answered(transcript)
    transcript.begin("run_2", [{"role": "user", "content": [text("More")]}])
    assert result_of(transcript).tool_calls == []
