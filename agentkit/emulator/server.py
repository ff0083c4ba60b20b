"""The emulator as a server: in a thread of its own, or until it is interrupted."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agentkit.emulator.corpus import Corpus
from agentkit.emulator.script import Player, Script, ScriptError
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from agentkit.emulator.app import Api
    from agentkit.emulator.serving import QuickServer

__all__ = ["Emulator", "serve"]

_KEPT_REQUESTS = 1000
_DIALECTS = ("anthropic", "cometapi")
_KEYS = ("x-api-key", "authorization", "cookie")
_START_SECONDS = 10.0
_STOP_SECONDS = 2  # longer than any reply is streamed


class Emulator:
    """A local Messages API on a loopback port, served by a thread of its own.

    Its "model" is a small reader that follows fixed rules, not a language model, or a script of yours. It works beside
    asyncio and trio::

        with Emulator(script=[reply(tool_use("lookup", city="Rome")), reply("It is sunny.")]) as emulator:
            client = Client(base_url=emulator.url, api_key="any")

    Every request is checked first, and refused in the API's words. With a script, leaving the `with` block raises
    `ScriptError` where a request was not foreseen or a step was not used; if another exception leaves it, that one gets
    a note.

    Args:
        script: In place of the reader: one `reply(…)`, `error(…)` or function of the request body for each request, or
            one function for all. A function returns a reply or an error.
        dialect: `anthropic`, or `cometapi` for that gateway as it is documented.
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
        requests: The bodies of the newest requests to `/v1/messages`, at most 1,000, refused ones included.
        headers: Their headers, names in lower case, without the keys.

    Raises:
        ConfigurationError: The script has something else in it, there is no such dialect, the extra is not installed,
            the port is taken, the address is no loopback address, the folder is missing or empty. The last ones and
            the extra on entering.
    """

    corpus: Corpus
    url: str

    def __init__(
        self,
        *,
        script: Script | None = None,
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
        if dialect not in _DIALECTS:
            raise ConfigurationError(f"no dialect {dialect!r}: there are {', '.join(_DIALECTS)}")
        _check_loopback(host)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._player = None if script is None else Player(script)
        self._dialect = dialect
        self._given = corpus
        self._pause_after = pause_after
        self._address = (host, port)
        self._pace = pace
        self._progress = progress

    def __enter__(self) -> Emulator:
        with contextlib.ExitStack() as stack:
            if self._player is None:
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
        try:
            if self._player is not None:
                self._player.check()
        except ScriptError as misfit:
            if error is None:
                raise
            error.add_note(f"The emulator's script: {misfit}")

    def advance(self, seconds: float) -> None:
        """Lets time pass for what lives for minutes: containers, threads, the prompt cache, batches and files."""
        self._api.clock.advance(seconds)

    def expire_containers(self) -> None:
        """Ends all containers, as the API does when they are not used."""
        self._api.containers.expire()

    def expire_threads(self) -> None:
        """Forgets all threads, as the API may at any time."""
        self._api.threads.expire()

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

            from agentkit.emulator.app import Api, make_app
            from agentkit.emulator.dialects import DIALECTS
            from agentkit.emulator.serving import QuickServer
        except ModuleNotFoundError as error:
            if error.name not in ("starlette", "uvicorn"):
                raise
            text = f"the emulator needs {error.name}: pip install 'agentkit-loop[emulator]'"
            raise ConfigurationError(text) from None
        self._api: Api = Api(
            corpus=None if self._player else self.corpus,
            player=self._player,
            pause_after=self._pause_after,
            pace=self._pace,
            on_request=self._keep,
            dialect=DIALECTS[self._dialect],
        )
        return QuickServer(
            uvicorn.Config(
                make_app(self._api),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    def _keep(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        self.requests.append(body)
        self.headers.append({name.lower(): "…" if name.lower() in _KEYS else headers[name] for name in headers})
        del self.requests[:-_KEPT_REQUESTS], self.headers[:-_KEPT_REQUESTS]

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
    dialect: str = "anthropic",
    corpus: Corpus | str | os.PathLike[str] | None = None,
    pause_after: int = 3,
    port: int = 8766,
    host: str = "127.0.0.1",
    pace: float = 1.5,
    progress: Callable[[str], None] = lambda line: None,
    ready: Callable[[Emulator], None] = lambda emulator: None,
) -> None:
    """Serves until it is interrupted (Ctrl-C), and then ends cleanly without raising.

    Args:
        dialect: As for `Emulator`.
        corpus: As for `Emulator`.
        pause_after: As for `Emulator`.
        port: As for `Emulator`.
        host: As for `Emulator`.
        pace: As for `Emulator`.
        progress: As for `Emulator`.
        ready: Gets the `Emulator` when it serves.

    Raises:
        ConfigurationError: As for `Emulator`.
    """
    options: dict[str, Any] = {"pause_after": pause_after, "port": port, "host": host, "pace": pace, "dialect": dialect}
    with contextlib.suppress(KeyboardInterrupt), Emulator(corpus=corpus, progress=progress, **options) as emulator:
        ready(emulator)
        emulator.wait()


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
