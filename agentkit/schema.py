"""What a function takes: signature and docstring → JSON Schema, and a validator for what the model sends."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agentkit.errors import ConfigurationError, ToolDefinitionError, ToolError
from agentkit.messages import copy_json, encode
from agentkit.signature import first_line, first_parameter, hints_of, parameters_of, read_docstring, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.fields import FieldInfo
    from pydantic.json_schema import GenerateJsonSchema
    from pydantic_core import core_schema

__all__ = ["FunctionSchema", "GivenSchema", "InvalidInput"]

_MOST_PROBLEMS = 20
_LONGEST_VALUE = 80
_SECRET = re.compile(r"passw|secret|token|api_?key|credential|authorization", re.IGNORECASE)
# The API's text: "Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'".
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class InvalidInput(ToolError):
    """The model's input does not fit the tool: the text says where and why, one line for each problem."""


class GivenSchema:
    """A tool known by its JSON Schema alone: any object is let through.

    Args:
        schema: The JSON Schema of the input, an object at its root.
        name: The tool's, for errors.
        function: What is called with it.
        context: The class that the function may ask for as its first parameter.

    Attributes:
        takes_context: Whether it does.

    Raises:
        ToolDefinitionError: It is a schema that the API refuses. Source: messages-api.md section 9.
    """

    description = ""

    def __init__(self, schema: Mapping[str, Any], name: str, function: Callable[..., Any], context: type) -> None:
        if not isinstance(schema, Mapping) or schema.get("type") != "object":
            raise ToolDefinitionError(f'tool {name!r}: input_schema needs "type": "object" at its root')
        if refused := schema.keys() & {"oneOf", "allOf", "anyOf"}:
            raise ToolDefinitionError(
                f"tool {name!r}: input_schema can't have {min(refused)} at its root: put it into a property"
            )
        try:
            self._schema: dict[str, Any] = json.loads(encode(dict(schema)))
        except ConfigurationError as error:
            raise ToolDefinitionError(f"tool {name!r}: input_schema {error}") from None
        first = first_parameter(function)
        hints = hints_of(function, {first.name: first}, name) if first else {}
        self.takes_context = any(_is(context, hint) for hint in hints.values())

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of the input, as a copy."""
        return cast("dict[str, Any]", copy_json(self._schema))

    def validate(self, value: object) -> dict[str, Any]:
        """A copy of `value`, which the tool may change.

        Raises:
            InvalidInput: It is no object, or hundreds of levels deep.
        """
        try:
            return cast("dict[str, Any]", copy_json(dict(_object(value))))
        except RecursionError:
            raise InvalidInput("the input is nested too deeply") from None


class FunctionSchema:
    """What a function takes. The docstring is read when it is first asked for.

    Args:
        function: A function, bound method or `functools.partial`; what a partial gives by name is not asked for.
        name: The tool's, for errors.
        context: The class whose parameter, the first, is not the model's to give.

    Attributes:
        takes_context: Whether it has that parameter.

    Raises:
        ToolDefinitionError: It can't be a tool; the text names the parameter and says what to do.
    """

    def __init__(self, function: Callable[..., Any], name: str, context: type) -> None:
        self._function = function
        self._name = name
        given = parameters_of(function, name)
        hints = hints_of(function, given, name)
        first = next(iter(given.values()), None)
        self.takes_context = first is not None and _is(context, hints[first.name]) and first.kind != first.KEYWORD_ONLY
        if self.takes_context:
            del given[next(iter(given))]
        self._parameters = [self._parameter(item, hints[item.name], context) for item in given.values()]
        self._names = {parameter.name for parameter in self._parameters}

    def _parameter(self, given: inspect.Parameter, annotation: Any, context: type) -> _Parameter:
        where = f"tool {self._name!r}: parameter {given.name!r}"
        if _mentions(context, annotation):
            raise ToolDefinitionError(f"{where}: {context.__name__} is for the first parameter, alone, not after a *")
        if not _PROPERTY.fullmatch(given.name):
            raise ToolDefinitionError(f"{where}: the API takes letters of ASCII, digits and _ only: rename it")
        fields = list(_fields(annotation, given.default))
        if any(field.alias or field.validation_alias for field in fields):
            raise ToolDefinitionError(f"{where}: a Field's alias has no effect here: rename the parameter")
        try:
            type_ = _type_of(typing.Annotated[annotation, given.default] if _is_field(given.default) else annotation)
        except Exception as error:
            raise ToolDefinitionError(
                f"{where}: {shown(annotation)} can't be read from JSON: {first_line(error)}"
            ) from error
        stated = next((field for field in fields if not field.is_required()), None)
        if not _is_field(given.default) and given.default is not inspect.Parameter.empty:
            return _Parameter(given.name, type_, False, given.default, None)
        return _Parameter(given.name, type_, stated is None, inspect.Parameter.empty, stated)

    @functools.cached_property
    def _docstring(self) -> tuple[str, dict[str, str]]:
        return read_docstring(self._function)

    @property
    def description(self) -> str:
        """The docstring without the sections on parameters, results and errors."""
        return self._docstring[0]

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of the input, as a copy. What pydantic puts into `$defs` stays there."""
        return cast("dict[str, Any]", copy_json(self._schema))

    @functools.cached_property
    def _schema(self) -> dict[str, Any]:
        shapes, definitions = _shapes(self._parameters)
        told = self._docstring[1]
        properties = {}
        for parameter, shape in zip(self._parameters, shapes, strict=True):
            described = {"description": told[parameter.name]} if parameter.name in told else {}
            properties[parameter.name] = {**described, **shape, **parameter.default_as_json()}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [parameter.name for parameter in self._parameters if parameter.required]:
            schema["required"] = required
        schema["additionalProperties"] = False
        if definitions:
            schema["$defs"] = definitions
        return schema

    def validate(self, value: object) -> dict[str, Any]:
        """Keyword arguments as the function wants them: models as instances, dates as dates.

        What the model left out is left out here too, so that the function's own default applies.

        Args:
            value: The input, which stays as it is.

        Raises:
            InvalidInput: It does not fit.
        """
        given = _object(value)
        problems: list[str] = []
        arguments: dict[str, Any] = {}
        for parameter in self._parameters:
            try:
                if parameter.name in given:
                    arguments[parameter.name] = parameter.type.read(given[parameter.name])
                elif parameter.required:
                    problems.append(f"{parameter.name}: Field required")
                elif parameter.field is not None:
                    arguments[parameter.name] = parameter.field.get_default(call_default_factory=True)
            except Exception as error:
                problems += _problems(parameter.name, error)
        for name in [name for name in given if name not in self._names]:
            takes = ", ".join(sorted(self._names)) or "nothing"
            problems.append(f"{_cut(str(name))}: Unexpected argument (this tool takes {takes})")
        if problems:
            more = [f"… and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
            raise InvalidInput("\n".join([*problems[:_MOST_PROBLEMS], *more]))
        return arguments


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    type: _Type
    required: bool
    default: Any
    field: FieldInfo | None  # a pydantic Field that says the default

    def default_as_json(self) -> dict[str, Any]:
        """`{"default": …}`, where there is one that JSON can show."""
        if self.default is inspect.Parameter.empty:
            return {}
        if self.default is None or type(self.default) in (bool, int):
            return {"default": self.default}
        # A default need not fit its annotation, so any serializer may fail on it.
        with suppress(Exception):
            return {"default": json.loads(self.type.adapter.dump_json(self.default, warnings=False))}
        return {}


class _Type:
    """An annotation that JSON can give."""

    def __init__(self, annotation: Any) -> None:
        from pydantic import TypeAdapter
        from pydantic_core import to_json

        self.adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        schemas, rest = TypeAdapter.json_schemas([("", "validation", self.adapter)], schema_generator=_generator())
        self.schema = schemas["", "validation"]
        self.is_closed = "$defs" not in rest
        self._to_json = to_json

    def read(self, value: Any) -> Any:
        """`value` as the annotation says; through JSON, since only there a strict model takes a date as a string."""
        return self.adapter.validate_json(self._to_json(value))


def _type_of(annotation: Any) -> _Type:
    try:
        hash(annotation)
    except TypeError:
        return _Type(annotation)
    return _cached_type(annotation, "" if isinstance(annotation, type) else repr(annotation))


@functools.lru_cache(maxsize=512)
def _cached_type(annotation: Any, _text: str) -> _Type:
    """Many tools share few annotations. The text is in the key because `int | str` equals `str | int`."""
    return _Type(annotation)


def _shapes(parameters: list[_Parameter]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The JSON Schema of each parameter, and the definitions that they share."""
    if all(parameter.type.is_closed for parameter in parameters):
        return [parameter.type.schema for parameter in parameters], {}
    from pydantic import TypeAdapter

    inputs = [(parameter.name, "validation", parameter.type.adapter) for parameter in parameters]
    schemas, rest = TypeAdapter.json_schemas(cast("Any", inputs), schema_generator=_generator())
    definitions = rest["$defs"]
    for name, definition in definitions.items():
        if definition.get("title") == name:  # an enumeration's
            del definition["title"]
    return [schemas[parameter.name, "validation"] for parameter in parameters], definitions


@functools.cache
def _generator() -> type[GenerateJsonSchema]:
    """pydantic's generator, without titles that only repeat a name, and with objects closed, as strict tools need."""
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

    def tidy(shape: JsonSchemaValue, cls: type | None) -> JsonSchemaValue:
        if cls is not None and shape.get("title") == cls.__name__:
            del shape["title"]
        if "properties" in shape:
            shape.setdefault("additionalProperties", False)
        return shape

    class Tidy(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
            return tidy(super().model_schema(schema), schema["cls"])

        def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
            return tidy(super().dataclass_schema(schema), schema["cls"])

        def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
            return tidy(super().typed_dict_schema(schema), schema.get("cls"))

    return Tidy


def _is(context: type, annotation: Any) -> bool:
    return annotation is context or typing.get_origin(annotation) is context


def _mentions(context: type, annotation: Any) -> bool:
    return _is(context, annotation) or any(_mentions(context, part) for part in typing.get_args(annotation))


def _fields(annotation: Any, default: Any) -> Iterator[FieldInfo]:
    """The pydantic `Field`s of a parameter, the one that counts first."""
    if _is_field(default):
        yield default
    yield from (item for item in reversed(getattr(annotation, "__metadata__", ())) if _is_field(item))


def _is_field(value: Any) -> bool:
    # Only who made a Field has loaded pydantic's.
    fields = sys.modules.get("pydantic.fields")
    return fields is not None and isinstance(value, fields.FieldInfo)


# The input, and what is wrong with it.


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        kind = {list: "an array", str: "a string", type(None): "null"}.get(type(value), f"a {type(value).__name__}")
        raise InvalidInput(f"the input should be an object, not {kind}")
    if value.keys() == {"INVALID_JSON"}:
        raise InvalidInput("the input was not valid JSON: send it again as one JSON object")
    return value


def _problems(name: str, error: Exception) -> Iterator[str]:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        # Anything may come out of a user's validator; what its text holds is not for the model.
        known = isinstance(error, ValueError)
        yield f"{name}: {_cut(first_line(error), 500) if known else f'its check failed with {type(error).__name__}'}"
        return
    for problem in error.errors(include_url=False, include_context=False):
        path = name + "".join(f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in problem["loc"])
        value = problem["input"]
        shown = isinstance(value, str | int | float | bool | None) and not _SECRET.search(path)
        yield f"{path}: {_cut(problem['msg'], 500)}" + (f" (got {_cut(repr(value))})" if shown else "")


def _cut(text: str, longest: int = _LONGEST_VALUE) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
