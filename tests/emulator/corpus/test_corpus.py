"""What is searched, how well, and how the index is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.emulator.corpus import corpus as module
from agentkit.emulator.corpus.corpus import Corpus
from agentkit.emulator.corpus.index import unglued
from agentkit.emulator.corpus.pages import Page, folder_pages, project_pages, stdlib_pages
from agentkit.emulator.corpus.stdlib_pages import _first_sentence, module_names, page
from agentkit.errors import ConfigurationError

QUESTIONS = """
How do I parse command line arguments? -> argparse
Which module reads ZIP files? -> zipfile
How can I generate random numbers? -> random
How do I read a CSV file? -> csv
What encodes and decodes JSON? -> json
How do I start a simple HTTP server? -> http.server
How do I match text with a regular expression? -> re
How do I create a temporary file? -> tempfile
How do I work with dates and times? -> datetime
How do I run code in several threads? -> threading
How do I compress data with gzip? -> gzip
How do I run another program and capture its output? -> subprocess
How do I compute a SHA-256 hash? -> hashlib
How do I open a page in the web browser? -> webbrowser
How do I copy a directory tree? -> shutil
Which module talks to SQLite databases? -> sqlite3
How do I send mail over SMTP? -> smtplib
How can I compute the median of a list of numbers? -> statistics
How do I wrap a paragraph of text? -> textwrap
How do I show the differences between two texts? -> difflib
Which module pretty-prints data structures? -> pprint
How do I write unit tests? -> unittest
How do I validate an IP address? -> ipaddress
How do I parse an INI configuration file? -> configparser
What does the shelve module do? -> shelve
""".strip().splitlines()
NOT_THERE = ["Who won the 1998 world cup?", "How do I bake sourdough bread?", "Which river flows through Vienna?"]


def names(corpus: Corpus, query: str) -> list[str]:
    return [found.page.name for found in corpus.search(query)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def few_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [
        Page("https://docs.python.org/3/library/zipfile.html", "zipfile", "zipfile - ZIP", "ZIP", "ZIP", "ZIP files.")
    ]
    monkeypatch.setattr(module, "stdlib_pages", lambda progress: progress("50 modules read") or iter(pages))


def test_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one test over the whole built-in index, which the machine keeps."""
    pages, opening = list(project_pages()), []
    monkeypatch.setattr(module, "project_pages", lambda: iter(pages))  # reading them all is no part of the opening
    for _ in range(5):
        start = time.process_time()
        Corpus.builtin().close()
        opening.append(time.process_time() - start)
    assert min(opening) < 0.05  # it is read where it lies, not copied
    corpus = Corpus.builtin()
    assert len(corpus) > 200
    right = [
        answer for question, answer in (q.split(" -> ") for q in QUESTIONS) if names(corpus, question)[0] == answer
    ]
    assert len(right) >= 0.8 * len(QUESTIONS)
    assert all(not found or found[0].sure < 0.45 for found in map(corpus.search, NOT_THERE))
    found = corpus.page("https://docs.python.org/3/library/argparse.html#the-parse-args-method")
    assert found is not None
    assert found.title == "argparse - Command-line parsing library"
    assert "ArgumentParser" in found.text
    corpus.close()


def test_a_folder(corpus: Corpus) -> None:
    assert len(corpus) == 5
    assert corpus.about.startswith("5 files of the folder")
    assert corpus.skipped == ()
    assert names(corpus, "How long do worker bees live?") == ["bees"]
    assert names(corpus, "espresso pressure")[0] == "coffee"
    assert names(corpus, "zebra") == []
    assert names(corpus, "how do I?") == []
    assert len(corpus.search("water", limit=2)) == 2


def test_it_is_less_sure_where_words_are_missing(corpus: Corpus) -> None:
    whole, half = corpus.search("green tea")[0], corpus.search("green zeppelin")[0]
    assert whole.sure == 1.0
    assert 0.0 < half.sure < 0.45


def test_it_is_less_sure_among_many_pages_where_one_word_fits_by_chance() -> None:
    pages = [Page(f"https://x/{n}", f"m{n}", f"m{n}", "", "", "filler") for n in range(100)]
    pages.append(Page("https://x/tea", "tea", "Green tea", "", "", "Green tea is steeped."))
    connection = module._connect()
    module._fill(connection, pages)
    corpus = Corpus(connection, "many pages")

    def sure(query: str) -> float:
        return corpus.search(query)[0].sure

    assert sure("green tea") == sure("tea") == sure("green tea 1976") == 1.0
    assert sure("tea 1976") > 0.8  # a number is no strange word
    assert sure("tea zeppelin") < 0.2 < sure("steeped tea zeppelin")
    corpus.close()


def test_pages_of_a_folder(corpus: Corpus) -> None:
    bees = corpus.page("https://corpus.local/animals/bees.html")
    assert bees is not None
    assert (bees.name, bees.title) == ("bees", "Keeping bees")
    assert bees.text == (
        "Bees\n\nA colony of bees has one queen.\n\nWorker bees live about six weeks in summer,\n\nlonger in winter."
    )
    assert corpus.page("https://corpus.local/animals/my%20cat.md/") is not None
    assert corpus.page("https://corpus.local/.hidden/secret.md") is None
    assert corpus.page("https://corpus.local/empty.md") is None


