"""Plain text, and reStructuredText, which is plain text with headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from embedding_assets.documents.document import Document, Part, Places
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

_TITLE = re.compile(
    r"^(?:(?P<over>(?P<o>[!-/:-@\[-`{-~])(?P=o){2,})[ \t]*\n)?(?P<title>[^\s][^\n]*|[ \t]+\S[^\n]*)\n"
    r"(?P<under>(?P<u>[!-/:-@\[-`{-~])(?P=u){1,})[ \t]*$",
    re.MULTILINE,
)


_BLOCK = r"[^\n]*(?:\n(?:[ \t]+\S[^\n]*|[ \t]*(?=\n)))*"
_UNSEEN = re.compile(
    r"^\.\. _[^\n]+:[^\n]*$"
    rf"|^\.\.(?=[ \t]|$)(?![ \t]+(?:\[|\||[\w.:+-]+[ ]?::)){_BLOCK}"
    rf"|^\.\. \|[^|\n]+\|[ \t]{_BLOCK}"
    r"|^:(?:orphan|tocdepth|nocomments|nosearch):[^\n]*$",
    re.MULTILINE,
)
"""Targets of links, comments, what is written elsewhere for a name between bars, and fields for Sphinx."""
_SILENT = re.compile(
    rf"{_UNSEEN.pattern}|^\.\. (?:toctree|contents|index|highlight|currentmodule|meta)::{_BLOCK}", re.MULTILINE
)
"""Also directives whose content is no text of a page."""


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a text file is."""
    text = without_data(file.text())
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    kind = file.options.format_of(file.name)
    title, parts = _sections(text) if kind is not None and kind.name == "rst" else ("", ())
    metadata = document_metadata(file, title, {})
    yield Document(metadata, text, markdown=False, places=Places("line"), parts=parts)


class _Heading(NamedTuple):
    """A title with its level, the outermost of which is 0, and where it begins and ends."""

    level: int
    words: str
    start: int
    end: int


def _sections(text: str) -> tuple[str, tuple[Part, ...]]:
    """The heading that all of reStructuredText stands under, if any, and its sections.

    Nothing of it is run, included or inserted: it is read as it stands. A title above nothing begins the section that
    follows it.
    """
    headings = _headings(text)
    parts = [Part(0, headings[0].start if headings else 0, ())]
    above: list[str] = []
    waiting: int | None = None
    has_title = True
    for one, following in zip_longest(headings, headings[1:]):
        end = following.start if following else len(text)
        is_lone = (not following or following.level <= one.level) and not has_words(
            _UNSEEN.sub("", text[one.end : end])
        )
        has_title = has_title and not (is_lone and one.level == 0)
        names = [*above[: one.level], one.words]
        start = waiting if waiting is not None else one.start if is_lone else one.end
        waiting = start if is_lone and following else None
        if waiting is None:
            parts.append(Part(start, end, tuple(names[:-1] if is_lone else names)))
        above = names
    kept = tuple(part for part in parts if has_words(_SILENT.sub("", text[part.start : part.end])))
    named = [part.names for part in kept if part.names]
    has_title = has_title and bool(named) and all(names[0] == named[0][0] for names in named)
    return named[0][0] if has_title else "", kept if headings else ()


def _headings(text: str) -> list[_Heading]:
    levels: list[tuple[str, str]] = []
    headings = []
    for found in _TITLE.finditer(text):
        over, title, under = found["over"] or "", found["title"], found["under"]
        if over and (over[0] != under[0] or len(over) != len(under)):
            over = ""
        if len(under) < len(title.rstrip()) or (title[0].isspace() and not over) or _is_line(title):
            continue
        style = (over[:1], under[0])
        if style not in levels:
            levels.append(style)
        start = found.start() if over else found.start("title")
        headings.append(_Heading(levels.index(style), " ".join(title.split()), start, found.end()))
    return headings


def _is_line(title: str) -> bool:
    return not any(character.isalnum() for character in title)
