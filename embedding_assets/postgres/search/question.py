"""A question's words, before PostgreSQL splits them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_MOST_CHARACTERS: Final = 100_000
"""Of a question that are read."""

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

_COMPOUND: Final = re.compile(r"(?<![^\W_])[^\W_]++(?:[-_./\\:@#+=&~]++[^\W_]++)++")
"""Words that separators hold together, such as ERR-40417, foo_bar.baz or v2.13.0. Nothing is tried twice, since a
question may be one word of 100,000 letters."""

_MOST_COMPOUNDS: Final = 16


@dataclass(frozen=True, slots=True)
class Words:
    """What is asked for by words.

    Attributes:
        text: as PostgreSQL can store it.
        compounds: identifiers and the like in it, whose parts are to stand side by side in a text.
    """

    text: str
    compounds: tuple[str, ...]

    @property
    def beginnings(self) -> frozenset[str]:
        """The first two letters of each word, lowercase; those of its lexemes are the same in nearly all languages."""
        return frozenset(word[:2] for word in re.findall(r"\w+", self.text.lower().replace("_", " ")))


def words_of(question: str) -> Words:
    """The words of a question, whatever characters it has."""
    text = _UNSTORABLE.sub(" ", question[:_MOST_CHARACTERS])
    # Digits first: of a long text with many, an identifier is what a person looks for.
    found = sorted(dict.fromkeys(_COMPOUND.findall(text)), key=lambda one: not any(map(str.isdigit, one)))
    return Words(text, tuple(found[:_MOST_COMPOUNDS]))
