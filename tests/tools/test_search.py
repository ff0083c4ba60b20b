"""A search over a folder: finds, keeps up with changes, stays inside, and is cited."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentkit_tools.search_index as search_index
from agentkit import Agent, Client, ConfigurationError, RunContext, ToolError
from agentkit.emulator import Emulator, reply, text, tool_use
from agentkit_tools.search import search
from agentkit_tools.search_index import Index

pytestmark = pytest.mark.slow

REFUNDS = """# Refunds

Customers get their money back within 14 days of the purchase.

## Exceptions

Gift cards are never refunded. Opened software is refunded only if it does not start.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "handbook"
    (root / "it").mkdir(parents=True)
    (root / "RefundPolicy.md").write_text(REFUNDS)
    (root / "it" / "passwords.txt").write_text(
        "Passwords have at least 16 characters.\n\nÜberlange Passwörter sind gut.\n"
    )
    return root


def ask(tools: list[Any], query: str) -> Any:
    said: list[str] = []
    ctx = RunContext(deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name="search_folder", report=said.append)
    return tools[0](ctx, query)


def sources(found: Any) -> list[str]:
    return [] if isinstance(found, str) else [block["source"] for block in found if block["type"] == "search_result"]


def test_results_are_passages_that_can_be_cited(folder: Path) -> None:
    found = ask(search(folder), "are gift cards refunded?")
    assert sources(found) == ["RefundPolicy.md:5", "RefundPolicy.md:1"]
    assert found[0] == {
        "type": "search_result",
        "source": "RefundPolicy.md:5",
        "title": "RefundPolicy.md: Exceptions",
        "content": [{"type": "text", "text": REFUNDS.partition("days of the purchase.\n\n")[2].strip()}],
        "citations": {"enabled": True},
    }
    (plain, *_) = ask(search(folder, citations=False), "gift cards")
    assert plain["text"].startswith("# RefundPolicy.md: Exceptions\nRefundPolicy.md:5\n\n## Exceptions\n\nGift cards")


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("refund", "RefundPolicy.md:"),  # another form of the word
        ("policy", "RefundPolicy.md:"),  # in the name
        ("passworter", "it/passwords.txt:1"),  # without its dots
        ('"at least 16"', "it/passwords.txt:1"),
        ("PASSWORDS", "it/passwords.txt:1"),
    ],
)
def test_words(query: str, first: str, folder: Path) -> None:
    assert sources(ask(search(folder), query))[0].startswith(first)


def test_nothing(folder: Path) -> None:
    assert ask(search(folder), "lighthouse") == "Nothing was found for: lighthouse."
    assert ask(search(folder), '"16 least at"') == 'Nothing was found for: "16 least at".'
    with pytest.raises(ToolError, match="has no words"):
        ask(search(folder), ' "" -- * ')


ODD = ["a AND", "path:x", "NEAR(a b", '"', 'a" OR "b', "words MATCH 'x'", "^a + b*", "{a b}: c"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.sampled_from(ODD))
def test_no_query_is_an_error_of_the_database(folder: Path, query: str) -> None:
    try:
        ask(search(folder), query)
    except ToolError as error:
        assert "no words" in str(error)  # noqa: PT017


def test_it_keeps_up_with_changes(folder: Path, tmp_path: Path) -> None:
    for index in (None, tmp_path / "index.db"):
        tools = search(folder, index=index)
        assert sources(ask(tools, "vacation")) == []
        (folder / "vacation.md").write_text("Vacation is 30 days.")
        assert sources(ask(tools, "vacation")) == ["vacation.md:1"]
        (folder / "vacation.md").write_text("Holidays are 30 days.")
        os.utime(folder / "vacation.md", ns=(1, 1))
        assert sources(ask(tools, "days 30 holidays")) == ["vacation.md:1", "RefundPolicy.md:1"]
        assert "Vacation" not in str(ask(tools, "vacation"))
        (folder / "vacation.md").unlink()
        assert sources(ask(tools, "holidays")) == []


def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(search(folder, index=tmp_path / "index.db"), "x")
    read: list[str] = []
    whole = search_index._text
    monkeypatch.setattr(search_index, "_text", lambda handle, name: read.append(name) or whole(handle, name))
    (folder / "new.md").write_text("new")
    assert sources(ask(search(folder, index=tmp_path / "index.db"), "gift new")) == ["new.md:1", "RefundPolicy.md:5"]
    assert read == ["new.md"]


