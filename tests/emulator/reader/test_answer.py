"""What the reader writes arrives as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit import Agent, Client, RunResult, web_fetch, web_search
from agentkit.emulator import Emulator


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two pages of a user."""
    (tmp_path / "coffee.md").write_text("# coffee - A hot drink\n\nCoffee is brewed from ground beans with water.\n")
    (tmp_path / "tea.md").write_text("# tea - Another hot drink\n\nTea is made of dried leaves with boiling water.\n")
    return tmp_path


def asked(question: str, corpus: Path) -> RunResult:
    agent = Agent("claude-sonnet-4-6", tools=[web_search(), web_fetch(citations=True)])
    with Emulator(corpus=corpus, pace=0) as emulator:
        result = agent.run_sync(question, client=Client(base_url=emulator.url, api_key="any"))
        agent.close()
    texts = [block["text"] for message in result.messages for block in message["content"] if block["type"] == "text"]
    assert all(text.strip() for text in texts)  # blank blocks are sent by nobody, so what they part runs together
    return result


def test_a_table_has_its_rows_on_lines_of_their_own(corpus: Path) -> None:
    *_, head, line, first, second = asked("Compare coffee and tea in a table.", corpus).text.splitlines()
    assert (head, line) == ("| page | what it is about |", "|---|---|")
    assert first.startswith("| [coffee](")
    assert second.startswith("| [tea](")


def test_two_parts_are_two_paragraphs(corpus: Path) -> None:
    text = asked("How is coffee brewed from beans, and how is tea made of leaves?", corpus).text
    assert text.count("\n\nThe page that fits best is ") == 2
