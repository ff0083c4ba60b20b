"""The Python SDK against an endpoint: `anthropic_sdk.py TASK…` prints what came out of each, as one JSON object.

A task is the name of a function here, with `:` and its argument if it takes one. The program knows no agentkit.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import anthropic
from anthropic import beta_tool

MODEL = "claude-sonnet-4-6"
ASK: Any = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": "What is it about?"}]}
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
WEATHER: Any = {
    "name": "weather",
    "description": "Look up the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

client = anthropic.Anthropic(max_retries=0)
called: list[str] = []


@beta_tool
def weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: Which city.
    """
    called.append(city)
    return f"sunny in {city}"


def tool_runner(question: str, *, stream: bool = False) -> dict[str, Any]:
    """The loop is the SDK's: it resumes a pause, and calls the tool."""
    called.clear()
    asked: Any = {**ASK, "messages": [{"role": "user", "content": question}], "tools": [weather, SEARCH]}
    runner = client.beta.messages.tool_runner(**asked, stream=stream, max_iterations=10)
    turns = [turn.get_final_message() if stream else turn for turn in runner]
    last = turns[-1]
    return {
        "stops": [turn.stop_reason for turn in turns],
        "text": "".join(block.text for block in last.content if block.type == "text"),
        "cited": [
            citation.url
            for turn in turns
            for block in turn.content
            if block.type == "text"
            for citation in block.citations or ()
        ],
        "called": called.copy(),
    }


def streamed_runner(question: str) -> dict[str, Any]:
    return tool_runner(question, stream=True)


def streaming() -> dict[str, Any]:
    """Events, snapshots, text and the final message; the same once as raw events."""
    with client.messages.stream(**ASK, tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    with client.messages.stream(**ASK, tools=[WEATHER]) as again:
        text = "".join(again.text_stream)
    raw = client.messages.create(**ASK, tools=[WEATHER], stream=True)
    return {
        "kinds": kinds,
        "raw": [event.type for event in raw],
        "text": text,
        "content": [block.to_dict() for block in final.content],
        "stop": final.stop_reason,
        "output_tokens": final.usage.output_tokens,
        "request_id": stream.request_id,
    }


def streamed_async() -> dict[str, Any]:
    return asyncio.run(_streamed_async())


async def _streamed_async() -> dict[str, Any]:
    async with anthropic.AsyncAnthropic(max_retries=0) as other, other.messages.stream(**ASK) as stream:
        text = [piece async for piece in stream.text_stream]
        return {"text": "".join(text), "stop": (await stream.get_final_message()).stop_reason}


def errors(count: str) -> list[dict[str, Any]]:
    """What each of `count` requests raises."""
    found = []
    for _ in range(int(count)):
        try:
            client.messages.create(**ASK)
        except anthropic.APIStatusError as error:
            found.append(
                {
                    "class": type(error).__name__,
                    "status": error.status_code,
                    "type": error.type,
                    "message": error.body["error"]["message"],  # type: ignore[index]
                    "request_id": error.request_id == error.body["request_id"],  # type: ignore[index]
                }
            )
    return found


def stream_error() -> dict[str, Any]:
    """An error in a stream that began."""
    try:
        with client.messages.stream(**ASK) as stream:
            stream.until_done()
    except anthropic.APIStatusError as error:
        return {"class": type(error).__name__, "type": error.type}
    return {}


def retries() -> dict[str, Any]:
    """Two failures, and then an answer."""
    message = client.with_options(max_retries=2).messages.create(**ASK)
    return {"text": message.content[0].text}  # type: ignore[union-attr]


def refusals() -> list[str]:
    """What the endpoint refuses by its own rules."""
    found = []
    for change in ({"max_tokens": 0, "stream": True}, {"model": "gpt-9"}, {"messages": []}, {"wrong": 1}):
        try:
            client.messages.create(**{**ASK, "extra_body": change})
        except anthropic.APIStatusError as error:
            found.append(f"{type(error).__name__} {error.type}")
    try:
        anthropic.Anthropic(api_key="invalid", max_retries=0).messages.create(**ASK)
    except anthropic.APIStatusError as error:
        found.append(f"{type(error).__name__} {error.type}")
    return found


def counting() -> dict[str, Any]:
    short = client.messages.count_tokens(model=MODEL, messages=ASK["messages"], tools=[WEATHER])
    beta = client.beta.messages.count_tokens(
        model=MODEL, messages=ASK["messages"], tools=[WEATHER], betas=["token-counting-2024-11-01"]
    )
    return {"plain": short.input_tokens, "beta": beta.input_tokens}


def models() -> dict[str, Any]:
    listed = list(client.models.list(limit=2))  # pages are fetched as they are needed
    one = client.models.retrieve(MODEL)
    beta = [model.id for model in client.beta.models.list()]
    return {
        "ids": [model.id for model in listed],
        "beta": beta,
        "one": one.id,
        "name": one.display_name,
        "created": one.created_at.year,
        "max_tokens": one.max_tokens,
    }


def batches() -> dict[str, Any]:
    """A batch from its beginning to its results, its list and its end."""
    api = client.messages.batches
    requests: Any = [{"custom_id": f"q{at}", "params": ASK} for at in range(3)]
    made = api.create(requests=requests)
    ended = api.retrieve(made.id)
    results = {line.custom_id: line.result.type for line in api.results(made.id)}
    listed = [batch.id for batch in api.list(limit=1)]
    return {
        "made": made.processing_status,
        "ended": ended.processing_status,
        "succeeded": ended.request_counts.succeeded,
        "results": results,
        "listed": made.id in listed,
        "deleted": api.delete(made.id).id == made.id,
    }


def files() -> dict[str, Any]:
    api = client.files if hasattr(client, "files") else client.beta.files
    made = api.upload(file=("facts.txt", b"Bees have one queen.", "text/plain"))
    document: Any = {"type": "document", "source": {"type": "file", "file_id": made.id}}
    content: Any = [document, {"type": "text", "text": "Of what?"}]
    reply = client.beta.messages.create(**{**ASK, "messages": [{"role": "user", "content": content}]})
    try:
        api.download(made.id)
        downloaded = "given"
    except anthropic.APIStatusError as error:
        downloaded = type(error).__name__
    return {
        "name": made.filename,
        "size": made.size_bytes,
        "type": made.mime_type,
        "metadata": api.retrieve_metadata(made.id).id == made.id,
        "listed": [file.filename for file in api.list()],
        "stop": reply.stop_reason,
        "downloaded": downloaded,
        "deleted": api.delete(made.id).id == made.id,
    }


def main(*tasks: str) -> dict[str, Any]:
    done = {}
    for task in tasks:
        name, *argument = task.split(":", 1)
        done[name] = globals()[name](*argument)
    return done


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
