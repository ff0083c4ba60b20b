"""What mutants of `agentkit.repeats` showed untested."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.repeats import Repeats


def turn(repeats: Repeats, *digests: str) -> None:
    repeats.begin_turn([])
    for digest in digests:
        repeats.add(digest)


def test_what_came_before_three_equal_turns_does_not_hide_them() -> None:
    repeats = Repeats()
    turn(repeats, "another")
    for _ in range(2):
        repeats.begin_turn([])
        assert not repeats.are_noticed("same")
        repeats.add("same")
    repeats.begin_turn([])
    assert repeats.are_noticed("same")
    assert not repeats.are_noticed("another")


def ran(name: str, result: Any, given: Any = "q", kind: str = "web_search") -> list[dict[str, Any]]:
    """A turn in which the API has used a tool of its own."""
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": given}
    return [use, {"type": f"{kind}_tool_result", "tool_use_id": "srvtoolu_1", "content": result}]


CODE = {"type": "code_execution_result", "stdout": "1", "stderr": "", "return_code": 0}
FOUND = [{"type": "web_search_result", "url": "https://a.test", "page_age": "now"}, "more"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ran("a", FOUND), ran("b", FOUND)),
        (ran("a", FOUND), ran("a", FOUND, given="r")),
        (ran("a", FOUND), ran("a", [{**FOUND[0], "url": "https://b.test"}, "more"])),  # type: ignore[dict-item]
        (ran("a", [{"text": "x"}]), ran("a", [{"text": "y"}])),
        (ran("a", FOUND), ran("a", [FOUND[0], "else"])),
        (ran("a", CODE), ran("a", {**CODE, "return_code": 1})),
        (ran("a", CODE), ran("a", {**CODE, "stdout": "2"})),
        (ran("a", CODE), ran("a", {**CODE, "stderr": "2"})),
        (ran("a", {"error_code": "x"}), ran("a", {"error_code": "y"})),
        (ran("a", {"url": "x"}), ran("a", {"url": "y"})),
        (ran("a", "x"), ran("a", "y")),
    ],
)
def test_what_the_api_ran_is_the_same_only_with_name_input_and_result(one: Any, other: Any) -> None:
    for second, are_too_many in [(one, True), (other, False)]:
        repeats = Repeats()
        for content in (one, one, second, one, one):
            repeats.begin_turn(content)
        assert repeats.are_too_many == are_too_many


def test_times_and_what_is_encrypted_make_no_difference() -> None:
    repeats = Repeats()
    for at in range(5):
        repeats.begin_turn(ran("a", [{**FOUND[0], "page_age": str(at), "encrypted_content": str(at)}]))  # type: ignore[dict-item]
    assert repeats.are_too_many


@pytest.mark.parametrize("field", ["encrypted_stdout", "retrieved_at"])
def test_what_else_a_result_says_makes_no_difference(field: str) -> None:
    repeats = Repeats()
    for at in range(5):
        repeats.begin_turn(ran("a", {**CODE, field: str(at)}))
    assert repeats.are_too_many


def test_tools_of_an_mcp_server_that_the_api_asks_count() -> None:
    repeats = Repeats()
    for _ in range(5):
        use, result = ran("a", FOUND, kind="mcp")
        repeats.begin_turn([{**use, "type": "mcp_tool_use"}, result])
    assert repeats.are_too_many


def test_a_use_and_its_result_may_be_turns_apart() -> None:
    repeats = Repeats()
    use, result = ran("a", FOUND)
    for _ in range(5):
        repeats.begin_turn([use])
        repeats.begin_turn([result])
    assert not repeats.are_too_many, "a turn in which nothing ends is no round"


def test_a_round_has_four_turns_at_most() -> None:
    repeats = Repeats()
    for _ in range(6):
        for digest in "abcde":
            turn(repeats, digest)
            assert not repeats.are_too_many
    repeats.begin_turn([])
    assert not repeats.are_noticed("a")
