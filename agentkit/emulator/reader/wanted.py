"""What a question wants: its parts, the pages it compares, and the earlier question that it goes on from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

from agentkit.emulator.corpus.corpus import Found
from agentkit.emulator.corpus.words import content_words

__all__ = ["SURE", "Part", "wanted"]

SURE = 0.35  # how sure a search must be of its best page
_MAX_PARTS = 4
_MAX_WORDS = 24
_SURE_OF_BOTH = 0.9
_CHOICES = 3  # pages of a step that are considered
_NEARLY = 0.8  # of the best page's score

# Where a second step begins, whatever it is.
_STEP = re.compile(
    r"(?i)\?\s+(?=.*\?)|[,.;]?\s+(?:and\s+)?(?:then|afterwards?|after that|finally)\b(?!\s+(?:by|an?|the)\b),?\s+"
    r"|,?\s+and\s+(?=(?:how|what|which|where|who|can|could|also)\b)"
)
_AND = re.compile(r"(?i),?\s+and\s+")
_BACK = re.compile(r"(?i)\b(?:it|its|them|they|their|that|those|this|these|there|one|ones)\b")
_ALIKE = re.compile(r"(?i)\b(?:same|instead|as well|too|again|else|otherwise|back|vice versa|other way)\b")
_OPENING = re.compile(r"(?i)^(?:(?:ok|okay|thanks|thank you|thx|great|good|nice|fine|yes|no|hm+|well|so)\b[\s,.!]*)*")
_GOES_ON = re.compile(
    r"(?i)(?:and|but|also|or|then|with|without|only|what about|how about|what if|in that case|which of)\b"
    r"|(?:on|in|for|at|from|to|as|by)(?:\s+\w+){1,3}\W*$"  # "On another port?"
)
_COMPARES = re.compile(r"(?i)\bcompar\w+|\bversus\b|\bvs\b\.?|\bdifferences?\s+between\b|\btable\b")
_OF_TWO = re.compile(r"(?i)\bversus\b|\bvs\b|\bdifferences?\s+between\b|\bcompar.*\btable\b|\btable\b.*\bcompar")
_ITEM = re.compile(r"(?i)\s*(?:,|/|\band\b|\bwith\b|\bversus\b|\bvs\b\.?|\bor\b|\bto\b)\s*")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")

Search = Callable[[str], list[Found]]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a question wants: a search, and the page of its results that answers.

    Attributes:
        query: What is searched.
        found: What the search finds, the page that answers first; empty where no page answers.
    """

    query: str
    found: tuple[Found, ...]


def wanted(questions: list[str], search: Search) -> tuple[list[Part], bool]:
    """The parts of the last question, and whether they are to be compared in a table.

    Args:
        questions: What the user asked so far, the newest last, without arithmetic.
        search: Finds pages.
    """
    question = questions[-1]
    compared = _compared(question, search)
    if len(compared) > 1:
        return compared, True
    earlier = _earlier(questions, search)
    if earlier and _goes_on(question, search):
        return [_onward(earlier, question, search)], False
    steps = _steps(question, search)
    if len(steps) > 1:
        return _in_steps(question, steps, search), False
    if earlier and _fits_as_well(earlier, question, search):
        return [_onward(earlier, question, search)], False
    part = _part(question, search)
    return [part] if part.query else [], False


def _in_steps(question: str, steps: list[str], search: Search) -> list[Part]:
    """A part for each step, each with a page of its own: the pages that fit best together."""
    whole = _part(question, search)
    parts = [part if part.found else whole for part in (_part(step, search) for step in steps[:_MAX_PARTS])]
    choices: list[tuple[Found | None, ...]] = list(product(*(part.found[:_CHOICES] or (None,) for part in parts)))
    return [
        Part(part.query, (page, *(one for one in part.found if one is not page)) if page else ())
        for part, page in zip(parts, max(choices, key=_together), strict=True)
    ]


def _together(pages: Iterable[Found | None]) -> float:
    """How well different pages fit; pages that are the same count once."""
    best: dict[str, float] = {}
    for one in pages:
        if one:
            best[one.page.url] = max(one.score, best.get(one.page.url, 0.0))
    return sum(best.values())


