"""What the reader does with a question, over real HTTP: search, fetch, pause, client tools, a cited answer."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from talking import CALCULATOR, FETCH, SEARCH, Talk, kinds, text

from agentkit.emulator import Emulator

WEB = (SEARCH, FETCH)
ADD = {
    "name": "add",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}


@pytest.fixture
def talk(http: httpx.Client, emulator: Emulator) -> Talk:
    return Talk(http, emulator.url, *WEB, CALCULATOR)


def test_the_whole_flow(talk: Talk) -> None:
    answer = talk.ask("How hot is the water for brewing coffee, and what is (17 + 3) * 2?", {"calculator": "40"})
    paused, called, ended = talk.turns
    assert ended is answer
    assert paused["stop_reason"] == "pause_turn"
    assert kinds(paused) == [
        "text",
        "server_tool_use",
        "web_search_tool_result",
        "server_tool_use",
        "web_fetch_tool_result",
        "server_tool_use",
    ]
    assert called["stop_reason"] == "tool_use"
    assert kinds(called) == ["web_fetch_tool_result", "tool_use"]
    assert called["content"][0]["tool_use_id"] == paused["content"][-1]["id"]
    assert called["content"][1]["input"] == {"expression": "(17 + 3) * 2"}
    assert answer["stop_reason"] == "end_turn"
    assert "about 93 degrees" in text(answer)
    assert "calculator: 40" in text(answer)
    cited = [citation["type"] for block in answer["content"] for citation in block.get("citations", ())]
    assert {"web_search_result_location", "char_location"} <= set(cited)


def test_search_results_look_like_the_apis(talk: Talk) -> None:
    talk.ask("How do I brew coffee?")
    use, found = talk.turns[0]["content"][1:3]
    assert use["name"] == "web_search"
    assert use["input"] == {"query": "brew coffee"}
    assert use["id"].startswith("srvtoolu_01")
    first = found["content"][0]
    assert set(first) == {"type", "url", "title", "page_age", "encrypted_content"}
    assert (first["type"], first["title"]) == ("web_search_result", "Brewing coffee")
    assert first["url"] == "https://corpus.local/coffee.md"


def test_fetched_pages_look_like_the_apis(talk: Talk) -> None:
    talk.ask("How do I brew coffee?")
    use, fetched = talk.turns[0]["content"][3:5]
    assert use["input"] == {"url": "https://corpus.local/coffee.md"}
    page = fetched["content"]
    assert (page["type"], page["url"]) == ("web_fetch_result", use["input"]["url"])
    assert page["content"]["title"] == "Brewing coffee"
    assert page["content"]["citations"] == {"enabled": True}
    assert page["content"]["source"]["media_type"] == "text/plain"
    assert "Espresso" in page["content"]["source"]["data"]


def test_cited_text_is_in_the_documents(talk: Talk) -> None:
    answer = talk.ask("How do I brew coffee?")
    documents = [
        block["content"]["content"]["source"]["data"]
        for turn in talk.turns
        for block in turn["content"]
        if block["type"] == "web_fetch_tool_result"
    ]
    cited = [citation for block in answer["content"] for citation in block.get("citations", ())]
    assert cited
    for citation in cited:
        if citation["type"] == "char_location":
            document = documents[citation["document_index"]]
            assert document[citation["start_char_index"] : citation["end_char_index"]] == citation["cited_text"]
        else:
            assert len(citation["cited_text"]) <= 150
            assert any(citation["cited_text"] in document for document in documents)


def test_without_document_citations_search_results_are_cited(http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, SEARCH, {"type": "web_fetch_20250910", "name": "web_fetch"})
    answer = talk.ask("How do I brew coffee?")
    fetched = next(b for t in talk.turns for b in t["content"] if b["type"] == "web_fetch_tool_result")
    assert "citations" not in fetched["content"]["content"]
    assert {c["type"] for b in answer["content"] for c in b.get("citations", ())} == {"web_search_result_location"}


def test_a_search_alone_is_enough(http: httpx.Client, emulator: Emulator) -> None:
    answer = Talk(http, emulator.url, SEARCH).ask("How do I brew coffee?")
    assert kinds(answer)[:3] == ["text", "server_tool_use", "web_search_tool_result"]
    assert "Brewing coffee (https://corpus.local/coffee.md)" in text(answer)


def test_server_and_client_calls_in_one_turn(http: httpx.Client, patient: Emulator) -> None:
    talk = Talk(http, patient.url, *WEB, CALCULATOR)
    answer = talk.ask("How hot is the water for coffee, and what is 6 times 7?", {"calculator": "42"})
    mixed, _ = talk.turns
    assert mixed["stop_reason"] == "tool_use"
    assert kinds(mixed)[-2:] == ["server_tool_use", "tool_use"]
    assert kinds(answer)[0] == "web_fetch_tool_result"
    assert answer["content"][0]["tool_use_id"] == mixed["content"][-2]["id"]
    assert "calculator: 42" in text(answer)


def test_a_search_and_a_client_call_in_one_turn(http: httpx.Client, patient: Emulator) -> None:
    talk = Talk(http, patient.url, SEARCH, CALCULATOR)
    talk.ask("How hot is the water for coffee, and what is 6 * 7?", {"calculator": "42"})
    assert kinds(talk.turns[0]) == ["text", "server_tool_use", "tool_use"]
    assert kinds(talk.turns[1])[0] == "web_search_tool_result"


@pytest.mark.parametrize("pause_after", [1, 2])
def test_pausing_earlier_gives_the_same_answer(pause_after: int, http: httpx.Client, corpus: Any, talk: Talk) -> None:
    expected = text(talk.ask("How do I brew coffee?"))
    with Emulator(corpus=corpus, pace=0, pause_after=pause_after) as hasty:
        other = Talk(http, hasty.url, *WEB)
        assert text(other.ask("How do I brew coffee?")) == expected
        assert sum(turn["stop_reason"] == "pause_turn" for turn in other.turns) == {1: 3, 2: 1}[pause_after]


def test_parallel_calls(http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, CALCULATOR, ADD)
    answer = talk.ask("2+3 and 4*5?", {"calculator": "ok", "add": "5"})
    calls = [(use["name"], use["input"]) for use in talk.turns[0]["content"]]
    assert calls == [
        ("calculator", {"expression": "2+3"}),
        ("calculator", {"expression": "4*5"}),
        ("add", {"a": 2, "b": 3}),
    ]
    assert text(answer) == "calculator(2+3): ok\ncalculator(4*5): ok\nadd: 5"


def test_one_call_at_a_time_where_parallel_ones_are_off(http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, CALCULATOR)
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    talk.ask("2+3 and 4*5?", {"calculator": "ok"}, tool_choice=choice)
    assert [len(turn["content"]) for turn in talk.turns] == [1, 1, 1]


def test_tool_choice_is_kept(http: httpx.Client, emulator: Emulator) -> None:
    only = Talk(http, emulator.url, *WEB, CALCULATOR, ADD)
    only.messages.append({"role": "user", "content": "How hot is coffee water? 2+3"})
    assert kinds(only.turn(tool_choice={"type": "tool", "name": "add"})) == ["tool_use"]
    none = Talk(http, emulator.url, *WEB, CALCULATOR)
    assert kinds(none.ask("How hot is coffee water? 2+3", tool_choice={"type": "none"})) == ["text"]


def test_failed_and_odd_results_are_told(http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, CALCULATOR)
    talk.messages.append({"role": "user", "content": "2+3, 4*5 and 6-1?"})
    first, second, third = talk.turn()["content"]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    results = [
        {"type": "tool_result", "tool_use_id": first["id"], "content": "no such thing", "is_error": True},
        {"type": "tool_result", "tool_use_id": second["id"], "content": [{"type": "text", "text": "x" * 700}, image]},
        {"type": "tool_result", "tool_use_id": third["id"]},
    ]
    talk.messages.append({"role": "user", "content": results})
    lines = text(talk.turn()).splitlines()
    assert lines[0] == "calculator(2+3) failed: no such thing"
    assert lines[1] == f"calculator(4*5): {'x' * 600}…"
    assert lines[2] == "calculator(6-1): (nothing)"


def test_it_says_when_nothing_fits(talk: Talk) -> None:
    answer = talk.ask("Who won the 1998 football world cup?")
    assert "I found nothing that fits the question in 5 files of the folder" in text(answer)
    assert "not a language model" in text(answer)
    assert len(talk.turns) == 1


def test_it_says_what_it_is_without_tools(http: httpx.Client, emulator: Emulator) -> None:
    answer = Talk(http, emulator.url).ask("What is the meaning of life?")
    assert text(answer).startswith("I can't answer that: I am agentkit's emulator")
    assert "usage" in answer
    assert "server_tool_use" not in answer["usage"]


def test_a_sum_needs_no_search(talk: Talk) -> None:
    assert text(talk.ask("What is 17 * 23?", {"calculator": "391"})) == "calculator: 391"


def test_results_and_nothing_else(talk: Talk) -> None:
    answer = talk.ask("Who scored 17 * 23 points at polo?", {"calculator": "391"})
    assert text(answer).startswith("calculator: 391\n\nI found nothing that fits")


def test_a_question_beside_a_sum_that_no_tool_searches(http: httpx.Client, emulator: Emulator) -> None:
    answer = Talk(http, emulator.url, CALCULATOR).ask("How hot is coffee, and 2 + 3?", {"calculator": "5"})
    assert text(answer).startswith("calculator: 5\n\nThat is all that I can say without a search.")


def test_the_newest_question_counts(talk: Talk) -> None:
    talk.ask("How do I brew coffee?")
    answer = talk.ask("How long do worker bees live?")
    assert "Worker bees live about six weeks in summer" in text(answer)
    indexes = {c["document_index"] for b in answer["content"] for c in b.get("citations", ()) if "document_index" in c}
    fetched_before = sum("web_fetch_tool_result" in kinds(turn) for turn in talk.turns[:2])
    assert indexes == {fetched_before}


def test_documents_of_the_user_are_counted(talk: Talk) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "My own notes."}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    talk.messages.append({"role": "user", "content": [document, {"type": "text", "text": "And how do I brew coffee?"}]})
    talk.turn()
    answer = talk.turn()
    indexes = {c.get("document_index") for b in answer["content"] for c in b.get("citations", ())}
    assert indexes == {None, 1}


def test_an_address_in_the_question_is_fetched(talk: Talk) -> None:
    answer = talk.ask("Please read https://corpus.local/animals/my%20cat.md.")
    use = talk.turns[0]["content"][1]
    assert (use["name"], use["input"]) == ("web_fetch", {"url": "https://corpus.local/animals/my%20cat.md"})
    assert "Cats purr when they are content." in text(answer)


@pytest.mark.parametrize(
    ("fetch", "question", "error"),
    [
        ({"max_uses": 1}, "How do I brew coffee?", "max_uses_exceeded"),
        ({"blocked_domains": ["corpus.local"]}, "How do I brew coffee?", "url_not_allowed"),
        ({"allowed_domains": ["example.org"]}, "How do I brew coffee?", "url_not_allowed"),
        ({}, "What does https://example.org/x say?", "url_not_accessible"),
        ({}, f"What does https://example.org/{'x' * 300} say?", "url_too_long"),
    ],
)
def test_fetch_errors(fetch: dict[str, Any], question: str, error: str, http: httpx.Client, patient: Emulator) -> None:
    talk = Talk(http, patient.url, SEARCH, FETCH | fetch)
    talk.ask(question)
    results = [b["content"] for t in talk.turns for b in t["content"] if b["type"] == "web_fetch_tool_result"]
    assert {"type": "web_fetch_tool_result_error", "error_code": error} in results


def test_a_fetch_is_cut_to_the_tokens_asked_for(http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, SEARCH, FETCH | {"max_content_tokens": 10})
    talk.ask("How do I brew coffee?")
    fetched = next(b for t in talk.turns for b in t["content"] if b["type"] == "web_fetch_tool_result")
    assert fetched["content"]["content"]["source"]["data"] == "# Brewing coffee\n\nCoffee is brewed from "


@pytest.mark.parametrize("search", [{"blocked_domains": ["local"]}, {"allowed_domains": ["corpus.local/animals"]}])
def test_searches_keep_to_the_domains(search: dict[str, Any], http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, SEARCH | search, FETCH)
    answer = talk.ask("How do I brew coffee?")
    found = next(b["content"] for t in talk.turns for b in t["content"] if b["type"] == "web_search_tool_result")
    assert all(result["url"].startswith("https://corpus.local/animals/") for result in found)
    assert "I found nothing that fits" in text(answer)


def test_usage_counts_what_the_server_tools_did(talk: Talk) -> None:
    talk.ask("How do I brew coffee?")
    paused, ended = talk.turns
    assert paused["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 1}
    assert ended["usage"]["server_tool_use"] == {"web_search_requests": 0, "web_fetch_requests": 1}
    assert 200 < paused["usage"]["input_tokens"] < ended["usage"]["input_tokens"] < 5000
    assert 20 < paused["usage"]["output_tokens"] < 200


def test_max_tokens_cuts_the_answer(http: httpx.Client, emulator: Emulator) -> None:
    whole = text(Talk(http, emulator.url, SEARCH).ask("How do I brew coffee?"))
    cut = Talk(http, emulator.url, SEARCH).ask("How do I brew coffee?", max_tokens=30)
    assert cut["stop_reason"] == "max_tokens"
    assert whole.startswith(text(cut))
    assert cut["usage"]["output_tokens"] < 80
    assert Talk(http, emulator.url, SEARCH).ask("How do I brew coffee?", max_tokens=6)["content"][-1]["type"] == "text"
    assert Talk(http, emulator.url).ask("Hello", max_tokens=0)["content"] == []


def test_a_stop_sequence_ends_the_answer(http: httpx.Client, emulator: Emulator) -> None:
    answer = Talk(http, emulator.url).ask("Hello", stop_sequences=["model", "fixed", "nowhere"])
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "fixed")
    assert text(answer).endswith("that follows ")


def test_a_call_that_does_not_fit_is_left_out(http: httpx.Client, emulator: Emulator) -> None:
    answer = Talk(http, emulator.url, CALCULATOR).ask("What is 123456 * 654321?", max_tokens=2)
    assert (answer["stop_reason"], answer["content"]) == ("max_tokens", [])


def test_the_same_request_gives_the_same_reply(talk: Talk, http: httpx.Client, emulator: Emulator) -> None:
    question = "How do I brew coffee, and what is 2 + 2?"
    talk.ask(question, {"calculator": "4"})
    again = Talk(http, emulator.url, *WEB, CALCULATOR)
    again.ask(question, {"calculator": "4"})
    assert talk.turns == again.turns
    ids = [block["id"] for turn in talk.turns for block in turn["content"] if "id" in block]
    assert len(set(ids)) == len(ids)
    assert len({turn["id"] for turn in talk.turns}) == len(talk.turns)


@pytest.mark.parametrize("field", ["encrypted_content", "encrypted_index"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_opaque_fields_must_come_back_as_they_were(field: str, how: str, talk: Talk) -> None:
    talk.ask("How do I brew coffee?")
    written = json.dumps(talk.messages)
    start = written.index(f'"{field}": "') + len(field) + 5
    if how == "changed":
        talk.messages = json.loads(written[:start] + "X" + written[start:])
    else:
        talk.messages = json.loads(written.replace(f'"{field}"', '"other"', 1))
    talk.messages.append({"role": "user", "content": "And tea?"})
    reply = talk.post()
    assert reply.status_code == 400
    if field == "encrypted_content":
        assert (
            reply.json()["error"]["message"] == "messages.1.content.2: Invalid encrypted_content in search_result block"
        )
    else:
        assert "Invalid encrypted_index" in reply.json()["error"]["message"]


def test_a_server_tool_that_the_emulator_lacks_is_unavailable(http: httpx.Client, emulator: Emulator) -> None:
    talk = Talk(http, emulator.url, {"type": "code_execution_20250522", "name": "code_execution"}, CALCULATOR)
    talk.messages = [
        {"role": "user", "content": "What is 2 + 2?"},
        {
            "role": "assistant",
            "content": [
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {"code": "2 + 2"}},
                {"type": "tool_use", "id": "toolu_1", "name": "calculator", "input": {"expression": "2 + 2"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"}]},
    ]
    result, said = talk.turn()["content"]
    assert result["type"] == "code_execution_tool_result"
    assert result["content"]["error_code"] == "unavailable"
    assert said["text"].startswith("calculator: 4")
