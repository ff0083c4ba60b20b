"""Structured output: a type → the `format` of a request, and the model's text → a value of the type."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from agentkit.errors import AgentKitError, ConfigurationError
from agentkit.json_schema import at, misfits
from agentkit.messages import encode
from agentkit.signature import first_line, shown
from agentkit.stream import parse_json
from agentkit.strict_schema import size_of, strict_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

__all__ = ["InvalidOutput", "Output"]

T = TypeVar("T")

# Source: messages-api.md section 13.
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_MOST_PROBLEMS = 20
_LONGEST_PROBLEM = 500
_KEY = "value"


class InvalidOutput(AgentKitError):
    """The model's text is no value of the type: a line for each problem says where and why, fit to be sent back."""


class Output(Generic[T]):
    """A type that a run is to give a value of.

    The API asks for an object or an array (an array root is recorded as accepted; of other roots nothing is known), so
    any other type is asked for as an object with the one key `value`, which `parse` takes off again.

    Args:
        type_: A pydantic model, dataclass, TypedDict, list, union, Literal or another type that pydantic knows; or a
            JSON Schema as a dict, and then the value is JSON.

    Attributes:
        name: The type in messages.
        format: For `output_config.format`; it never changes. What the API can't hold the model to, such as a range,
            is said in descriptions, and `parse` looks at it.

    Raises:
        ConfigurationError: The API can't be asked for it: the text names the part and the way out.

    Source: messages-api.md section 13.
    """

    @overload
    def __init__(self: Output[T], type_: type[T]) -> None: ...
    @overload
    def __init__(self: Output[Any], type_: Any) -> None: ...
    def __init__(self, type_: Any) -> None:
        is_schema = isinstance(type_, Mapping)
        self.name = "the JSON Schema of output_type" if is_schema else f"output_type {shown(type_)}"
        self._adapter: TypeAdapter[Any] | None = None
        if is_schema:
            schema = self._schema = json.loads(encode(dict(type_)))
        else:
            schema = self._schema_of(type_)
        shape = strict_schema(schema, self.name)
        self._is_wrapped = shape.get("type") not in ("object", "array")
        if self._is_wrapped:
            shape = _wrapped(shape)
            self._adapter = self._adapter and _wrapped_adapter(type_)
        self._check_size(shape)
        self.format = {"type": "json_schema", "schema": shape}

    def parse(self, text: str) -> T:
        """The value in the model's answer.

        Args:
            text: Of the answer: JSON, and nothing else.

        Raises:
            InvalidOutput: It is not JSON, or does not fit the type and all its constraints.
        """
        try:
            value = parse_json(text)
        except ValueError as error:
            raise InvalidOutput(f"the output is not JSON: {first_line(error)}") from None
        problems: list[str]
        if self._adapter is None:
            problems, value = self._checked(value)
        else:
            problems, value = _read(self._adapter, text)
            value = value.value if self._is_wrapped and not problems else value
        if problems:
            more = [f"… and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
            shortened = [problem[:_LONGEST_PROBLEM] for problem in problems[:_MOST_PROBLEMS]]
            raise InvalidOutput("\n".join([*shortened, *more]))
        return cast("T", value)

    def repair(self, error: InvalidOutput) -> str:
        """What the user says to the model, once, after an answer that `parse` refused."""
        return (
            f"Your last answer does not fit the format that was asked for:\n{error}\n"
            "Give the whole answer again with this put right, as JSON alone."
        )

    def _schema_of(self, type_: Any) -> dict[str, Any]:
        from pydantic import PydanticUserError, TypeAdapter

        if inspect.isroutine(type_):
            raise ConfigurationError(f"{self.name} is a function: give a type")
        try:
            self._adapter = TypeAdapter(type_)
            return self._adapter.json_schema(schema_generator=_generator())
        except (PydanticUserError, TypeError, NameError) as error:
            raise ConfigurationError(f"{self.name} can't be read from JSON: {first_line(error)}") from error

    def _check_size(self, shape: dict[str, Any]) -> None:
        optional, unions = size_of(shape)
        if optional > _MOST_OPTIONAL:
            raise ConfigurationError(
                f"{self.name} has {optional} optional fields, and the API takes at most {_MOST_OPTIONAL}: "
                "leave away defaults, or ask for less at once"
            )
        if unions > _MOST_UNIONS:
            raise ConfigurationError(
                f"{self.name} has {unions} fields of several types (`| None` counts), and the API takes at most "
                f"{_MOST_UNIONS}: use an empty value in place of None, or ask for less at once"
            )

    def _checked(self, value: Any) -> tuple[list[str], Any]:
        if self._is_wrapped and (not isinstance(value, dict) or _KEY not in value):
            return [f"the output: must be an object with the key {_KEY}"], value
        value, path = (value[_KEY], (_KEY,)) if self._is_wrapped else (value, ())
        try:
            return list(misfits(value, self._schema, path)), value
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ConfigurationError(f"{self.name} is no JSON Schema: {error}") from None


def _wrapped(shape: dict[str, Any]) -> dict[str, Any]:
    definitions = {"$defs": shape.pop("$defs")} if "$defs" in shape else {}
    return {
        "type": "object",
        "properties": {_KEY: shape},
        "required": [_KEY],
        "additionalProperties": False,
        **definitions,
    }


def _wrapped_adapter(type_: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter, create_model

    return TypeAdapter(create_model("Output", value=(type_, ...)))


def _read(adapter: TypeAdapter[Any], text: str) -> tuple[list[str], Any]:
    from pydantic import ValidationError

    try:
        return [], adapter.validate_json(text)
    except ValidationError as error:
        return list(_problems(error)), None
    except Exception as error:
        # Anything may come out of a user's validator; what its text holds is not for the model.
        return [f"the output: its check failed with {type(error).__name__}"], None


def _problems(error: Any) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        yield f"{at(problem['loc'])}: {problem['msg']}"


@functools.cache
def _generator() -> type[GenerateJsonSchema]:
    """pydantic's generator, without titles that only repeat a field's name."""
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    return Untitled
