"""How files are to be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are to be read.

    Attributes:
        text_column: field of a row that holds its text; None takes the first of ``TEXT_COLUMNS``.
        encoding: of text files that are not UTF-8 and do not begin with a mark of theirs; a name that Python knows.
        format: the format of every file, whatever its name ends in.
        template: text of a row, as ``{title}\\n{body}``, instead of a single field.
    """

    text_column: str | None = None
    encoding: str | None = None
    format: str | None = None
    template: str | None = None
