"""What the emulator serves: the reader, a script or a recording; around it faults, the log of the traffic, the page."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from agentkit.emulator.app import Api, make_app
from agentkit.emulator.dialects.dialect import Dialect
from agentkit.emulator.faults import Faults, WithFaults
from agentkit.emulator.recordings.recorder import make_recorder
from agentkit.emulator.recordings.replay import make_replay
from agentkit.emulator.scripts.script import ScriptError
from agentkit.emulator.traffic.page import WithPage
from agentkit.emulator.traffic.traffic import Traffic

__all__ = ["Answers", "Service", "of_api", "of_recorder", "of_replay"]

Check: TypeAlias = Callable[[], None]
"""Raises `ScriptError` where the requests did not fit."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What answers.

    Attributes:
        app: The application.
        about: What it says of itself.
        check: See `Check`.
        has_root: Whether it has something of its own at `/`.
    """

    app: ASGIApp
    about: str
    check: Check
    has_root: bool = False


def of_api(api: Api) -> Answers:
    """The reader, or a script."""
    check = api.player.check if api.player else lambda: None
    return Answers(make_app(api), api.about, check, api.dialect.routes == "gateway")


def of_recorder(path: str | os.PathLike[str], upstream: str) -> Answers:
    """See `make_recorder`."""
    recorder = make_recorder(path, upstream)
    about = f"This is agentkit's emulator: it forwards to {upstream}, and records to {recorder.recording.name}."
    return Answers(recorder, about, recorder.check)


def of_replay(path: str | os.PathLike[str], upstream: str | None) -> Answers:
    """See `make_replay`."""
    replay = make_replay(path, upstream)
    rest = f" What is not in it goes to {upstream}, and is added." if upstream else ""
    about = f"This is agentkit's emulator: it answers from the recording {os.path.basename(path)}.{rest}"
    return Answers(replay, about, replay.check)


class Service:
    """The whole application.

    Args:
        answers: What answers.
        dialect: The endpoint's ways, for the shape of the errors that faults make.
        faults: What happens to requests for a message; None for nothing.

    Attributes:
        about: What answers, in words.
        traffic: What came, and what was answered.
    """

    def __init__(self, answers: Answers, dialect: Dialect, faults: Faults | None) -> None:
        self.about = answers.about
        self._checks = [answers.check]
        app: Any = answers.app
        if faults is not None:
            app = WithFaults(app, faults, dialect=dialect)
            self._checks.append(app.check)
        self.traffic = Traffic(app)
        self._app = WithPage(
            self.traffic,
            self.traffic,
            about=answers.about,
            dialect=dialect.name,
            misfit=self.misfit,
            at_root=not answers.has_root,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def misfit(self) -> str | None:
        """What does not fit so far, if anything: requests that were not foreseen, steps and faults that are left."""
        found = []
        for check in self._checks:
            try:
                check()
            except ScriptError as misfit:
                found.append(str(misfit))
        return "\n".join(found) or None
