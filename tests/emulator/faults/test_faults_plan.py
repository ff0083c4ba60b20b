"""Which fault happens when: turns, events, bytes, times, seeds, and the text that names them."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sending import QUICK
from talking import HEADERS

from agentkit import Agent, Client, tool
from agentkit.emulator import Emulator, ScriptError, error, reply, tool_use
from agentkit.emulator.faults import FAULTS, Fault, Faults, RandomFaults, fault, faults_of, random_faults
from agentkit.emulator.faults.plan import Plan
from agentkit.emulator.faults.rows import BY_NAME
from agentkit.errors import APIError, ConfigurationError
from agentkit.retry import RetryBudget

BODY: dict[str, Any] = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hi"}],
}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # making httpx's own takes longer than a test
MADE = [name for name, about in FAULTS.items() if "can't be made" not in about]


def post(url: str, text: str = "Hi", **fields: Any) -> httpx.Response:
    body = {**BODY, "messages": [{"role": "user", "content": text}], **fields}
    return httpx.post(f"{url}/v1/messages", json=body, headers=HEADERS, verify=NO_TLS)


def statuses(faults: Faults, count: int = 5, **fields: Any) -> list[int]:
    with Emulator(faults=faults, script=lambda body: reply("Hello."), pace=0) as emulator:
        return [post(emulator.url, **fields).status_code for _ in range(count)]


# When.


@pytest.mark.parametrize(
    ("faults", "seen"),
    [
        (fault("H13"), [529, 200, 200, 200, 200]),
        (fault("H13", turn=3), [200, 200, 529, 200, 200]),
        (fault("H13", times=2), [529, 529, 200, 200, 200]),
        (fault("H13", turn=2, times=2), [200, 529, 529, 200, 200]),
        (fault("H13", times=None), [529, 529, 529, 529, 529]),
        (fault("overloaded", turn=4, times=None), [200, 200, 200, 529, 529]),
        ([fault("H13"), fault("H11")], [529, 500, 200, 200, 200]),
        ([fault("H11", turn=2), fault("H13", times=None)], [529, 500, 529, 529, 529]),
        (random_faults(1, rate=1, names=["H8"]), [429, 429, 429, 429, 429]),
    ],
)
def test_turns_and_times(faults: Faults, seen: list[int]) -> None:
    assert statuses(faults) == seen


def test_no_rate_is_no_fault() -> None:
    assert statuses(random_faults(1, rate=0), 20) == [200] * 20


def test_other_requests_are_not_counted() -> None:
    with Emulator(faults=fault("H13"), script=[reply("Hello.")], pace=0) as emulator:
        assert httpx.get(f"{emulator.url}/v1/models", headers=HEADERS).status_code == 200
        count = httpx.post(f"{emulator.url}/v1/messages/count_tokens", json=BODY | {"max_tokens": 1}, headers=HEADERS)
        assert count.status_code != 529
        assert post(emulator.url).status_code == 529
        assert post(emulator.url).status_code == 200


def test_a_fault_of_streams_waits_for_a_stream() -> None:
    with Emulator(faults=fault("T9"), script=lambda body: reply("Hello."), pace=0) as emulator:
        assert post(emulator.url).json()["content"][0]["text"] == "Hello."
        assert "message_stop" not in post(emulator.url, stream=True).text
        assert "message_stop" in post(emulator.url, stream=True).text


def test_a_fault_of_whole_replies_waits_for_one() -> None:
    with Emulator(faults=fault("T5-body-short"), script=lambda body: reply("Hello."), pace=0) as emulator:
        assert "message_stop" in post(emulator.url, stream=True).text
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            post(emulator.url).json()


def test_what_got_lost_is_sent_again_to_the_same_request() -> None:
    """The call is in the second step, so the first fault waits for it; the second loses the first reply."""
    script = [reply("No call."), reply(tool_use("lookup", city="Rome"))]
    with Emulator(faults=[fault("S20"), fault("H13"), fault("T7")], script=script, pace=0) as emulator:
        assert post(emulator.url).status_code == 529  # the script was asked for the sake of S20
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            post(emulator.url).json()
        assert post(emulator.url).json()["content"][0]["text"] == "No call."
        call = post(emulator.url, "And now?").json()
        assert (call["stop_reason"], call["content"][0]["name"]) == ("end_turn", "lookup")


@pytest.mark.slow
def test_a_reply_that_only_took_its_time_is_not_sent_again() -> None:
    with Emulator(faults=fault("T11", turn=1), script=[reply("One."), reply("Two.")], pace=0) as emulator:
        texts = [post(emulator.url).json()["content"][0]["text"] for _ in range(2)]
    assert texts == ["One.", "Two."]


def test_a_refused_request_keeps_its_refusal() -> None:
    with Emulator(faults=fault("T7"), script=[reply("Hello.")], pace=0) as emulator:
        assert post(emulator.url, max_tokens=-1, stream=True).status_code == 400
        assert "message_stop" not in post(emulator.url, stream=True).text
        assert "message_stop" in post(emulator.url, stream=True).text


@pytest.mark.parametrize("dialect", ["anthropic", "cometapi", "local"])
def test_errors_have_the_shape_of_the_endpoint(dialect: str) -> None:
    script = [error(529, "overloaded_error", "Overloaded")]
    with Emulator(faults=fault("H13"), script=script, dialect=dialect, pace=0) as emulator:
        made, scripted = post(emulator.url), post(emulator.url)
    assert made.status_code == scripted.status_code
    assert [without_ids(reply.text) for reply in (made, scripted)] == [without_ids(scripted.text)] * 2
    assert ("request-id" in made.headers) == ("request-id" in scripted.headers)


def without_ids(text: str) -> str:
    return re.sub(r"req_\w+", "req", text)


def test_what_never_happens_fails_the_test() -> None:
    with (
        pytest.raises(ScriptError, match=r"never happened, in 1 requests for a message: T6 \(turn 2\)"),
        Emulator(faults=[fault("H13"), fault("T6", turn=2)], script=[], pace=0) as emulator,
    ):
        post(emulator.url)


# Where.


def streamed(*faults: Fault) -> list[str]:
    """The streams that meet the faults, one each; without any, a whole one."""
    with Emulator(faults=faults, script=lambda body: reply("Hello, world."), pace=0) as emulator:
        return [post(emulator.url, stream=True).text for _ in faults or [None]]


def test_where_a_stream_is_cut() -> None:
    [whole] = streamed()
    events = [f"{event}\n\n" for event in whole.split("\n\n") if event]
    at_events = streamed(*(fault("T7", event=count) for count in range(len(events))))
    assert at_events == ["".join(events[:count]) for count in range(len(events))]
    after = streamed(*(fault("T7", event=count, byte=5) for count in range(len(events))))
    assert after == ["".join(events[:count]) + events[count][:5] for count in range(len(events))]
    # Something is always missing.
    assert streamed(fault("T7", byte=40), fault("T7", byte=10**6)) == [whole[:40], whole[:-1]]


def test_where_an_event_comes() -> None:
    [whole] = streamed()
    count = whole.count("\n\n")
    found = streamed(*(fault("S3", event=at) for at in range(count)), fault("S3", event=99))
    places = [reply.partition("event: fault_event")[0].count("\n\n") for reply in found]
    assert places == [*range(count), count - 1]


def test_other_forms_of_a_stream() -> None:
    """What agentkit's client takes for the same must really be another form."""
    [whole] = streamed()
    names = ["S11", "S11-crlf", "S11-cr", "S11-no-space", "S11-done", "S11-bytes", "S11-split", "T12"]
    assert streamed(*map(fault, names)) == [
        f"\ufeff{whole}",
        whole.replace("\n", "\r\n"),
        whole.replace("\n", "\r"),
        whole.replace("event: ", "event:").replace("data: ", "data:"),
        f"{whole}data: [DONE]\n\n",
        *[whole] * 3,
    ]
    unnamed, with_fields = streamed(fault("S11-no-names"), fault("S11-fields"))
    assert "event:" not in unnamed
    assert unnamed.count("data: ") == whole.count("data: ")
    assert with_fields.startswith(": hello\n\nid: 7\nretry: 5\n")


