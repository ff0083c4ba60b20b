"""A pytest plugin for tests of agents without a network: it is found by itself where agentkit and pytest are installed.

Nothing of agentkit but this module is loaded until a test asks for one of the fixtures, which need the extra
`agentkit-loop[emulator]`.
"""

from __future__ import annotations

import os
import shutil
from collections import ChainMap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from agentkit.client import Client
    from agentkit.emulator import Corpus, Emulator
    from agentkit.emulator.scripts.script import Step
    from agentkit.settings import RetryPolicy

__all__ = ["MessagesApi", "Replay", "Scripted"]

_KEY = "emulator"


class MessagesApi:
    """A local Messages API, while a test runs.

    `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` lead to it too, so a client that reads these when it is made needs
    nothing else.

    Attributes:
        emulator: What serves it.
        client: A client for it. It waits a few milliseconds before it asks again.
    """

    def __init__(self, emulator: Emulator, client: Client) -> None:
        self.emulator = emulator
        self.client = client

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return self.emulator.url

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the requests to `/v1/messages`, as `Emulator.requests`."""
        return self.emulator.requests


class Scripted:
    """The fixture `scripted`: starts an emulator that plays a script, and ends it with the test.

    The test fails where a request was not foreseen, or where a step or a fault was not used.
    """

    def __init__(self, running: ExitStack, root: Path) -> None:
        self._running = running
        self._root = root

    def __call__(self, *steps: Step | str | os.PathLike[str], **options: Any) -> MessagesApi:
        """Starts one.

        Args:
            *steps: `reply(…)`, `error(…)` or a function of the request body, one for each request. A function alone
                answers all requests. A path alone, from pytest's rootdir, is a script in YAML or JSON.
            **options: Of `Emulator`, such as `faults` and `dialect`.
        """
        alone = steps[0] if len(steps) == 1 else None
        script: Any = steps
        if isinstance(alone, str | os.PathLike):
            script = self._root / alone
        elif callable(alone):
            script = alone
        return self._running.enter_context(_served(script=script, **options))


class Replay:
    """The fixture `replay`: starts an emulator that answers from a recording, and ends it with the test.

    The test fails where a request is not in the recording.
    """

    def __init__(self, running: ExitStack, config: pytest.Config, folders: pytest.TempPathFactory) -> None:
        self._running = running
        self._config = config
        self._folders = folders

    def __call__(self, path: str | os.PathLike[str]) -> MessagesApi:
        """Starts one. With `--record-messages` it asks the endpoint that the environment names, and records anew.

        Args:
            path: The recording, from pytest's rootdir; compressed if its name ends in `.gz`.
        """
        file = self._config.rootpath / path
        if self._config.getoption("record_messages"):
            return self._running.enter_context(_recorded(file, self._folders.mktemp("recorded")))
        if not file.exists():
            text = f"there is no recording {os.fspath(path)}: run this test once with --record-messages, and with a key"
            pytest.fail(text, pytrace=False)
        return self._running.enter_context(_replayed(file))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--record-messages`."""
    parser.getgroup("agentkit").addoption(
        "--record-messages",
        action="store_true",
        help="let the fixture `replay` ask the endpoint that ANTHROPIC_BASE_URL and the like name, and record it anew",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Adds the marker `messages_api`."""
    text = "messages_api(**options): options of the Emulator of the fixture messages_api, such as corpus and faults"
    config.addinivalue_line("markers", text)


@pytest.fixture(scope="session")
def _messages_api_pages() -> Iterator[Corpus]:
    with _in_one_line():
        from agentkit.emulator import Corpus

        pages = Corpus.builtin()
    yield pages
    pages.close()


@pytest.fixture
def messages_api(request: pytest.FixtureRequest) -> Iterator[MessagesApi]:
    """A local Messages API: rules answer, no language model. It searches the documentation of Python."""
    marks = request.node.iter_markers("messages_api")
    options: dict[str, Any] = dict(ChainMap(*(mark.kwargs for mark in marks)))
    if not {"corpus", "script", "replay"} & options.keys():
        options["corpus"] = request.getfixturevalue("_messages_api_pages")
    with _served(**options) as api:
        yield api


@pytest.fixture
def scripted(pytestconfig: pytest.Config) -> Iterator[Scripted]:
    """`scripted(reply("…"), error(…))` or `scripted("script.yaml")`: a local Messages API that plays a script."""
    with ExitStack() as running:
        yield Scripted(running, pytestconfig.rootpath)


@pytest.fixture
def replay(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """`replay("tests/talk.jsonl")`: a local Messages API that answers from a recording, or makes it when told to."""
    with ExitStack() as running:
        yield Replay(running, pytestconfig, tmp_path_factory)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """The user's mistakes and misfits without a traceback: its frames are agentkit's own."""
    from agentkit.emulator import ScriptError
    from agentkit.errors import ConfigurationError

    try:
        yield
    except (ConfigurationError, ScriptError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@contextmanager
def _served(
    *, provider: str | None = None, key: str | None = _KEY, retry: RetryPolicy | None = None, **options: Any
) -> Iterator[MessagesApi]:
    """A running emulator that the environment leads to.

    Args:
        provider: What the client takes it for; by default what the dialect is named after.
        key: What clients send; None: what the environment has.
        retry: Of the client; by default quick.
        **options: Of `Emulator`.
    """
    with _in_one_line(), pytest.MonkeyPatch.context() as patch:
        from agentkit.client import Client
        from agentkit.emulator import Emulator
        from agentkit.retry import RetryBudget
        from agentkit.settings import RetryPolicy

        # The budget is the process's: a test must not live off another's.
        patch.setattr("agentkit.client._budget", RetryBudget())
        with Emulator(**{"pace": 0, **options}) as emulator:
            _lead_to(emulator.url, key, patch)
            client = Client(
                base_url=emulator.url,
                api_key=os.environ.get("ANTHROPIC_API_KEY"),
                auth_token=os.environ.get("ANTHROPIC_AUTH_TOKEN"),
                provider=provider or options.get("dialect", "anthropic"),
                headers={"connection": "close"},  # nothing is left open where a test does not close the client
                retry=retry or RetryPolicy(base=0.001, cap=0.005),
            )
            yield MessagesApi(emulator, client)


@contextmanager
def _replayed(file: Path) -> Iterator[MessagesApi]:
    with _in_one_line():
        from agentkit.emulator.recordings.recording import Recording
        from agentkit.support import provider_of

        exchanges = Recording(file).exchanges
    provider = provider_of(exchanges[0].upstream if exchanges else "")  # what it sends depends on that
    with _served(replay=file, provider=provider.name) as api:
        yield api


@contextmanager
def _recorded(file: Path, folder: Path) -> Iterator[MessagesApi]:
    """Records in `folder`: an earlier recording is replaced at the end, and only if something has come."""
    with _in_one_line():
        from agentkit.client import Client
        from agentkit.emulator.recordings.recording import Recording
        from agentkit.settings import RetryPolicy
        from agentkit.support import provider_of

        upstream = Client().base_url
        provider = provider_of(upstream).name
    names = ("COMETAPI_KEY", "ANTHROPIC_API_KEY") if provider == "cometapi" else ("ANTHROPIC_API_KEY",)
    key = next(filter(None, map(os.environ.get, names)), None)
    new = folder / file.name
    with _served(record=new, upstream=upstream, provider=provider, key=key, retry=RetryPolicy()) as api:
        yield api
    if Recording(new).exchanges:
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(new, file)


def _lead_to(url: str, key: str | None, patch: pytest.MonkeyPatch) -> None:
    """Lets clients that look at the environment find the emulator, and nothing else."""
    patch.setenv("ANTHROPIC_BASE_URL", url)
    if key is not None:
        patch.setenv("ANTHROPIC_API_KEY", key)
        patch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
        patch.delenv("COMETAPI_KEY", raising=False)
    for name in ("NO_PROXY", "no_proxy"):  # a proxy can't reach the loopback address of this machine
        patch.setenv(name, "127.0.0.1", prepend=",")
