"""The small parts of the reader: words, sentences, arguments, the conversation, sealed fields."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import CALCULATOR, FETCH, SEARCH

from agentkit.emulator.corpus import stems
from agentkit.emulator.corpus.corpus import Corpus, Found
from agentkit.emulator.corpus.stems import stem
from agentkit.emulator.corpus.words import content_words, sentences, split_identifiers
from agentkit.emulator.reader.arguments import calls_for, expressions, without_expressions
from agentkit.emulator.reader.arithmetic import in_symbols
from agentkit.emulator.reader.reader import read
from agentkit.emulator.reader.shapes import misshapen
from agentkit.emulator.reader.wanted import wanted
from agentkit.emulator.reader.web import Web
from agentkit.rules import check_request


def test_content_words() -> None:
    assert content_words("Which module reads ZIP files?") == ["reads", "zip", "files"]
    assert content_words("How do I?") == content_words("Hi, thanks!") == []
    assert content_words("Where is the Büro? Где офис?") == ["büro", "где", "офис"]
    assert content_words("parse_args of ArgumentParser") == ["parse", "args", "argumentparser", "argument", "parser"]


def test_identifiers_are_split() -> None:
    assert split_identifiers("use http.server and HTTPServer2, or os") == "http server 2"


def test_stems_are_those_of_sqlite() -> None:
    """SQLite has Porter's stemmer, too: the words of this package's documents have the same stems in both."""
    prose = " ".join(path.read_text("utf-8") for path in Path(stems.__file__).parent.glob("*.*"))
    words = sorted(set(re.findall(r"(?<![\w])[a-z]{5,20}(?![\w])", prose)))
    database = sqlite3.connect(":memory:")
    database.execute("create virtual table stemmed using fts5 (word, tokenize='porter ascii')")
    database.execute("create virtual table terms using fts5vocab (stemmed, 'instance')")
    database.executemany("insert into stemmed (rowid, word) values (?, ?)", enumerate(words))
    expected = {words[row]: term for term, row in database.execute("select term, doc from terms")}
    database.close()
    assert len(words) > 2000
    assert {word: stem(word) for word in words} == expected
    assert [stem(word) for word in ("as", "Büro", "utf8", "")] == ["as", "Büro", "utf8", ""]


@given(st.text(alphabet="ab .!?\n*-:A\t", max_size=80))
def test_sentences_cover_the_text(text: str) -> None:
    spans = list(sentences(text))
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))


def test_sentences_end_where_they_should() -> None:
    text = "One is here. Two (really!) is\nthere? It has:\n- a point\n- e.g. this\n\n  Last one"
    assert [text[start:end] for start, end in sentences(text)] == [
        "One is here.",
        "Two (really!) is\nthere?",
        "It has:",
        "- a point\n- e.g. this",
        "Last one",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What is (17 + 3) * 2, and 6 times 7?", ["(17 + 3) * 2", "6 * 7"]),
        ("On 2026-11-23 at 2026-11-23T10:00:00Z nothing", []),
        ("SHA-256 2+3 and 4+5?", ["2+3", "4+5"]),
        ("10 - 3, 2^8; -4*3", ["10 - 3", "2 ** 8", "-4*3"]),
        ("(see 1,000 + 2)", ["1000 + 2"]),
        ("((2+3)*4)", ["((2+3)*4)"]),
        ("(2+3", ["2+3"]),
        ("2+3) is", ["2+3"]),
        ("8 divided by 2 plus 1 minus 3 × 2 ÷ 3", ["8 / 2 + 1 - 3 * 2 / 3"]),
        ("3.5/2 of version 3.11.2-1", ["3.5/2"]),
        ("2+3 and again 2+3", ["2+3"]),
        ("(1)+(2) (3)(4)+5", ["(1)+(2)", "(4)+5"]),
        ("007+1", []),
        ("five plus six, utf8 + 3", []),
    ],
)
def test_expressions(text: str, found: list[str]) -> None:
    assert expressions(text) == found


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("What is 15% of 240?", ["15 / 100 * 240"]),
        ("the square root of 144", ["144 ** 0.5"]),
        ("2 to the power of 10", ["2 ** 10"]),
        ("7 squared", ["7 ** 2"]),
        ("add 17 and 25", ["17 + 25"]),
        ("subtract 5 from 20", ["20 - 5"]),
        ("the product of 12 and 11", ["12 * 11"]),
        ("the sum of 3, 4 and 5", ["3 + 4 + 5"]),
        ("the average of 4, 6 and 11", ["(4 + 6 + 11) / 3"]),
        ("100 divided by 8, minus 2.5", ["100 / 8 - 2.5"]),
        ("half of 1,250", ["1250 / 2"]),
        ("6 times 7, and then subtract 2 from it", ["(6 * 7) - 2"]),
        ("Divide 90 by 9 and add 5, then multiply that by 3.", ["((90 / 9) + 5) * 3"]),
        ("add 2 to the list", []),
    ],
)
def test_arithmetic_in_words(said: str, written: list[str]) -> None:
    assert expressions(in_symbols(said)) == written
    assert in_symbols("no number: the sum of all") == "no number: the sum of all"


def found(corpus: Corpus, *questions: str) -> list[tuple[str, str]]:
    """The parts of the last question, as what is searched and the page that answers."""
    parts, _ = wanted(list(questions), corpus.search)
    return [(part.query, part.found[0].page.name if part.found else "") for part in parts]


def test_a_question_of_two_parts(corpus: Corpus) -> None:
    coffee_and_bees = [("brew coffee", "coffee"), ("long worker bees live", "bees")]
    assert found(corpus, "How do I brew coffee, and how long do worker bees live?") == coffee_and_bees
    assert found(corpus, "How do I brew coffee? How long do worker bees live?") == coffee_and_bees
    assert found(corpus, "Brew coffee and then steep green tea.") == [
        ("brew coffee", "coffee"),
        ("steep green tea", "tea"),
    ]
    back = "How do I brew coffee, and how do bees like it?"
    assert [query for query, _ in found(corpus, back)] == ["brew coffee bees"]
    assert found(corpus, "How are coffee and espresso brewed?") == [("coffee espresso brewed", "coffee")]


def test_an_answer_in_parts_names_a_third_page(corpus: Corpus) -> None:
    question = "Does coffee need water? How long do worker bees live?"
    body = {"max_tokens": 1000, "tools": [SEARCH], "messages": [{"role": "user", "content": question}]}
    content = read(body, corpus, 10).content
    cited = [one["url"].rpartition("/")[2] for block in content for one in block.get("citations") or []]
    assert list(dict.fromkeys(cited)) == ["coffee.md", "bees.html", "water.md"]


def test_a_question_that_goes_on(corpus: Corpus) -> None:
    assert found(corpus, "How do I brew coffee?", "And what needs coarse grounds with it?") == [
        ("coffee coarse grounds", "coffee")
    ]
    assert found(corpus, "How do I brew coffee?", "And tea?") == [("tea", "tea")]
    assert found(corpus, "How do I brew coffee?", "And tea instead?") == [("tea", "tea")]
    assert found(corpus, "How do I press espresso?", "Grounds again?") == [("coffee press espresso grounds", "coffee")]
    assert found(corpus, "Who was Napoleon?", "And how old was he?")[0][1] == ""
    assert found(corpus, "I have coffee. How do I brew it?", "And four minutes?")[0][1] == "coffee"
    assert found(corpus, "How do I brew coffee?", "For four minutes?")[0][1] == "coffee"
    two = found(corpus, "How do I brew coffee?", "How do I press espresso? How long do worker bees live?")
    assert [page for _, page in two] == ["coffee", "bees"]


@pytest.mark.parametrize("question", ["How long do minutes last?", "And its minutes?"])
@pytest.mark.parametrize(("share", "page"), [(0.9, "coffee"), (0.5, "tea")])
def test_a_page_that_fits_nearly_as_well_goes_on(corpus: Corpus, question: str, share: float, page: str) -> None:
    (coffee,), (tea,) = corpus.search("coffee", 1), corpus.search("tea", 1)

    def search(query: str) -> list[Found]:
        best = [replace(tea, score=1.0, sure=1.0), replace(coffee, score=share)]
        return [coffee] if query == "brew coffee" else best

    parts, _ = wanted(["How do I brew coffee?", question], search)
    assert [part.found[0].page.name for part in parts] == [page]


def test_a_comparison(corpus: Corpus) -> None:
    parts, is_table = wanted(["Compare coffee and tea."], corpus.search)
    assert is_table
    assert [part.found[0].page.name for part in parts] == ["coffee", "tea"]
    parts, is_table = wanted(["What is the difference between worker bees and green tea?"], corpus.search)
    assert (is_table, [part.found[0].page.name for part in parts]) == (True, ["bees", "tea"])
    assert not wanted(["Compare coffee."], corpus.search)[1]


def test_a_table_has_a_cited_row_for_each_page(corpus: Corpus) -> None:
    body = {
        "max_tokens": 1000,
        "tools": [SEARCH],
        "messages": [{"role": "user", "content": "Compare coffee and tea in a table."}],
    }
    content = read(body, corpus, 10).content
    written = "".join(block["text"] for block in content if block["type"] == "text").partition("| page")[2]
    assert written.splitlines()[1:] == [
        "|---|---|",
        "| [Brewing coffee](https://corpus.local/coffee.md) | Coffee is brewed from roasted beans. |",
        "| [tea](https://corpus.local/tea.txt) | Tea for beginners |",
    ]
    assert [one["url"] for block in content for one in block.get("citations") or []] == [
        "https://corpus.local/coffee.md",
        "https://corpus.local/tea.txt",
    ]


def test_a_text_without_its_expressions() -> None:
    assert without_expressions("Parse arguments and 6 times 7 (1+2)?").split() == ["Parse", "arguments", "and", "?"]


@given(st.text(alphabet="0123456789+-*/%(). ^×,", max_size=40))
def test_expressions_are_arithmetic(text: str) -> None:
    for expression in expressions(text):
        ast.parse(expression, mode="eval")


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["1", "(", "1+", "1 ", "-", "1)", "1,", "1 plus ", " ", "'", '"a', "a.", "A", "(1+", "1\n"]
)
def test_long_odd_questions_are_read_quickly(piece: str) -> None:
    question = piece * 10_000
    start = time.process_time()
    list(calls_for(question, [CALCULATOR, tool(a={"type": "number"}, b={"type": "string"})]))
    content_words(question)
    in_symbols(question)
    list(sentences(question))
    assert time.process_time() - start < 5


def tool(**properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": "it", "input_schema": schema}


TEXT = {"type": "string"}
COLOURS = {"type": "string", "enum": ["red", "dark blue", 3]}


@pytest.mark.parametrize(
    ("question", "properties", "given"),
    [
        ("add 2 to 3.5", {"a": {"type": "integer"}, "b": {"type": "number"}}, [{"a": 2, "b": 3.5}]),
        ("add 2.5 to 3", {"a": {"type": "integer"}, "b": {"type": "number"}}, [{"a": 3, "b": 2.5}]),
        ("minus five, -5 and 1,000", {"a": {"type": "integer"}, "b": {"type": "integer"}}, [{"a": -5, "b": 1000}]),
        ("only 2", {"a": {"type": "integer"}, "b": {"type": "integer"}}, []),
        ("only 2.5", {"a": {"type": "integer"}}, []),
        ("SHA-256 of utf8", {"a": {"type": "integer"}}, []),
        ("paint it Dark Blue", {"colour": COLOURS}, [{"colour": "dark blue"}]),
        ("red or dark blue?", {"colour": COLOURS}, [{"colour": "red"}, {"colour": "dark blue"}]),
        ("bored with 3", {"colour": COLOURS}, []),
        ("red 7", {"colour": COLOURS, "count": {"type": "integer"}}, [{"colour": "red", "count": 7}]),
        ("note \"buy milk\" and 'eggs'", {"text": TEXT, "more": TEXT}, [{"text": "buy milk", "more": "eggs"}]),
        ("it's Anna's `code`", {"text": TEXT}, [{"text": "code"}]),
        ("say “hello there”", {"text": TEXT}, [{"text": "hello there"}]),
        ("nothing quoted", {"text": TEXT}, []),
        ("what is 2+3?", {"expression": TEXT, "digits": {"const": 4}}, [{"expression": "2+3", "digits": 4}]),
        ("on 2026-11-23", {"day": {"type": "string", "format": "date"}}, [{"day": "2026-11-23"}]),
        ("on 2026-11-23", {"start_date": TEXT}, [{"start_date": "2026-11-23"}]),
        (
            "at 2026-11-23T10:30:00Z",
            {"when": {"type": "string", "format": "date-time"}},
            [{"when": "2026-11-23T10:30:00Z"}],
        ),
        ("is it true?", {"sure": {"type": "boolean"}}, []),
        ("sum 1, 2 and 3", {"values": {"type": "array", "items": {"type": "integer"}}}, [{"values": [1, 2, 3]}]),
        ("sum nothing", {"values": {"type": "array", "items": {"type": "integer"}}}, []),
        ("sum 1", {"values": {"type": "array"}}, []),
        ("take 3", {"count": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, [{"count": 3}]),
        ("take 3", {"count": {}}, []),
        ("take 3", {"count": True}, []),
    ],
)
def test_arguments(question: str, properties: dict[str, Any], given: list[dict[str, Any]]) -> None:
    assert [arguments for _, arguments in calls_for(question, [tool(**properties)])] == given


def test_arguments_through_references() -> None:
    made = tool(colour={"$ref": "#/$defs/Colour"}, other={"$ref": "#/$defs/Colour"})
    made["input_schema"]["$defs"] = {"Colour": COLOURS}
    assert [arguments for _, arguments in calls_for("red", [made])] == [{"colour": "red", "other": "red"}]
    loop = tool(a={"$ref": "#/$defs/A"})
    loop["input_schema"]["$defs"] = {"A": {"$ref": "#/$defs/A"}}
    assert list(calls_for("red 1", [loop, tool(a={"$ref": "#/$defs/missing"})])) == []


def test_a_tool_that_requires_nothing_is_called_by_its_name() -> None:
    clock = {"name": "get_time", "input_schema": {"type": "object"}}
    assert list(calls_for("What time is it?", [clock])) == [("get_time", {})]
    assert list(calls_for("What is new?", [clock, {"type": "bash_20250124", "name": "bash"}])) == []


def test_at_most_eight_calls_of_a_tool() -> None:
    question = ", ".join(f"{number}+1" for number in range(2, 30))
    assert len(list(calls_for(question, [CALCULATOR]))) == 8


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("web_search", {}, "invalid_tool_input"),
        ("web_search", {"query": " "}, "invalid_tool_input"),
        ("web_search", {"query": "x" * 501}, "query_too_long"),
        ("web_fetch", {}, "invalid_tool_input"),
        ("web_fetch", {"url": "no address"}, "invalid_tool_input"),
        ("web_fetch", {"url": "https://corpus.local/coffee.md"}, "url_not_in_prior_context"),
    ],
)
def test_uses_that_go_wrong(corpus: Corpus, name: str, given: dict[str, str], error: str) -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": given}
    result = Web(corpus, [SEARCH, FETCH]).result(use, 0, set())
    assert result == {
        "type": f"{name}_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {"type": f"{name}_tool_result_error", "error_code": error},
    }


def test_max_uses_of_searches(corpus: Corpus) -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "tea"}}
    web = Web(corpus, [{**SEARCH, "max_uses": 1}])
    assert isinstance(web.result(use, 0, set())["content"], list)
    assert web.result(use, 1, set())["content"]["error_code"] == "max_uses_exceeded"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "url", "text", "x"]), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("messages", 1, "content", 4, "content", "url"), 5, "content.url: Input should be a valid string"),
        (("messages", 1, "content", 1, "input"), [], "server_tool_use.input: Input should be a valid dictionary"),
        (("tools", 0, "max_uses"), "3", "tools.0.max_uses: Input should be a valid integer"),
        (("messages", 2, "content", 0, "content", 0, "text"), 1, "content.0.text.text: Input should be a valid string"),
    ],
)
def test_odd_shapes_are_named(corpus: Corpus, path: tuple[Any, ...], value: Any, message: str) -> None:
    body = conversation(corpus)
    assert misshapen(body) is None
    inside: Any = body
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    assert (misshapen(body) or "").endswith(message)


@given(data=st.data())
def test_whatever_the_rules_let_through_is_answered(corpus: Corpus, data: st.DataObject) -> None:
    """One value of a real conversation is replaced or taken away, anywhere."""
    body = conversation(corpus)
    places = list(paths(body))
    *path, key = data.draw(st.sampled_from(places))
    inside: Any = body
    for step in path:
        inside = inside[step]
    if data.draw(st.booleans()):
        inside[key] = data.draw(values)
    else:
        del inside[key]
    if not check_request(body) and not misshapen(body):
        reply = read(body, corpus, 3)
        json.dumps(reply.content)


def paths(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (key,)
        for path in paths(inner):
            yield (key, *path)


def conversation(corpus: Corpus) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 1000,
        "tools": [{**SEARCH, "max_uses": 3, "allowed_domains": ["corpus.local"]}, dict(FETCH), dict(CALCULATOR)],
        "tool_choice": {"type": "auto"},
        "stop_sequences": ["nothing"],
        "messages": [{"role": "user", "content": "How do I brew coffee, and what is 2 + 2?"}],
    }
    paused = read(body, corpus, 3)
    called = read(
        {**body, "messages": [*body["messages"], {"role": "assistant", "content": paused.content}]}, corpus, 3
    )
    body["messages"].append({"role": "assistant", "content": paused.content + called.content})
    result = {
        "type": "tool_result",
        "tool_use_id": called.content[-1]["id"],
        "content": [{"type": "text", "text": "4"}],
    }
    body["messages"].append({"role": "user", "content": [result]})
    copied: dict[str, Any] = json.loads(json.dumps(body))
    return copied
