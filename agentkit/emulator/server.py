"""The emulator as a server: in a thread of its own, or until it is interrupted."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentkit.emulator.corpus.corpus import Corpus
from agentkit.emulator.dialects.dialect import DIALECTS
from agentkit.emulator.faults import Faults, faults_of
from agentkit.emulator.scripts.script import Player, Script, ScriptError
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from agentkit.emulator.app import Api
    from agentkit.emulator.service import Answers
    from agentkit.emulator.serving import QuickServer

__all__ = ["Emulator", "serve"]

_START_SECONDS = 10.0
_STOP_SECONDS = 2  # longer than any reply is streamed


class Emulator:
    """A local Messages API on a loopback port, served by a thread of its own.

    Its "model" is a small reader that follows fixed rules, not a language model, or a script of yours, or what was
    recorded. It works beside asyncio and trio::

        with Emulator(script=[reply(tool_use("lookup", city="Rome")), reply("It is sunny.")]) as emulator:
            client = Client(base_url=emulator.url, api_key="any")

    Every request is checked first, and refused in the API's words. Leaving the `with` block raises `ScriptError` where
    a request was not foreseen, or a step or a fault was not used; if another exception leaves it, that one gets a note.

    Args:
        script: In place of the reader: one `reply(…)`, `error(…)` or function of the request body for each request, or
            one function for all. A function returns a reply or an error. Or the path of a YAML or JSON file.
        faults: What happens to requests for a message: `fault(…)`, `random_faults(…)`, several, or a text as
            `faults_of` reads it.
        replay: In place of the reader: a recording, and nothing else; with `upstream`, what is not in it goes there and
            is added.
        record: In place of the reader: a file that gets what `upstream` answers.
        upstream: The base URL of an endpoint. Keys come from the client, with each request.
        dialect: `anthropic`, `cometapi` for that gateway as it is documented, or `local` for a lenient server.
        corpus: What `web_search` and `web_fetch` look at: a `Corpus`, a folder of Markdown, text and HTML files, or
            None for the documentation of the standard library and of agentkit. A `Corpus` stays the caller's to close.
        pause_after: Server calls in one reply, before it pauses (`pause_turn`); the API's limit is 10. At least 1.
        port: A port, or 0 for a free one.
        host: A loopback address.
        pace: Seconds that a streamed reply takes at most by waiting between its events; 0 for none.
        progress: Gets a line of text now and then: while the built-in index is made, and for each file left out.

    Attributes:
        corpus: The `Corpus`, while it serves.
        url: The base URL, while it serves.

    Raises:
        ConfigurationError: The script has something else in it, there is no such dialect or fault, the arguments don't
            go together, the extra is not installed, the port is taken, the address is no loopback address, the folder
            is missing or empty, the recording can't be read or written. The last ones and the extra on entering.
    """

    corpus: Corpus
    url: str

    def __init__(
        self,
        *,
        script: Script | str | os.PathLike[str] | None = None,
        faults: Faults | str | None = None,
        replay: str | os.PathLike[str] | None = None,
        record: str | os.PathLike[str] | None = None,
        upstream: str | None = None,
        dialect: str = "anthropic",
        corpus: Corpus | str | os.PathLike[str] | None = None,
        pause_after: int = 3,
        port: int = 0,
        host: str = "127.0.0.1",
        pace: float = 1.5,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        if pause_after < 1:
            raise ConfigurationError("pause_after must be at least 1")
        if dialect not in DIALECTS:
            raise ConfigurationError(f"no dialect {dialect!r}: there are {', '.join(DIALECTS)}")
        _check_together(script=script, replay=replay, record=record, corpus=corpus, upstream=upstream)
        _check_loopback(host)
        self._player = _player(script)
        self._faults = faults_of(faults) if isinstance(faults, str) else faults
        self._replay = replay
        self._record = record
        self._upstream = upstream
        self._dialect = DIALECTS[dialect]
        self._given = corpus
        self._pause_after = pause_after
        self._address = (host, port)
        self._pace = pace
        self._progress = progress
        self._api: Api | None = None

    def __enter__(self) -> Emulator:
        with contextlib.ExitStack() as stack:
            if self._player is None and self._replay is None and self._record is None:
                self.corpus = self._open_corpus(stack)
            listener = stack.enter_context(_listen(*self._address))
            host, port = listener.getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self._server = self._make_server()
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(listener,), name="agentkit emulator")
            self._thread.start()
            stack.callback(self._stop)
            self._wait_until_started()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        misfit = self._service.misfit()
        if misfit and error is None:
            raise ScriptError(misfit)
        if misfit and error is not None:
            error.add_note(f"The emulator's script: {misfit}")

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the newest requests to `/v1/messages`, refused ones included: at most 1,000, or 64 MB."""
        return [body for body, _ in self._service.traffic.requests()]

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of `requests`, names in lower case, without the keys."""
        return [headers for _, headers in self._service.traffic.requests()]

    @property
    def about(self) -> str:
        """What answers, in words."""
        return self._service.about.strip()

    def advance(self, seconds: float) -> None:
        """Lets time pass for what lives for minutes: containers, threads, the prompt cache, batches and files."""
        self._emulated.clock.advance(seconds)

    def expire_containers(self) -> None:
        """Ends all containers, as the API does when they are not used."""
        self._emulated.containers.expire()

    def expire_threads(self) -> None:
        """Forgets all threads, as the API may at any time."""
        self._emulated.threads.expire()

    @property
    def _emulated(self) -> Api:
        if self._api is None:
            raise ConfigurationError("nothing is kept here that has a time: a recording answers")
        return self._api

    def wait(self) -> None:
        """Blocks until the server ends; Ctrl-C interrupts it."""
        # Not `join`: Python 3.11 takes a thread for ended when Ctrl-C interrupts that.
        while not self._ended.wait(0.5):
            pass

    def _open_corpus(self, stack: contextlib.ExitStack) -> Corpus:
        if isinstance(self._given, Corpus):
            return self._given
        given, progress = self._given, self._progress
        opened = Corpus.builtin(progress) if given is None else Corpus.folder(given, progress)
        stack.callback(opened.close)
        return opened

    def _make_server(self) -> QuickServer:
        try:
            import uvicorn

            from agentkit.emulator.service import Service
            from agentkit.emulator.serving import OpenProtocol, QuickServer
        except ModuleNotFoundError as error:
            if error.name not in ("starlette", "uvicorn"):
                raise
            text = f"the emulator needs {error.name}: pip install 'agentkit-loop[emulator]'"
            raise ConfigurationError(text) from None
        self._service = Service(self._answers(), self._dialect, self._faults)
        return QuickServer(
            uvicorn.Config(
                self._service,
                loop="asyncio",
                http=OpenProtocol,
                ws="none",
                lifespan="off",
                proxy_headers=False,
                interface="asgi3",
                log_config=None,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    def _answers(self) -> Answers:
        from agentkit.emulator.app import Api
        from agentkit.emulator.service import of_api, of_recorder, of_replay

        if self._replay is not None:
            return of_replay(self._replay, self._upstream)
        if self._record is not None and self._upstream is not None:
            return of_recorder(self._record, self._upstream)
        self._api = Api(
            corpus=None if self._player else self.corpus,
            player=self._player,
            pause_after=self._pause_after,
            pace=self._pace,
            dialect=self._dialect,
        )
        return of_api(self._api)

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ConfigurationError("the emulator's server did not start")
            time.sleep(0.001)

    def _run(self, listener: socket.socket) -> None:
        try:
            self._server.run([listener])
        finally:
            self._ended.set()

    def _stop(self) -> None:
        self._server.stop()
        self._thread.join()


def serve(
    *,
    script: str | os.PathLike[str] | None = None,
    faults: Faults | str | None = None,
    replay: str | os.PathLike[str] | None = None,
    record: str | os.PathLike[str] | None = None,
    upstream: str | None = None,
    dialect: str = "anthropic",
    corpus: Corpus | str | os.PathLike[str] | None = None,
    pause_after: int = 3,
    port: int = 8766,
    host: str = "127.0.0.1",
    pace: float = 1.5,
    progress: Callable[[str], None] = lambda line: None,
    ready: Callable[[Emulator], None] = lambda emulator: None,
) -> None:
    """Serves until it is interrupted (Ctrl-C).

    Args:
        script: As for `Emulator`, and so are all that are not described here.
        ready: Gets the `Emulator` when it serves.

    Raises:
        ConfigurationError: As for `Emulator`.
        ScriptError: As for `Emulator`.
    """
    options: dict[str, Any] = {"script": script, "faults": faults, "replay": replay, "record": record}
    options |= {"upstream": upstream, "dialect": dialect, "corpus": corpus, "pause_after": pause_after, "port": port}
    emulator = Emulator(**options, host=host, pace=pace, progress=progress)
    # The inner one, so that what did not fit is raised all the same; the outer one while it starts.
    with contextlib.suppress(KeyboardInterrupt), emulator, contextlib.suppress(KeyboardInterrupt):
        ready(emulator)
        emulator.wait()


def _player(script: Script | str | os.PathLike[str] | None) -> Player | None:
    if isinstance(script, str | os.PathLike):
        from agentkit.emulator.scripts.file import read_script  # its models take a while to build

        return Player(*read_script(script))
    return None if script is None else Player(script)


def _check_together(upstream: str | None, **given: object) -> None:
    """Raises `ConfigurationError` where more than one thing would answer."""
    answering = [name for name, value in given.items() if value is not None]
    if len(answering) > 1 and answering != ["script", "corpus"]:
        raise ConfigurationError(f"{' and '.join(answering)} don't go together: one of them answers")
    if given["record"] is not None and upstream is None:
        raise ConfigurationError("record needs upstream: the base URL of the endpoint to forward to")
    if upstream is not None and given["record"] is None and given["replay"] is None:
        raise ConfigurationError("upstream goes with record or replay")


def _check_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(f"the emulator serves on a loopback address only, not on {host!r}; try 127.0.0.1")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small pieces at once; without it each reply waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"can't serve on {host} port {port}: {reason}; try --port 0") from None
    return listener
