"""A rejection: what was not loaded, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass

from embedding_assets.documents.lines import MAX_LINE_CHARACTERS, MAX_WRITING_CHARACTERS, is_writing

_ABOUT_THIS_ONE = re.compile("[:;]")

EMPTY = "is empty"
NOTHING = "holds no words"
NOT_UTF8 = "is not valid UTF-8"
TOO_DEEP = "is nested too deeply"
TOO_LONG = f"is longer than {MAX_WRITING_CHARACTERS:,} characters"
NO_WRITING = f"is longer than {MAX_LINE_CHARACTERS:,} characters that form no words"


def too_long(text: str) -> str | None:
    """The reason why a line, or the text of a row, is too long; None if it is not."""
    if len(text) <= MAX_LINE_CHARACTERS:
        return None
    return TOO_LONG if len(text) > MAX_WRITING_CHARACTERS else None if is_writing(text) else NO_WRITING


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that could not be loaded.

    Attributes:
        source: the file.
        line: line of the file, counted from 1 (row number in Parquet); None if it is the file as a whole.
        reason: never contains text of the document.
    """

    source: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place}: {self.reason}"

    @property
    def kind(self) -> str:
        """The reason without what is about this one alone."""
        return _ABOUT_THIS_ONE.split(self.reason, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class BlankRow(Rejection):
    """A row without a text: nothing is wrong with it, and there is nothing to load."""
