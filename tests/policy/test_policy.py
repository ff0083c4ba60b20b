"""What a policy says of a call: defaults, order, layers, and untrusted text beside private data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_tools import TOOLS, fake

from agentkit import ConfigurationError
from agentkit.policy import Policy, Verdict, policy_of, stricter
from agentkit.taint import taint_of

MIXED = frozenset({"untrusted", "private"})
ORDER = ["deny", "ask", "allow"]


def action(policy: Policy, name: str, input: Any = None, taint: frozenset[str] = frozenset()) -> str:  # noqa: A002
    return policy.judge(TOOLS[name], {} if input is None else input, taint).action


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("look", "allow"),
        ("read_file", "allow"),
        ("web_fetch", "ask"),
        ("write_file", "ask"),
        ("send_mail", "ask"),
        ("run", "ask"),
        ("run_shell", "ask"),
        ("mystery", "ask"),
    ],
)
def test_without_rules_what_only_reads_is_allowed(name: str, expected: str) -> None:
    assert action(Policy(), name) == expected


def test_a_tool_that_declares_nothing_counts_as_one_that_writes_and_sends_and_reads_what_others_wrote() -> None:
    assert taint_of(TOOLS["mystery"].effect) == {"untrusted"}
    verdict = Policy().judge(TOOLS["mystery"], {})
    said = "declares no effect, so it may change things and send data out, and no allow rule is about this call"
    assert verdict == Verdict("ask", f"it {said}")
    assert action(Policy(deny=[{"effect": "net"}]), "mystery") == "deny"
    assert action(Policy(allow=[{"effect": "write"}]), "mystery") == "ask"
    assert action(Policy(allow=[{"effect": ["write", "net"]}]), "mystery") == "allow"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("look", set()), ("read_file", {"private"}), ("web_fetch", {"untrusted"}), ("write_file", set())],
)
def test_what_a_result_brings_in_is_what_the_tool_declares(name: str, expected: set[str]) -> None:
    assert taint_of(TOOLS[name].effect) == expected


def test_denying_goes_before_asking_and_asking_before_allowing() -> None:
    rule = {"tool": "send_*"}
    assert action(Policy(allow=[rule]), "send_mail") == "allow"
    assert action(Policy(allow=[rule], ask=[rule]), "send_mail") == "ask"
    assert action(Policy(allow=[rule], ask=[rule], deny=[rule]), "send_mail") == "deny"
    assert action(Policy(ask=[{"tool": "look"}]), "look") == "ask"
    assert action(Policy(deny=[{"tool": "look"}]), "look") == "deny"


def test_a_rule_is_about_calls_that_all_its_keys_are_about() -> None:
    policy = Policy(allow=[{"tool": ["write_file", "move_file"], "path": ["src/**", "docs/*.md"]}])
    assert action(policy, "write_file", {"path": "src/a.py"}) == "allow"
    assert action(policy, "write_file", {"path": "docs/a.md"}) == "allow"
    assert action(policy, "write_file", {"path": "docs/sub/a.md"}) == "ask"
    assert action(policy, "edit_text", {"path": "src/a.py"}) == "ask"
    assert action(policy, "write_file", {}) == "ask"  # it is not said where
    assert action(policy, "move_file", {"path": "src/a.py", "destination": "src/b.py"}) == "allow"
    assert action(policy, "move_file", {"path": "src/a.py", "destination": "b.py"}) == "ask"
    assert action(policy, "move_file", {"paths": ["src/a.py", "b.py"]}) == "ask"


def test_an_effect_allows_no_tool_that_may_do_more_and_denies_every_one_that_may_do_it() -> None:
    allow, deny = Policy(allow=[{"effect": "write"}]), Policy(deny=[{"effect": "write"}])
    assert [action(allow, name) for name in ("write_file", "edit_text", "send_mail", "run")] == [
        "allow",
        "allow",
        "ask",
        "ask",
    ]
    assert [action(deny, name) for name in ("write_file", "edit_text", "send_mail", "run")] == ["deny"] * 4


@pytest.mark.parametrize("name", ["web_fetch", "write_file", "send_mail", "run", "mystery"])
def test_untrusted_text_and_private_data_ask_whatever_is_allowed(name: str) -> None:
    policy = Policy(allow=[{"tool": "*"}])
    assert action(policy, name) == "allow"
    assert action(policy, name, taint=frozenset({"untrusted"})) == "allow"
    assert action(policy, name, taint=frozenset({"private"})) == "allow"
    assert action(policy, name, taint=MIXED) == "ask"
    assert "untrusted text and private data" in policy.judge(TOOLS[name], {}, MIXED).rule
    declassified = Policy(allow=[{"tool": "*"}], declassify=[name])
    assert action(declassified, name, taint=MIXED) == "allow"
    assert action(Policy(declassify=["*"]), name, taint=MIXED) == "ask"  # as without taint
    assert action(Policy(deny=[{"tool": "*"}], declassify=["*"]), name, taint=MIXED) == "deny"


def test_mixed_data_may_still_be_read() -> None:
    assert action(Policy(), "read_file", taint=MIXED) == "allow"


def test_a_line_for_a_shell_is_asked_about_unless_it_is_plain_words_of_an_allowed_shape() -> None:
    by_name = Policy(allow=[{"tool": "*"}, {"effect": ["write", "exec"]}])
    assert action(by_name, "run", {"argv": ["ls"]}) == "allow"
    asked = by_name.judge(TOOLS["run_shell"], {"command": "ls"})
    assert asked == Verdict("ask", "it is a line for a shell, and no allow rule with argv is about it")
    assert action(by_name, "mystery", {"command": "ls"}) == "ask"
    for nested in ({"cmd": "ls"}, {"commands": ["ls"]}, {"steps": [{"command": "ls"}]}, {"commands": {"a": "ls"}}):
        assert action(by_name, "run_shell", nested) == "ask"
    assert action(by_name, "run_shell", {"command": ["ls"]}) == "allow"  # no line
    assert action(by_name, "edit_text", {"command": "view", "path": "a"}) == "allow"  # no shell
    by_shape = Policy(allow=[{"argv": "ls [-l] [src/**]"}])
    assert action(by_shape, "run_shell", {"command": "ls -l src/a"}) == "allow"
    assert action(by_shape, "run_shell", {"command": "ls -l src/a; rm src"}) == "ask"


def test_layers_add_up_and_only_the_first_declassifies() -> None:
    rule = {"tool": "send_mail"}
    host, project = Policy(deny=[rule]), Policy(allow=[rule], declassify=["*"])
    assert action(host | project, "send_mail") == "deny"
    assert action(project | host, "send_mail") == "deny"
    assert action(Policy() | project, "send_mail") == "allow"
    assert action(Policy() | project, "send_mail", taint=MIXED) == "ask"
    assert action(project | Policy(), "send_mail", taint=MIXED) == "allow"
    with pytest.raises(TypeError):
        host | {"deny": []}  # type: ignore[operator]


RULES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"tool": st.sampled_from(["*", "send_mail", "write_*", "run"])}),
    st.fixed_dictionaries({"effect": st.sampled_from(["read", "write", "net", "exec"])}),
    st.fixed_dictionaries({"tool": st.just("*"), "path": st.sampled_from(["src/**", "**/.env"])}),
    st.fixed_dictionaries({"tool": st.just("*"), "origin": st.just("https://a.test")}),
    st.fixed_dictionaries({"argv": st.sampled_from(["ls", "git log"])}),
)
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "path": st.sampled_from(["src/a", ".env", "src/../.env", "b"]),
        "url": st.sampled_from(["https://a.test/x", "http://b.test"]),
        "argv": st.sampled_from([["ls"], ["git", "log"], ["ls", ".env"]]),
    },
)
LISTS = st.lists(RULES, max_size=3)
TAINT = st.frozensets(st.sampled_from(sorted(MIXED)))


@given(LISTS, LISTS, LISTS, LISTS, RULES, st.sampled_from(sorted(TOOLS)), INPUTS, TAINT, st.randoms())
def test_nothing_loosens_a_rule_that_is_stricter(
    deny: Any, ask: Any, allow: Any, more: Any, rule: Any, name: str, given: Any, taint: Any, random: Any
) -> None:
    tool, base = TOOLS[name], Policy(deny=deny, ask=ask, allow=allow)
    before = ORDER.index(base.judge(tool, given, taint).action)
    for rules in (deny, ask, allow):
        random.shuffle(rules)
    assert ORDER.index(Policy(deny=deny, ask=ask, allow=allow).judge(tool, given, taint).action) == before
    for tightened in (base | Policy(deny=more), Policy(deny=more) | base, base | Policy(deny=[rule], ask=more)):
        assert ORDER.index(tightened.judge(tool, given, taint).action) <= before
    loosened = ORDER.index((base | Policy(allow=more)).judge(tool, given, taint).action)
    is_default = not base.judge(tool, given, taint).rule.startswith(("deny ", "ask "))
    assert loosened == before or (is_default and not taint >= MIXED)
    assert ORDER.index(base.judge(tool, given, MIXED).action) <= before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "url", "argv", "command", "cwd", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)
STRICT = Policy(
    deny=[{"path": "**/.env"}, {"origin": "https://evil.test"}, {"argv": "rm"}],
    ask=[{"path": "src/*", "effect": "write"}],
    allow=[{"tool": "*", "path": "src/**"}, {"tool": "*", "origin": "https://a.test"}, {"argv": "ls [-l] [src/**]"}],
)


@given(st.sampled_from(sorted(TOOLS)), JSON)
def test_every_input_is_judged(name: str, given: Any) -> None:
    verdict = STRICT.judge(TOOLS[name], given, MIXED)
    assert verdict.action in ORDER
    assert verdict.rule
    assert verdict.refusal.startswith("Not executed: ")


def test_deep_and_large_inputs_are_judged() -> None:
    deep: Any = ".env"
    for _ in range(10_000):
        deep = {"path": deep} if isinstance(deep, str) else [deep]
    assert STRICT.judge(TOOLS["write_file"], deep).action == "deny"
    large = {"path": "src/" + "a/" * 5_000, "content": "x" * 100_000}
    assert STRICT.judge(TOOLS["write_file"], large).action == "deny"  # no path is as long as this


def test_the_model_is_told_the_truth() -> None:
    policy = Policy(deny=[{"tool": "send_mail"}])
    denied, asked = policy.judge(TOOLS["send_mail"], {}), policy.judge(TOOLS["run"], {"argv": ["ls"]})
    assert denied.refusal == ("Not executed: the policy of this application denies this call: deny 1 (tool send_mail).")
    assert asked.refusal == (
        "Not executed: a human must approve this call, and nobody can be asked in this run: "
        "it may change things and run code, and no allow rule is about this call."
    )
    doubtful = Policy(deny=[{"path": ".env"}]).judge(TOOLS["write_file"], {"path": "a/../b"})
    assert doubtful.rule.endswith("'a/../b' can be read in several ways: write it without .., ~, % and \\")


def test_the_strictest_of_several_verdicts_counts() -> None:
    allow, ask, deny = (Verdict(action, action) for action in ("allow", "ask", "deny"))  # type: ignore[arg-type]
    assert stricter(allow, ask, allow) == ask
    assert stricter(ask, deny) == deny
    assert stricter(allow) == allow


def test_what_an_agent_is_given_becomes_a_policy(tmp_path: Any) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[[deny]]\ntool = "send_mail"\n')
    policy = Policy(allow=[{"tool": "send_mail"}])
    assert policy_of(None) is None
    assert policy_of(policy) is policy
    for layers in (file, str(file), [policy, file], [str(file), policy]):
        made = policy_of(layers)
        assert made is not None
        assert action(made, "send_mail") == "deny"
    for wrong in (5, [], [None], {"deny": []}, [[]]):
        with pytest.raises(ConfigurationError, match="policy must be a Policy, the path of a TOML file, or a list"):
            policy_of(wrong)  # type: ignore[arg-type]


def test_a_policy_shows_what_it_has() -> None:
    assert repr(Policy(deny=[{"tool": "a"}], ask=[{"tool": "b"}])) == "Policy(1 deny, 1 ask, 0 allow)"


def test_a_name_is_all_of_a_name() -> None:
    policy = Policy(allow=[{"tool": "send"}, {"tool": "mail?"}])
    names = ["send", "send_mail", "Send", "mail1", "mail", "mail12"]
    assert [policy.judge(fake(name, "net"), {}).action for name in names] == [
        "allow",
        "ask",
        "ask",
        "allow",
        "ask",
        "ask",
    ]
