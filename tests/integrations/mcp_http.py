"""MCP servers over HTTP for the tests: an app on a port of this machine, and one that behaves badly."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from agentkit.emulator.serving import QuickServer


@contextmanager
def serving(app: Callable[[], Any]) -> Iterator[str]:
    """The address of an app while it is served in a thread, where it is made: its locks are of that event loop."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, factory=True, loop="asyncio", log_config=None, ws="none", timeout_graceful_shutdown=1
        )
        server = QuickServer(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        finally:
            server.force_exit = True
            server.stop()
            thread.join(10)


class HostileApp:
    """A server that answers the handshake, and a call in one bad way."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.calls = 0
        self.sessions = 0
        self.headers: list[dict[str, str]] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/mcp", self.answer, methods=["GET", "POST", "DELETE"])])

    async def answer(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        if request.method == "DELETE" and self.behaviour == "never lets go":
            await anyio.sleep(60)
        if request.method != "POST":
            return Response(status_code=405)
        message = await request.json()
        match message.get("method"):
            case "initialize" if self.behaviour == "handshake: 401":
                return Response("Who are you?", status_code=401)
            case "initialize" if self.behaviour == "handshake: a page":
                return Response("<h1>Welcome</h1>", media_type="text/html")
            case "initialize":
                self.sessions += 1
                result = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "hostile", "version": "1"},
                }
                return self.result(message, result, {"mcp-session-id": f"session-{self.sessions}"})
            case "tools/list":
                return self.result(message, {"tools": [{"name": "work", "inputSchema": {"type": "object"}}]})
            case "tools/call":
                self.calls += 1
                if self.behaviour == "never":
                    await anyio.sleep(60)
                return self.call(message, request.headers.get("mcp-session-id"))
            case _ if "id" not in message:
                return Response(status_code=202)
        error = {"code": -32601, "message": "Method not found"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})

    def result(self, message: dict[str, Any], result: Any, headers: dict[str, str] | None = None) -> Response:
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)

    def call(self, message: dict[str, Any], session: str | None) -> Response:
        good = {"content": [{"type": "text", "text": "ok"}]}
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": good})
        match self.behaviour:
            case "500":
                return Response("Traceback …", status_code=500)
            case "accepted":
                return Response(status_code=202)
            case "a page":
                return Response("<h1>Sorry</h1>", media_type="text/html")
            case "no JSON":
                return Response('{"jsonrpc": ', media_type="application/json")
            case "huge JSON":
                return StreamingResponse(endless(b" " * 1_000_000), media_type="application/json")
            case "compressed":
                packed = gzip.compress(answer.encode())
                return Response(packed, media_type="application/json", headers={"content-encoding": "gzip"})
            case "elsewhere":
                return RedirectResponse("http://127.0.0.1:9/mcp", status_code=307)
            case "a stream that ends":
                return StreamingResponse(iter([b": hello\n\n"]), media_type="text/event-stream")
            case "a stream of comments":
                return StreamingResponse(endless(b": " + b"x" * 1_000_000 + b"\n\n"), media_type="text/event-stream")
            case "a huge event":
                return StreamingResponse(endless(b"data: " + b"x" * 1_000_000), media_type="text/event-stream")
            case "the session is gone" if session == "session-1":
                return Response(status_code=404)
            case "a stream":
                return StreamingResponse(iter([f"data: {answer}\n\n".encode()]), media_type="text/event-stream")
        return self.result(message, good)


async def endless(chunk: bytes) -> AsyncGenerator[bytes]:
    for _ in range(200):  # to who has left, uvicorn would write without a pause
        yield chunk
        await anyio.lowlevel.checkpoint()
