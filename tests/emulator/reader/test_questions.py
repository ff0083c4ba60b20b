"""How well the reader answers: a fixed set of questions, written before it was worked on, put to a real emulator.

Run with `-s` to see the table.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from talking import CALCULATOR, FETCH, HEADERS, SEARCH, Talk, text

from agentkit.emulator import Corpus, Emulator
from agentkit.emulator.corpus import corpus as module
from agentkit.emulator.corpus.pages import Page

QUESTIONS = json.loads(Path(__file__).with_name("questions.json").read_text("utf-8"))
THIRDS = {"easy": slice(0, 34), "synonyms and tasks": slice(34, 68), "indirect": slice(68, 102)}
COLUMNS = "url, name, title, summary, substr(text, 1, 1500), text, changed, subjects, weight"
NOTHING = "I found nothing"
RESULTS = {"calculator": "the result"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library() -> Iterator[Corpus]:
    opened = Corpus.builtin()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(library: Corpus) -> Iterator[str]:
    with Emulator(corpus=library, pace=0, pause_after=10) as emulator:
        yield emulator.url


@pytest.fixture(scope="module")
def talk(url: str) -> Iterator[Talk]:
    with httpx.Client(headers=HEADERS) as http:
        yield Talk(http, url, SEARCH, FETCH, CALCULATOR)


def new(talk: Talk) -> Talk:
    return Talk(talk.http, talk.url, *talk.tools)


def cited(answer: dict[str, Any]) -> list[str]:
    """The modules whose pages an answer cites, in order."""
    citations = [one for block in answer["content"] for one in block.get("citations") or []]
    urls = [one["url"] for one in citations if "url" in one]
    return list(dict.fromkeys(url.rpartition("/")[2].removesuffix(".html") for url in urls))


def asked(talk: Talk, questions: list[dict[str, Any]]) -> tuple[list[bool], list[bool], int]:
    """Whether each question's right module is cited first, and among the first three; how many have no answer."""
    first, three, nothing = [], [], 0
    for one in questions:
        modules = cited(new(talk).ask(one["question"], RESULTS))
        first.append(modules[:1] != [] and modules[0] in one["modules"])
        three.append(not set(modules[:3]).isdisjoint(one["modules"]))
        nothing += not modules
    return first, three, nothing


def test_the_right_page_is_cited(talk: Talk) -> None:
    first, three, nothing = asked(talk, QUESTIONS["questions"])
    for name, third in THIRDS.items():
        print(f"\n{name:20} first {sum(first[third])}/34, within three {sum(three[third])}/34", end="")
    print(f"\n{'all':20} first {sum(first)}/102, within three {sum(three)}/102, wrongly not found {nothing}")
    assert sum(first) >= 0.8 * len(first)
    assert sum(three) >= 0.9 * len(three)
    assert nothing <= 3


def shuffled(library: Corpus) -> Corpus:
    """The same pages, but each address and name has what another page says."""
    rows = library._connection.execute(f"select {COLUMNS} from pages order by id").fetchall()
    pages = [Page(*row) for row in rows]
    others = random.Random(4).sample(pages, len(pages))
    mixed = [replace(other, url=page.url, name=page.name) for page, other in zip(pages, others, strict=True)]
    connection = module._connect()
    module._fill(connection, mixed)
    return Corpus(connection, "a shuffled library")


def test_the_answers_come_from_the_pages(library: Corpus) -> None:
    corpus = shuffled(library)
    with Emulator(corpus=corpus, pace=0, pause_after=10) as emulator, httpx.Client(headers=HEADERS) as http:
        first, _, _ = asked(Talk(http, emulator.url, SEARCH), QUESTIONS["questions"])
    corpus.close()
    print(f"\nshuffled: first {sum(first)}/102")
    assert sum(first) < 0.2 * len(first)


def test_two_questions_in_one(talk: Talk) -> None:
    right = 0
    for one in QUESTIONS["multi_step"]:
        answer = new(talk).ask(one["question"], RESULTS)
        right += all(not set(cited(answer)[:3]).isdisjoint(modules) for modules in one["modules"])
    print(f"\nmulti-step: {right}/6")
    assert right >= 5


def test_sums_are_worked_out_by_the_tool(talk: Talk) -> None:
    right = 0
    for one in QUESTIONS["arithmetic"]:
        chat = new(talk)
        answer = chat.ask(one["question"], RESULTS)
        blocks = [block for turn in chat.turns for block in turn["content"]]
        sums = [eval(block["input"]["expression"]) for block in blocks if block["type"] == "tool_use"]
        right += sums == [pytest.approx(one["answer"])] and "the result" in text(answer)
    print(f"\narithmetic: {right}/6")
    assert right == 6


def test_questions_that_go_on(talk: Talk) -> None:
    right = 0
    for one in QUESTIONS["follow_up"]:
        chat = new(talk)
        chat.ask(one["first"]["question"], RESULTS)
        modules = cited(chat.ask(one["then"]["question"], RESULTS))
        right += modules[:1] != [] and modules[0] in one["then"]["modules"]
    print(f"\nfollow-up: {right}/6")
    assert right >= 5


def test_what_is_not_there_is_not_found(talk: Talk) -> None:
    right = 0
    for one in QUESTIONS["not_found"]:
        answer = new(talk).ask(one["question"], RESULTS)
        right += NOTHING in text(answer) and cited(answer) == []
    print(f"\nnot found: {right}/10")
    assert right == 10


def test_tables(talk: Talk) -> None:
    right = 0
    for one in QUESTIONS["table"]:
        answer = new(talk).ask(one["question"], RESULTS)
        rows = [line for line in text(answer).splitlines() if line.startswith("| [")]
        modules = cited(answer)
        same = len(rows) == len(modules) == len(one["modules"])
        right += same and all(name in names for name, names in zip(modules, one["modules"], strict=True))
    print(f"\ntables: {right}/4")
    assert right >= 3
