"""Scripts as YAML or JSON files, for tests in other languages: what they may hold, and the steps that they make."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, PlainValidator, ValidationError, model_validator

from agentkit.emulator.refusal import Refused
from agentkit.emulator.replies import ScriptedError, ScriptedReply
from agentkit.emulator.scripts.blocks import TAG, Keys, ScriptBlock
from agentkit.emulator.scripts.expected import Expected
from agentkit.emulator.scripts.script import Differs, Scripted, Step, about
from agentkit.emulator.scripts.yaml_text import parse_yaml
from agentkit.errors import ConfigurationError
from agentkit.stream import parse_json

__all__ = ["read_script"]

_MOST_STEPS = 100_000
_WITH_REPLY = ("stop", "usage", "fields")


def read_script(path: str | os.PathLike[str]) -> tuple[list[Step], list[Step]]:
    """The steps of a script file, and those that come after them over and over.

    Args:
        path: A file in UTF-8; one whose name ends in `.json` is JSON, another YAML.

    Raises:
        ConfigurationError: It can't be read, or is no script; the text says where.
    """
    name = Path(path).name
    value = _parsed(Path(path))
    try:
        script = _File.model_validate({"steps": value} if isinstance(value, list) else value)
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {_first(error)}") from None
    if sum(step.count() for step in script.steps) > _MOST_STEPS:
        raise ConfigurationError(f"{name}: more than {_MOST_STEPS} steps; an endless one has repeat: always")
    played = [one.played(f"steps.{at}") for at, one in enumerate(script.steps)]
    endless = played.pop() if script.steps and script.steps[-1].endless else []
    steps = [step for some in played for step in some]
    return ([], steps) if script.endless else (steps, endless)


def _parsed(path: Path) -> Any:
    is_json = path.suffix.lower() == ".json"
    try:
        text = path.read_text("utf-8-sig")
        return parse_json(text) if is_json else parse_yaml(text)
    except FileNotFoundError:
        raise ConfigurationError(f"there is no script {os.fspath(path)!r}") from None
    except OSError as error:
        raise ConfigurationError(f"can't read the script {os.fspath(path)!r}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path.name}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise ConfigurationError(f"{path.name}: it is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{path.name}: no {'JSON' if is_json else 'YAML'}: {error}") from None


def _first(error: ValidationError) -> str:
    """The first mistake: where it is in the file, and what it is."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(TAG))
    wrong = first.get("ctx", {}).get("error") or first["msg"]
    return f"{place}: {wrong}" if place else str(wrong)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _with_status(value: Any) -> Any:
    return {"status": value} if type(value) is int else value


def _repeats(value: Any) -> Any:
    if value == "always" or (type(value) is int and value >= 1):
        return value
    raise ValueError("give a number of 1 or more, or always")


class _Error(Keys):
    status: Annotated[int, Field(ge=400, le=599)]
    type: str | None = None
    message: str = "The script says so."
    retry_after: float | None = None

    def scripted(self) -> ScriptedError:
        waits = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        return ScriptedError(self.status, self.type or Refused(self.status, "").kind, self.message, waits)


class _Answer(Keys):
    """What a request gets: a reply or an error."""

    reply: Annotated[list[ScriptBlock] | None, BeforeValidator(_listed)] = None
    stop: str | None = None
    usage: dict[str, JsonValue] = Field(default_factory=dict)
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    error: Annotated[_Error | None, BeforeValidator(_with_status)] = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> _Answer:
        choices = [name for name in ("reply", "error", "branches", "steps") if name in type(self).model_fields]
        given = [name for name in choices if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(f"give {' or '.join(choices)}, and one of them only")
        for name in _WITH_REPLY:
            if name in self.model_fields_set and given != ["reply"]:
                raise ValueError(f"{name} goes with reply, not with {given[0]}")
        return self

    def scripted(self) -> Scripted:
        if self.error is not None:
            return self.error.scripted()
        return ScriptedReply(
            tuple(block.block() for block in self.reply or ()), self.stop, self.usage, None, self.fields
        )


class _Branch(_Answer):
    """What a request gets that fits; without conditions, every one does."""

    when: Expected | None = None


class _Step(_Answer):
    """What the next request gets, or the next ones."""

    branches: Annotated[list[_Branch] | None, Field(min_length=1)] = None
    steps: Annotated[list[_Step] | None, Field(min_length=1)] = None
    expect: Expected | None = None
    repeat: Annotated[int | Literal["always"], PlainValidator(_repeats)] = 1

    @model_validator(mode="after")
    def _fits_together(self) -> _Step:
        if self.steps is not None and self.expect is not None:
            raise ValueError("expect goes with one request, not with steps")
        if any(step.endless for step in self.steps or ()):
            raise ValueError("repeat: always goes with the file or with its last step, not inside of steps")
        return self

    @property
    def endless(self) -> bool:
        return self.repeat == "always"

    @property
    def _times(self) -> int:
        return 1 if self.repeat == "always" else self.repeat

    def count(self) -> int:
        """Requests that it answers; an endless one is counted once."""
        return self._times * (1 if self.steps is None else sum(step.count() for step in self.steps))

    def played(self, place: str) -> list[Step]:
        """The steps that a script is played by; those of an endless one are there once."""
        if self.steps is not None:
            once = [step for at, one in enumerate(self.steps) for step in one.played(f"{place}.steps.{at}")]
        elif self.branches is None and self.expect is None:
            once = [self.scripted()]
        else:
            once = [_Judging(place, self)]
        return once * self._times


class _File(Keys):
    """The whole file."""

    steps: list[_Step]
    repeat: Literal["always"] | None = None

    @model_validator(mode="after")
    def _comes_to_all(self) -> _File:
        for at, step in enumerate(self.steps):
            if step.endless and (self.endless or at < len(self.steps) - 1):
                raise ValueError(f"what comes after steps.{at} never comes, because that has repeat: always")
        if self.endless and not self.steps:
            raise ValueError("repeat: always needs a step")
        return self

    @property
    def endless(self) -> bool:
        return self.repeat == "always"


@dataclass(frozen=True)
class _Judging:
    """A step of a script that looks at the request."""

    place: str
    step: _Step

    def __call__(self, body: dict[str, Any]) -> Scripted:
        differences = list(self.step.expect.differences(body)) if self.step.expect else []
        if differences:
            raise Differs("\n".join([f"is not what {self.place} expects", *(f"  {text}" for text in differences)]))
        if self.step.branches is None:
            return self.step.scripted()
        lines = [f"fits no branch of {self.place}"]
        for at, branch in enumerate(self.step.branches):
            differences = list(branch.when.differences(body)) if branch.when else []
            if not differences:
                return branch.scripted()
            lines += [f"  branches.{at} {text}" for text in differences]
        raise Differs("\n".join(lines))

    def __str__(self) -> str:
        said = "branches" if self.step.branches is not None else about(self.step.scripted())
        return f"{self.place}: {said}"