def test_a_file_that_is_not_utf8_is_left_out_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "new.txt").write_bytes(b"\xef\xbb\xbfTea is green.\r\nReally.\0")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.md").mkdir()
    lines: list[str] = []
    corpus = Corpus.folder(tmp_path, lines.append)
    assert lines == ["left out old.txt: byte 3 is not UTF-8; save the file as UTF-8 to have it searched"]
    assert corpus.skipped == tuple(lines)
    new = corpus.page("https://corpus.local/new.txt")
    assert new is not None
    assert new.text == "Tea is green.\nReally."
    corpus.close()


def test_a_file_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    lines: list[str] = []
    assert list(folder_pages(tmp_path, lines.append)) == []
    assert lines == ["left out a.txt: Permission denied"]


def test_folders_that_give_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        Corpus.folder(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="has no readable file"):
        Corpus.folder(tmp_path)


def test_names_are_split_where_two_words_of_the_corpus_meet() -> None:
    known = {"zip", "file", "print", "pretty"}
    assert unglued("zipfile", known) == "zip file"
    assert unglued("zipper", known) == ""


@given(st.text(max_size=80))
def test_any_query_is_answered(corpus: Corpus, query: str) -> None:
    assert all(0.0 <= found.sure <= 1.0 for found in corpus.search(query))


def test_the_index_is_made_once_and_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_modules(monkeypatch)
    lines: list[str] = []
    Corpus.builtin(lines.append).close()
    assert lines == ["reading the documentation of the standard library (once, a few seconds)", "50 modules read"]
    lines.clear()
    corpus = Corpus.builtin(lines.append)
    assert lines == []
    assert names(corpus, "zip file")[0] == "zipfile"
    assert "standard library of Python" in corpus.about
    corpus.close()
    for index in (home / "corpus").iterdir():
        index.write_bytes(b"broken")
    Corpus.builtin(lines.append).close()
    assert len(lines) == 2


def test_documents_that_change_are_indexed_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_modules(monkeypatch)
    lines: list[str] = []
    for said in ("apples", "pears"):
        page = Page("https://agentkit.local/a.md", "a", "A", said, said, said)
        monkeypatch.setattr(module, "project_pages", lambda page=page: iter([page]))
        corpus = Corpus.builtin(lines.append)
        assert (len(corpus), names(corpus, said), "agentkit" in corpus.about) == (2, ["a"], True)
        corpus.close()
    assert len(lines) == 2  # the standard library was read once
    assert len(list((home / "corpus").iterdir())) == 2


def test_without_a_checkout_there_is_the_standard_library_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_modules(monkeypatch)
    monkeypatch.setattr(module, "project_pages", lambda: iter(()))
    corpus = Corpus.builtin()
    assert (len(corpus), "agentkit" in corpus.about) == (1, False)
    corpus.close()


