"""BFCL's gold dialogues as scripts of the emulator, run by agentkit's own loop on BFCL's own APIs.

A program for a Python that has `agentkit` and `bfcl_eval`: `bfcl_dialogues.py EVERY [without-last]` takes each EVERY-th
of the 800 dialogues and prints, as JSON, for how many what held (`judged`), and in how many an API is given what its
signature does not allow (`open`). With `without-last` the last call of each dialogue is left out.
"""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import bfcl_eval
from bfcl_eval.constants.executable_backend_config import CLASS_FILE_PATH_MAPPING, STATELESS_CLASSES

from agentkit import Agent, Client, Limits, RunResult, Tool, tool
from agentkit.emulator import Emulator, reply, tool_use
from agentkit.emulator.replies import ScriptedReply
from agentkit.tools import InvalidInput

DATA = Path(bfcl_eval.__file__).parent / "data"
KINDS = ("base", "miss_func", "miss_param", "long_context")
NOTHING_ASKED = "There are more functions now. What about it?"  # a turn of `miss_func` that brings functions alone

OPEN = {"type": "object"}

Call = tuple[str, dict[str, Any]]


@dataclass
class World:
    """The APIs of one dialogue, and the calls that were made of them, in order."""

    apis: dict[str, Any]
    log: list[Call] = field(default_factory=list)

    @functools.cached_property
    def methods(self) -> dict[str, Callable[..., Any]]:
        """The public methods of all its APIs, by name."""
        members = [member for api in self.apis.values() for member in inspect.getmembers(api, inspect.ismethod)]
        return {name: method for name, method in members if not name.startswith("_")}

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """The output; what JSON has not is text, as in BFCL's own runner."""
        self.log.append((name, copy.deepcopy(arguments)))
        value = self.methods[name](**arguments)
        try:
            json.dumps(value)
        except TypeError:
            return str(value)
        return copy.deepcopy(value)  # some give away what they hold, and change it later

    def tools(self, gold: Iterable[Call]) -> dict[str, Tool]:
        """A tool for each method, from its signature and docstring; an open one where a gold call breaks these."""
        made = {name: tool(functools.wraps(method)(self._caller(name))) for name, method in self.methods.items()}
        for name, arguments in gold:
            try:
                made[name].validate(arguments)
            except InvalidInput:
                about = made[name].description
                made[name] = Tool(name=name, description=about, input_schema=OPEN, call=self._caller(name))
        return made

    def state(self) -> dict[str, Any]:
        """What the APIs hold, as BFCL's own checker compares it."""
        return {
            name: {key: value for key, value in vars(api).items() if not key.startswith("_")}
            for name, api in self.apis.items()
        }

    def _caller(self, name: str) -> Callable[..., Any]:
        return lambda **arguments: self.call(name, arguments)


@dataclass
class Dialogue:
    """One dialogue: what is asked, and the calls that each turn should make."""

    entry: dict[str, Any]
    gold: list[list[str]]

    @property
    def questions(self) -> list[str]:
        """The user's text in each turn."""
        return ["\n".join(said["content"] for said in turn) or NOTHING_ASKED for turn in self.entry["question"]]

    def world(self) -> World:
        """The APIs as the dialogue finds them."""
        apis = {}
        for name in self.entry["involved_classes"]:
            api = apis[name] = getattr(importlib.import_module(CLASS_FILE_PATH_MAPPING[name]), name)()
            if name not in STATELESS_CLASSES:
                given = copy.deepcopy(self.entry["initial_config"].get(name, {}))
                api._load_scenario(given, long_context="long_context" in self.entry["id"])
        return World(apis)

    def turns(self) -> list[list[Call]]:
        """The gold calls of each turn."""
        methods = self.world().methods
        return [[parsed(call, methods) for call in turn] for turn in self.gold]


def dialogues(every: int) -> Iterator[Dialogue]:
    """Every `every`-th of the 800, of each kind as many."""
    for kind in KINDS:
        entries, answers = (
            [json.loads(line) for line in (DATA / folder / f"BFCL_v4_multi_turn_{kind}.json").open(encoding="utf-8")]
            for folder in ("", "possible_answer")
        )
        for entry, answer in list(zip(entries, answers, strict=True))[::every]:
            yield Dialogue(entry, answer["ground_truth"])


def parsed(written: str, methods: dict[str, Callable[..., Any]]) -> Call:
    """`mv('a', destination='b')` as a name and its arguments, as JSON has them."""
    call = ast.parse(written.strip(), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    positional = zip(inspect.signature(methods[call.func.id]).parameters, call.args, strict=False)
    named = [(str(keyword.arg), keyword.value) for keyword in call.keywords]
    values = {name: ast.literal_eval(value) for name, value in [*positional, *named]}
    return call.func.id, json.loads(json.dumps(values))


def without_last(turns: list[list[Call]]) -> list[list[Call]]:
    """The turns without the last call of all."""
    last = max(at for at, calls in enumerate(turns) if calls)
    return [calls[:-1] if at == last else calls for at, calls in enumerate(turns)]


def script(turns: list[list[Call]], *, together: bool) -> Iterator[ScriptedReply]:
    """What the emulator says: the calls of a turn in one reply, or each in one of its own."""
    for calls in turns:
        blocks = [tool_use(name, **arguments) for name, arguments in calls]
        if together and blocks:
            yield reply(*blocks)
        else:
            yield from map(reply, blocks)
        yield reply("Done.")


def outputs(request: dict[str, Any]) -> list[str]:
    """What the tools said, as the endpoint got it."""
    blocks = [block for message in request["messages"] for block in message["content"] if isinstance(block, dict)]
    return [block["content"] for block in blocks if block["type"] == "tool_result"]


def same(text: str, value: Any) -> bool:
    """Whether the text of a result says what the API gave."""
    if value is None or isinstance(value, str):
        return text == (value or "")
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


async def judged(dialogue: Dialogue, client: Client, emulator: Emulator) -> dict[str, bool]:
    """Runs a dialogue, and says what is as it is when its gold calls are made directly."""
    run, direct = dialogue.world(), dialogue.world()
    wanted = [direct.call(*call) for turn in dialogue.turns() for call in turn]
    tools = run.tools(direct.log).values()
    # One at a time: these APIs have a working directory.
    agent = Agent("claude-sonnet-4-6", tools=tools, client=client, limits=Limits(max_parallel_tools=1))
    result: RunResult | None = None
    for question in dialogue.questions:
        result = await agent.run(question, after=result)
    got = outputs(emulator.requests[-1])
    emulator.requests.clear()
    return {
        "state": run.state() == direct.state(),
        "outputs": len(got) == len(wanted) and all(map(same, got, wanted)),
        "calls": run.log == direct.log,
        "open": any(made.input_schema == OPEN for made in tools),
    }


async def main(every: int, *, complete: bool) -> None:
    chosen = list(dialogues(every))
    steps: list[ScriptedReply] = []
    for at, dialogue in enumerate(chosen):
        turns = dialogue.turns()
        steps += script(turns if complete else without_last(turns), together=at % 2 == 0)
    counts: Counter[str] = Counter(dialogues=len(chosen))
    with Emulator(script=steps, pace=0) as emulator:
        async with Client(base_url=emulator.url, api_key="any") as client:
            for dialogue in chosen:
                counts.update(await judged(dialogue, client, emulator))
    print(json.dumps(dict(counts, replies=len(steps))))


if __name__ == "__main__":
    anyio.run(functools.partial(main, int(sys.argv[1]), complete="without-last" not in sys.argv))
