"""Arithmetic in words, written with symbols, as a calculator takes it."""

from __future__ import annotations

import re

__all__ = ["in_symbols"]

_N = r"(-?\d{1,30}(?:\.\d{1,30})?)"
_FROM = r"\s+(?:of|from|by|to|and|with|into)\s+"
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_PAUSE = re.compile(r"(?i)(?<=\d),?\s+(?:and\s+)?(?:then\s+)?(?=(?:plus|minus|times|divided|multiplied)\b)")
_LIST = rf"({_N}(?:(?:,\s*|\s+and\s+|,\s*and\s+){_N}){{1,20}})"
# What is said, and what is written; (?<!\w) and (?!\w) around each.
_SPOKEN = [
    (rf"{_N}\s*(?:%|percent|per cent)\s+of\s+{_N}", r"\1 / 100 * \2"),
    (rf"(?:the\s+)?square root of {_N}", r"\1 ** 0.5"),
    (rf"(?:the\s+)?cube root of {_N}", r"\1 ** (1 / 3)"),
    (rf"{_N}\s+squared", r"\1 ** 2"),
    (rf"{_N}\s+cubed", r"\1 ** 3"),
    (rf"{_N}\s+(?:raised\s+)?to the (?:power(?: of)?\s+)?{_N}(?:st|nd|rd|th)?(?:\s+power)?", r"\1 ** \2"),
    (rf"{_N}\s+(?:mod|modulo)\s+{_N}", r"\1 % \2"),
    (rf"(?:the\s+)?remainder (?:of|when) {_N} (?:is )?(?:divided by|/) {_N}", r"\1 % \2"),
    (rf"(?:half|halve) (?:of )?{_N}", r"\1 / 2"),
    (rf"(?:a third|one third) of {_N}", r"\1 / 3"),
    (rf"(?:a quarter|one quarter) of {_N}", r"\1 / 4"),
    (rf"(?:double|twice) {_N}", r"2 * \1"),
    (rf"add {_N}{_FROM}{_N}", r"\1 + \2"),
    (rf"subtract {_N}\s+from\s+{_N}", r"\2 - \1"),
    (rf"multiply {_N}{_FROM}{_N}", r"\1 * \2"),
    (rf"divide {_N}{_FROM}{_N}", r"\1 / \2"),
    (rf"(?:the\s+)?product of {_N} and {_N}", r"\1 * \2"),
    (rf"(?:the\s+)?difference (?:between|of) {_N} and {_N}", r"\1 - \2"),
    (rf"(?:the\s+)?quotient of {_N} and {_N}", r"\1 / \2"),
]
_SAID = [(re.compile(rf"(?i)(?<![\w.]){said}(?![\w%])"), written) for said, written in _SPOKEN]
# "… and then subtract 4 from it": goes on with what was worked out before.
_SO_FAR = r"(\(?[\d.]{1,30}(?:[\d.\s+*/%()-]{0,80}[\d)])?)"
_NEXT = re.compile(
    rf"(?i)(?<![\w.]){_SO_FAR}[,.;]?\s+(?:and\s+)?(?:then\s+)?(add|subtract|take away|multiply|divide)\s+"
    rf"(?:(?:it|that|this|the result)\s+)?(?:by\s+)?{_N}(?:\s+(?:to|from)\s+(?:it|that|this|the result))?(?!\w)"
)
_STEPS = 4  # at most so many
_LONG = 2000  # characters; nobody writes a sum in so many
_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/"}
_BETWEEN = re.compile(rf"(?i)(?<=[\d)])\s+({'|'.join(_OPERATORS)})\s+(?=[\d(.-])")
_SIGNS = {"add": "+", "subtract": "-", "take away": "-", "multiply": "*", "divide": "/"}
_SUM_OF = re.compile(rf"(?i)(?<!\w)(?:the\s+)?(sum|average|mean|total) of {_LIST}(?!\w)")


def in_symbols(text: str) -> str:
    """A text whose arithmetic in words is written with symbols; all else stays as it is.

    >>> in_symbols("What is 15% of 240?")
    'What is 15 / 100 * 240?'
    """
    if not re.search(r"\d", text):
        return text
    text = _PAUSE.sub(" ", _THOUSANDS.sub("", text))
    for said, written in _SAID:
        text = said.sub(written, text)
    text = _BETWEEN.sub(lambda match: f" {_OPERATORS[match[1].lower()]} ", _SUM_OF.sub(_added, text))
    for _ in range(_STEPS if len(text) < _LONG else 0):
        text = _NEXT.sub(lambda match: f"({match[1]}) {_SIGNS[match[2].lower()]} {match[3]}", text)
    return text


def _added(match: re.Match[str]) -> str:
    numbers = re.findall(_N, match[2])
    total = " + ".join(numbers)
    return f"({total}) / {len(numbers)}" if match[1].lower() in ("average", "mean") else total