def test_where_a_whole_reply_is_cut() -> None:
    with Emulator(faults=fault("T7", byte=9), script=[reply("Hello.")], pace=0) as emulator:
        assert len(post(emulator.url).content) == 9
        post(emulator.url)


def test_a_connection_that_was_spoiled_is_not_used_again() -> None:
    """A cut body whose length fits, and one reset after it: the client's pool gets over both."""
    with (
        Emulator(
            faults=[fault("H16"), fault("T5-body-short"), fault("T6")], script=[reply("Hello.")], pace=0
        ) as emulator,
        httpx.Client(headers=HEADERS) as http,
    ):
        assert http.post(f"{emulator.url}/v1/messages", json=BODY).status_code == 204
        assert http.post(f"{emulator.url}/v1/messages", json=BODY).status_code == 200
        with pytest.raises(httpx.ReadError):
            http.post(f"{emulator.url}/v1/messages", json=BODY)
        assert http.post(f"{emulator.url}/v1/messages", json=BODY).json()["content"][0]["text"] == "Hello."


def test_silence_ends_with_the_client() -> None:
    """The server does not hold a request that nobody waits for, so leaving is quick."""
    with Emulator(faults=fault("T4"), script=[], pace=0) as emulator:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{emulator.url}/v1/messages", json=BODY, headers=HEADERS, timeout=httpx.Timeout(30, read=0.1))
        with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2]))):
            pass


