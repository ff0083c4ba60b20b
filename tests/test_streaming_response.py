"""`agent.stream` inside a Starlette streaming response, whose client leaves at every event.

On asyncio uvicorn serves it, in a thread, and the client closes its socket. On trio, where uvicorn can't run, the test
is the server: it speaks ASGI to the app and says `http.disconnect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import uvicorn
from runs import honest, nothing_leaks, portals, tasks, until, valid
from scripted import ScriptedServer, reply, server_tool_use, text, tool_use
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from agentkit import Agent, Client, Run, tool

FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


@honest
def script(blocks: list[dict[str, Any]]) -> object:
    """Text, a server tool and client tools, then the answer."""
    if any(block["type"] == "tool_result" for block in blocks):
        return reply(text("All of it is done."))
    uses = [tool_use("work", id="toolu_a", seconds=0.005), tool_use("work", id="toolu_b", seconds=0.01)]
    return reply(text("I begin. "), server_tool_use("web_search"), FOUND, *uses)


@dataclass
class Service:
    """An app that streams runs, and all the runs that it began."""

    agent: Agent
    runs: list[Run] = field(default_factory=list)
    working: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/ask", self.ask)])

    async def ask(self, _request: Request) -> StreamingResponse:
        return StreamingResponse(self.events(), media_type="text/event-stream")

    async def events(self) -> AsyncIterator[str]:
        async with self.agent.stream("Go") as run:
            self.runs.append(run)
            async for event in run:
                yield f"data: {json.dumps(event.as_dict())}\n\n"

    async def work(self, seconds: float) -> str:
        """Works for a while."""
        self.working += 1
        try:
            await anyio.sleep(seconds)
        finally:
            self.working -= 1
        return "worked"

    def is_over(self, runs: int) -> bool:
        return len(self.runs) == runs and hasattr(self.runs[-1], "result") and not self.working


def service_for(client: Client) -> Service:
    service = Service(Agent("claude-sonnet-4-6", client=client))
    service.agent = Agent("claude-sonnet-4-6", tools=[tool(service.work)], client=client)
    return service


def check(run: Run, *, left: bool) -> None:
    result = run.result
    valid(result)
    if not left:
        assert result.text == "All of it is done."
    assert result.finish.reason in ("end_turn", "cancelled")


# asyncio: uvicorn, and a client that closes its socket


class Served(uvicorn.Server):
    """A server in a thread; `tasks` of its event loop are counted on it."""

    def __init__(self, service: Service) -> None:
        super().__init__(uvicorn.Config(service.app(), log_level="critical", lifespan="off", loop="asyncio"))
        self.port = 0

    async def main(self, listener: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        await self.serve(sockets=[listener])

    def tasks(self) -> int:
        async def count() -> int:
            return len(asyncio.all_tasks())

        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(30)


@contextlib.contextmanager
def served(service: Service) -> Iterator[Served]:
    server = Served(service)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.main(listener)))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.005)
        try:
            yield server
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def read_events(port: int, at: int) -> bool:
    """Reads up to event `at`, then leaves; whether there was one."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /ask HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        seen = b""
        while seen.count(b"data: ") <= at:
            piece = connection.recv(1 << 16)
            if not piece:
                return False
            seen += piece
        return True


def test_C5_the_client_of_uvicorn_leaves_at_every_event() -> None:
    of_others = portals()
    with ScriptedServer(script) as model:
        client = Client(base_url=model.url)
        service = service_for(client)
        with served(service) as server:
            before = server.tasks()
            for at in range(200):
                left = read_events(server.port, at)
                anyio.run(
                    until,
                    lambda at=at: service.is_over(at + 1) and server.tasks() <= before and model.open_connections <= 1,
                )
                check(service.runs[-1], left=left)
                if not left:
                    break
            assert 20 < at < 199
            assert any(run.result.finish.reason == "cancelled" for run in service.runs)
            asyncio.run_coroutine_threadsafe(client.aclose(), server.loop).result(30)
            model.wait_until(lambda: model.open_connections == 0)
        assert set(portals()) <= set(of_others)


# Either event loop: the test is the server


class Visitor:
    """An ASGI connection whose client leaves at the event `at`."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.events = 0
        self.gone = anyio.Event()
        self.finished = False
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone.is_set() and self.spec == "2.4":
            raise OSError("the client has left")
        if message["type"] == "http.response.body":
            self.finished = not message.get("more_body")
            self.events += bool(message.get("body"))
            if self.events == self.at + 1:
                self.gone.set()
        await anyio.lowlevel.checkpoint()

    async def visit(self, app: Starlette, spec: str) -> None:
        self.spec = spec
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec},
            "http_version": "1.1",
            "method": "GET",
            "path": "/ask",
            "raw_path": b"/ask",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [],
        }
        with contextlib.suppress(Exception):  # ClientDisconnect, which a server swallows
            await app(scope, self.receive, self.send)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def visited() -> AsyncGenerator[tuple[Service, ScriptedServer]]:
    with ScriptedServer(script) as model:
        async with nothing_leaks(model), Client(base_url=model.url) as client:
            yield service_for(client), model


# An async generator that is dropped between two events is trio's to end, and it says so.
@pytest.mark.filterwarnings("ignore:.*garbage collected before it had been exhausted:ResourceWarning")
@pytest.mark.anyio
@pytest.mark.parametrize("spec", ["2.3", "2.4"], ids=["told by receive", "told by send"])
async def test_C5_the_client_of_an_asgi_server_leaves_at_every_event(spec: str) -> None:
    async with visited() as (service, model):
        app = service.app()
        before = tasks()
        for at in range(200):
            visitor = Visitor(at)
            await visitor.visit(app, spec)
            gc.collect(1)  # Starlette drops the generator between two events, on asyncio in a cycle of its own
            await until(lambda at=at: service.is_over(at + 1) and tasks() <= before and model.open_connections <= 1)
            left = not visitor.finished or visitor.gone.is_set()
            check(service.runs[-1], left=left)
            if not left:
                break
        assert 20 < at < 199
        assert any(run.result.finish.reason == "cancelled" for run in service.runs)
