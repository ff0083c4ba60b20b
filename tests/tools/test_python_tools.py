"""Python for a model: what a program can do, what it can't, and what it is told then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from sandboxed import needs_sandbox
from tool_runs import Run

from agentkit import Agent, ConfigurationError, RunContext, Tool, ToolError, tool
from agentkit.emulator import reply, tool_use
from agentkit.testing import Scripted
from agentkit_tools.python import cpython, python

pytest.importorskip("pydantic_monty", reason="the extra `python` is not installed")

pytestmark = pytest.mark.slow


class City(BaseModel):
    name: str
    size: int


@tool(effect={"read", "untrusted"})
def city(ctx: RunContext[Any], name: str, size: int = 3) -> City:
    """Look up a city.

    Args:
        name: Its name.
        size: Its size.
    """
    if name == "Atlantis":
        raise ToolError("There is no such city.")
    if name == "Babel":
        raise KeyError("secret")
    return City(name=f"{name} of {ctx.run_id}", size=size)


@tool
def send(text: str) -> None:
    """Send."""


@pytest.fixture(scope="module")
def interpreter() -> Tool:
    return python([city], seconds=30, memory=16 * 1024 * 1024)


async def said(it: Tool, code: str) -> str:
    try:
        return str(await Run()(it, code=code))
    except ToolError as error:
        return f"ERROR {error}"


def test_what_they_may_do() -> None:
    assert (python().name, python().effect, python().is_read) == ("python", {"read"}, True)
    assert python([city]).effect == {"read", "untrusted"}
    assert python([city, send]).effect == {"read", "untrusted", "write", "net"}
    assert "- city(name, size=…): Look up a city." in python([city]).description
    assert list(python().input_schema["properties"]) == ["code"]


def test_functions_that_it_can_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool
    async def later() -> None:
        """Wait."""

    with pytest.raises(ConfigurationError, match="later is async"):
        python([later])
    with pytest.raises(ConfigurationError, match="pay needs approval"):
        python([tool(needs_approval=True, name="pay")(lambda: None)])
    monkeypatch.setattr(sys.modules["agentkit_tools.python"], "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"agentkit-loop\[python\]"):
        python()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 + 1", "2"),
        ("print('a')\n'b'", "a\n'b'"),
        ("print('é ✓')", "é ✓\n"),
        (
            "import math, json, re\nmath.floor(2.5), json.dumps({'a': [1]}), re.sub('a', 'b', 'a')",
            "(2, '{\"a\": [1]}', 'b')",
        ),
        ("", "It printed nothing."),
        ("x = 5", "It printed nothing."),
        ("city('Rome')", "{'name': 'Rome of run_1', 'size': 3}"),
        ("[city(name=n, size=i)['size'] for i, n in enumerate('ab')]", "[0, 1]"),
        ("city('Atlantis')", "RuntimeError: There is no such city."),
        ("city('Babel')", "RuntimeError: city failed: KeyError"),
        ("city('a', 1, 2)", "TypeError: city takes 2 arguments"),
        ("city()", "name: "),
        ("city('a', size='b')", "size: "),
        ("try:\n    city('Atlantis')\nexcept RuntimeError as error:\n    print(error)", "There is no such city.\n"),
        ("while True: pass", "TimeoutError: feed time limit exceeded"),
        ("print('before')\nx = 'a' * 10**9", "MemoryError: memory limit exceeded"),
        ("x = []\nwhile True: x.append('a' * 1000 + str(len(x)))", "MemoryError: memory limit exceeded"),
        ("def f(): return f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("import os\nos.listdir('/')", "PermissionError"),
        ("import os\nos.environ['PATH']", "ERROR"),
        ("import socket", "ModuleNotFoundError"),
        ("import subprocess", "ModuleNotFoundError"),
        ("__import__('os').system('ls')", "ERROR"),
        ("().__class__.__bases__[0].__subclasses__()", "ERROR"),
        ("x = = 1", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("2 ** 100000", "ERROR The value of the last line: "),
        ("def g():\n    yield 1", "NotImplementedError"),
        ("[city(str(n)) for n in range(1001)]", "RuntimeError: suspension limit 1000 exceeded"),
    ],
)
async def test_programs(interpreter: Tool, code: str, expected: str) -> None:
    if code == "while True: pass":
        interpreter = python(seconds=0.5)
    heard = await said(interpreter, code)
    assert heard == expected or (heard.startswith("ERROR") and expected in heard)
    assert "secret" not in heard


@pytest.mark.anyio
async def test_nothing_is_kept(interpreter: Tool) -> None:
    await said(interpreter, "x = 5")
    assert "NameError" in await said(interpreter, "x")


@pytest.mark.anyio
@pytest.mark.slow
async def test_sleep_takes_no_time(interpreter: Tool) -> None:
    started = time.monotonic()
    assert await said(interpreter, "import time\nfor _ in range(20): time.sleep(100)\n1") == "1"
    assert time.monotonic() - started < 20


@pytest.mark.anyio
async def test_much_output(interpreter: Tool) -> None:
    heard = await said(interpreter, "for i in range(20000): print(i)")
    assert heard.startswith("0\n1\n")
    assert heard.endswith("\n19998\n19999\n")
    assert "bytes left out]" in heard
    assert len(heard) < 40_000
    assert len(await said(interpreter, "'x' * 1_000_000")) < 40_000


def workers() -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            children += map(int, (task / "children").read_text().split())
    return [pid for pid in children if is_worker(pid)]


def is_worker(pid: int) -> bool:
    with suppress(OSError):
        return b"monty" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.mark.anyio
async def test_a_worker_that_dies_is_replaced(interpreter: Tool) -> None:
    assert await said(interpreter, "1") == "1"
    for pid in workers():
        os.kill(pid, 9)
    heard = await said(interpreter, "2")
    assert heard == "2" or "worker crashed" in heard  # if its end is seen before or after the program is given to it
    assert await said(interpreter, "3") == "3"


@pytest.mark.slow
def test_no_worker_is_left() -> None:
    code = """
