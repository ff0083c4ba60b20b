"""One change each to a request that the API accepted, and the rule that it breaks: no other may trip."""

from __future__ import annotations

from typing import Any

from bodies import MARK
from changes import (
    DOCUMENT,
    FROM_CODE,
    IMAGE,
    Change,
    all_deferred,
    appended,
    beside,
    blank,
    called_from_code,
    circular,
    empty,
    example,
    free,
    given,
    hollow,
    in_block,
    in_part,
    in_tool,
    many,
    many_images,
    marked,
    marked_target,
    mistyped,
    no_result,
    no_server_result,
    no_server_use,
    open_object,
    refer,
    renamed,
    repeated,
    replaced,
    same_name,
    spoken_first,
    uncited,
    unthought,
    when,
    without,
)
from histories import SIGNED, call, result, text
from places import (
    absent,
    block,
    blocks,
    custom,
    enabled,
    ends_with_user,
    has_tools,
    is_4_5,
    is_forced,
    is_marked,
    is_mixed,
    is_of,
    negated,
    plain,
    search,
    shown,
    thinks,
    ungated,
    with_format,
)

NEWEST = "claude-opus-5-5"
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
CLEAR = {"type": "clear_thinking_20251015"}
RECURSIVE = {"type": "object", "properties": {"a": {"$ref": "#"}}}
FORMAT = {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}

