"""YAML as far as it says what JSON can say: no dates, no `yes` and `no` as truth values, no key twice."""

from __future__ import annotations

import importlib
import re
from typing import Any

from agentkit.errors import ConfigurationError

__all__ = ["parse_yaml"]

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"-?(?:0|[1-9][0-9]*)", [*"-0123456789"]),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", [*"-0123456789"]),
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML document; scalars without quotes are read as JSON's where they look so, else they are texts.

    Raises:
        ValueError: It is no YAML; the text says where.
        ConfigurationError: PyYAML is not installed.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError:
        hint = "a YAML script needs PyYAML: pip install 'agentkit-loop[emulator]', or write it as JSON"
        raise ConfigurationError(hint) from None
    try:
        return yaml.load(text, _loader_type(yaml))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _loader_type(yaml: Any) -> Any:
    def construct_mapping(loader: Any, mapping: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in mapping.value]
        for at, (key, _) in enumerate(mapping.value):
            if key.value in names[:at]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
        return yaml.SafeLoader.construct_mapping(loader, mapping, deep)

    scope = {"yaml_implicit_resolvers": {}, "construct_mapping": construct_mapping}
    loader: Any = type("Loader", (yaml.SafeLoader,), scope)
    for name, pattern, firsts in _SCALARS:
        loader.add_implicit_resolver(_TAG + name, re.compile(rf"(?:{pattern})\Z"), firsts)
    return loader
