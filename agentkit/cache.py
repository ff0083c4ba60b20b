"""The prompt cache: where its marks go, and what of the next request it can't hold.

The API caches a prompt up to a mark, and finds it again while model, tools, system and messages before the mark are the
same. `plan` says once for a run which marks of ours fit in; `Request.body_parts` then splices them in turn by turn. A
`Prefix` is what the cache depends on, as digests; `misses` compares two of them before anything is sent.

Source: messages-api.md section 17.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from agentkit.messages import Block, encode
from agentkit.request import Marks, Request, can_carry, marks_in
from agentkit.support import Provider, model_of

__all__ = ["Prefix", "misses", "plan"]


def plan(request: Request, provider: Provider, *, long: bool = False) -> Marks | None:
    """Which marks fit into a request beside those of the user's: for its field `cache`.

    Args:
        request: As it is sent in a run: tools, system and params are looked at.
        provider: Of the endpoint.
        long: Whether minutes may pass between two requests, as while somebody approves a call. What stays the same is
            then kept for an hour, where the provider is known to take that.

    Returns:
        None where the provider takes no marks, the user has placed all that it takes, or the API keeps the messages in
        a thread, which takes none either (section 18.4).
    """
    top = request.params.get("cache_control")
    blocks = [*request.tools, *_system_of(request)]
    room = provider.cache_marks - sum(1 for _ in marks_in(blocks)) - isinstance(top, dict)
    # Beside the user's own hour at the very end, marks of ours would say nothing more.
    if room < 1 or _is_long(top) or request.params.get("thread"):
        return None
    newest: Literal["automatic", "explicit", "user"] = "automatic" if provider.automatic_cache else "explicit"
    if "cache_control" in request.params:
        newest = "user"
    spots = list(_spots(request))
    if provider.automatic_cache:
        spots = [at for at in spots[:1] if long and all(map(_is_long, marks_in(blocks[:at])))]
    else:
        spots = [at for at in spots if not any(map(_is_long, marks_in(blocks[at + 1 :])))]
    stable = tuple(at for at in spots if "cache_control" not in blocks[at])
    return Marks(room, newest, stable, long=provider.automatic_cache)


def _system_of(request: Request) -> Sequence[Block]:
    """The blocks of the system prompt; what the API will refuse has none."""
    system = request.system or ()
    if isinstance(system, str):
        return [{"type": "text", "text": system}]
    return system if isinstance(system, list | tuple) and all(isinstance(block, dict) for block in system) else ()


def _spots(request: Request) -> Iterator[int]:
    """Where the last block of the system and the last tool are that can carry a mark, counted over tools and system."""
    count, system = len(request.tools), _system_of(request)
    yield from [count + at for at, block in enumerate(system) if can_carry(block)][-1:]
    yield from [at for at, tool in enumerate(request.tools) if not _is_deferred(tool)][-1:]


def _is_deferred(tool: Mapping[str, Any]) -> bool:
    """Whether a tool is not in the prompt from the start. Source: messages-api.md sections 10.4 and 12."""
    toolset = tool.get("default_config")
    return bool(tool.get("defer_loading") or (isinstance(toolset, Mapping) and toolset.get("defer_loading")))


def _is_long(mark: Any) -> bool:
    return isinstance(mark, dict) and mark.get("ttl") == "1h"


@dataclass(frozen=True, slots=True)
class Prefix:
    """What of a request the prompt cache depends on, as digests.

    Attributes:
        params: Of the model and of the parameters that matter, by name; empty for what is not said.
        tools: Of the tools that are in the prompt from the start, by name, in order.
        system: Of the system prompt.
        size: Bytes of the messages.
        lasts: Seconds until the end of the prompt is forgotten, if nothing asks for it.
    """

    params: tuple[tuple[str, str], ...]
    tools: tuple[tuple[str, str], ...]
    system: str
    size: int = 0
    lasts: int = 300

    @classmethod
    def of(cls, request: Request, endpoint: str = "") -> Self:
        """The prefix of a request before its messages: it is the same for a whole run.

        Args:
            request: As it is sent.
            endpoint: Its address, where it is known: caches are not shared.
        """
        blocks = _unmarked(_system_of(request))
        system = _digest(blocks)
        _remember(system, "".join(str(block.get("text")) for block in blocks).encode(errors="surrogatepass"))
        known = {"model": request.model, "endpoint": endpoint, **_params_of(request)}
        return cls(
            tuple((name, _digest(value) if value else "") for name, value in known.items()),
            tuple((_name_of(tool), _digest(tool)) for tool in _unmarked(request.tools) if not _is_deferred(tool)),
            system,
            lasts=3600 if _is_long(request.params.get("cache_control")) else 300,
        )

    def at(self, size: int) -> Self:
        """The same, before so many bytes of messages."""
        return type(self)(self.params, self.tools, self.system, size, self.lasts)

    def dump(self, before: Prefix | None = None) -> dict[str, Any]:
        """As JSON: digests, and the names of the tools; only what is not as it was `before`."""
        found = [(name, getattr(self, name)) for name in self.__slots__]
        return {
            name: [*map(list, value)] if isinstance(value, tuple) else value
            for name, value in found
            if before is None or value != getattr(before, name)
        }

    @classmethod
    def load(cls, dump: Mapping[str, Any], before: Prefix | None = None) -> Self:
        """The prefix of a `dump(before)`."""
        known = {name: getattr(before, name) for name in cls.__slots__} if before else {}
        return cls(
            **known | {name: _pairs(value) if isinstance(value, list) else value for name, value in dump.items()}
        )


def misses(before: Prefix | None, now: Prefix, *, seconds: float = 0.0, rewritten: str | None = None) -> list[str]:
    """Why the next request won't be read from the cache as far as it could be; empty if it will, as far as is known.

    Args:
        before: Of the last request of the conversation; None if there was none.
        now: Of the next one.
        seconds: Since the last request was sent, by the clock on the wall.
        rewritten: What was done since to messages that had been sent, if anything was.
    """
    if before is None:
        return []
    found: list[str] = []
    if before.params != now.params:
        old = dict(before.params)
        found += [f"{name} changed" for name, digest in now.params if old.get(name, "") != digest]
    if before.tools != now.tools:
        found += _of_tools(before.tools, now.tools)
    if before.system != now.system:
        at = _first_difference(_texts.get(before.system), _texts.get(now.system))
        found.append("system changed" if at is None else f"system changed at byte {at}")
    if rewritten or now.size < before.size:
        found.append("the messages were rewritten" + (f" ({rewritten})" if rewritten else ""))
    if seconds >= before.lasts:
        passed = "1 hour has" if before.lasts == 3600 else "5 minutes have"
        found.append(f"{passed} passed since the last request")
    return found


_TEXTS = 64
_texts: dict[str, bytes] = {}  # of the last system prompts, by digest, to say where one has changed
_UNASKED = (("type", "auto"), ("disable_parallel_tool_use", False))


def _params_of(request: Request) -> dict[str, Any]:
    """The parameters that matter. What is said without being asked, such as the default effort, is no difference."""
    params, model = request.params, model_of(request.model)
    config, choice = _mapping(params.get("output_config")), _mapping(params.get("tool_choice"))
    servers = params.get("mcp_servers")
    return {
        "mcp_servers": [{**_mapping(server), "authorization_token": None} for server in servers or ()],
        "speed": params.get("speed") if params.get("speed") != "standard" else None,
        "inference_geo": params.get("inference_geo"),
        "thinking": params.get("thinking"),
        "effort": config.get("effort") or (model and model.default_effort),
        "output_config.format": config.get("format") or params.get("output_format"),
        "tool_choice": {name: value for name, value in choice.items() if (name, value) not in _UNASKED},
    }


def _of_tools(before: tuple[tuple[str, str], ...], now: tuple[tuple[str, str], ...]) -> Iterator[str]:
    old, new = dict(before), dict(now)
    changed = sorted(name for name in {**old, **new} if old.get(name) != new.get(name))
    if changed:
        yield f"tools changed: {', '.join(changed)}"
    if [name for name, _ in before if name in new] != [name for name, _ in now if name in old]:
        yield "tool order changed"


def _remember(digest: str, text: bytes) -> None:
    _texts.pop(digest, None)
    _texts[digest] = text
    for oldest in list(_texts)[:-_TEXTS]:
        _texts.pop(oldest, None)


def _first_difference(before: bytes | None, now: bytes | None) -> int | None:
    """How many bytes are the same; None where that is not known, or all are."""
    if before is None or now is None or before == now:
        return None
    return next((at for at, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))


def _pairs(dump: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, digest) for name, digest in dump)


def _unmarked(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]


def _name_of(tool: Mapping[str, Any]) -> str:
    return str(tool.get("name") or tool.get("mcp_server_name") or tool.get("type"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _digest(value: Any) -> str:
    return hashlib.sha256(encode(value)).hexdigest()[:16]
