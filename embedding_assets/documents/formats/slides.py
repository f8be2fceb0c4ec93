"""PowerPoint: each slide under its title, with its tables and notes, as Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.formats.html import no_headings, table
from embedding_assets.documents.formats.notebook import joined_units
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

_DIAGRAM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_DATA: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}dm"


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that the slides of a file are."""
    import pptx

    data = io.BytesIO(file.read())
    check_package(data)
    presentation = pptx.Presentation(data)
    texts = [_slide(slide).replace("\x00", "") for slide in presentation.slides]
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


def _slide(slide: Any) -> str:
    title = slide.shapes.title
    heading = " ".join(title.text_frame.text.split()) if title is not None else ""
    parts = [f"## {heading}"] if heading else []
    for shape in _shapes(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if getattr(shape, "has_table", False):
            rows = [[" ".join(cell.text.split()).replace("|", "\\|") for cell in row.cells] for row in shape.table.rows]
            parts.append(table([row for row in rows if any(row)]))
        elif diagram := _diagram(slide, shape):
            parts.append(diagram)
        elif shape.has_text_frame:
            # A line break within a paragraph comes as a vertical tab.
            parts.append("\n\n".join(_paragraph(one.text) for one in shape.text_frame.paragraphs))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        parts.append(_paragraph(slide.notes_slide.notes_text_frame.text))
    return "\n\n".join(part for part in parts if part.strip())


def _diagram(slide: Any, shape: Any) -> str:
    """The words of a diagram (SmartArt), whose boxes are the items of a list."""
    named = shape.element.find(f".//{_DIAGRAM}relIds")
    if named is None:
        return ""
    from pptx.oxml import parse_xml

    try:
        data = parse_xml(slide.part.related_part(named.get(_DATA, "")).blob)
    except KeyError:
        return ""
    texts = (" ".join("".join(text.itertext(f"{_DRAWING}t")).split()) for text in data.iter(f"{_DIAGRAM}t"))
    return "\n".join(f"- {text}" for text in texts if text)


def _paragraph(text: str) -> str:
    return no_headings(text.replace("\v", "\n").strip())


def _shapes(shapes: Any) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape
