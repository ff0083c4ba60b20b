"""Runs full of secrets, none of which comes out anywhere: in logs, errors, events, journal, files, screen, requests."""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import anyio
import pytest
from scripted import Request, ScriptedServer, error, reply, text, tool_use

from agentkit import Agent, APIError, Client, RunContext, Tool, ToolError, deny, tool
from agentkit.secrets import Secret

pytest.importorskip("rich", reason="the screen needs the extra cli")

from rich.console import Console

from agentkit.cli.lines import Lines
from agentkit.cli.problems import brief_log
from agentkit.cli.show import Screen

pytestmark = pytest.mark.slow

RUNS = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 60
SINKS = ["log", "records", "brief log", "errors", "events", "progress", "screen", "lines"]
SINKS += ["dump", "journal", "outputs", "requests"]
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0"


@dataclass
class Canary:
    """A secret, and how it can be known again: by 16 digits in its middle, or by what encodings make of it."""

    value: str
    core: str

    def is_in(self, shown: str) -> bool:
        return any(spelling in shown for spelling in self.spellings())

    def spellings(self) -> Iterator[str]:
        data = self.core.encode()
        yield self.core
        yield data.hex()
        for before in range(3):
            yield base64.b64encode(b"x" * before + data).decode()[4:20]


def canary(draw: random.Random) -> Canary:
    core = f"{draw.getrandbits(64):016x}"
    shapes = [
        f"sk-ant-api03-{core}-AA",
        f'p"a\\s/s {core} &=?%ö☃😀',
        f"-----BEGIN KEY-----\nMII+/{core}\r\n==\n-----END KEY-----\n",
        f"{core}",
        f"'tok+en'{core}==",
    ]
    return Canary(draw.choice(shapes), core)


@dataclass
class World:
    """What the tools of a run know, and where all that comes out of it is kept."""

    key: Canary
    header: Canary
    env: Canary
    deps: Canary
    shown: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SINKS, ""))

    def all(self) -> list[Canary]:
        return [self.key, self.header, self.env, self.deps]

    def show(self, sink: str, said: object) -> None:
        self.shown[sink] += f"{said}\n"

    def leaks(self) -> list[str]:
        return [sink for sink, shown in self.shown.items() if any(it.is_in(shown) for it in self.all())]


class Refused(Exception):
    pass


def tools_of(world: World) -> list[Tool]:
    """Tools that give their secrets away, in every way there is."""
    secret, env = world.deps.value, world.env.value

    @tool
    def raises() -> str:
        try:
            raise KeyError(secret)
        except KeyError as missing:
            raise ValueError(f"no such user: {secret}") from missing

    @tool
    async def raises_in_context() -> str:
        try:
            raise Refused("for", {"password": secret}, secret)
        except Refused:
            raise RuntimeError(f"again {quote(secret)}")  # noqa: B904

    @tool
    async def raises_a_group() -> str:
        problem = OSError(2, "no file", f"/srv/{env}")
        problem.add_note(f"asked by {secret}")
        raise ExceptionGroup(f"all of {secret}", [problem, ExceptionGroup("in", [ValueError(json.dumps(env))])])

    @tool
    def refuses() -> str:
        raise ToolError(f"the password {secret} is wrong")

    @tool
    def refuses_in_blocks() -> str:
        raise ToolError([{"type": "text", "text": secret}])

    @tool
    def says() -> str:
        return f"{env} or {secret}"

    @tool
    def counts() -> dict[str, Any]:
        return {"token": secret, secret: [1, {"deep": [env]}]}

    @tool
    def draws() -> list[Any]:
        return [PNG + secret.encode(), b"%PDF-1.7 " + env.encode(), secret.encode(), secret]

    @tool
    def finds() -> list[Any]:
        part = {"type": "text", "text": f"key={secret}"}
        url = f"https://admin:{quote(secret, safe='')}@db.example/?k={quote_plus(env)}"
        return [{"type": "search_result", "source": url, "title": secret, "content": [part]}]

    @tool
    def encodes() -> str:
        encoded = [base64.b64encode(f"{user}:{secret}".encode()).decode() for user in ("", "a", "ab")]
        encoded += [base64.urlsafe_b64encode(secret.encode()).decode(), env.encode().hex(), repr(secret), ascii(env)]
        encoded += [json.dumps(secret), json.dumps(json.dumps([env])), json.dumps(secret).replace("/", "\\/")]
        return "\n".join([*encoded, quote(quote(secret)), quote_plus(secret)])

    @tool
    def lists_environment() -> str:
        return subprocess.run(["/usr/bin/env"], env={"SECRET": env}, capture_output=True, text=True).stdout

    @tool
    def yields() -> Iterator[str]:
        half = len(secret) // 2
        yield f"one {secret[:half]}"
        yield f"{secret[half:]} two "
        yield f"{env[:half]}"
        yield f"{env[half:]} three"

    @tool
    async def reports(ctx: RunContext[Any]) -> str:
        ctx.progress(f"signed in as {secret}")
        return ""

    @tool
    def goes_on() -> str:
        return f"{secret} {env}\n" * 3000

    @tool(needs_approval=True)
    def pays() -> str:
        return "paid"

    @tool(needs_approval=lambda: 1 / len(secret[:0]))
    def sends() -> str:
        return "sent"

    given = [raises, raises_in_context, raises_a_group, refuses, refuses_in_blocks, says, counts, draws, finds]
    return [*given, encodes, lists_environment, yields, reports, goes_on, pays, sends]


