"""`run_sync`: from a script, a notebook, a thread; and it leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest
from runs import add, portals
from scripted import Drop, ScriptedServer, error, reply, text, tool_use

from agentkit import Agent, Client, ConfigurationError, tool
from agentkit.errors import BadRequestError


@pytest.fixture
def agent() -> Iterator[Agent]:
    """An agent whose server answers three questions."""
    with ScriptedServer([reply(tool_use("add", a=1, b=2)), reply(text("Three."))] * 3) as server:
        made = Agent("claude-sonnet-4-6", tools=[add], client=Client(base_url=server.url))
        yield made
        made.close()
        server.wait_until(lambda: server.open_connections == 0)
        assert len({request.connection for request in server.requests}) <= 1
    assert portals() == []


def test_three_times_in_a_row_on_one_connection(agent: Agent) -> None:
    first = agent.run_sync("1 + 2?")
    second = agent.run_sync("Again", after=first)
    third = agent.run_sync("Again", after=second.dump())
    assert [first.text, second.text, third.text] == ["Three."] * 3
    assert len(third.messages) == 12
    assert len(portals()) == 1


@pytest.mark.anyio
async def test_inside_a_running_event_loop(agent: Agent) -> None:
    assert agent.run_sync("1 + 2?").text == "Three."


@pytest.mark.anyio
async def test_beside_an_await_of_the_same_agent() -> None:
    with ScriptedServer([reply(text("Hi."))] * 2) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", client=client)
            assert (await agent.run("Hello")).text == "Hi."
            assert agent.run_sync("Hello").text == "Hi."
            agent.close()


def test_from_threads(agent: Agent) -> None:
    lock = threading.Lock()

    def ask(_: int) -> str:
        with lock:  # the script answers one question at a time
            return agent.run_sync("1 + 2?").text

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, range(3))) == ["Three."] * 3


def test_errors_come_out_as_they_are() -> None:
    with ScriptedServer([error(400, "invalid_request_error", "too much"), reply(text("Hi."))]) as server:
        agent = Agent("claude-sonnet-4-6", client=Client(base_url=server.url))
        with pytest.raises(BadRequestError, match="too much") as caught:
            agent.run_sync("Hello")
        assert caught.value.result.finish.reason == "error"
        assert agent.run_sync("Hello").text == "Hi."
        agent.close()


def test_a_client_for_one_run() -> None:
    with ScriptedServer([reply(text("Hi."))]) as server:
        agent = Agent("claude-sonnet-4-6")  # without a client of its own: there is no key
        client = Client(base_url=server.url)
        assert agent.run_sync("Hello", client=client).text == "Hi."
        agent.close()
        Agent("claude-sonnet-4-6", client=client).close()


def test_ctrl_c_cancels_the_run_and_its_tools() -> None:
    seen: list[str] = []

    @tool
    async def hang() -> None:
        """Hangs until Ctrl-C."""
        seen.append("began")
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cancelled")

    with ScriptedServer([reply(tool_use("hang"))]) as server:
        agent = Agent("claude-sonnet-4-6", tools=[hang], client=Client(base_url=server.url))
        with pytest.raises(KeyboardInterrupt):
            agent.run_sync("Go")
        assert seen == ["began", "cancelled"]
        agent.close()


def test_ctrl_c_during_a_request_closes_its_connection() -> None:
    with ScriptedServer([Drop("stall")]) as server:
        agent = Agent("claude-sonnet-4-6", client=Client(base_url=server.url))

        def interrupt() -> None:
            server.wait_until(lambda: bool(server.requests))
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            agent.run_sync("Go")
        thread.join()
        server.wait_until(lambda: server.open_connections == 0)
        agent.close()


def test_an_http_client_of_the_callers_belongs_to_the_callers_event_loop() -> None:
    http = httpx.AsyncClient()
    agent = Agent("claude-sonnet-4-6", client=Client(base_url="http://127.0.0.1:9", http_client=http))
    with pytest.raises(ConfigurationError, match=r"use `await agent\.run\(…\)`"):
        agent.run_sync("Hello")
    assert portals() == []
    anyio.run(http.aclose)


def test_an_async_tool_can_not_wait_for_its_own_event_loop() -> None:
    @tool
    async def ask() -> str:
        """Asks the agent that runs it."""
        try:
            return agent.run_sync("Hello").text
        except ConfigurationError as error:
            return str(error)

    with ScriptedServer([reply(tool_use("ask")), reply(text("Hi."))]) as server:
        agent = Agent("claude-sonnet-4-6", tools=[ask], client=Client(base_url=server.url))
        assert agent.run_sync("Go").text == "Hi."
        agent.close()
    assert "in an async tool use `await agent.run(…)`" in str(server.requests[1].json["messages"][-1])


def test_closing_what_was_never_used() -> None:
    Agent("claude-sonnet-4-6").close()
    Agent("claude-sonnet-4-6", client=Client(base_url="http://127.0.0.1:9")).close()
    assert portals() == []


def test_close_ends_what_runs_with_other_clients_began() -> None:
    with ScriptedServer([reply(text("Hi."))] * 3) as server:
        clients = [Client(base_url=server.url) for _ in range(3)]
        agent = Agent("claude-sonnet-4-6", client=clients[0])
        assert [agent.run_sync("Hello", client=client).text for client in clients] == ["Hi."] * 3
        agent.close()
        assert portals() == []
        server.wait_until(lambda: server.open_connections == 0)
        agent.close()


def test_a_client_that_nobody_closes_takes_its_thread_and_connections_along() -> None:
    with ScriptedServer(lambda _: reply(text("Hi."))) as server:
        agent = Agent("claude-sonnet-4-6")
        assert agent.run_sync("Hello", client=Client(base_url=server.url)).text == "Hi."
        gc.collect()
        server.wait_until(lambda: server.open_connections == 0)
        for thread in [thread for thread in threading.enumerate() if thread.name in ("agentkit", "agentkit ends")]:
            thread.join(5)
        assert portals() == []
        agent.close()