# Names and text.


def test_every_alias_is_a_row() -> None:
    for name in MADE:
        assert fault(name).name in BY_NAME
    assert fault("reset") == fault("T6")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: fault("t6"), "did you mean T6"),
        (lambda: fault("overload"), "no fault 'overload'; did you mean overloaded"),
        (lambda: fault("wholly different"), "FAULTS"),
        (lambda: fault("T2"), "can't be made by the emulator: it is the client's"),
        (lambda: fault("T6", turn=0), "turn of the fault T6 must be at least 1"),
        (lambda: fault("T6", times=0), "times of the fault"),
        (lambda: fault("T6", event=-1), "event of the fault"),
        (lambda: fault("T6", byte=-1), "byte of the fault"),
        (lambda: fault("H13", event=1), "can't be told at which event"),
        (lambda: fault("S1", byte=1), "can't be told at which byte"),
        (lambda: random_faults(1, rate=1.5), "from 0 to 1"),
        (lambda: random_faults(1, names=[]), "at least one name"),
        (lambda: random_faults(1, names=["nope"]), "no fault"),
        (lambda: Plan(["T6"]), "faults hold something of type str"),  # type: ignore[list-item]
    ],
)
def test_what_is_wrong_is_told(wrong: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_text_names_faults() -> None:
    assert faults_of("T6@turn=2,event=3 H9* cut@byte=7,times=2  random@seed=7,rate=0.5") == [
        fault("T6", turn=2, event=3),
        fault("H9", times=None),
        fault("T7", byte=7, times=2),
        random_faults(7, rate=0.5),
    ]
    assert faults_of("random") == [random_faults(0)]


@pytest.mark.parametrize(
    "text",
    ["", "T6@", "T6@turn", "T6@turn=x", "T6@when=1", "T6@turn=1,", "H9*@times=2", "random*", "random@turn=1", "*"],
)
def test_text_that_names_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"can't read the fault|no fault is named"):
        faults_of(text)


@given(st.text(max_size=30))
def test_any_text_is_read_or_told(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert faults_of(text)


optional = st.none() | st.integers(1, 99)


@given(st.sampled_from(MADE), optional, optional, optional, optional)
def test_text_and_fault_say_the_same(
    name: str, turn: int | None, event: int | None, byte: int | None, times: int | None
) -> None:
    given = {"turn": turn, "event": event, "byte": byte}
    options = {what: value for what, value in given.items() if value and what in ("turn", *fault(name).row.places)}
    told = ",".join(f"{what}={value}" for what, value in (options | ({"times": times} if times else {})).items())
    text = name + ("" if times else "*") + (f"@{told}" if told else "")
    assert faults_of(text) == [fault(name, times=times, **options)]


# At random.


def drawn(schedule: RandomFaults, count: int = 200) -> list[Fault | None]:
    return [schedule.at(turn, streamed=turn % 3 > 0) for turn in range(1, count)]


@given(st.integers(0), st.floats(0, 1))
def test_the_same_seed_gives_the_same_faults(seed: int, rate: float) -> None:
    assert drawn(random_faults(seed, rate=rate), 50) == drawn(random_faults(seed, rate=rate), 50)


def test_a_schedule_keeps_its_rate_and_draws_every_name() -> None:
    found = [found for seed in range(40) for found in drawn(random_faults(seed)) if found]
    assert 0.18 < len(found) / (40 * 199) < 0.22
    assert {fault.name for fault in found} == set(random_faults(0).names)
    assert drawn(random_faults(1)) != drawn(random_faults(2))


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def doubling(body: dict[str, Any]) -> Any:
    """Asks for the double of the last number, twice, then tells it."""
    results = [message["content"] for message in body["messages"] if message["role"] == "user"][1:]
    told = [result[0]["content"] for result in results]
    number = int(told[-1]) if told else 7
    return reply(f"It is {number}.") if len(told) == 2 else reply("So:", tool_use("double", number=number))


@pytest.mark.anyio
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
async def test_random_faults_never_make_an_answer_wrong(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over more than 100 turns each run gives the right answer or a typed error; asked again, it goes on."""
    right = failed = 0
    with Emulator(faults=random_faults(seed, rate=0.3), script=doubling, pace=0) as emulator:
        async with Client(base_url=emulator.url, api_key="any", retry=QUICK) as client:
            agent = Agent("claude-sonnet-4-6", tools=[double], client=client)
            while len(emulator.requests) < 120:
                monkeypatch.setattr("agentkit.client._budget", RetryBudget())
                try:
                    if right % 2:
                        result = await agent.run("7?")
                    else:
                        async with agent.stream("7?") as run:
                            async for _ in run:
                                pass
                        result = run.result
                    assert result.text == "It is 28."
                    right += 1
                except APIError:
                    failed += 1
    assert right > 12
    assert failed < right