def test_it_stays_inside(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("lighthouse")
    (folder / "link.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / ".env").write_text("lighthouse")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.txt").write_text("lighthouse")
    (folder / "binary.txt").write_bytes(b"lighthouse\0")
    (folder / "latin.txt").write_bytes("lighthouse ä".encode("latin-1"))
    (folder / "large.txt").write_text("lighthouse " * 200_000)
    os.mkfifo(folder / "pipe.txt")
    assert sources(ask(search(folder), "lighthouse")) == []
    (folder / "plain.txt").write_text("lighthouse")
    assert sources(ask(search(folder), "lighthouse")) == ["plain.txt:1"]


def test_a_file_swapped_for_a_link_is_not_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("lighthouse")
    whole = search_index._text

    def swapped(handle: int, name: str) -> str | None:
        if name == "passwords.txt":
            (folder / "it" / name).unlink()
            (folder / "it" / name).symlink_to(tmp_path / "secret.txt")
        return whole(handle, name)

    monkeypatch.setattr(search_index, "_text", swapped)
    assert sources(ask(search(folder), "lighthouse")) == []


def test_caps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "long.md").write_text("".join(f"# Part {n}\n\nThe lighthouse of part {n}.\n\n" for n in range(50)))
    for number in range(20):
        (folder / f"more{number}.md").write_text("A lighthouse.")
    found = sources(ask(search(folder), "lighthouse part"))
    assert len(found) == 8
    assert len([source for source in found if source.startswith("long.md")]) == 3
    monkeypatch.setattr(search_index, "_MOST_FILES", 5)
    assert ask(search(folder), "lighthouse")[-1] == "Only the first 5 files of the folder are searched."
    assert (
        ask(search(folder), "mouse")
        == "Nothing was found for: mouse. Only the first 5 files of the folder are searched."
    )


def test_lines_headings_and_long_lines(folder: Path) -> None:
    long = f"# Top\n\n{'word ' * 4000}\n\n" + "A line.\n" * 300 + "\n## Lamps\n\nA lamp.\n"
    (folder / "long.md").write_text(long)
    (block, *_) = ask(search(folder), "lamp")
    assert (block["source"], block["title"]) == ("long.md:306", "long.md: Lamps")
    lines = (folder / "long.md").read_text().splitlines()
    assert lines[305] == "## Lamps"
    passages = list(search_index._passages((folder / "long.md").read_text()))
    assert max(len(passage) for *_, passage in passages) <= 3000
    whole = "".join("".join(passage.split()) for *_, passage in passages)
    assert whole == "".join((folder / "long.md").read_text().split())


def test_what_can_not_be_searched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "no.db").write_text("this is no database, but a text that is long enough to be read as one" * 20)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE files (x)")
    other.close()
    for arguments, told in [
        ({"folder": tmp_path / "nowhere"}, "there is no such folder"),
        ({"folder": "/"}, "give a folder of its own"),
        ({"folder": tmp_path}, "give a folder of its own"),
        ({"folder": folder, "index": tmp_path / "no.db"}, "no index can be kept there: file is not a database"),
        ({"folder": folder, "index": tmp_path / "other.db"}, "it has something else in it"),
        ({"folder": folder, "index": tmp_path / "no" / "x.db"}, "unable to open"),
    ]:
        with pytest.raises(ConfigurationError, match=told):
            search(**arguments)  # type: ignore[arg-type]


@pytest.mark.slow
def test_many_files(tmp_path: Path) -> None:
    for number in range(3000):
        body = f"Words about item{number % 500} and more. " * 20
        (tmp_path / f"{number}.md").write_text(f"# Note {number}\n\n{body}")
    said: list[str] = []
    index = Index(tmp_path)
    index.refresh(said.append)
    index.refresh(said.append)  # nothing has changed, so nothing is indexed again
    assert len(index.find("item77")) == 6
    assert said[0] == "Indexed 200 files"
    assert len(said) == 15


def test_an_agent_searches_and_cites(folder: Path) -> None:
    cited = {"type": "search_result_location", "source": "RefundPolicy.md:5", "title": "RefundPolicy.md: Exceptions"}
    cited |= {"cited_text": "Gift cards", "search_result_index": 0, "start_block_index": 0, "end_block_index": 1}
    script = [reply(tool_use("search_folder", query="gift cards")), reply({**text("No."), "citations": [cited]})]
    agent = Agent("claude-sonnet-4-6", tools=search(folder))
    with Emulator(script=script) as emulator:
        result = agent.run_sync("Are gift cards refunded?", client=Client(base_url=emulator.url, api_key="any"))
        agent.close()
    assert [citation.url for citation in result.citations] == ["RefundPolicy.md:5"]
    (tool,) = search(folder)
    assert (tool.name, tool.effect, tool.is_read) == ("search_folder", {"read", "private"}, True)
