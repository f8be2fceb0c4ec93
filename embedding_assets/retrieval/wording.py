"""What the characters of a question say about whether it can be found by its words."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from embedding_assets.postgres.search.question import words_of

_OF_IDENTIFIERS: Final = re.compile(r"[\d_.:\\@#=~]")
"""What compounds such as ERR-40417 or foo.bar have, and such as "full-text" have not."""

_CODE: Final = re.compile(r"(?=.*\d)(?=.*[A-Z])[^a-z]+")
"""X-17, which has too few digits to stand first; 24/7 and 18-year-old are plain language."""

_WORDS: Final = re.compile(r"[^\W\d_]{3,}")

_MOST_CHARACTERS: Final = 10_000
"""Of a question that are looked at."""

_LANGUAGES: Final = {
    "LATIN": "english",
    "CYRILLIC": "russian",
    "GREEK": "greek",
    "ARABIC": "arabic",
    "DEVANAGARI": "hindi",
    "ARMENIAN": "armenian",
    "TAMIL": "tamil",
}
"""Configurations of PostgreSQL by the first word of a letter's name in Unicode, one of each script."""

_WITHOUT_BLANKS: Final = frozenset(["CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"])
"""Scripts that put no blanks between words. They are searched by pairs of letters, whatever the configuration."""


def has_words(question: str) -> bool:
    """Whether a question has any letter or digit, and not only signs such as emoji."""
    return re.search(r"[^\W_]", question) is not None


def names_something(question: str) -> bool:
    """Whether there is an identifier or the like in a question: "what holds it" is then what is asked for."""
    words = words_of(question)
    return bool(words.identifiers) or any(map(_CODE.fullmatch, words.compounds))


def note_on_no_match(question: str) -> str | None:
    """The reason why no row has a word of a question, where words are taken as they are; None if none is known."""
    if not has_words(question):
        return "the question has neither a letter nor a digit, and no chunk has its signs"
    if not _WITHOUT_BLANKS.isdisjoint(_scripts(question)):
        return None
    plain = question
    for compound in words_of(question).compounds:
        if _OF_IDENTIFIERS.search(compound):
            plain = plain.replace(compound, " ")
    # Of numbers and abbreviations there are no other forms.
    scripts = _scripts(" ".join(_WORDS.findall(plain)))
    language = next((language for script, language in _LANGUAGES.items() if script in scripts), None)
    if language is None:
        return None
    return (
        f"no chunk has a word of the question in the same form; EMBEDDING_SEARCH_LANGUAGE={language}, or another "
        "language of your texts, finds other forms too"
    )


def _scripts(text: str) -> set[str]:
    """The scripts of its letters, as Unicode names them first."""
    letters = {letter for letter in text[:_MOST_CHARACTERS] if letter.isalpha()}
    return {re.split("[ -]", unicodedata.name(letter, ""), maxsplit=1)[0] for letter in letters}
