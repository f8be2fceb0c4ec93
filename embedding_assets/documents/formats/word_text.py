"""The text of Word's XML: paragraphs and tables in their order, whatever they are wrapped in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from embedding_assets.documents.formats.diagrams import DIAGRAMS
from embedding_assets.documents.formats.formulas import formula_in_word
from embedding_assets.documents.formats.raised import LOOKED_BACK, is_power

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_M: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"

PARAGRAPH: Final = f"{_W}p"
TABLE: Final = f"{_W}tbl"
_MOST_COLUMNS: Final = 63
"""Of a table, as Word has it."""
_BLOCKS: Final = frozenset({PARAGRAPH, TABLE})
_ROW: Final = frozenset({f"{_W}tr"})
_CELL: Final = frozenset({f"{_W}tc"})
_BOX: Final = f"{_W}txbxContent"
_BREAK: Final = f"{_W}br"
_ALTERNATIVES: Final = f"{_MC}AlternateContent"
_TEXTS: Final = frozenset({f"{_W}t", f"{_M}t"})
_FORMULA: Final = f"{_M}oMath"
_RUN: Final = f"{_W}r"
_HIDDEN: Final = f"{_W}vanish"
_WITHOUT_WORDS: Final = frozenset(f"{_W}{name}" for name in ("bookmarkStart", "bookmarkEnd", "proofErr"))
_PLACE: Final = f"{_W}vertAlign"
_TEXT: Final = f"{_W}t"
_OFF: Final = frozenset({"0", "false", "off"})
_MARKS: Final = {f"{_W}tab": "\t", f"{_W}ptab": "\t", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_REFERENCES: Final = {f"{_W}footnoteReference": "footnote", f"{_W}endnoteReference": "endnote"}
_LEFT_OUT: Final = frozenset(
    [
        *(f"{_W}{name}" for name in ("pPr", "rPr", "tblPr", "trPr", "tcPr", "sdtPr", "sectPr")),
        # What was struck out, or moved elsewhere, under "track changes".
        *(f"{_W}{name}" for name in ("del", "moveFrom")),
        # How the characters below are pronounced.
        f"{_W}rt",
    ]
)


@dataclass(slots=True)
class Inline:
    """What stands in a paragraph.

    Attributes:
        texts: its text, in parts.
        boxes: the elements of its text boxes.
        diagrams: those of its diagrams and charts.
        notes: the notes that it refers to: ``footnote`` or ``endnote``, and the number.
    """

    texts: list[str] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)
    diagrams: list[Any] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def say_looks(element: Any) -> None:
    """Take out hidden text, and write ``^`` before powers, which are raised."""
    for mark in list(element.iter(_HIDDEN)):
        run = mark.getparent().getparent()
        # One that says so twice is out already.
        if run.tag == _RUN and mark.get(f"{_W}val") not in _OFF and run.getparent() is not None:
            run.getparent().remove(run)
    for mark in element.iter(_PLACE):
        run = mark.getparent().getparent()
        if run.tag == _RUN and mark.get(f"{_W}val") == "superscript":
            _say_raised(run)


def _say_raised(run: Any) -> None:
    texts = list(run.iterchildren(_TEXT))
    if texts and is_power(_before(run), "".join(text.text or "" for text in texts)):
        texts[0].text = f"^{texts[0].text or ''}"


def _before(run: Any) -> str:
    """What the runs before one say, as far as it has to be known; a letter stands for what is not."""
    said = ""
    for sibling in islice(run.itersiblings(preceding=True), LOOKED_BACK):
        if len(said) >= LOOKED_BACK:
            return said
        if sibling.tag == f"{_W}pPr":
            break
        if sibling.tag != _RUN:
            said = said if sibling.tag in _WITHOUT_WORDS else f"q{said}"
            continue
        own = ((part.text or "" if part.tag == _TEXT else " ") for part in sibling if part.tag != f"{_W}rPr")
        said = "".join(own) + said
    return said


def blocks_in(element: Any) -> Iterator[Any]:
    """The outermost paragraphs and tables in an element; not those of text boxes in the paragraphs."""
    return _outermost(element, _BLOCKS)


def rows_in(table: Any) -> Iterator[Any]:
    """The rows of a table, without those that were struck out."""
    return (row for row in _outermost(table, _ROW) if row.find(f"{_W}trPr/{_W}del") is None)


def cells_in(rows: Iterator[Any]) -> Iterator[list[tuple[Any, bool]]]:
    """The cells of each row, one over several rows and columns in each of them, with whether it began in one before."""
    above: dict[int, Any] = {}
    for row in rows:
        at = _number(row, "trPr/", "gridBefore", 0)
        begun: dict[int, Any] = {}
        cells = []
        for cell in _outermost(row, _CELL):
            merged = cell.find(f"{_W}tcPr/{_W}vMerge")
            continues = merged is not None and merged.get(f"{_W}val", "continue") == "continue" and at in above
            begun[at] = above[at] if continues else cell
            columns = max(1, min(_number(cell, "tcPr/", "gridSpan", 1), _MOST_COLUMNS))
            cells += [(begun[at], continues), *[(begun[at], True)] * (columns - 1)]
            at += columns
        above = begun
        yield cells


def inline(paragraph: Any) -> Inline:
    """The text of a paragraph, and what hangs on it."""
    found = Inline()
    _collect(paragraph, found)
    return found


def _collect(element: Any, found: Inline) -> None:
    for child in element:
        tag = child.tag
        if tag in _TEXTS:
            found.texts.append(child.text or "")
        elif tag == _FORMULA:
            found.texts.append(formula_in_word(child))
        elif tag in _LEFT_OUT:
            continue
        elif tag in _MARKS:
            found.texts.append(_MARKS[tag])
        elif tag == _BREAK:
            # One of pages or columns is where the next one happens to begin.
            found.texts.append("\n" if child.get(f"{_W}type", "textWrapping") == "textWrapping" else "")
        elif tag == _BOX:
            found.boxes.append(child)
        elif tag in DIAGRAMS:
            found.diagrams.append(child)
        elif tag in _REFERENCES:
            found.notes.append((_REFERENCES[tag], child.get(f"{_W}id", "")))
        elif tag == _ALTERNATIVES:
            _collect(_chosen(child), found)
        else:
            _collect(child, found)


def _outermost(element: Any, tags: frozenset[str]) -> Iterator[Any]:
    for child in element:
        tag = child.tag
        if tag in tags:
            yield child
        elif tag == _ALTERNATIVES:
            yield from _outermost(_chosen(child), tags)
        elif tag not in _LEFT_OUT:
            yield from _outermost(child, tags)


def _chosen(alternatives: Any) -> Any:
    """The first of the ways in which the same thing is written for programs of different age."""
    return next(iter(alternatives), alternatives)


def _number(element: Any, path: str, name: str, default: int) -> int:
    found = element.find(f"{_W}{path}{_W}{name}")
    value = found.get(f"{_W}val", "") if found is not None else ""
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else default
