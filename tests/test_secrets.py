"""Values that never show, and what providers need."""

from __future__ import annotations

import copy
import json
import logging
import traceback

import pytest

from agentkit.secrets import Secret
from agentkit.support import ANTHROPIC, COMETAPI, GENERIC, PROVIDERS, provider_of

KEY = "sk-ant-very-secret-1234"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (KEY, "Secret('…1234')"),
        ("x" * 12 + "1234", "Secret('…1234')"),
        ("x" * 11 + "1234", "Secret('…')"),
        ("", "Secret('…')"),
    ],
)
def test_only_the_end_of_a_long_value_shows(value: str, shown: str) -> None:
    secret = Secret(value)
    assert repr(secret) == str(secret) == f"{secret}" == f"{secret!r}" == "%s" % secret == shown  # noqa: UP031
    assert secret.reveal() == value


def test_it_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(KEY)
    logging.getLogger("x").warning("key %s of %r", secret, {"headers": [secret]})
    assert KEY not in caplog.text
    assert "…1234" in caplog.text
    for leak in (lambda: json.dumps(secret), lambda: f"{secret:>40}", lambda: vars(secret), lambda: secret + "x"):  # type: ignore[operator]
        with pytest.raises(TypeError) as raised:
            leak()
        assert KEY not in "".join(traceback.format_exception(raised.value))


def test_equality_is_of_the_value() -> None:
    assert Secret(KEY) == Secret(KEY) == copy.copy(Secret(KEY))
    assert Secret(KEY) != Secret("other")
    assert Secret(KEY) != KEY
    assert {Secret(KEY), Secret(KEY)} == {Secret(KEY)}


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.anthropic.com", ANTHROPIC),
        ("https://api.anthropic.com/v1", ANTHROPIC),
        ("https://api.cometapi.com", COMETAPI),
        ("http://127.0.0.1:8080", GENERIC),
        ("https://openrouter.ai/api", GENERIC),
        ("https://api.anthropic.com.example.net", GENERIC),
    ],
)
def test_a_provider_is_known_by_its_address(base_url: str, provider: object) -> None:
    assert provider_of(base_url) is provider


def test_providers_go_by_their_names() -> None:
    assert {name: provider.name for name, provider in PROVIDERS.items()} == {
        name: name for name in ("anthropic", "cometapi", "generic", "local", "emulator")
    }
    assert GENERIC.base_url is None