def _part(text: str, search: Search) -> Part:
    query = _query(text)
    found = search(query) if query else []
    return Part(query, tuple(found) if found and found[0].sure >= SURE else ())


def _query(text: str) -> str:
    return " ".join(content_words(text)[:_MAX_WORDS])


def _steps(question: str, search: Search) -> list[str]:
    steps: list[str] = []
    for step in filter(content_words, _STEP.split(_OPENING.sub("", question))):
        if steps and _BACK.search(step):  # "and then unpack it": what `it` is, the step before says
            steps[-1] += f" and {step}"
        else:
            steps.append(step)
    if len(steps) > 1 and ("?" in question[:-1] or all(search(_query(step)) for step in steps)):
        return steps
    return _halves(question, search)


def _halves(question: str, search: Search) -> list[str]:
    """A question cut at an "and" that joins two things, each of which has a page of its own."""
    whole = search(_query(question))[:1]
    for match in _AND.finditer(question):
        halves = [question[: match.start()], question[match.end() :]]
        if _BACK.search(halves[1]) or any(len(content_words(half)) < 2 for half in halves):
            continue
        first, second = (search(_query(half)) for half in halves)
        if _apart(first, second) and whole[0].page.url in (first[0].page.url, second[0].page.url):
            return halves
    return [question]


def _apart(first: list[Found], second: list[Found]) -> bool:
    """Whether two searches are sure of their best pages, and neither has the other's among its first."""
    if not first or not second or min(first[0].sure, second[0].sure) < _SURE_OF_BOTH:
        return False
    urls = [{one.page.url for one in found[:3]} for found in (first, second)]
    return first[0].page.url not in urls[1] and second[0].page.url not in urls[0]


def _earlier(questions: list[str], search: Search) -> Part | None:
    """The earlier question that the last one may go on from: the newest that stands alone, if a page answers it."""
    for at in reversed(range(len(questions) - 1)):
        if at == 0 or not _goes_on(questions[at], search):
            part = _part(questions[at], search)
            return part if part.found else None
    return None


def _fits_as_well(earlier: Part, question: str, search: Search) -> bool:
    """Whether the page that answered an earlier question fits this one nearly as well as the best page."""
    found = search(_query(question))
    share = [one.score / found[0].score for one in found if one.page.url == earlier.found[0].page.url]
    return any(one >= _NEARLY for one in share)


def _onward(earlier: Part, question: str, search: Search) -> Part:
    """A question together with the topic of an earlier one, whose page answers both where it fits nearly as well.

    The topic is the page's name, and the earlier question's words where the name says nothing ("re"), or the question
    hardly anything.
    """
    page = earlier.found[0].page
    says_little = not content_words(page.name) or len(content_words(question)) < 2
    topic = f"{page.name} {earlier.query}" if says_little else page.name
    part = _part(f"{topic} {question}", search)
    same = [one for one in part.found if one.page.url == page.url and one.score >= _NEARLY * part.found[0].score]
    return Part(part.query, (*same, *(one for one in part.found if one not in same)))


def _goes_on(question: str, search: Search) -> bool:
    text = _OPENING.sub("", question)
    if _BACK.search(text):
        return True
    found = search(_query(text))
    if _GOES_ON.match(text) or _ALIKE.search(text):  # "And tea?" stands alone where there is a page about tea
        return not {one.page.name for one in found} & set(content_words(text))
    return not found or found[0].sure < SURE


def _compared(question: str, search: Search) -> list[Part]:
    """The pages that a question compares, by their names or by what is said of them."""
    if not _COMPARES.search(question):
        return []
    named = [name.rstrip(".") for name in _NAME.findall(question)]
    parts = [part for name in dict.fromkeys(named) if (part := _named(name, search))]
    if len(parts) < 2 and _OF_TWO.search(question):
        parts = []
        for item in _ITEM.split(_COMPARES.sub(" ", question)):
            part = _part(item, search)
            parts += [part] if part.found else []
    return parts[:_MAX_PARTS]


def _named(name: str, search: Search) -> Part | None:
    """The page of a name."""
    found = search(name)
    page = [one for one in found if one.page.name.lower() == name.lower()]
    return Part(name, (*page, *(one for one in found if one not in page))) if page else None
