"""`agentkit doctor`: what is configured, what the endpoint answers, what is missing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.options import DEFAULT_MODEL, BaseUrl, DoctorAsJson, DoctorModel, WithProbe
from agentkit.cli.problems import FAILED, notice, reported
from agentkit.terminal import safe_line

if TYPE_CHECKING:
    from agentkit.client import Client

__all__ = ["doctor", "examine"]

_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "COMETAPI_KEY")
_OTHERS = ("ANTHROPIC_BASE_URL", "AGENTKIT_MODEL", "AGENTKIT_HOME")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)[^;]*(?:;.*extra *== *['\"](\w+)['\"])?")


def doctor(
    base_url: BaseUrl = None,
    model: DoctorModel = DEFAULT_MODEL,
    probe: WithProbe = False,
    as_json: DoctorAsJson = False,
) -> None:
    """Look at the configuration, ask the endpoint for its models, and say what is missing. Costs nothing.

    With --probe it finds out what the endpoint supports instead, by some 30 small requests, which cost some cents.

    \b
    Exit codes: 0 agents can run · 1 something is in the way, and what to do about it
    """
    with reported():
        if probe:
            _probe(base_url, model, as_json=as_json)
            return
        found = examine(base_url, model)
        if as_json:
            print(json.dumps(found, indent=2))
        else:
            _show(found)
        if not found["usable"]:
            raise typer.Exit(FAILED)


def _probe(base_url: str | None, model: str, *, as_json: bool) -> None:
    import anyio

    from agentkit.cli.findings import as_dict, show
    from agentkit.cli.probe import Finding, Probe  # here, so that `--help` is quick
    from agentkit.client import Client

    client = Client(base_url=base_url)
    probe = Probe(client, model)
    tokens_in, tokens_out = probe.most_tokens()
    cost = _about_cost(client, model, tokens_in, tokens_out)
    notice(
        f"{len(probe.questions)} requests to {client.base_url} for {model}: "
        f"at most about {tokens_in:,} tokens in and {tokens_out:,} out{cost}"
    )

    async def run() -> list[Finding]:
        async with client:
            return await probe.run(_count if sys.stderr.isatty() else lambda done, all_of_them: None)

    found = as_dict(anyio.run(run), client.base_url, model)
    print(json.dumps(found, indent=2)) if as_json else show(found)
    if not found["usable"]:
        notice("nothing else was asked: check the model (--model), the key and the base URL; see `agentkit doctor`")
        raise typer.Exit(FAILED)


def _count(done: int, all_of_them: int) -> None:
    """Says how far it is, on a line that is cleared at the end."""
    text = f"{done} of {all_of_them} answered" if done < all_of_them else " " * 40
    print(f"\r{text}", end="\r", file=sys.stderr, flush=True)


def _about_cost(client: Client, model: str, tokens_in: int, tokens_out: int) -> str:
    from agentkit.prices import cost_of

    usage = {"input_tokens": tokens_in, "output_tokens": tokens_out}
    cost = cost_of({"model": model, "usage": usage}, client.provider.name)
    return "" if cost is None else f", ${cost:.2f}"


def examine(base_url: str | None = None, model: str = DEFAULT_MODEL) -> dict[str, Any]:
    """What `doctor` finds, as JSON; `usable` says whether agents can run, `advice` what to do next. No secrets."""
    endpoint = _endpoint(base_url, model)
    return {
        "versions": _versions(),
        "extras": _extras(),
        "environment": _environment(),
        "endpoint": endpoint,
        "emulator": {"index": _index()},
        "usable": endpoint["problem"] is None,
        "advice": endpoint.pop("advice"),
    }


def _requirements() -> list[tuple[str, str | None]]:
    """What agentkit needs: the name of each package, and the extra that it belongs to."""
    found = (_REQUIREMENT.match(line) for line in metadata.requires("agentkit-loop") or ())
    return [(match[1], match[2]) for match in found if match and match[2] not in ("all", "dev")]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str | None]:
    import platform

    core = {package: _version(package) for package, extra in _requirements() if extra is None}
    return {"agentkit": _version("agentkit-loop"), "Python": platform.python_version(), **core}


def _extras() -> dict[str, dict[str, str | None]]:
    extras: dict[str, dict[str, str | None]] = {}
    for package, extra in _requirements():
        if extra is not None:
            extras.setdefault(extra, {})[package] = _version(package)
    return extras


def _environment() -> dict[str, str | None]:
    keys = {name: f"set ({_ending(os.environ[name])})" if os.environ.get(name) else None for name in _KEYS}
    proxies = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    others = {name: "set" if os.environ.get(name) else None for name in _OTHERS}
    return {**keys, **others, **dict.fromkeys(proxies, "set")}


def _ending(value: str) -> str:
    from agentkit.secrets import Secret

    return str(Secret(value)).removeprefix("Secret('").removesuffix("')")


def _endpoint(base_url: str | None, model: str) -> dict[str, Any]:
    import anyio

    from agentkit.client import Client
    from agentkit.errors import ConfigurationError

    try:
        client = Client(base_url=base_url)
    except ConfigurationError as error:
        nothing = dict.fromkeys(("url", "key", "status", "seconds", "models", "model", "model_is_listed"))
        return {
            **nothing,
            "problem": str(error),
            "advice": "see the problem above; `agentkit run --emulator` needs no key",
        }
    began = time.monotonic()
    found = anyio.run(_ask_for_models, client, model)
    return {
        "url": client.base_url,
        "key": _key_used(client),
        "seconds": round(time.monotonic() - began, 3),
        "model": model,
        **found,
    }


def _key_used(client: Client) -> str | None:
    """The variable whose key the client sends."""
    keys = sorted(_KEYS, key=lambda name: name != "COMETAPI_KEY") if client.provider.name == "cometapi" else _KEYS[:2]
    return next((name for name in keys if os.environ.get(name)), None)


async def _ask_for_models(client: Client, model: str) -> dict[str, Any]:
    from agentkit.errors import AgentKitError, APIError, AuthenticationError, NotFoundError

    status: int | None = 200
    models, listed, problem, advice = None, None, None, 'agentkit run "…"'
    try:
        async with client:
            seconds = client.timeouts.connect
            answer = await client.endpoint.ask("GET", "/v1/models?limit=1000", seconds=seconds, repeat=False)
        models, listed = len(answer["data"]), any(item["id"] == model for item in answer["data"])
    except AuthenticationError as error:
        status, problem = 401, str(error)
        advice = "the key is missing or wrong: set ANTHROPIC_API_KEY to one that this endpoint knows"
    except NotFoundError:
        status = 404
        advice = 'it has no list of models, so the key is not tested: try agentkit run "…"'
    except AgentKitError as error:
        status = error.status if isinstance(error, APIError) else None
        problem, advice = str(error), "check the base URL (without /v1), the network and the proxy"
    except (TypeError, LookupError):
        problem, advice = "the list of models has another shape", "check the base URL (without /v1)"
    return {"status": status, "models": models, "model_is_listed": listed, "problem": problem, "advice": advice}


def _index() -> str:
    from agentkit.emulator.corpus.corpus import index_path

    return "made" if index_path().exists() else "not made yet: the first use takes a few seconds"


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(force_terminal=sys.stdout.isatty(), highlight=False, markup=False, emoji=False)

    def section(title: str, lines: dict[str, tuple[str, str]]) -> None:
        console.print(title, style="bold")
        for name, (value, style) in lines.items():
            console.print(f"  {name:<22}", end="")
            console.print(safe_line(value), style=style, soft_wrap=True)
        console.print()

    versions = {name: (value or "missing", "" if value else "red") for name, value in found["versions"].items()}
    section("Versions", versions)
    section("Extras", {name: _about_extra(name, packages) for name, packages in found["extras"].items()})
    environment = found["environment"].items()
    section("Environment", {name: (value or "not set", "" if value else "dim") for name, value in environment})
    endpoint = found["endpoint"]
    section("Endpoint", {name: value for name, value in _about_endpoint(endpoint).items() if value[0]})
    section("Emulator", {"index": (found["emulator"]["index"], "")})
    state, style = ("Ready", "green") if found["usable"] else ("Not ready", "red")
    console.print(f"{state}: ", style=style, end="")
    console.print(safe_line(found["advice"]), soft_wrap=True)


def _about_extra(name: str, packages: dict[str, str | None]) -> tuple[str, str]:
    missing = [package for package, version in packages.items() if version is None]
    if missing:
        return f"missing {', '.join(missing)}: pip install 'agentkit-loop[{name}]'", "yellow"
    return ", ".join(f"{package} {version}" for package, version in packages.items()), ""


def _about_endpoint(endpoint: dict[str, Any]) -> dict[str, tuple[str, str]]:
    took = "" if endpoint["seconds"] is None else f", {endpoint['seconds']:.2f} s"
    answer = "" if endpoint["status"] is None else f"HTTP {endpoint['status']}{took}"
    models = "" if endpoint["models"] is None else str(endpoint["models"])
    return {
        "address": (endpoint["url"] or "", ""),
        "key": (endpoint["key"] or "none" if endpoint["url"] else "", ""),
        "GET /v1/models": (answer, ""),
        "models": (models, ""),
        "model": (endpoint["model"] or "", "")
        if endpoint["model_is_listed"] is not False
        else (f"{endpoint['model']}, which is not in that list", "yellow"),
        "problem": (endpoint["problem"] or "", "red"),
    }
