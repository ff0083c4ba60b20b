"""Changes of one thing in a request. One returns False where it does not apply, or would break another rule too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bodies import MARK, Body
from histories import Block, text, user
from places import (
    block,
    blocks,
    compiled,
    content,
    custom,
    ends_with_user,
    is_4_5,
    is_marked,
    is_mixed,
    part,
    thinks,
)

Change = Callable[[Body], object]

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}
FROM_CODE = ["code_execution_20260120"]
LONG = MARK | {"ttl": "1h"}


def given(**fields: Any) -> Change:
    """Sets fields at the top level that are not there."""

    def change(body: Body) -> bool:
        if not body.keys().isdisjoint(fields):
            return False
        body.update(fields)
        return True

    return change


def when(*conditions: Callable[[Body], object], change: Change) -> Change:
    return lambda body: all(condition(body) for condition in conditions) and change(body)


def replaced(**fields: Any) -> Change:
    return lambda body: body.update(fields) or True


def without(*names: str) -> Change:
    return lambda body: all(body.pop(name, None) is not None for name in names)


def in_block(role: str, *kinds: str, **fields: Any) -> Change:
    """Sets fields of the first such block."""

    def change(body: Body) -> bool:
        found = block(body, role, *kinds)
        return found is not None and (found.update(fields) or True)

    return change


def beside(role: str, new: Block, *kinds: str, after: bool = False) -> Change:
    """Puts a block before or after the first such block."""

    def change(body: Body) -> bool:
        for found, at in blocks(body, role, *kinds):
            found.insert(at + after, new)
            return True
        return False

    return change


def in_tool(find: Callable[[Body], Body | None], **fields: Any) -> Change:
    def change(body: Body) -> bool:
        tool = find(body)
        return tool is not None and (tool.update(fields) or True)

    return change


def repeated(role: str, kind: str) -> Change:
    def change(body: Body) -> bool:
        for found, at in blocks(body, role, kind):
            found.insert(at, {key: value for key, value in found[at].items() if key != "cache_control"})
            return True
        return False

    return change


def no_result(body: Body) -> bool:
    for found, at in blocks(body, "user", "tool_result"):
        found[at] = text()
        return not is_mixed(body)
    return False


def renamed(body: Body) -> bool:
    for found, at in blocks(body, "assistant", "tool_use"):
        key = found[at]["id"]
        for uses, place in blocks(body, "user", "tool_result"):
            if uses[place]["tool_use_id"] == key:
                uses[place]["tool_use_id"] = "no id"
        found[at]["id"] = "no id"
        return sum(each.get("id") == key for uses, _ in blocks(body, "assistant") for each in uses) == 0
    return False


def empty(body: Body) -> bool:
    found = block(body, "user", "text")
    return found is not None and "cache_control" not in found and (found.update(text="") or True)


def blank(body: Body) -> bool:
    first = content(body["messages"][0])
    if len(first) > 1 or first[0]["type"] != "text" or body["messages"][1:2] == []:
        return False
    first[0]["text"] = " \n"
    return bool(body["messages"][1]["role"] == "assistant")


def hollow(body: Body) -> bool:
    body["messages"][0]["content"] = []
    return not is_mixed(body) and all(message["role"] == "assistant" for message in body["messages"][1:2])


def no_server_result(body: Body) -> bool:
    for message in body["messages"]:
        for at, each in enumerate(content(message)):
            if each["type"].endswith("_tool_result") and message["role"] == "assistant":
                del message["content"][at]
                body["messages"].append(user(text("And then?")))
                return body["messages"][-2]["role"] == "assistant" or not is_marked(body)
    return False


def no_server_use(body: Body) -> bool:
    for found, at in blocks(body, "assistant", "server_tool_use"):
        key = found[at]["id"]
        if any(each.get("tool_use_id") == key for uses, _ in blocks(body, "assistant") for each in uses):
            del found[at]
            return True
    return False


def unthought(body: Body) -> bool:
    """The turn whose calls are answered shows no thinking any more."""
    last = body["messages"][-2:]
    if thinks(body) != "enabled" or len(last) < 2 or content(last[1])[0]["type"] != "tool_result":
        return False
    left = [each for each in content(last[0]) if "thinking" not in each["type"]]
    changed = len(left) < len(last[0]["content"])
    last[0]["content"] = left
    return changed


def spoken_first(body: Body) -> bool:
    for found, at in blocks(body, "assistant", "thinking"):
        if at == 0 and thinks(body) == "enabled":
            found.insert(0, text())
            return True
    return False


def same_name(body: Body) -> bool:
    tool = custom(body)
    if tool is None:
        return False
    body["tools"].append({"name": tool["name"], "input_schema": {"type": "object"}})
    return True


def all_deferred(body: Body) -> bool:
    tools = body.get("tools", [])
    if len(tools) != 1 or custom(body) is None or "cache_control" in tools[0]:
        return False
    tools[0]["defer_loading"] = True
    return True


def marked_target(body: Body) -> bool:
    """The block that the automatic mark goes to has a mark of another ttl."""
    top = body.get("cache_control")
    last = content(body["messages"][-1])[-1]
    others = str({**body, "cache_control": None}).count("'cache_control': {")
    if not top or others or "thinking" in last["type"]:
        return False
    last["cache_control"] = MARK if top.get("ttl") == "1h" else LONG
    return True


def example(body: Body) -> bool:
    tool = custom(body)
    if tool is None or not tool["input_schema"].get("required"):
        return False
    tool["input_examples"] = [{}]
    return True


def mistyped(body: Body) -> bool:
    tool = custom(body)
    if tool is None:
        return False
    tool["input_schema"]["properties"] = {"a": {"type": "text"}}
    return True


def open_object(body: Body) -> bool:
    schema = compiled(body)
    return schema is not None and schema.pop("additionalProperties", None) is not None


def free(body: Body) -> bool:
    """A property that may be anything."""
    properties = (compiled(body) or {}).get("properties") or {}
    for name in properties:
        properties[name] = True
        return True
    return False


def in_part(kind: str, **fields: Any) -> Change:
    def change(body: Body) -> bool:
        found = part(body, kind)
        return found is not None and (found.update(fields) or True)

    return change


def many(schema: Body) -> Change:
    """Gives a compiled schema 30 more properties."""

    def change(body: Body) -> bool:
        found = compiled(body)
        if found is None:
            return False
        more = {f"more_{at}": schema for at in range(30)}
        found["properties"] = {**found.get("properties", {}), **more}
        if "anyOf" in schema:
            found["required"] = [*found.get("required", []), *more]
        return True

    return change


def circular(body: Body) -> bool:
    for tool in body.get("tools", []):
        if tool.get("strict"):
            schema = tool["input_schema"]
            schema["$defs"] = {"Node": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}
            return True
    return False


def refer(name: str) -> Change:
    def change(body: Body) -> bool:
        for found, at in blocks(body, "user", "tool_result"):
            for each in found[at]["content"] if isinstance(found[at].get("content"), list) else []:
                if each["type"] == "tool_reference":
                    each["tool_name"] = name
                    return True
        return False

    return change


def many_images(body: Body) -> bool:
    content(body["messages"][-1]).extend([IMAGE] * 101)
    return is_4_5(body) and ends_with_user(body) and not is_mixed(body)


def uncited(body: Body) -> bool:
    for found, at in blocks(body, "user", "document"):
        if found[at].get("citations", {}).get("enabled"):
            found.insert(at, DOCUMENT)
            return True
    return False


def called_from_code(body: Body, **fields: Any) -> bool:
    tool = custom(body)
    return tool is not None and (tool.update(allowed_callers=FROM_CODE, **fields) or True)


def appended(role: str, words: str) -> Change:
    return lambda body: body["messages"].append({"role": role, "content": words}) or True


def marked(*ttls: str) -> list[Block]:
    return [text("a") | {"cache_control": MARK | {"ttl": ttl}} for ttl in ttls]
