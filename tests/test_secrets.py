"""Values that never show, and what providers need."""

from __future__ import annotations

import base64
import copy
import gc
import json
import logging
import pickle
import re
import time
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus
from weakref import WeakValueDictionary

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentkit
from agentkit import redaction
from agentkit.call import Call, edit
from agentkit.client import Client
from agentkit.errors import ConfigurationError, ToolError, status_error
from agentkit.functions import Report
from agentkit.invocation import Ended, result_of
from agentkit.redaction import REDACTED, can_hide, logger_of, redacted, without_begun
from agentkit.secrets import Secret, register
from agentkit.support import ANTHROPIC, COMETAPI, GENERIC, PROVIDERS, provider_of
from agentkit.tool_results import Pieces, to_content

KEY = "sk-ant-very-secret-1234"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0"
ODD = "p\"a\\\\s/ö &=?%\n☃😀+'1"
SECRETS = st.text(st.sampled_from('ab1"\\/ö %+-_\n&é☃😀=') | st.characters(codec="utf-8"), min_size=8, max_size=40)
PADS = st.binary(max_size=7)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr("agentkit.secrets._kept", set())


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests keep is no secret here."""
    monkeypatch.setattr(redaction, "_live", WeakValueDictionary())


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
    del raised, leak  # they hold this frame, and with it the secret


def test_equality_is_of_the_value() -> None:
    assert Secret(KEY) == Secret(KEY) == copy.copy(Secret(KEY)) == pickle.loads(pickle.dumps(Secret(KEY)))
    assert Secret(KEY) != Secret("other")
    assert Secret(KEY) != KEY
    assert {Secret(KEY), Secret(KEY)} == {Secret(KEY)}


@pytest.mark.parametrize("value", [KEY, ODD, "two\r\nlines-1", "C:\\Users\\me\\1"])
def test_every_spelling_is_redacted(value: str) -> None:
    secret = Secret(value)
    data = value.encode()
    spelled = {
        "raw": value,
        "repr": repr(value)[1:-1],
        "ascii": ascii(value)[1:-1],
        "json": json.dumps(value)[1:-1],
        "json in utf-8": json.dumps(value, ensure_ascii=False)[1:-1],
        "json with \\/": json.dumps(value)[1:-1].replace("/", "\\/"),
        "json in json": json.dumps(json.dumps(value))[3:-3],
        "path of a URL": quote(value),
        "part of a URL": quote(value, safe=""),
        "small": re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
        "query": quote_plus(value),
        "URL in a URL": quote(quote(value, safe=""), safe=""),
        "hex": data.hex(),
        "HEX": data.hex().upper(),
    }
    assert secret.is_redacted
    assert {name: redacted(f"<{text}>") for name, text in spelled.items()} == dict.fromkeys(spelled, f"<{REDACTED}>")


@given(SECRETS.filter(can_hide), PADS, PADS)
def test_base64_is_redacted_wherever_the_secret_is_in_it(value: str, before: bytes, after: bytes) -> None:
    secret = Secret(value)
    data = before + value.strip().encode() + after
    for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        for text in (encoded, json.dumps(encoded), encoded.replace("/", "\\/"), quote(encoded, safe="")):
            left = redacted(text)
            # At either end a letter may stand for less than six bits of it.
            assert REDACTED in left, (secret, text)
            assert len(re.sub(r"%..|\\", "", left)) <= len(REDACTED) + 4 * (len(before) + len(after)) // 3 + 10


@given(SECRETS.filter(can_hide), st.text(max_size=20), st.text(max_size=20))
def test_no_escape_hides_a_secret(value: str, before: str, after: str) -> None:
    secret, text = Secret(value), f"{before}{value.strip()}{after}"
    for shown in (text, json.dumps(text), json.dumps(json.dumps(text)), repr(text), ascii(text), quote(text, safe="")):
        assert REDACTED in redacted(shown), (secret, shown)


def test_text_without_it_stays(alone: None) -> None:
    secrets = [Secret(KEY), Secret(ODD)]
    for text in ("", "plain", "sk-ant-", json.dumps("a\\b%20c" * 99), KEY[:-1], KEY.upper()):
        assert redacted(text) is text
    assert len(secrets) == 2


def test_the_longer_of_two_goes_first(alone: None) -> None:
    secrets = Secret("abcd-1234"), Secret("abcd-1234-and-more")
    assert redacted("abcd-1234-and-more, abcd-1234") == f"{REDACTED}, {REDACTED}", secrets


def test_a_secret_is_redacted_while_it_lives(alone: None, kept: None) -> None:
    first, second = Secret(KEY), copy.copy(Secret(KEY))
    assert redacted(KEY) == REDACTED
    del first
    assert redacted(KEY) == REDACTED
    del second
    assert redacted(KEY) == KEY
    register(KEY, "another-1")
    assert redacted(f"{KEY} another-1") == f"{REDACTED} {REDACTED}"


WORDS = ["", "a-1b2c3", "emulator", "PASSWORD", "Passwords", "--------", "12121212", "   a-1   "]


@pytest.mark.parametrize("value", WORDS)
def test_what_would_take_ordinary_text_with_it_is_not_redacted(value: str, alone: None, kept: None) -> None:
    secret = Secret(value)
    assert not secret.is_redacted
    assert redacted(f"the {value}") == f"the {value}"
    with pytest.raises(ConfigurationError, match="value 2 can't be redacted without ordinary text"):
        register(KEY, value)
    assert redacted(KEY) == KEY


def test_it_takes_no_time_without_secrets_and_linear_time_with_them(alone: None) -> None:
    text = "The quick brown fox %20 \\u0041 c2stYW50\n" * 7000
    assert redacted(text) is text
    secrets = [Secret(f"sk-ant-{number}-{number * 7919:08x}/+") for number in range(20)]
    redacted(text)  # the first one makes the patterns

    def seconds(size: int) -> float:
        began = time.process_time()
        redacted(text * size)
        return time.process_time() - began

    assert min(seconds(8) for _ in range(3)) < 40 * max(min(seconds(1) for _ in range(3)), 0.001), secrets
    nasty = Secret("\\" * 30 + 'a"b\\1')
    began = time.process_time()
    redacted("\\" * 20_000 + "%25" * 20_000)
    assert time.process_time() - began < 20, nasty


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_secret_in_two_pieces_is_held_back(alone: None, cut: int) -> None:
    secret = Secret(KEY)
    shown, held = without_begun(f"key: {KEY[:cut]}")
    assert shown + held == f"key: {KEY[:cut]}"
    assert held == KEY[:cut], secret
    again, rest = without_begun(f"{held}{KEY[cut:]} end")
    assert KEY not in f"{shown}{again}{rest}"
    assert rest == ""


def test_what_was_held_back_comes_at_the_end(alone: None) -> None:
    secret, shown, pieces = Secret(KEY), list[str](), Pieces()
    report = Report(shown.append)
    assert report.keep(pieces, "key: sk-ant")
    assert shown == ["key: "], secret
    report.end()
    assert shown == ["key: ", "sk-ant"]


def test_the_model_is_not_told_a_secret_that_a_human_put_in() -> None:
    secret = Secret(KEY)
    call = Call("1:t", {"id": "t", "name": "x", "input": {}}, decision=edit({"token": KEY}))
    assert KEY not in str(result_of(call, Ended("done", "ok"), repeated=False)), secret


def test_errors_hold_none() -> None:
    secret = Secret(KEY)
    body = {"error": {"type": "authentication_error", "message": f"no key {KEY}"}}
    for error in (status_error(401, body, request_id=KEY), ConfigurationError(KEY, 1), ToolError(f"no {KEY}")):
        shown = "".join(traceback.format_exception(error))
        assert KEY not in f"{error} {error!r} {error.args} {shown} {getattr(error, 'message', '')}"
        assert REDACTED in str(error), secret


def test_records_hold_none(caplog: pytest.LogCaptureFixture) -> None:
    secret, logger = Secret(ODD), logger_of("agentkit.test")
    assert logger_of("agentkit.test").filters == logger.filters
    assert len(logger.filters) == 1
    try:
        try:
            raise KeyError(ODD)
        except KeyError as error:
            raise ExceptionGroup(ODD, [ValueError(ODD), ExceptionGroup("in", [OSError(ODD)])]) from error
    except ExceptionGroup as group:
        group.add_note(f"note {ODD}")
        logger.warning("it failed for %s: %r", ODD, {"a": ODD}, exc_info=group)
    logger.warning("plain %s", "words", exc_info=ValueError("plain"))
    failed, plain = caplog.records
    seen = f"{caplog.text} {failed.getMessage()} {failed.exc_text} {failed.exc_info} {failed.args}"
    assert not [line for line in ('p"a', "☃", "2603") if line in seen], secret
    assert failed.exc_info
    assert failed.exc_info[0].__name__ == "ExceptionGroup"  # type: ignore[union-attr]
    assert failed.exc_info[2].tb_frame.f_code.co_name == "test_records_hold_none"  # type: ignore[union-attr]
    assert "test_secrets.py" in caplog.text
    assert plain.args == ("words",)
    assert plain.exc_info
    assert type(plain.exc_info[1]) is ValueError


def test_all_loggers_of_agentkit_are_redacted() -> None:
    for file in Path(agentkit.__file__).parent.rglob("*.py"):
        if file.name != "redaction.py":
            assert 'getLogger("agentkit.' not in file.read_text(), f"{file}: use logger_of"


def test_results_hold_none() -> None:
    secret = Secret(KEY)
    png = PNG + KEY.encode()
    block = {
        "type": "search_result",
        "source": f"https://u:{KEY}@x",
        "title": "t",
        "content": [{"type": "text", "text": KEY}],
    }
    for value in (KEY, {"a": [KEY]}, {KEY: 1}, [png, KEY], [block], png):
        assert KEY not in json.dumps(to_content(value))
        assert base64.b64encode(png)[40:60].decode() not in json.dumps(to_content(value))
    assert to_content(png) == [{"type": "text", "text": "[image left out: it holds a secret]"}], secret
    good = PNG + b"no secret at all"
    assert to_content(good)[0]["source"]["data"] == base64.b64encode(good).decode()  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    "headers",
    [{"X-Api-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Cookie": KEY}, {"x-goog-token": KEY}],
)
def test_the_keys_of_a_client_are_redacted(headers: dict[str, str]) -> None:
    clients = [Client(base_url="http://127.0.0.1:1", headers=headers)]
    assert redacted(f"it was {KEY}") == f"it was {REDACTED}"
    clients.clear()
    gc.collect()
    assert redacted(KEY) == KEY
    clients += [Client(api_key=KEY), Client(auth_token="token-of-a-test", headers={"x-team": "team-of-a-test"})]
    assert redacted(f"{KEY} token-of-a-test team-of-a-test") == f"{REDACTED} {REDACTED} team-of-a-test"


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
