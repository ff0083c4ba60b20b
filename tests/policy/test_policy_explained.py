"""The dry run says what the policy would say."""

from __future__ import annotations

import pytest
from policy_tools import TOOLS

from agentkit import ConfigurationError, tool, web_search
from agentkit.policy import Policy


@tool(effect="write")
def write_file(path: str, content: str) -> None:
    """Writes."""


@tool(effect={"read", "write", "exec"})
def run(argv: list[str]) -> None:
    """Runs."""


@tool(effect={"read", "private"})
def read_file(path: str) -> None:
    """Reads."""


@tool(effect={"read", "net", "untrusted"})
def web_fetch(url: str) -> None:
    """Fetches."""


POLICY = Policy(
    deny=[{"path": "**/.env"}],
    ask=[{"tool": "delete_*"}],
    allow=[{"tool": "*_file", "path": "src/**"}, {"argv": "ls"}, {"effect": "net", "origin": "https://a.test"}],
    declassify=["run"],
)


def test_a_table_says_what_each_tool_may_do_and_where() -> None:
    server = {"type": "mcp_toolset", "mcp_server_name": "s"}
    tools = [write_file, run, read_file, web_fetch, TOOLS["mystery"], web_search(), server]
    calls = [("write_file", {"path": "src/a"}), ("run", {"argv": ["ls"]}), ("write_file", {"path": "src/\x1b[31m.env"})]
    lines = POLICY.explain(tools, calls).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "effect alone mixed why",
        "write_file write ask ask it may change things, and no allow rule is about this call",
        "deny 1 if path **/.env",
        "allow 1 if path src/**",
        "run exec read write ask ask it may change things and run code, and no allow rule is about this call",
        "deny 1 if path **/.env",
        "allow 2 if argv ls",
        "read_file private read allow allow it only reads",
        "deny 1 if path **/.env",
        "web_fetch net read untrusted ask ask it may send data out, and no allow rule is about this call",
        "allow 3 if origin https://a.test",
        "mystery none declared ask ask it declares no effect, so it may change things and send data out, "
        "and no allow rule is about this call",
        "web_search - - the API runs it, so no policy is asked",
        "mcp_toolset - - the API runs it, so no policy is asked",
        'write_file {"path": "src/a"} allow ask allow 1 (tool *_file, path src/**)',
        'run {"argv": ["ls"]} allow allow allow 2 (argv ls)',
        r'write_file {"path": "src/\u001b[31m.env"} deny deny deny 1 (path **/.env): the path '
        r"'src/\x1b[31m.env' can be read in several ways: write it without .., ~, % and " + "\\",
        "No tool here is one of ask 1 (tool delete_*).",
    ]
    at = lines[0].index("why")
    assert all(line[at - 1] == " " != line[at] for line in lines[:-1]), "it is a table"


def test_a_call_of_no_tool_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no tool 'write_fil': did you mean write_file\?"):
        POLICY.explain([write_file], [("write_fil", {})])
    with pytest.raises(ConfigurationError, match="there is no tool 'x'"):
        POLICY.explain([], [("x", {})])
