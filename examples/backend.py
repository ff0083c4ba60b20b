"""The loop inside a web handler: answers stream to the browser, conversations live in your own database.

    uvicorn examples.backend:app
    curl -N localhost:8000/ask -H 'content-type: application/json' -d '{"user": "ada", "question": "What is 6 * 7?"}'

One agent serves all users; what differs from request to request (who asks, on whose key) is given to the run.
A browser that leaves ends its run: nothing goes on behind its back.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from agentkit import Agent, APIError, Limits, RunContext, tool
from agentkit_tools import calculator


@dataclass
class User:
    """Who asks: tools see it, the model does not."""

    name: str


@tool(effect={"read", "private"})
def whoami(ctx: RunContext[User]) -> str:
    """Say who is asking."""
    return ctx.deps.name


agent = Agent("claude-sonnet-4-6", tools=[calculator, whoami], limits=Limits(max_turns=8, max_seconds=120))
conversations: dict[str, dict[str, Any]] = {}  # by user; a real one is a table with a JSON column


async def answer(user: User, question: str) -> AsyncIterator[str]:
    """The run as server-sent events."""
    try:
        async with agent.stream(question, after=conversations.get(user.name), deps=user) as run:
            async for event in run:
                if event.type in ("text_delta", "tool_call", "tool_result", "turn_restarted", "run_end"):
                    yield f"event: {event.type}\ndata: {json.dumps(event.as_dict())}\n\n"
        conversations[user.name] = run.result.dump()
    except APIError as error:
        yield f"event: error\ndata: {json.dumps({'message': error.message})}\n\n"


async def ask(request: Request) -> StreamingResponse:
    """`POST /ask` with `user` and `question`."""
    body = await request.json()
    return StreamingResponse(answer(User(body["user"]), body["question"]), media_type="text/event-stream")


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Closes the agent's connections when the server stops."""
    async with agent:
        yield


app = Starlette(routes=[Route("/ask", ask, methods=["POST"])], lifespan=lifespan)