import anyio, os
from functools import partial
from agentkit_tools.python import python
it = python()
from agentkit import RunContext
ctx = RunContext(deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name="python")
print(it(ctx, "1 + 1"), flush=True)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


@given(
    st.recursive(st.integers(-(10**6), 10**6) | st.text(max_size=5), lambda it: st.lists(it, max_size=3), max_leaves=8)
)
@pytest.mark.slow
def test_values_come_back(interpreter: Tool, value: Any) -> None:
    ctx = Run().ctx
    heard = interpreter(ctx, f"import json\nprint(json.dumps({value!r}))")
    assert json.loads(heard) == json.loads(json.dumps(value))


@needs_sandbox
@pytest.mark.anyio
async def test_cpython(tmp_path: Path) -> None:
    it = cpython(tmp_path)
    assert (it.name, it.effect) == ("run_python", {"read", "private", "write", "exec"})
    assert await said(it, "import sys; print(sys.prefix)") == f"exit code 0\nstdout:\n{sys.prefix}"
    assert (
        await said(it, "import pydantic, pathlib; pathlib.Path('made').write_text(pydantic.VERSION)") == "exit code 0"
    )
    assert (tmp_path / "made").exists()
    assert "ZeroDivisionError" in (failed := await said(it, "1 / 0"))
    assert failed.startswith("exit code 1\nstderr:\n")
    assert (await said(it, "print('x' * 10)\n" * 12000)).startswith("exit code 0")  # longer than an argument may be
    assert "more than 0.3 seconds" in str(await outcome_of(it, "while True: pass", 0.3))


async def outcome_of(it: Tool, code: str, timeout: float) -> object:
    try:
        return await Run()(it, code=code, timeout=timeout)
    except ToolError as error:
        return error


@needs_sandbox
@pytest.mark.anyio
@pytest.mark.slow
async def test_cpython_can_not_change_its_own_packages(tmp_path: Path) -> None:
    heard = await said(cpython(tmp_path), "import pydantic; open(pydantic.__file__, 'a')")
    assert "Read-only file system" in heard


def test_in_a_run(scripted: Scripted) -> None:
    api = scripted(reply(tool_use("python", code="sum(range(101))")), reply("5050"))
    agent = Agent("claude-sonnet-4-6", tools=[python()])
    result = agent.run_sync("Sum?", client=api.client)
    agent.close()
    assert [call.text for call in result.tool_calls] == ["5050"]
