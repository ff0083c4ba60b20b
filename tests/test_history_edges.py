"""What mutants of `agentkit.history` showed untested."""

from __future__ import annotations

import pytest

from agentkit.history import History


@pytest.mark.parametrize("use", ["server_tool_use", "mcp_tool_use"])
@pytest.mark.parametrize("result", ["web_search_tool_result", "mcp_tool_result"])
def test_uses_of_the_apis_own_tools_are_open_until_their_result(use: str, result: str) -> None:
    history = History()
    history.add("user", [{"type": "text", "text": "Hi"}])
    assert history.server_open == set()
    history.add("assistant", [{"type": use, "id": "srvtoolu_1", "name": "a", "input": {}}])
    assert history.server_open == {"srvtoolu_1"}
    branch = history.branch()
    branch.add("assistant", [{"type": result, "tool_use_id": "srvtoolu_1", "content": []}])
    assert (branch.server_open, history.server_open) == (set(), {"srvtoolu_1"})
    history.add("user", [{"type": "tool_result", "tool_use_id": "srvtoolu_1", "content": "3"}])
    assert history.server_open == {"srvtoolu_1"}, "that is of a client tool"


def test_tokens_are_what_was_counted_and_a_third_of_the_bytes_since() -> None:
    history = History()
    history.add("user", [{"type": "text", "text": "x" * 300}])
    size = history.body.size
    assert history.tokens() == size // 3
    assert history.is_counted is False
    history.count(1)
    assert history.is_counted is True
    history.count(1000)
    assert history.tokens() == 1000
    history.add("user", [{"type": "text", "text": "y" * 300}])
    assert history.tokens() == 1000 + (history.body.size - size) // 3
    assert history.branch().tokens() == history.tokens()
    history.add("user", [])
    assert len(history.messages()) == 1
