"""What is looked at before a request is answered: the rules, then what depends on what the emulator has sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentkit.emulator.checks.accepted import Accepted
from agentkit.emulator.checks.code import check_results_for_code
from agentkit.emulator.checks.novelty import Novelty
from agentkit.emulator.checks.tools import too_complex, unknown_tool
from agentkit.emulator.dialects.dialect import Dialect
from agentkit.emulator.messages.compaction import asks_for_summary, check_compaction
from agentkit.emulator.messages.message import tokens
from agentkit.emulator.messages.opaque import altered
from agentkit.emulator.messages.signatures import CONTROLS, checked_thinking
from agentkit.emulator.reader.shapes import misshapen
from agentkit.emulator.refusal import Refused
from agentkit.emulator.resources.containers import Containers
from agentkit.emulator.resources.files import Files
from agentkit.emulator.resources.models import is_model
from agentkit.rules import check_request
from agentkit.support import model_of

__all__ = ["Checks", "check_window", "known_model"]

# Rules that need no model. The others are looked at only where there is one, as recorded.
_BEFORE_THE_MODEL = {
    "beta_unknown", "beta_missing", "field_required", "field_type", "field_unknown", "field_value", "field_range",
    "messages_empty", "role_unknown", "version_sampling",
}  # fmt: skip
# What a request for a summary is told later, with a code of its own, or not at all: it may end with the model's turn.
_LATE = {
    "prefill": "accepted",
    "prefill_whitespace": "accepted",
    "thinking_final": "accepted",
    "thinking_expected": "accepted",
    "tool_result_missing": "refused",
    "server_result_missing": "refused",
}


class Checks:
    """The checks of one emulator.

    Args:
        dialect: The endpoint's ways.
        containers: The containers that there are.
        files: The files that there are.
        novelty: What a script put into replies.
    """

    def __init__(self, dialect: Dialect, containers: Containers, files: Files, novelty: Novelty) -> None:
        self._dialect = dialect
        self._containers = containers
        self._files = files
        self._novelty = novelty
        self._accepted = Accepted()

    def check(
        self, body: dict[str, Any], headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
        """The request as the model reads it, and the `input_transformations` where the request asks for them.

        Raises:
            Refused: It breaks a rule.
        """
        body = self._dialect.read(body)
        if self._dialect.lenient:
            return body, None
        said = {name: headers.get(name) for name in ("anthropic-version", "anthropic-beta")}
        rest = self._accepted.rest(body, said)
        if rest is not None:
            try:
                self._look(rest, said)
            except Refused:
                rest = None  # the text counts all messages
        if rest is None:
            self._look(body, said)
        plain = self._accepted.keep(body, said, rest)
        self._containers.check(body)
        read_as, done = (body, []) if plain else checked_thinking(body)
        return read_as, done if CONTROLS in _beta_names(said) else None

    def _look(self, body: dict[str, Any], headers: Mapping[str, str | None]) -> None:
        """Raises `Refused` for what can be seen without anything but the request, and the files."""
        late = self._check_rules(body, headers["anthropic-version"], _beta_names(headers))
        tools = body.get("tools") or []
        wrong = unknown_tool(tools) or too_complex(tools) or misshapen(body) or altered(body["messages"])
        if wrong:
            raise Refused(400, wrong)
        check_compaction(body)
        if late:
            raise late
        check_results_for_code(body["messages"])
        self._files.check(body["messages"])

    def _check_rules(self, body: dict[str, Any], version: str | None, betas: list[str]) -> Refused | None:
        """Raises the first refusal, or gives one that comes later."""
        known: dict[str, Any] | None = body
        while known is not None:
            problems = check_request(known, version=version, betas=betas if self._dialect.judges_betas else None)
            known = self._novelty.without(known, problems)
        if not problems or problems[0].rule not in _BEFORE_THE_MODEL:
            known_model(body["model"])
        late = [problem for problem in problems if asks_for_summary(body) and problem.rule in _LATE]
        for problem in problems:
            if problem not in late:
                raise Refused.by(problem)
        return next((Refused.by(problem) for problem in late if _LATE[problem.rule] == "refused"), None)


def _beta_names(headers: Mapping[str, str | None]) -> list[str]:
    given = headers.get("anthropic-beta")
    return [] if given is None else [name.strip() for name in given.split(",")]


def known_model(model: str) -> None:
    """Raises `Refused` for what is no model."""
    if not is_model(model):
        raise Refused(404, f"model: {model}", rule="model_unknown")


def check_window(body: dict[str, Any], size: int) -> None:
    """Raises `Refused` where the prompt, or it and the output, do not fit into the model's window.

    Args:
        body: The request, as the model reads it.
        size: What the model reads, in bytes.

    Source: recordings/api-errors.md part B.
    """
    model, count, more = model_of(body["model"]), tokens(size), body["max_tokens"]
    if model is None:
        return
    most = model.context_window
    if count > most:
        raise Refused(400, f"prompt is too long: {count} tokens > {most} maximum", rule="window")
    if count + more > most:
        text = f"input length and `max_tokens` exceed context limit: {count} + {more} > {most}, decrease input length"
        raise Refused(400, f"{text} or `max_tokens` and try again", rule="window")
