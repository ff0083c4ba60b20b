"""The emulator's "model": a small reader that follows fixed rules. It is not a language model.

It reads the whole request each time and writes the next turn: it searches for each thing that the question wants,
fetches the pages that fit best, calls a client tool only when the question holds every required argument, and answers
with cited sentences of the pages, or a table of them. The same request gives the same turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from agentkit.emulator.corpus.corpus import Corpus, Found
from agentkit.emulator.corpus.words import content_words
from agentkit.emulator.messages.message import CHARACTERS_A_TOKEN, Reply, written
from agentkit.emulator.reader.answer import Source, cited, see_also, table, tool_results
from agentkit.emulator.reader.arguments import calls_for, without_expressions
from agentkit.emulator.reader.arithmetic import in_symbols
from agentkit.emulator.reader.conversation import Conversation
from agentkit.emulator.reader.instance import instance
from agentkit.emulator.reader.wanted import Part, wanted
from agentkit.emulator.reader.web import Web
from agentkit.messages import Block, encode

__all__ = ["ABOUT", "new_ids", "read"]

ABOUT = "agentkit's emulator: a small reader that follows fixed rules, not a language model"

_ALSO_FITS = 0.2  # of the best page's score
_PAGES = 3  # that an answer names; more where the question has more parts
_FETCHES = 2
_MAX_QUESTION = 10_000


def read(body: dict[str, Any], corpus: Corpus, pause_after: int) -> Reply:
    """The next turn.

    Args:
        body: A request that `rules` has nothing against.
        corpus: What the server tools search.
        pause_after: Server calls in one reply, before it pauses.
    """
    reply = _Reader(body, corpus, pause_after).read()
    _cut(reply, body["max_tokens"], body.get("stop_sequences") or [])
    return reply


class _Reader:
    def __init__(self, body: dict[str, Any], corpus: Corpus, pause_after: int) -> None:
        self.talk = Conversation(body["messages"])
        self.reply = Reply()
        choice = body.get("tool_choice") or {"type": "auto"}
        self.tools = _chosen(body.get("tools") or [], choice)
        self.one_call = bool(choice.get("disable_parallel_tool_use"))
        self.web = Web(corpus, self.tools)
        self.corpus = corpus
        self.pause_after = pause_after
        self.question = self.talk.question[:_MAX_QUESTION]
        self.schema = _schema(body)
        self.ids = new_ids({name: value for name, value in body.items() if name != "stream"})

    def read(self) -> Reply:
        for waiting in list(self.talk.waiting):
            self._answer_use(waiting)
        served = 0
        while (use := self._next_use()) is not None:
            if not self.talk.uses("server_tool_use") and not self.reply.content:
                self._add({"type": "text", "text": "I will look that up."})
            self._add(use)
            served += 1
            if served >= self.pause_after:
                return self._stop("pause_turn")
            # The last server call and the client's calls are made at the same time.
            if self._is_last(use) and self._call_tools():
                return self._stop("tool_use")
            self._answer_use(use)
        if self._call_tools():
            return self._stop("tool_use")
        self._write_answer()
        return self.reply

    def _add(self, block: Block) -> None:
        self.talk.add(block)
        self.reply.content.append(block)

    def _stop(self, reason: str) -> Reply:
        self.reply.stop_reason = reason
        return self.reply

    def _answer_use(self, use: Block) -> None:
        earlier = [other for other in self.talk.uses("server_tool_use", use["name"]) if other["id"] != use["id"]]
        self._add(self.web.result(use, len(earlier), self.talk.known_urls))

    def _next_use(self) -> Block | None:
        """The next server call of the plan: addresses in the question, a search, the pages that fit best."""
        fetches = self.talk.uses("server_tool_use", "web_fetch")
        tried = [use["input"].get("url") for use in fetches]
        if "web_fetch" in self.web:
            for url in self.talk.urls_asked()[:_FETCHES]:
                if url not in tried:
                    return self._use("web_fetch", {"url": url})
        if "web_search" in self.web:
            queries = [use["input"].get("query") for use in self.talk.uses("server_tool_use", "web_search")]
            for part in self._parts:
                if part.query not in queries:
                    return self._use("web_search", {"query": part.query})
        if "web_fetch" in self.web and len(fetches) < _FETCHES:
            for url in self._to_fetch():
                if url not in tried:
                    return self._use("web_fetch", {"url": url})
        return None

    def _to_fetch(self) -> list[str]:
        """The pages that fit best: of each part one, of a single part two."""
        parts = self._found_parts()
        pages = parts[0].found[:_FETCHES] if len(parts) == 1 else [part.found[0] for part in parts]
        return [] if self._is_table else [found.page.url for found in pages]

    def _is_last(self, use: Block) -> bool:
        """Whether the plan has no server call after this one, whatever this one gives."""
        searches = self.talk.uses("server_tool_use", "web_search")
        if use["name"] == "web_search" and len(searches) == len(self._parts):
            return "web_fetch" not in self.web
        return self._next_use() is None

    def _use(self, name: str, given: dict[str, Any]) -> Block:
        return {"type": "server_tool_use", "id": f"srvtoolu_{next(self.ids)}", "name": name, "input": given}

    @cached_property
    def _wanted(self) -> tuple[list[Part], bool]:
        asked = [without_expressions(in_symbols(text[:_MAX_QUESTION])) for text in self.talk.questions]
        return wanted(asked, self.web.found)

    @property
    def _parts(self) -> list[Part]:
        return self._wanted[0]

    @property
    def _is_table(self) -> bool:
        return self._wanted[1]

    def _found_parts(self) -> list[Part]:
        """The parts that a search found a page for."""
        searched = self.talk.searched()
        return [part for part in self._parts if part.found and part.query in searched]

    def _call_tools(self) -> bool:
        """Calls the client tools that the question has all arguments for and that were not called yet."""
        made = [(use["name"], use["input"]) for use in self.talk.uses("tool_use")]
        calls = [call for tool in self.tools for call in calls_for(_said_to(tool, self.question), [tool])]
        new = [call for call in calls if call not in made]
        for name, given in new[:1] if self.one_call else new:
            self._add({"type": "tool_use", "id": f"toolu_{next(self.ids)}", "name": name, "input": given})
        return bool(new)

    def _write_answer(self) -> None:
        if self.schema is not None:
            given = tool_results(self._done_calls())
            value = instance(self.schema, f"{self.question}\n{given}")
            self._add({"type": "text", "text": encode(value).decode()})
            return
        pages = list(self._pages())
        if pages:
            for block in pages:
                self._add(block)
        results = tool_results(self._done_calls())
        if results:
            self._add({"type": "text", "text": f"\n\n{results}" if pages else results})
        if not pages and (self._parts or not results):
            self._add({"type": "text", "text": ("\n\n" if results else "") + self._why_nothing(bool(results))})

    def _done_calls(self) -> list[tuple[Block, Block]]:
        return [(use, result) for use in self.talk.uses("tool_use") if (result := self.talk.result_of(use))]

    def _pages(self) -> Iterator[Block]:
        """The part of the answer that comes from pages, if any fits."""
        documents = {url: (index, document) for index, url, document in self.talk.fetched()}
        asked = [url for url in self.talk.urls_asked() if url in documents]
        if asked:
            source = _fetched(asked[0], *documents[asked[0]], searched=False)
            yield from cited(source, content_words(self.question))
        elif self._is_table:
            yield from table([_searched(part.found[0]) for part in self._found_parts()])
        else:
            yield from self._part_by_part(documents)

    def _part_by_part(self, documents: dict[str, tuple[int, dict[str, Any]]]) -> Iterator[Block]:
        found = self._found_parts()
        for at, part in enumerate(self._parts if found else []):
            before = "\n\n" if at else ""
            if part not in found:
                yield {"type": "text", "text": f"{before}About “{part.query}” I found nothing in {self.corpus.about}."}
                continue
            best = part.found[0]
            url = best.page.url
            source = _fetched(url, *documents[url], searched=True) if url in documents else _searched(best)
            yield from cited(source, part.query.split(), before)
        yield from see_also([_searched(other) for other in _others(found)])

    def _why_nothing(self, has_results: bool) -> str:
        if self.talk.uses("server_tool_use"):
            return f"I found nothing that fits the question in {self.corpus.about}. I am {ABOUT}."
        if has_results:
            return f"That is all that I can say without a search. I am {ABOUT}."
        return (
            f"I can't answer that: I am {ABOUT}. I answer from pages that web_search and web_fetch give, and I call a "
            "tool only when the question holds every argument that it requires; here I have neither."
        )


def _cut(reply: Reply, max_tokens: int, stop_sequences: list[str]) -> None:
    """Ends a reply at the first stop sequence in its text, or where `max_tokens` are written."""
    left = CHARACTERS_A_TOKEN * max_tokens
    for at, block in enumerate(reply.content):
        text = block.get("text", "")
        met = {sequence: found for sequence in stop_sequences if (found := text.find(sequence)) >= 0}
        first = min(met, key=met.__getitem__, default=None)
        size = written(block) if first is None else met[first]
        if size > left:
            return _end(reply, at, text[:left], "max_tokens")
        if first is not None:
            reply.stop_sequence = first
            return _end(reply, at, text[:size], "stop_sequence")
        left -= size
    return None


def _end(reply: Reply, at: int, text: str, reason: str) -> None:
    last = [{**reply.content[at], "text": text}] if text.strip() else []
    reply.content[at:] = last
    reply.stop_reason = reason


def _said_to(tool: dict[str, Any], question: str) -> str:
    """The question as a tool is to read it: for one that takes an expression, arithmetic in words is in symbols."""
    schema = tool.get("input_schema")
    required = schema.get("required") if isinstance(schema, dict) else None
    return in_symbols(question) if isinstance(required, list) and "expression" in required else question


def _others(parts: list[Part]) -> list[Found]:
    """Pages beside the best one of each part: those that come nearest to the best of their part."""
    named = {part.found[0].page.url for part in parts}
    fits: dict[str, tuple[float, Found]] = {}
    for part in parts:
        for other in part.found[1:]:
            share = other.score / part.found[0].score
            if other.page.url not in named and share >= max(_ALSO_FITS, fits.get(other.page.url, (0.0,))[0]):
                fits[other.page.url] = (share, other)
    nearest = sorted(fits.values(), key=lambda fit: -fit[0])
    return [other for _, other in nearest[: max(0, _PAGES - len(named))]]


def _searched(found: Found) -> Source:
    return Source(found.page.url, found.page.title, found.page.text, summary=found.page.summary)


def _fetched(url: str, index: int, document: dict[str, Any], *, searched: bool) -> Source:
    citable = index if (document.get("citations") or {}).get("enabled") else None
    return Source(url, document.get("title") or url, document["source"]["data"], citable, searched)


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """What the answer has to fit, where it is to be JSON."""
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    schema: dict[str, Any] | None = wanted.get("schema")
    return schema


def _chosen(tools: list[dict[str, Any]], choice: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools that `tool_choice` leaves."""
    if choice["type"] == "none":
        return []
    return [tool for tool in tools if choice["type"] != "tool" or tool.get("name") == choice["name"]]


def new_ids(request: dict[str, Any]) -> Iterator[str]:
    """Ids that are the same for the same request, and differ in every other."""
    seed = hashlib.sha256(encode(request)).digest()
    count = 0
    while True:
        yield "01" + hashlib.sha256(seed + bytes([count])).hexdigest()[:22]
        count += 1
