"""No spelling of a path gets past a rule that denies it, and none is allowed that could be another."""

from __future__ import annotations

import os
import unicodedata
from itertools import product
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from policy_tools import TOOLS

from agentkit.policy import Policy
from agentkit.policy.paths import PathPattern, is_certain

DENIED = ["secrets/key.pem", "secrets/a/b/key", ".env", "deep/down/.env.local", "Geheim/straße.txt", "café/plan"]
PATTERNS = ["secrets/**", "**/.env*", "geheim/*.txt", "café/plan"]
POLICY = Policy(deny=[{"path": PATTERNS}], allow=[{"tool": "*"}])
ALLOWS = Policy(allow=[{"tool": "*", "path": "src/**"}])


def action(policy: Policy, path: Any, key: str = "path", name: str = "write_file") -> str:
    return policy.judge(TOOLS[name], {key: path}).action


@pytest.mark.parametrize(
    ("pattern", "path", "covers", "touches"),
    [
        ("src/**", "src/a", True, True),
        ("src/**", "src/a/b/c", True, True),
        ("src/**", "src", False, True),
        ("src/**", "src/", False, True),
        ("src/**", "a/src/b", False, True),
        ("src/**", "srcs/a", False, False),
        ("src/**", "SRC/a", False, True),
        ("src/**", "./src//./a", True, True),
        ("src/**", "src/../a", False, False),
        ("src/**", "a/../src/b", False, True),
        ("src/**", "/src/a", False, True),
        ("src/*.py", "src/a.py", True, True),
        ("src/*.py", "src/a/b.py", False, False),
        ("src/?.py", "src/ab.py", False, False),
        ("**", "a", True, True),
        ("**", ".", False, True),
        ("**/.env*", ".env", True, True),
        ("**/.env*", "a/b/.env.local", True, True),
        ("**/a/**/b", "x/a/y/z/b", True, True),
        ("**/a/**/b", "a/b", True, True),
        ("[id].py", "[id].py", True, True),
        ("[id].py", "i.py", False, False),
        ("/etc/**", "/etc/passwd", True, True),
        ("/etc/**", "etc/passwd", False, False),
        ("/etc/**", "/opt/../etc/passwd", False, True),
        ("/etc/**", "file:///etc/passwd", False, True),
        ("ab", "ab:stream", False, True),
        (".env", "~/.env", False, True),
    ],
)
def test_a_pattern(pattern: str, path: str, covers: bool, touches: bool) -> None:
    it = PathPattern(pattern)
    assert it.problem() is None
    assert (it.covers(path), it.touches(path, may_change=False)) == (covers, touches)


def test_a_folder_above_is_denied_to_what_may_move_or_delete_it() -> None:
    policy = Policy(deny=[{"path": "vault/inner/**"}], allow=[{"tool": "*"}])
    assert action(policy, "vault", name="move_file") == "deny"
    assert action(policy, "x/../vault", name="look") == "deny"  # it is not certain what this is
    assert action(policy, "vault", name="look") == "allow"
    assert action(policy, "vaults", name="move_file") == "allow"
    assert action(policy, "other", name="move_file") == "allow"


@pytest.mark.parametrize(
    "key", ["path", "paths", "file_path", "filePath", "new_path", "destination", "x", "content", "targets"]
)
def test_what_is_denied_is_so_under_any_name_of_an_argument(key: str) -> None:
    assert action(POLICY, ".env", key) == "deny"
    assert action(POLICY, ["a", {"b": [".env"]}], key) == "deny"
    assert action(POLICY, "the .env file", key) == "allow"  # a text about it


def test_a_text_of_several_lines_is_no_path_unless_its_name_says_so() -> None:
    assert action(POLICY, "COPY . /app\nCOPY x /app/.env", "content") == "allow"
    assert action(POLICY, "COPY . /app\nCOPY x /app/.env", "path") == "deny"
    assert action(POLICY, " /app/.env\n", "content") == "deny"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"path": "src/a"}, "allow"),
        ({"path": "src/a", "content": "/etc/passwd"}, "allow"),
        ({"path": "src/a", "target": "etc/x"}, "ask"),
        ({"path": "src/a", "outputDir": "b"}, "ask"),
        ({"path": {"inner": "etc/x"}}, "ask"),
        ({"path": ["src/a", {"x": "b"}]}, "ask"),
        ({"path": ["src/a", 3]}, "ask"),
        ({"path": None}, "ask"),
        ({"path": []}, "ask"),
        ({"path": ""}, "ask"),
        ({"a": [{"path": "src/a"}, {"path": "src/b"}]}, "allow"),
        ({"a": [{"path": "src/a"}, {"path": "b"}]}, "ask"),
        ("src/a", "ask"),
        (["src/a"], "ask"),
        (None, "ask"),
    ],
)
def test_an_allowed_path_is_every_path_of_the_call(given: Any, expected: str) -> None:
    assert ALLOWS.judge(TOOLS["write_file"], given).action == expected


