"""An exchange, as `traffic.told` tells it, as HTML: who said what, block by block."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from agentkit.emulator.traffic.markup import Html, Part, element

__all__ = ["shown"]

_MOST = 20_000  # characters of one text
_MOST_SUMMARY = 90


def shown(exchange: dict[str, Any]) -> Html:
    """One line that opens: the request and the reply."""
    body, reply = exchange["request"], exchange["reply"]
    state = _state(exchange)
    summary = element(
        "summary",
        element("span", f"#{exchange['number']}", class_="number"),
        element(
            "span", str(exchange["status"] or ("…" if exchange["seconds"] is None else "cut")), class_=f"status {state}"
        ),
        element("span", _title(exchange), class_="title"),
        element("span", _gist(body, reply), class_="gist"),
        element("span", _times(exchange), class_="times"),
    )
    columns = element("div", _request(exchange, body), _reply(exchange, reply), class_="columns")
    return element("details", summary, columns, id=f"exchange-{exchange['number']}", class_="exchange")


def _state(exchange: dict[str, Any]) -> str:
    if exchange["seconds"] is None:
        return "going"
    return "failed" if exchange["status"] is None or exchange["status"] >= 400 or exchange["problem"] else "fine"


def _title(exchange: dict[str, Any]) -> Part:
    if exchange["turn"] is None:
        return f"{exchange['method']} {exchange['path']}"
    model = exchange["request"].get("model") if isinstance(exchange["request"], dict) else None
    return [f"turn {exchange['turn']} ", element("small", str(model or ""))]


def _gist(body: Any, reply: Any) -> str:
    """What was asked, and what was said to it."""
    messages = body.get("messages") if isinstance(body, dict) else None
    asked = _inline(messages[-1].get("content")) if _is_messages(messages) and messages else ""
    if isinstance(reply, dict) and isinstance(reply.get("error"), dict):
        said = f"{reply['error'].get('type')}: {reply['error'].get('message')}"
    else:
        said = _inline(reply.get("content")) if isinstance(reply, dict) else ""
    return " → ".join(_cut(" ".join(text.split())) for text in (asked, said) if text)


def _inline(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return " | ".join(_inline_block(block) for block in blocks if isinstance(block, dict))


def _inline_block(block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text"))
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            return f"{block.get('name')}({_compact(block.get('input'))})"
        case "tool_result":
            return f"result {_inline(block.get('content'))}"
    return str(block.get("type"))


def _times(exchange: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(exchange["at"]))
    took = "streams" if exchange["seconds"] is None else f"{exchange['seconds'] * 1000:.0f} ms"
    return f"{clock} · {took}"


def _request(exchange: dict[str, Any], body: Any) -> Html:
    parts: list[Part] = [
        element("h3", "Request"),
        element("p", f"{exchange['method']} {exchange['path']}", class_="line"),
    ]
    if isinstance(body, dict) and _is_messages(body.get("messages")):
        parts += [_fields(body), _system(body.get("system")), _tools(body.get("tools")), _messages(body["messages"])]
    elif body is not None:
        parts.append(_text(body if isinstance(body, str) else _pretty(body)))
    headers = "\n".join(f"{name}: {value}" for name, value in exchange["headers"].items())
    parts.append(_folded("headers", _text(headers)))
    return element("section", parts, class_="request")


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _fields(body: dict[str, Any]) -> Html:
    return _pairs({name: value for name, value in body.items() if name not in ("messages", "system", "tools")})


def _pairs(values: dict[str, Any]) -> Html:
    pairs = [[element("dt", name), element("dd", _compact(value))] for name, value in values.items()]
    return element("dl", pairs)


def _system(system: Any) -> Part:
    return _folded("system", _blocks(system)) if system else None


def _tools(tools: Any) -> Part:
    if not isinstance(tools, list) or not tools:
        return None
    names = [str(tool.get("name", tool.get("type"))) if isinstance(tool, dict) else "?" for tool in tools]
    return _folded(f"tools: {', '.join(names)}", [_text(_pretty(tool)) for tool in tools])


def _messages(messages: list[dict[str, Any]]) -> Part:
    """The newest ones open, those before the last reply of the model folded."""
    last = max((at for at, one in enumerate(messages[:-1]) if one.get("role") == "assistant"), default=0)
    earlier = [_message(one) for one in messages[:last]]
    count = f"{last} earlier message{'' if last == 1 else 's'}"
    return [_folded(count, earlier) if earlier else None, [_message(one) for one in messages[last:]]]


def _message(message: dict[str, Any]) -> Html:
    role = str(message.get("role"))
    kind = role if role in ("user", "assistant", "system") else "other"
    return element("div", element("b", role, class_="role"), _blocks(message.get("content")), class_=f"message {kind}")


def _reply(exchange: dict[str, Any], reply: Any) -> Html:
    return element("section", element("h3", "Reply"), list(_reply_parts(exchange, reply)), class_="reply")


def _reply_parts(exchange: dict[str, Any], reply: Any) -> Iterator[Part]:
    if isinstance(reply, dict) and isinstance(reply.get("error"), dict):
        error = reply["error"]
        title = element("b", f"{exchange['status']} {error.get('type')}", class_="role")
        yield element("div", title, _text(str(error.get("message"))), class_="message wrong")
    elif isinstance(reply, dict) and isinstance(reply.get("content"), list):
        yield element(
            "div", element("b", "assistant", class_="role"), _blocks(reply["content"]), class_="message assistant"
        )
        known = ("type", "role", "content", "usage")
        yield _pairs({name: value for name, value in reply.items() if name not in known and value is not None})
        if isinstance(reply.get("usage"), dict):
            yield element("h4", "usage")
            yield _pairs({name: value for name, value in reply["usage"].items() if _counts(value)})
    elif reply is not None:
        yield _text(reply if isinstance(reply, str) else _pretty(reply))
    if exchange["problem"]:
        yield element("div", element("b", "cut off", class_="role"), _text(exchange["problem"]), class_="message wrong")
    elif exchange["seconds"] is None:
        yield element("p", "It is still being answered.", class_="line")


def _counts(value: Any) -> bool:
    return any(map(_counts, value.values())) if isinstance(value, dict) else bool(value)


def _blocks(content: Any) -> Part:
    if isinstance(content, list):
        return [_block(block) for block in content]
    return _text(str(content))


def _block(block: Any) -> Part:
    if not isinstance(block, dict):
        return _text(_pretty(block))
    kind = str(block.get("type"))
    match block:
        case {"type": "text", "text": str(text)}:
            cited = block.get("citations")
            return [
                _text(text),
                _folded(f"{len(cited)} cited", _text(_pretty(cited))) if isinstance(cited, list) and cited else None,
            ]
        case {"type": "thinking", "thinking": str(text)}:
            return _labelled("thinking", _text(text or "(not shown)"), "thinking")
        case {"name": name, "input": given}:
            return _labelled(f"{kind} {name}", _text(given if isinstance(given, str) else _pretty(given)), "call")
        case {"tool_use_id": _, "content": result}:
            label = f"{kind}{' is_error' if block.get('is_error') else ''}"
            inner = _blocks(result) if kind == "tool_result" else _text(_pretty(result))
            return _labelled(label, inner, "result")
    return _labelled(kind, _text(_pretty({name: value for name, value in block.items() if name != "type"})), "result")


def _labelled(label: str, inner: Part, kind: str) -> Html:
    return element("div", element("span", label, class_="label"), inner, class_=f"block {kind}")


def _folded(label: str, inner: Part) -> Html:
    return element("details", element("summary", label), inner, class_="more")


def _text(text: str) -> Html:
    more = len(text) - _MOST
    return element("pre", text if more <= 0 else f"{text[:_MOST]}… ({more:,} more characters)", dir="auto")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SUMMARY else f"{text[:_MOST_SUMMARY]}…"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
