"""A question's words, before PostgreSQL splits them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from embedding_assets.postgres.search_indexes import FINAL_SIGMA, SIGMA, UNSPACED

_MOST_CHARACTERS: Final = 100_000
"""Of a question that are read."""

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

_UNSPACED: Final = re.compile(f"[{UNSPACED}]+")

_COMPOUND: Final = re.compile(r"(?<![^\W_])[^\W_]++(?:[-_./\\:@#+=&~]++[^\W_]++)++")
"""Words that separators hold together, such as ERR-40417, foo_bar.baz or v2.13.0. Nothing is tried twice, since a
question may be one word of 100,000 letters."""

_MOST_COMPOUNDS: Final = 16

_WORD: Final = re.compile(r"(?<!\w)\w{4,60}(?!\w)")
_LONG_NUMBER: Final = 5
_DIGITS: Final = 3
_OF_PROGRAMS: Final = re.compile(r"[^\W_](?:_|::|\\)[^\W_]")
"""What holds names together in programs, and no words of a language."""

_QUANTITY: Final = re.compile(r"\d{1,4}[a-z]{1,2}|\d+000", re.IGNORECASE)
"""1990s, 500mg and 20000 are plain language."""

_MOST_IDENTIFIERS: Final = 3
"""Of a question about something that is named; one that has more, such as a log or a program, is about none of them."""


_FORMS: Final = str.maketrans({"_": " ", FINAL_SIGMA: SIGMA})


@dataclass(frozen=True, slots=True)
class Words:
    """What is asked for by words.

    Attributes:
        text: as PostgreSQL can store it, composed (NFC), and pairs of letters where a script has no spaces.
        as_asked: as PostgreSQL can store it.
        compounds: identifiers and the like in it, whose parts are to stand side by side in a text.
        identifiers: part numbers, codes and names of programs in it, which mean one thing and are no plain language;
            none if there are many.
    """

    text: str
    as_asked: str
    compounds: tuple[str, ...]
    identifiers: tuple[str, ...]

    @property
    def beginnings(self) -> frozenset[str]:
        """The first two letters of each word, lowercase; those of its lexemes are the same in nearly all languages."""
        return frozenset(word[:2] for word in re.findall(r"\w+", self.text.lower().translate(_FORMS)))


def words_of(question: str) -> Words:
    """The words of a question, whatever characters it has."""
    as_asked = _UNSTORABLE.sub(" ", question[:_MOST_CHARACTERS])
    text = _UNSPACED.sub(_pairs, unicodedata.normalize("NFC", as_asked))
    # Digits first: of a long text with many, an identifier is what a person looks for.
    found = sorted(dict.fromkeys(_COMPOUND.findall(text)), key=lambda one: not any(map(str.isdigit, one)))
    return Words(text, as_asked, tuple(found[:_MOST_COMPOUNDS]), _identifiers(text, found))


def _identifiers(text: str, compounds: list[str]) -> tuple[str, ...]:
    words = [*compounds, *_WORD.findall(_COMPOUND.sub(" ", text))]
    found = tuple(dict.fromkeys(word for word in words if _is_identifier(word)))
    return found if len(found) <= _MOST_IDENTIFIERS else ()


def _is_identifier(word: str) -> bool:
    """Whether a word is a name made of letters and digits, or one of a program; COVID-19 and 18-year-old are none."""
    if _OF_PROGRAMS.search(word):
        return True
    digits = sum(map(str.isdigit, word))
    has_letters = any(map(str.isalpha, word))
    return digits >= (_DIGITS if has_letters else _LONG_NUMBER) and not _QUANTITY.fullmatch(word)


def _pairs(run: re.Match[str]) -> str:
    """代理后 as 代理 理后; one letter alone as such."""
    letters = run[0]
    pairs = [letters[at : at + 2] for at in range(len(letters) - 1)]
    return f" {' '.join(pairs) or letters} "