ODD = ["src/../x", "../src/a", "src/a/..", "~/src/a", "src\\..\\x", "src/%2e%2e/x", "C:/src/a", "src/a\0b", "src/a\nb"]
ODD += [
    "src/a.",
    "src/a ",
    "src/b./c",
    "src/．．/x",
    "src/‥/x",
    "/src/a",
    "a/../src/b",
    ".../src/a",
    "src/" + "a" * 5000,
]


@pytest.mark.parametrize("path", ODD)
def test_what_can_be_read_in_several_ways_is_allowed_by_no_rule_and_denied_by_each(path: str) -> None:
    assert action(ALLOWS, path) == "ask"
    if not path.startswith("/"):
        assert not is_certain(path)
        assert action(Policy(deny=[{"path": "other"}], allow=[{"tool": "*"}]), path) == "deny"


CHANGES = {
    "dot": lambda path, at: path[:at] + "./" + path[at:] if path[:at].endswith("/") or at == 0 else path,
    "slashes": lambda path, at: path.replace("/", "//"),
    "up": lambda path, at: f"x/../{path}",
    "around": lambda path, at: path.replace("/", "/y/../", 1),
    "begin": lambda path, at: f"./{path}",
    "end": lambda path, at: f"{path}/",
    "upper": lambda path, at: path[:at] + path[at:].upper(),
    "lower": lambda path, at: path.lower(),
    "back": lambda path, at: path.replace("/", "\\"),
    "apart": lambda path, at: unicodedata.normalize("NFD", path),
    "wide": lambda path, at: path[:at] + "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in path[at:]),
    "hidden": lambda path, at: path[:at] + "\u200d" + path[at:],
    "percent": lambda path, at: quote(path, safe=""),
    "dots": lambda path, at: f"{path}...",
    "blank": lambda path, at: f" {path} ",
    "stream": lambda path, at: f"{path}::$DATA",
    "drive": lambda path, at: f"c:\\{path}",
    "absolute": lambda path, at: f"/srv/project/{path}",
    "home": lambda path, at: f"~/{path}",
    "url": lambda path, at: f"file:///srv/{path}",
    "unc": lambda path, at: f"\\\\host\\share\\{path}",
}


@given(
    st.sampled_from(DENIED),
    st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 20)), max_size=3),
    st.sampled_from(["path", "destination", "paths"]),
)
def test_no_spelling_of_a_denied_path_is_allowed(path: str, changes: list[tuple[str, int]], key: str) -> None:
    for name, at in changes:
        path = CHANGES[name](path, min(at, len(path)))
    assert action(POLICY, [path] if key == "paths" else path, key) == "deny"


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_each_spelling_of_each_denied_path_is_denied_under_other_names_and_in_commands(change: str) -> None:
    for path, at in product(DENIED, (0, 3, 5)):
        spelled = CHANGES[change](path, at)
        calls: list[dict[str, Any]] = [{"path": spelled}, {"note": spelled}, {"x": [{"paths": [spelled]}]}]
        if change not in ("hidden", "blank", "apart", "dots", "stream", "percent") and "é" not in path:
            calls += [{"argv": ["cat", spelled]}, {"argv": ["x", f"--file={spelled}"]}]
        for call in calls:
            assert POLICY.judge(TOOLS["run"], call).action == "deny", call


NAMES = st.text(st.sampled_from("ab.-_ %~\\:é．‥\0"), min_size=1, max_size=6) | st.sampled_from(
    ["..", ".", "src", "", "link"]
)


@given(st.lists(NAMES, max_size=6), st.booleans())
@example(["．"], True)
def test_an_allowed_path_stays_below_its_folder_for_every_reader(names: list[str], below: bool) -> None:
    path = "/".join((["src"] if below else []) + names)
    if PathPattern("src/**").covers(path):
        for reading in (
            path,
            unicodedata.normalize("NFKC", path),
            path.replace("\\", "/"),
            path.strip(),
            unquote(path),
        ):
            assert os.path.normpath(f"/srv/{reading}").startswith("/srv/src/"), reading
