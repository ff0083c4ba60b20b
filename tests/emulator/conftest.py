"""A tiny folder to search, and an emulator over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from talking import HEADERS

from agentkit.emulator import Corpus, Emulator

FILES = {
    "coffee.md": """# Brewing coffee

Coffee is brewed from roasted beans.
The water should have about 93 degrees. A French press needs coarse grounds and four minutes.

## Espresso

Espresso is pressed through fine grounds at nine bar.
""",
    "tea.txt": """Tea for beginners

Green tea is steeped at 70 degrees for two minutes. Black tea takes boiling water and four minutes.
""",
    "animals/bees.html": """<!doctype html><html><head><title>Keeping bees</title><style>p { color: red }</style>
<body><h1>Bees</h1><p>A colony of bees has one queen.</p><script>ignored()</script>
<p>Worker bees live about six weeks in summer,<br>longer in winter.</p></body></html>
""",
    "animals/my cat.md": "A cat sleeps up to sixteen hours a day. Cats purr when they are content.\n",
    "water.md": "# Water\n\nWater boils at 100 degrees. Coffee and tea are mostly water.\n",
    ".hidden/secret.md": "Nobody reads this about coffee.\n",
    "picture.png": "not text",
    "empty.md": "\n",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return root


@pytest.fixture(scope="session")
def corpus(folder: Path) -> Iterator[Corpus]:
    opened = Corpus.folder(folder)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def emulator(corpus: Corpus) -> Iterator[Emulator]:
    with Emulator(corpus=corpus, pace=0) as serving:
        yield serving


@pytest.fixture(scope="session")
def patient(corpus: Corpus) -> Iterator[Emulator]:
    """One that pauses as late as the API."""
    with Emulator(corpus=corpus, pace=0, pause_after=10) as serving:
        yield serving


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(headers=HEADERS) as client:
        yield client
