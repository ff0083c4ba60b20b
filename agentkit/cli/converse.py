"""A run as the command drives it: shown, interrupted by Ctrl-C, asked about held calls, saved."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

import anyio

from agentkit.agent import Agent
from agentkit.call import allow, deny
from agentkit.client import Client
from agentkit.errors import APIError
from agentkit.events import Event
from agentkit.options import RunOptions
from agentkit.result import Pending, RunResult
from agentkit.run import Run
from agentkit.terminal import safe, safe_line
from agentkit.transcript import Decision

__all__ = ["Conversation", "View"]


class View(Protocol):
    """Where a run is shown."""

    def event(self, event: Event) -> None:
        """Shows one event."""

    def note(self, text: str) -> None:
        """Shows a line about the run itself."""

    def progress(self, text: str) -> None:
        """Shows what goes on before the run."""

    def finish(self, result: RunResult) -> None:
        """Shows how the run ended."""

    def close(self) -> None:
        """Leaves the screen as it should be, wherever the run is."""


@dataclass
class Conversation:
    """One run of the command, with as many resumes as it has held calls to ask about.

    Attributes:
        agent: Who answers.
        open_client: The endpoint, opened anew in each event loop.
        view: Where it is shown.
        save: The file that keeps the conversation, however the run ends.
        asks: Whether somebody can be asked about held calls.
        session: The conversation that a question is a part of, where that has a name.
        interrupted: The signal that ended it; 0: none did.
    """

    agent: Agent
    open_client: Callable[[], AbstractAsyncContextManager[Client]]
    view: View
    save: Path | None
    asks: bool
    session: str | None = None
    interrupted: int = 0

    def run(self, prompt: str | None, earlier: Any, decisions: Mapping[str, Decision] | None = None) -> RunResult:
        """Runs to the end, and shows it.

        Args:
            prompt: The question; None resumes.
            earlier: As `after=` takes it.
            decisions: On calls that `earlier` holds.

        Raises:
            APIError: The endpoint failed; what was done is shown and saved.
        """
        try:
            result = self._until_nothing_is_held(prompt, earlier, decisions or {})
        except APIError as error:
            if error.result is not None:
                self._end(error.result)
            raise
        self._end(result)
        return result

    def decide(self, earlier: RunResult, decisions: Mapping[str, Decision]) -> Mapping[str, Decision]:
        """The decisions, with those on other held calls that somebody is asked for."""
        decisions = dict(decisions)
        if self.asks:
            with suppress(EOFError):
                for held in earlier.pending:
                    decisions[held.call_id] = decisions.get(held.call_id) or ask(held)
        return decisions

    def _approve(self, held: Pending) -> Decision:
        self.view.close()
        return ask(held)

    def _until_nothing_is_held(self, prompt: str | None, earlier: Any, decisions: Mapping[str, Decision]) -> RunResult:
        while True:
            result = self._follow(prompt, earlier, decisions)
            if self.interrupted or not (result.pending and self.asks):
                return result
            self.view.close()
            self._keep(result)
            try:
                decisions = {held.call_id: ask(held) for held in result.pending}
            except EOFError:
                return result
            except KeyboardInterrupt:
                self.interrupted = signal.SIGINT
                return result
            prompt, earlier = None, result

    def _end(self, result: RunResult) -> None:
        self.view.finish(result)
        self._keep(result)

    def _follow(self, prompt: str | None, earlier: Any, decisions: Mapping[str, Decision]) -> RunResult:
        with _Interrupts(self.view) as interrupts:
            result = anyio.run(partial(self._stream, prompt, earlier, decisions, interrupts))
        self.interrupted = interrupts.signal
        return result

    async def _stream(
        self, prompt: str | None, earlier: Any, decisions: Mapping[str, Decision], interrupts: _Interrupts
    ) -> RunResult:
        async with self.open_client() as client:
            options: RunOptions = {"client": client}
            if self.session and earlier is None:
                options["session"] = self.session
            if self.asks and self.agent._policy:  # what the policy asks about would be denied else
                options["approve"] = self._approve
            run = self.agent.stream(prompt, after=earlier, decisions=decisions, **options)
            async with run:
                interrupts.watch(run)
                async for event in run:
                    self.view.event(event)
        return run.result

    def _keep(self, result: RunResult) -> None:
        """Writes the conversation beside its place and moves it there whole: an earlier one is not lost half way."""
        if self.save is None:
            return
        beside = self.save.with_name(f".{self.save.name}.{os.getpid()}.tmp")
        try:
            beside.write_text(json.dumps(result.dump()), "utf-8")
            beside.replace(self.save)
        finally:
            beside.unlink(missing_ok=True)


class _Interrupts:
    """Ctrl-C or SIGTERM while a run goes on: the first cancels the run, the second ends the process."""

    def __init__(self, view: View) -> None:
        self.signal = 0
        self._view = view
        self._run: Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._before = {sent: signal.signal(sent, self._on_signal) for sent in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for sent, before in self._before.items():
            signal.signal(sent, before)

    def watch(self, run: Run) -> None:
        """Cancels this run, now if a signal has come already."""
        self._run, self._loop = run, asyncio.get_running_loop()
        if self.signal:
            run.cancel()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        is_first, self.signal = not self.signal, number
        if not is_first:
            self._end_process()
        elif self._run and self._loop:
            self._loop.call_soon_threadsafe(self._run.cancel)

    def _end_process(self) -> None:
        with suppress(Exception):
            self._view.close()
            sys.stdout.flush()
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(128 + self.signal)


def ask(held: Pending) -> Decision:
    """Asks about one held call. What is shown is the call alone, none of the model's words about it."""
    print(f"\n{safe_line(held.name)} waits for your approval, to run with")
    print(safe(json.dumps(held.input, ensure_ascii=False, indent=2)))
    while True:
        said = input("Run it? y, n, or a reason for no: ").strip()
        if said.lower() in ("y", "yes"):
            return allow()
        if said:
            return deny("" if said.lower() in ("n", "no") else said)
