"""Plain text, and reStructuredText, which is plain text with headings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from embedding_assets.documents.document import Document, Part, Places
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

RST_SUFFIXES = (".rst", ".rest")
_TITLE = re.compile(
    r"^(?:(?P<over>(?P<o>[!-/:-@\[-`{-~])(?P=o){2,})[ \t]*\n)?(?P<title>[^\s][^\n]*|[ \t]+\S[^\n]*)\n"
    r"(?P<under>(?P<u>[!-/:-@\[-`{-~])(?P=u){1,})[ \t]*$",
    re.MULTILINE,
)


_SILENT = re.compile(
    r"^\.\. _[^\n]+:[^\n]*$"
    r"|^\.\. (?:toctree|contents|index|highlight|currentmodule|meta)::[^\n]*(?:\n(?:[ \t]+\S[^\n]*|[ \t]*(?=\n)))*",
    re.MULTILINE,
)
"""Targets of links, and directives whose content is no text of a page."""


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a text file is."""
    text = without_data(file.text())
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    parts = rst_parts(text) if file.name.suffix.lower() in RST_SUFFIXES else ()
    title = _title(parts)
    metadata = document_metadata(file, title, {})
    yield Document(metadata, text, markdown=False, places=Places("line"), parts=parts)


def rst_parts(text: str) -> tuple[Part, ...]:
    """The sections of reStructuredText. Nothing of it is run, included or inserted: it is read as it stands."""
    levels: list[tuple[str, str]] = []
    above: list[str] = []
    parts: list[Part] = []
    start = 0
    for found in _TITLE.finditer(text):
        over, title, under = found["over"] or "", found["title"], found["under"]
        if over and (over[0] != under[0] or len(over) != len(under)):
            over = ""
        if len(under) < len(title.rstrip()) or (title[0].isspace() and not over) or _is_line(title):
            continue
        style = (over[:1], under[0])
        if style not in levels:
            levels.append(style)
        begins = found.start() if over else found.start("title")
        parts.append(Part(start, begins, tuple(above)))
        above = [*above[: levels.index(style)], " ".join(title.split())]
        start = found.end()
    if not above:
        return ()
    parts.append(Part(start, len(text), tuple(above)))
    return tuple(part for part in parts if has_words(_SILENT.sub("", text[part.start : part.end])))


def _is_line(title: str) -> bool:
    return not any(character.isalnum() for character in title)


def _title(parts: tuple[Part, ...]) -> str:
    """The heading that all of the text stands under."""
    named = [part.names for part in parts if part.names]
    return named[0][0] if named and all(names[0] == named[0][0] for names in named) else ""
