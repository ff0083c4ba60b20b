"""The file of a policy: read as it is meant, and refused where it can't be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from policy_tools import TOOLS

from agentkit import ConfigurationError
from agentkit.policy import Policy

FILE = """
declassify = ["send_report"]

[[deny]]
path = "**/.env*"

[[ask]]
tool = "delete_*"

[[allow]]
tool = ["write_file", "edit_file"]
path = "src/**"

[[allow]]
argv = "pytest [-q] [tests/**]"
"""


def test_a_file_says_the_same_as_the_arguments(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("\ufeff" + FILE, "utf-8")
    policy = Policy.load(file)
    same = Policy(
        deny=[{"path": "**/.env*"}],
        ask=[{"tool": "delete_*"}],
        allow=[{"tool": ["write_file", "edit_file"], "path": "src/**"}, {"argv": "pytest [-q] [tests/**]"}],
        declassify=["send_report"],
    )
    assert [rule.conditions for rule in policy.rules] == [rule.conditions for rule in same.rules]
    denied = policy.judge(TOOLS["write_file"], {"path": ".env.local"})
    assert (denied.action, denied.rule) == ("deny", "deny 1 of policy.toml (path **/.env*)")
    assert (
        same.judge(TOOLS["write_file"], {"path": "src/a"}).rule == "allow 1 (tool write_file or edit_file, path src/**)"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[alow]]\ntool = "a"', "p.toml: there is no table 'alow': did you mean allow?"),
        ('[[xyz]]\ntool = "a"', "p.toml: there is no table 'xyz': there are allow, ask, declassify, deny"),
        ('[deny]\ntool = "a"', "p.toml: deny is a list of tables: write [[deny]] above each"),
        ("deny = 5", "p.toml: deny is a list of tables: write [[deny]] above each"),
        ('deny = ["rm"]', "deny 1 of p.toml: a rule is a table such as {tool = \"send_mail\"}, not 'rm'"),
        (
            '[[deny]]\n[[deny]]\ntoll = "a"',
            "deny 1 of p.toml: a rule needs at least one of tool, effect, origin, path, argv",
        ),
        ('[[deny]]\ntoll = "a"', "deny 1 of p.toml: there is no key 'toll': did you mean tool?"),
        (
            '[[deny]]\ntool = "a b"',
            "deny 1 of p.toml, tool: no tool can have the name 'a b': use letters, digits, _, -, * and ?",
        ),
        ('[[deny]]\ntool = ""', "deny 1 of p.toml, tool: give a text, or a list of texts, not ''"),
        ("[[deny]]\ntool = []", "deny 1 of p.toml, tool: give a text, or a list of texts, not []"),
        ("[[deny]]\ntool = 3", "deny 1 of p.toml, tool: give a text, or a list of texts, not 3"),
        ('[[deny]]\neffect = "wirte"', "deny 1 of p.toml, effect: there is no effect 'wirte': did you mean write?"),
        ('[[allow]]\npath = "a"', 'allow 1 of p.toml: say which tools may do so: add tool = "…", or effect = "…"'),
        ('[[ask]]\npath = "../a"', 'ask 1 of p.toml, path: "../a" is none: write it from the folder of the tools'),
        ('[[ask]]\npath = "a/"', 'ask 1 of p.toml, path: "a/" is none: write "a/**" for all in that folder'),
        ('[[ask]]\npath = "a/b**"', 'ask 1 of p.toml, path: "a/b**" is none: ** stands alone between two /'),
        ('[[ask]]\npath = "~/a"', 'ask 1 of p.toml, path: "~/a" is none: write it from'),
        (
            '[[ask]]\norigin = "a.test"',
            'ask 1 of p.toml, origin: "a.test" is none: write it as "https://docs.example.com"',
        ),
        (
            '[[ask]]\norigin = "https://a.test/x"',
            'ask 1 of p.toml, origin: "https://a.test/x" is none: an origin has no path',
        ),
        (
            '[[ask]]\norigin = "https://a.test:99999"',
            'ask 1 of p.toml, origin: "https://a.test:99999" is none: write it',
        ),
        ('[[ask]]\norigin = "https://*"', 'ask 1 of p.toml, origin: "https://*" is none: write it as'),
        ('[[ask]]\nargv = "git [-v]"', 'ask 1 of p.toml, argv: "git [-v]" is none: only an allow rule has brackets'),
        ('[[allow]]\nargv = "[-v]"', 'allow 1 of p.toml, argv: "[-v]" is none: begin with the program'),
        ('[[allow]]\nargv = "git *"', 'allow 1 of p.toml, argv: "git *" is none: "*" must be a plain word'),
        (
            '[[allow]]\nargv = "git [--o*]"',
            'allow 1 of p.toml, argv: "git [--o*]" is none: "[--o*]": the name of a flag',
        ),
        (
            '[[allow]]\nargv = "git [--o=../*]"',
            'allow 1 of p.toml, argv: "git [--o=../*]" is none: "[--o=../*]": write it from',
        ),
        (
            '[[deny]]\ntool = "a"\ndeclassify = ["b"]',
            "deny 1 of p.toml: declassify belongs above the first [[…]] of the file",
        ),
        ('declassify = "a"', "p.toml: declassify is a list of names of tools"),
        ("declassify = [1]", "p.toml: declassify is a list of names of tools"),
        ('declassify = ["a b"]', "p.toml: declassify: no tool can have the name 'a b'"),
        ("[[deny]", "p.toml' is no TOML: "),
        ("\x00", "p.toml' is no TOML: "),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Policy.load(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the policy '.*none\.toml' can't be read: No such file or directory"):
        Policy.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[[deny]]\ntool = "\xe9"')
    with pytest.raises(ConfigurationError, match=r"latin\.toml' is no TOML: .*utf-8"):
        Policy.load(tmp_path / "latin.toml")


def test_rules_in_python_are_checked_as_those_of_a_file() -> None:
    wrong: Any
    for wrong, said in [
        ({"deny": [{"tool": 3}]}, "deny 1, tool: give a text"),
        ({"deny": {"tool": "a"}}, "deny is a list of tables"),
        ({"ask": [{"efect": "net"}]}, "ask 1: there is no key 'efect': did you mean effect?"),
        ({"declassify": "a"}, "declassify is a list"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            Policy(**wrong)
    assert Policy(allow=[{"effect": {"write", "net"}}]).judge(TOOLS["send_mail"], {}).action == "allow"