MUTATIONS: dict[str, tuple[str, Change]] = {
    # The history
    "no messages": ("messages_empty", replaced(messages=[])),
    "a strange role": ("role_unknown", lambda body: body["messages"][0].update(role="developer") or True),
    "no content": ("content_empty", hollow),
    "empty text": ("text_empty", empty),
    "blank text": ("text_blank", blank),
    "a call of the user": ("block_role", beside("user", call("t_9"), "text", after=True)),
    "a result of the model": ("block_role", beside("assistant", result("t_9"), "text", after=True)),
    "thinking of the user": ("thinking_role", beside("user", THOUGHT, "text", after=True)),
    "an image of the model": ("media_role", beside("assistant", IMAGE)),
    "a document of the model": ("media_role", beside("assistant", DOCUMENT)),
    "an odd id": ("tool_use_id", renamed),
    "a long name": ("tool_use_name", in_block("assistant", "tool_use", name="a" * 201)),
    "input as text": ("tool_use_input", in_block("assistant", "tool_use", input="{}")),
    "a call twice": ("tool_use_duplicate", repeated("assistant", "tool_use")),
    "no result": ("tool_result_missing", no_result),
    "text before results": (
        "tool_result_missing",
        when(negated(is_mixed), change=beside("user", text(), "tool_result")),
    ),
    "a foreign result": ("tool_result_unexpected", beside("user", result("t_9"), "tool_result", after=True)),
    "a result twice": ("tool_result_duplicate", repeated("user", "tool_result")),
    "no server result": ("server_result_missing", no_server_result),
    "no server use": ("server_result_unexpected", no_server_use),
    "a signed compaction": ("compaction_misplaced", beside("assistant", SIGNED, "text", after=True)),
    # Fields
    "no model": ("field_required", without("model")),
    "no limit": ("field_required", without("max_tokens")),
    "no signature": (
        "field_required",
        lambda body: (block(body, "assistant", "thinking") or {}).pop("signature", None) is not None,
    ),
    "no text": ("field_required", lambda body: (block(body, "user", "text") or {}).pop("text", None) is not None),
    "a limit in words": ("field_type", replaced(max_tokens="many")),
    "a system prompt of numbers": ("field_type", replaced(system=7)),
    "text of no text": ("field_type", in_block("user", "text", text=None)),
    "an unknown tier": ("field_value", replaced(service_tier="fast")),
    "an unknown tool choice": ("field_value", when(has_tools, change=replaced(tool_choice={"type": "required"}))),
    "an unknown ttl": ("field_value", replaced(cache_control=MARK | {"ttl": "2h"})),
    "an unknown image": (
        "field_value",
        lambda body: any(
            [
                found[at]["source"].update(media_type="image/bmp") or True
                for found, at in blocks(body, "user", "image")
                if found[at]["source"]["type"] == "base64"
            ][:1]
        ),
    ),
    "too warm": ("field_range", replaced(temperature=1.5)),
    "an unknown field": ("field_unknown", replaced(response_format={})),
    "an unknown key of a message": ("field_unknown", lambda body: body["messages"][0].update(name="me") or True),
    "an unknown key of text": ("field_unknown", in_block("user", "text", later=1)),
    "an unknown key of a tool": ("field_unknown", in_tool(custom, parameters={})),
    "a mark on thinking": ("field_unknown", in_block("assistant", "thinking", cache_control=MARK)),
    "a blank stop": ("stop_sequence_blank", replaced(stop_sequences=["END", " "])),
    "a name with a dot": ("tool_name", in_tool(custom, name="a.b")),
    "a schema without a type": (
        "input_schema",
        lambda body: (custom(body) or {"input_schema": {}})["input_schema"].pop("type", None) is not None,
    ),
    "a schema that is none": ("schema_invalid", mistyped),
    "an example that does not fit": ("input_example", example),
    "a long reference": ("tool_reference_name", refer("a" * 65)),
    "a domain with a scheme": ("domain", in_tool(search, allowed_domains=["https://a.example"])),
    # Tools
    "a name twice": ("tool_name_duplicate", when(absent("tool_choice"), change=same_name)),
    "a choice without tools": (
        "tool_choice_without_tools",
        when(
            lambda body: body.get("tool_choice") and absent("container", "mcp_servers")(body),
            lambda body: not any(word in str(body["messages"]) for word in ("tool_reference", "server_tool_use")),
            change=without("tools"),
        ),
    ),
    "a choice of no tool": (
        "tool_choice_unknown",
        when(has_tools, negated(enabled), change=replaced(tool_choice={"type": "tool", "name": "none_such"})),
    ),
    "a model that can't be forced": ("tool_choice_forced", when(plain, is_forced, change=replaced(model=NEWEST))),
    "all deferred": ("tools_deferred", all_deferred),
    "a deferred tool with a mark": (
        "deferred_cached",
        when(
            lambda body: shown(body) > 1 and not is_marked(body),
            change=in_tool(custom, defer_loading=True, cache_control=MARK),
        ),
    ),
    "both lists of domains": ("domains", in_tool(search, allowed_domains=["a.example"], blocked_domains=["b.example"])),
    "an option to come": ("option_version", in_tool(search, response_inclusion="full")),
    "strict, from code": (
        "programmatic_strict",
        when(
            lambda body: not is_forced(body) and not is_of(body, "claude-haiku") and not custom(body),
            lambda body: not body.get("tool_choice", {}).get("disable_parallel_tool_use"),
            change=in_tool(
                lambda body: next((tool for tool in body.get("tools", []) if tool.get("strict")), None),
                allowed_callers=FROM_CODE,
            ),
        ),
    ),
    "recursive, from code": (
        "programmatic_recursive",
        when(
            lambda body: not is_of(body, "claude-haiku") and not is_forced(body),
            lambda body: not body.get("tool_choice", {}).get("disable_parallel_tool_use"),
            change=lambda body: called_from_code(body, input_schema=RECURSIVE),
        ),
    ),
    "from code, with the small model": (
        "programmatic_model",
        when(
            lambda body: is_of(body, "claude-haiku-4-5") and not is_forced(body),
            lambda body: not body.get("tool_choice", {}).get("disable_parallel_tool_use"),
            change=called_from_code,
        ),
    ),
    "from code, forced": (
        "programmatic_forced",
        when(
            lambda body: body.get("tool_choice", {}).get("name") == (custom(body) or {}).get("name", ""),
            lambda body: not is_of(body, "claude-haiku"),
            lambda body: not body["tool_choice"].get("disable_parallel_tool_use"),
            change=called_from_code,
        ),
    ),
    # Schemas
    "an open object": ("schema_open", open_object),
    "a limit of length": ("schema_unsupported", in_part("string", maxLength=9)),
    "a boolean for a schema": ("schema_unsupported", free),
    "a word boundary": ("schema_pattern", in_part("string", pattern=r"\bword\b")),
    "many optional fields": ("schema_optional", many({"type": "string"})),
    "many unions": ("schema_unions", many({"anyOf": [{"type": "string"}, {"type": "null"}]})),
    "a circle": ("schema_circular", circular),
    # The model's switches
    "a high limit": ("max_tokens", when(is_4_5, change=replaced(max_tokens=10**7))),
    "nothing, streamed": ("max_tokens_zero", when(lambda body: body.get("stream"), change=replaced(max_tokens=0))),
    "adaptive": ("thinking_type", when(is_4_5, change=given(thinking={"type": "adaptive"}))),
    "forced and thinking": (
        "thinking_forced",
        when(enabled, has_tools, change=replaced(tool_choice={"type": "any"})),
    ),
    "warm and thinking": (
        "thinking_temperature",
        when(enabled, absent("top_p"), change=replaced(temperature=0.5)),
    ),
    "top_p and thinking": ("thinking_top_p", when(enabled, absent("temperature"), change=replaced(top_p=0.5))),
    "top_k and thinking": ("thinking_top_k", when(enabled, change=replaced(top_k=5))),
    "text before thinking": ("thinking_first", spoken_first),
    "thinking left out": ("thinking_expected", unthought),
    "an effort": (
        "effort",
        when(lambda body: is_of(body, "claude-haiku-4-5"), change=given(output_config={"effort": "low"})),
    ),
    "warm": (
        "sampling",
        when(
            lambda body: is_of(body, "claude-opus-4-7", "claude-opus-5", "claude-sonnet-5"),
            change=given(temperature=0.5),
        ),
    ),
    "warm and cut": (
        "sampling_both",
        when(is_4_5, lambda body: not enabled(body), absent("top_p"), change=replaced(temperature=0.5, top_p=0.9)),
    ),
    "a place": ("geo_model", when(is_4_5, change=given(inference_geo="us"))),
    "a system message": (
        "system_role",
        when(
            lambda body: is_4_5(body) or is_of(body, "claude-sonnet-4-6"),
            ends_with_user,
            change=appended("system", "Go."),
        ),
    ),
    "a prefill": (
        "prefill",
        when(lambda body: is_of(body, "claude-sonnet-4-6"), ends_with_user, change=appended("assistant", "The")),
    ),
    "a prefill that ends in space": (
        "prefill_whitespace",
        when(is_4_5, ends_with_user, negated(enabled), change=appended("assistant", "The ")),
    ),
    # Marks
    "five marks": ("cache_marks", when(negated(is_marked), change=replaced(system=marked(*["5m"] * 5)))),
    "ttl the wrong way": ("cache_order", when(negated(is_marked), change=replaced(system=marked("5m", "1h")))),
    "another ttl at the target": ("cache_target", marked_target),
    # Content
    "many images": ("images", many_images),
    "one document without citations": ("citations_mixed", uncited),
    "citations and a format": (
        "citations_format",
        when(
            lambda body: "'citations': {'enabled': True}" in str(body), change=given(output_config={"format": FORMAT})
        ),
    ),
    "a reference to nothing": ("tool_reference_unknown", refer("none_such")),
    # Context
    "a container for nothing": (
        "container_tool",
        when(
            lambda body: custom(body) and all(tool.get("type") in (None, "custom") for tool in body["tools"]),
            lambda body: "allowed_callers" not in str(body),
            change=given(container="container_1"),
        ),
    ),
    "a summary of a format": (
        "compaction_alone",
        when(with_format, absent("output_format"), change=given(compaction={"type": "summarize"})),
    ),
    "clearing without thinking": (
        "clear_thinking_off",
        when(lambda body: thinks(body) == "disabled", change=given(context_management={"edits": [CLEAR]})),
    ),
    "clearing too late": (
        "clear_thinking_order",
        when(
            lambda body: thinks(body) == "adaptive",
            change=given(context_management={"edits": [{"type": "clear_tool_uses_20250919"}, CLEAR]}),
        ),
    ),
    "compacting with the small model": (
        "compact_model",
        when(
            lambda body: is_of(body, "claude-haiku-4-5"),
            change=given(context_management={"edits": [{"type": "compact_20260112"}]}),
        ),
    ),
    "a fallback twice": ("fallbacks_twice", given(fallbacks=[{"model": "a"}, {"model": "a"}])),
    # Headers
    "sampling with the newest version": (
        "version_sampling",
        lambda body: not absent("temperature", "top_p", "top_k")(body),
    ),
    "citations with the newest version": (
        "version_citations",
        when(
            absent("temperature", "top_p", "top_k"),
            change=in_block("user", "text", citations=[{"type": "char_location"}]),
        ),
    ),
    "a beta that there is not": ("beta_unknown", lambda _: True),
    "a field without its beta": ("beta_missing", when(ungated, change=given(speed="fast"))),
    "a budget that is too large": (
        "thinking_budget",
        when(enabled, ungated, change=lambda body: body.update(max_tokens=body["thinking"]["budget_tokens"]) or True),
    ),
}

# Headers that go with a change, where it is about them.
HEADERS: dict[str, dict[str, Any]] = {
    "sampling with the newest version": {"version": "2026-10-21"},
    "citations with the newest version": {"version": "2026-10-21"},
    "a beta that there is not": {"betas": ["none-such"]},
    "a field without its beta": {"betas": []},
    "a budget that is too large": {"betas": []},
    "a fallback twice": {"betas": None},
    "a summary of a format": {"betas": None},
    "clearing without thinking": {"betas": None},
    "clearing too late": {"betas": None},
    "compacting with the small model": {"betas": None},
}