class Records(logging.Handler):
    """Keeps all that a handler can see of a record."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.show("records", {name: value for name, value in vars(record).items() if name != "exc_info"})
        error_ = record.exc_info[1] if record.exc_info else None
        while error_ is not None:
            self._world.show("records", f"{error_} {error_!r} {error_.args} {vars(error_)}")
            error_ = error_.__cause__ or error_.__context__


@contextmanager
def watched(world: World) -> Iterator[None]:
    """All loggers, at the lowest level, into the sinks of a world."""
    log, brief = StringIO(), StringIO()
    handlers: list[logging.Handler] = [logging.StreamHandler(log), Records(world)]
    root, ours = logging.getLogger(), logging.getLogger("agentkit")
    before = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
        ours.addHandler(handler)
    try:
        with brief_log(), redirect_stderr(brief):
            yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            ours.removeHandler(handler)
        root.setLevel(before)
        world.show("log", log.getvalue())
        world.show("brief log", brief.getvalue())


async def live(world: World, folder: Path) -> None:
    """One run to its end, and one that the endpoint refuses with words of its own."""
    tools = tools_of(world)
    kept = [Secret(it.value) for it in world.all()[1:]]

    def answer(request: Request) -> Any:
        if "come" in str(request.json["messages"][0]):
            sent = f"{request.headers['x-api-key']} from {request.headers['x-token']} ({world.deps.value})"
            return error(401, "authentication_error", f"no such key: {sent}")
        if len(request.json["messages"]) > 2:
            return reply(text("done"))
        return reply(*(tool_use(it.name, id=f"toolu_{number}") for number, it in enumerate(tools)))

    async def approve(pending: Any) -> Any:
        raise PermissionError(f"{world.deps.value} may not")

    with ScriptedServer(answer) as server:
        key, headers = world.key.core, {"X-Token": f"Bearer {world.header.core}"}
        async with Client(api_key=f"sk-{key}", base_url=server.url, headers=headers) as client:
            agent = Agent(
                "claude-sonnet-4-6",
                tools=tools,
                client=client,
                journal=folder / "runs.db",
                outputs=folder / "outputs",
            )
            screen_, lines_ = StringIO(), StringIO()
            screen, lines = Screen(Console(file=screen_, width=1000)), Lines(lines_)
            async with agent.stream("go", approve=approve, deps=kept) as run:
                progress: dict[str, str] = {}
                async for event in run:
                    screen.event(event)
                    lines.event(event)
                    world.show("events", f"{event} {json.dumps(event.as_dict(), ensure_ascii=False)}")
                    if event.type == "tool_progress":
                        progress[event.call_id] = progress.get(event.call_id, "") + event.text
            screen.finish(run.result)
            world.show("progress", "\n".join(progress.values()))
            world.show("screen", screen_.getvalue())
            world.show("lines", lines_.getvalue())
            assert len(run.result.pending) == 2
            decisions = {held.call_id: deny("no") for held in run.result.pending}
            result = await agent.resume(run.run_id, decisions=decisions, deps=kept)
            assert result.text == "done"
            world.show("dump", json.dumps(result.dump(), ensure_ascii=False))
            with pytest.raises(APIError) as raised:
                await agent.run("come", deps=kept)
            failure = raised.value
            shown = traceback.format_exception(failure)
            world.show(
                "errors", f"{failure} {failure!r} {failure.args} {failure.message} {shown} {failure.result.finish}"
            )
        world.show("requests", b"\n".join(request.body for request in server.requests).decode())


def world_of(number: int, folder: Path) -> World:
    draw = random.Random(number)
    world = World(*(canary(draw) for _ in range(4)))
    folder.mkdir()
    with watched(world):
        anyio.run(live, world, folder)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            sink = "journal" if file.name.startswith("runs.db") else "outputs"
            world.show(sink, file.read_bytes().decode(errors="replace"))
    return world


@pytest.mark.slow
def test_no_secret_comes_out(tmp_path: Path) -> None:
    leaks = {number: found for number in range(RUNS) if (found := world_of(number, tmp_path / str(number)).leaks())}
    assert leaks == {}


def test_no_secret_comes_out_of_a_few(tmp_path: Path) -> None:
    for number in range(1000, 1005):
        world = world_of(number, tmp_path / str(number))
        assert world.leaks() == []
        assert [sink for sink in SINKS if "[redacted]" not in world.shown[sink]] == []


def test_every_sink_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.redaction.can_hide", lambda value: False)
    # Of canaries that no other test of this process has made known.
    assert world_of(5000, tmp_path / "1").leaks() == SINKS
