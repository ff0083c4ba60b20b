"""Porter's stemmer: "compressing", "compressed" and "compression" are all "compress".

Source: M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["stem"]

# A consonant-vowel pattern of a stem: [C](VC){m}[V]; y is a vowel after a consonant.
_C = "(?:[^aeiouy]|(?<![^aeiou])y|^y)"
_V = "(?:[aeiou]|(?<=[^aeiou])y)"
_MEASURED = re.compile(rf"{_V}+{_C}+")
_HAS_VOWEL = re.compile(_V)
_DOUBLE = re.compile(r"([^aeiouylsz])\1$")
_SHORT = re.compile(rf"{_C}{_V}(?![wxy]){_C}$")

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP_4_DROPS = "al ance ence er ic able ible ant ement ment ent ou ism ate iti ous ive ize"
_STEP_4 = dict.fromkeys(_STEP_4_DROPS.split(), "") | {"sion": "s", "tion": "t"}


@lru_cache(50_000)
def stem(word: str) -> str:
    """The stem of a word in lower case. Words of other alphabets and short ones stay as they are."""
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return word
    word = _plural(word)
    word = _past(word)
    if word.endswith("y") and _HAS_VOWEL.search(word[:-1]):
        word = f"{word[:-1]}i"
    word = _without_ending(word, _STEP_2, 0)
    word = _without_ending(word, _STEP_3, 0)
    word = _without_ending(word, _STEP_4, 1)
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _SHORT.search(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word


def _measure(word: str) -> int:
    return len(_MEASURED.findall(word))


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        rest = word.removesuffix(ending)
        if rest != word and _HAS_VOWEL.search(rest):
            if rest.endswith(("at", "bl", "iz")) or (_measure(rest) == 1 and _SHORT.search(rest)):
                return f"{rest}e"
            return rest[:-1] if _DOUBLE.search(rest) else rest
    return word


def _without_ending(word: str, endings: dict[str, str], least: int) -> str:
    """With the longest ending that fits replaced, where what is left before it is long enough."""
    for ending in sorted(endings, key=len, reverse=True):
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            return rest + endings[ending] if _measure(rest + endings[ending][:1] * (least > 0)) > least else word
    return word