def test_two_processes_make_the_index_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_modules(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        for corpus in pool.map(lambda _: Corpus.builtin(), range(4)):
            assert len(corpus) >= 1
            corpus.close()
    assert [path.suffix for path in (home / "corpus").iterdir()] == [".sqlite3"] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open stays")
def test_indexes_that_were_opened_longest_ago_are_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_modules(monkeypatch)
    monkeypatch.setattr(module, "project_pages", lambda: iter(()))
    reading = Corpus.builtin()
    first = module.index_path()
    others = [first.with_name(f"stdlib-{number}.sqlite3") for number in range(9)]
    for age, path in enumerate([first, *others]):
        path.touch()
        os.utime(path, (1000 + age, 1000 + age))
    (first.parent / "notes.txt").touch()
    Corpus.builtin().close()  # opened again: now the newest
    assert len(list(first.parent.iterdir())) == 11
    monkeypatch.setattr(module, "index_path", lambda: first.with_name("stdlib-new.sqlite3"))
    Corpus.builtin().close()
    left = {path.name for path in first.parent.iterdir()}
    assert left == {"notes.txt", first.name, "stdlib-new.sqlite3", *(path.name for path in others[3:])}
    monkeypatch.setattr(module, "_MOST_INDEXES", 1)
    first.with_name("stdlib-new.sqlite3").write_bytes(b"broken")
    Corpus.builtin().close()
    assert {path.name for path in first.parent.iterdir()} == {"notes.txt", "stdlib-new.sqlite3"}
    assert names(reading, "zip file") == ["zipfile"]
    reading.close()


def test_an_index_that_can_not_be_made_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(progress: object) -> None:
        raise ConfigurationError("no pages")

    monkeypatch.setattr(module, "stdlib_pages", fail)
    with pytest.raises(ConfigurationError, match="no pages"):
        Corpus.builtin()
    assert list((home / "corpus").glob("*")) == []


def test_an_index_that_can_not_be_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match="set AGENTKIT_HOME"):
        Corpus.builtin()
    home.unlink()
    monkeypatch.setattr(module, "_write", lambda path, edition, fill: None)
    with pytest.raises(ConfigurationError, match="can't be read; set AGENTKIT_HOME"):
        Corpus.builtin()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "x"}, Path("x/agentkit/corpus")),
        ("linux", {"HOME": "h"}, Path("h/.cache/agentkit/corpus")),
        ("darwin", {"HOME": "h"}, Path("h/Library/Caches/agentkit/corpus")),
        ("win32", {"LOCALAPPDATA": "x"}, Path("x/agentkit/corpus")),
        ("win32", {"HOME": "h"}, Path("h/AppData/Local/agentkit/corpus")),
        ("linux", {"AGENTKIT_HOME": "a"}, Path("a/corpus")),
    ],
)
def test_where_the_index_is(
    platform: str, variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AGENTKIT_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert module._cache_folder() == expected


def test_an_unreleased_copy_has_an_index_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise module.PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    assert "unreleased" in module.index_path().name


CHILD = """
import sys, os
names = {names!r}
sys.argv = ["x"]
import runpy
made = runpy.run_path({path!r})
made["module_names"].__globals__["module_names"] = lambda: names
made["main"]()
"""


def test_the_pages_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by the real child process, with a few modules, one that is not there, and a key in the environment."""
    path = str(Path(module.__file__).with_name("stdlib_pages.py"))
    code = CHILD.format(names=["cgi", "json", "zipfile", "winreg_not_here", "enum", "platform"], path=path)
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    started: list[dict[str, str]] = []
    popen = subprocess.Popen

    def run(command: list[str], **options: object) -> object:
        started.append(options["env"])  # type: ignore[arg-type]
        return popen([*command[:-1], "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", run)
    pages = {made.name: made for made in stdlib_pages(lambda line: None)}
    assert started == [{}]
    assert {"json", "zipfile", "enum", "platform"} <= set(pages)
    assert pages["zipfile"].title == "zipfile - Read and write ZIP files"
    assert pages["enum"].title == "enum - Support for enumerations"
    assert pages["zipfile"].text.startswith("zipfile - Read and write ZIP files\n")
    assert "\n    Quickly see if a file is a ZIP file by checking the magic number." in pages["zipfile"].text
    assert "Methods inherited" not in pages["zipfile"].text
    for made in pages.values():
        assert "sk-secret" not in made.text
        assert sys.executable not in made.text
        assert str(Path(os.__file__).parent) not in made.text


def test_a_page_is_made_with_pydoc() -> None:
    made = page("textwrap")
    assert made is not None
    assert made["summary"] == "Text wrapping and filling"
    assert "def wrap" not in made["text"]
    assert "wrap(text, width=70" in made["text"]
    bare = page("sre_compile") if "sre_compile" in module_names() else None
    assert bare is None or bare["text"].startswith("sre_compile\n")
    assert page("no_such_module") is None
    assert {"antigravity", "this", "idlelib"}.isdisjoint(module_names())
    assert {"os.path", "zipfile", "xml.etree.ElementTree"} <= set(module_names())
    assert _first_sentence("One. Two.") == "One"
    assert _first_sentence("word " * 50).endswith(" …")


def test_progress_while_pages_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    line = '{"name": "x", "summary": "", "description": "", "text": "x"}'
    popen = subprocess.Popen
    code = f"for _ in range(60): print({line!r})"
    monkeypatch.setattr(subprocess, "Popen", lambda command, **o: popen([sys.executable, "-c", code], **o))
    lines: list[str] = []
    pages = list(stdlib_pages(lines.append))
    assert (len(pages), pages[0].title, lines) == (60, "x", ["50 modules read"])


def test_a_child_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **o: popen([sys.executable, "-c", "1 / 0"], **o))
    with pytest.raises(ConfigurationError, match="could not be made"):
        list(stdlib_pages(lambda line: None))


def test_a_child_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    code = "import time; time.sleep(60)"
    monkeypatch.setattr(subprocess, "Popen", lambda command, **o: popen([sys.executable, "-c", code], **o))
    monkeypatch.setattr("agentkit.emulator.corpus.pages._CHILD_SECONDS", 0.2)
    with pytest.raises(ConfigurationError, match="could not be made"):
        list(stdlib_pages(lambda line: None))


def test_the_projects_own_documents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "https://agentkit.local/README.md" in {made.url for made in project_pages()}
    fake = tmp_path / "agentkit" / "emulator" / "corpus" / "pages.py"
    monkeypatch.setattr("agentkit.emulator.corpus.pages.__file__", str(fake))
    assert list(project_pages()) == []
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "empty.md").touch()
    (tmp_path / "docs" / "a.md").write_text("# A ##\n\n```bash\nask about zip\n```\n\nMore.\n")
    (made,) = project_pages()
    assert (made.url, made.title, made.summary, made.text) == (
        "https://agentkit.local/docs/a.md",
        "A",
        "More.",
        "# A ##\n\n\nMore.\n",
    )
