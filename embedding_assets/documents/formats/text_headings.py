"""Titles in text that is not Markdown: of reStructuredText, AsciiDoc and Org."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

_TITLE: Final = re.compile(
    r"^(?:(?P<over>(?P<o>[!-/:-@\[-`{-~])(?P=o){2,})[ \t]*\n)?(?P<title>[^\s][^\n]*|[ \t]+\S[^\n]*)\n"
    r"(?P<under>(?P<u>[!-/:-@\[-`{-~])(?P=u){1,})[ \t]*$",
    re.MULTILINE,
)


_BLOCK: Final = r"[^\n]*(?:\n(?:[ \t]+\S[^\n]*|[ \t]*(?=\n)))*"
_UNSEEN: Final = re.compile(
    r"^\.\. _[^\n]+:[^\n]*$"
    rf"|^\.\.(?=[ \t]|$)(?![ \t]+(?:\[|\||[\w.:+-]+[ ]?::)){_BLOCK}"
    rf"|^\.\. \|[^|\n]+\|[ \t]{_BLOCK}"
    r"|^:(?:orphan|tocdepth|nocomments|nosearch):[^\n]*$",
    re.MULTILINE,
)
"""Targets of links, comments, what is written elsewhere for a name between bars, and fields for Sphinx."""
_SILENT: Final = re.compile(
    rf"{_UNSEEN.pattern}|^\.\. (?:toctree|contents|index|highlight|currentmodule|meta)::{_BLOCK}", re.MULTILINE
)
"""Also directives whose content is no text of a page."""
_MARKED: Final = re.compile(r"(={1,6}|\*{1,12})[ \t]+(\S.*)")
_VERBATIM: Final = re.compile(r"(-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,})|#\+begin(_\w+).*", re.IGNORECASE)
"""Where what stands between two such lines is no text of AsciiDoc, or of Org."""
_ASCIIDOC: Final = re.compile(r"^:[\w!-]+:[^\n]*$|^//(?!/)[^\n]*$|^\[[^\]\n]*\][ \t]*$", re.MULTILINE)
_ORG: Final = re.compile(r"^#\+[\w-]+:[^\n]*$|^#[ \t][^\n]*$|^[ \t]*:[\w-]+:[^\n]*$", re.MULTILINE)


class TextHeading(NamedTuple):
    """A title with its level, the outermost of which is 0, and where it begins and ends."""

    level: int
    words: str
    start: int
    end: int


class Markup(NamedTuple):
    """A way to write titles.

    Attributes:
        headings: finds them.
        unseen: what is no text, such as comments.
        silent: also what says nothing by itself, such as a table of contents.
    """

    headings: Callable[[str], list[TextHeading]]
    unseen: re.Pattern[str]
    silent: re.Pattern[str]


def _underlined(text: str) -> list[TextHeading]:
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
        headings.append(TextHeading(levels.index(style), " ".join(title.split()), start, found.end()))
    return headings


def _is_line(title: str) -> bool:
    return not any(character.isalnum() for character in title)


def _behind(mark: str) -> Callable[[str], list[TextHeading]]:
    """Finds titles behind as many marks as their level says, outside of code."""

    def headings(text: str) -> list[TextHeading]:
        found = []
        at = 0
        end = ""
        for line in text.split("\n"):
            bare = line.rstrip()
            if end:
                end = "" if bare.lower() == end else end
            elif begun := _VERBATIM.fullmatch(bare):
                end = begun[1] or f"#+end{begun[2]}".lower()
            elif bare.startswith(mark) and (title := _MARKED.fullmatch(bare)):
                found.append(TextHeading(len(title[1]) - 1, " ".join(title[2].split()), at, at + len(line)))
            at += len(line) + 1
        return found

    return headings


_RST: Final = Markup(_underlined, _UNSEEN, _SILENT)
_BY_SUFFIX: Final = {
    ".adoc": Markup(_behind("="), _ASCIIDOC, _ASCIIDOC),
    ".asciidoc": Markup(_behind("="), _ASCIIDOC, _ASCIIDOC),
    ".org": Markup(_behind("*"), _ORG, _ORG),
}


def markup_of(suffix: str, *, is_rst: bool) -> Markup | None:
    """That of a file whose name ends so, or that is said to be reStructuredText; None if it has no titles."""
    return _RST if is_rst else _BY_SUFFIX.get(suffix.lower())
