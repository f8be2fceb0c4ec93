"""PowerPoint: each slide under its title, with its tables and notes, as Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.formats.diagrams import DIAGRAMS, data_of, diagram_words
from embedding_assets.documents.formats.html import no_headings, table
from embedding_assets.documents.formats.notebook import joined_units
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.slide_text import choose_alternatives, words_in, words_of
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

_TITLE: Final = "## "
_LONGEST_REPEATED: Final = 1_000
"""Characters of a cell over several rows or columns that are in each of them."""
_MOST_REPEATED: Final = 1_000_000
"""Characters that these may add to a table."""


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that the slides of a file are."""
    import pptx

    data = io.BytesIO(file.read())
    check_package(data)
    presentation = pptx.Presentation(data)
    texts = list(_divided(_slide(slide).replace("\x00", "") for slide in presentation.slides))
    text, starts = joined_units(texts)
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    properties = presentation.core_properties
    title = properties.title if properties.title != "PowerPoint Presentation" else ""
    yield Document(
        document_metadata(file, title or "", {"author": properties.author}),
        text,
        markdown=True,
        places=Places("slide", starts),
    )


def _divided(slides: Iterable[str]) -> Iterator[str]:
    """The texts of slides; one without a title does not stand under that of the slide before."""
    is_titled = False
    for text in slides:
        yield f"##\n\n{text}" if is_titled and text and not text.startswith(_TITLE) else text
        is_titled = text.startswith(_TITLE) if text else is_titled


def _slide(slide: Any) -> str:
    choose_alternatives(slide.element)
    title = slide.shapes.title
    heading = " ".join(words_of(title.text_frame).split()) if title is not None else ""
    parts = [f"{_TITLE}{heading}"] if heading else []
    for shape in _shapes(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if getattr(shape, "has_table", False):
            parts.append(table([row for row in _rows(shape.table) if any(row)]))
        elif diagram := _diagram(slide, shape):
            parts.append(diagram)
        elif shape.has_text_frame:
            parts.append("\n\n".join(no_headings(words_in(one._p)) for one in shape.text_frame.paragraphs))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        parts.append(no_headings(words_of(slide.notes_slide.notes_text_frame)))
    return "\n\n".join(part for part in parts if part.strip())


def _rows(of: Any) -> list[list[str]]:
    """The texts of a table, one over several rows and columns in each; one over all of a row heads those below."""
    rows: list[list[str]] = []
    left = _MOST_REPEATED
    for row in of.rows:
        line: list[str] = []
        cells = list(row.cells)
        is_one = all(cell._tc.hMerge for cell in cells[1:])
        for number, cell in enumerate(cells):
            if cell._tc.hMerge:
                text = line[-1] if line and not is_one else ""
            elif cell._tc.vMerge:
                text = rows[-1][number] if rows and number < len(rows[-1]) and not is_one else ""
            else:
                line.append(" ".join(words_of(cell.text_frame).split()).replace("|", "\\|"))
                continue
            left -= len(text)
            line.append(text if len(text) <= _LONGEST_REPEATED and left >= 0 else "")
        rows.append(line)
    return rows


def _diagram(slide: Any, shape: Any) -> str:
    named = next(shape.element.iter(*DIAGRAMS), None)
    if named is None:
        return ""
    from pptx.oxml import parse_xml

    try:
        return diagram_words(parse_xml(slide.part.related_part(data_of(named)).blob))
    except KeyError:
        return ""


def _shapes(shapes: Any) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape
