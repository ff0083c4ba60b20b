"""One change to a request that the API accepted trips exactly the rule that is meant; and no rule is left out."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import test_body
import test_fields
import test_history
import test_rules_content
import test_rules_definitions
import test_rules_schemas
import test_rules_thinking
import test_rules_tools
from bodies import Body, accepted
from mutations import HEADERS, MUTATIONS

import agentkit.rules
from agentkit.rules import check_request
from agentkit.rules.texts import TEXTS

ENOUGH = 6  # requests that a change is tried on
SMALL = 40_000  # bytes


@cache
def sample(recordings: ModuleType) -> list[tuple[str, dict[str, Any]]]:
    """The small ones of the accepted requests, in an order that is always the same and mixes their sources."""
    bodies = [(json.dumps(body), headers) for body, headers in accepted(recordings)]
    small = [each for each in bodies if len(each[0]) < SMALL]
    random.Random(1).shuffle(small)
    return small


def tries(name: str, requests: list[tuple[str, dict[str, Any]]]) -> Iterator[set[str]]:
    """The rules that trip, for each request that the change can be made to."""
    _, change = MUTATIONS[name]
    for request, headers in requests:
        body: Body = json.loads(request)
        if change(body):
            yield {problem.rule for problem in check_request(body, **headers | HEADERS.get(name, {}))}


@pytest.mark.recordings
@pytest.mark.parametrize("name", MUTATIONS)
def test_one_change_trips_the_intended_rule_alone(name: str, recordings: ModuleType) -> None:
    tried = 0
    for rules in tries(name, sample(recordings)):
        assert rules == {MUTATIONS[name][0]}
        tried += 1
        if tried == ENOUGH:
            break
    assert tried >= 5


@pytest.mark.slow
@pytest.mark.recordings
@pytest.mark.parametrize("name", MUTATIONS)
def test_one_change_of_any_accepted_request(name: str, recordings: ModuleType) -> None:
    requests = [(json.dumps(body), headers) for body, headers in accepted(recordings)]
    assert list(filter({MUTATIONS[name][0]}.__ne__, tries(name, requests))) == []


# Every rule

# Those that no change of a recorded request can trip alone, or that too few recordings have the place for: the tests
# that have a case of each.
DIRECT = [
    *test_body.REFUSED,
    *test_fields.REFUSED,
    *test_history.REFUSED,
    *test_rules_content.REFUSED,
    *test_rules_definitions.REFUSED,
    *test_rules_schemas.REFUSED,
    *test_rules_thinking.REFUSED,
    *test_rules_tools.REFUSED,
]
BOTH = {"cache_empty"}  # test_body.test_an_empty_text_has_no_mark: empty text is refused as well
SIZES = {"image_size"}  # test_rules_images
OURS = {"server_tools"}  # of a provider, not of the API: test_combination


def written() -> set[str]:
    """The rule ids that the source has."""
    found = set(TEXTS)
    for path in Path(agentkit.rules.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(ids(node))
    return found


def ids(node: ast.AST) -> Iterator[str]:
    values: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Problem", "say"):
        values = node.args[:1]
    elif isinstance(node, ast.keyword) and node.arg == "rule":
        values = [node.value]
    elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
        values = node.value.elts[:1]  # a rule and its words
    return (each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str))


def test_no_rule_is_left_out() -> None:
    tried = {rule for rule, _ in MUTATIONS.values()}
    direct = {case[0] for case in DIRECT} | {"server_tool_missing"} | BOTH | SIZES | OURS
    assert written() - tried - direct == set()
    assert tried - written() == set()
    assert len(written()) > 90
    assert {"tool_result_missing", "field_type", "schema_pattern", "tool_reference_name"} <= written()
