"""Word documents: headings, paragraphs, lists and tables, as Markdown."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.html import table
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

_HEADING: Final = re.compile(r"^heading (\d)$", re.IGNORECASE)


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a file is."""
    import docx

    data = io.BytesIO(file.read())
    check_package(data)
    document = docx.Document(data)
    text = _markdown(document)
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    properties = document.core_properties
    title = properties.title or markdown_title(text)
    yield Document(document_metadata(file, title, {"author": properties.author}), text, markdown=True)


def _markdown(document: Any) -> str:
    parts: list[str] = []
    styles: dict[str | None, str] = {}
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            parts.append(table([row for row in _rows(block) if any(row)]))
            continue
        words = block.text.replace("\x00", "").strip()
        if not words:
            continue
        style = _style(block, styles)
        level = 1 if style == "Title" else int(found.group(1)) if (found := _HEADING.match(style)) else 0
        if level:
            parts.append(f"{'#' * min(level, 6)} {' '.join(words.split())}")
        elif style.startswith("List") and parts and parts[-1].startswith("- "):
            parts[-1] += f"\n- {words}"
        else:
            parts.append(f"- {words}" if style.startswith("List") else words)
    return "\n\n".join(parts) + "\n"


def _style(paragraph: Any, known: dict[str | None, str]) -> str:
    """The name of a paragraph's style; the library looks through all styles of the document for it each time."""
    key = paragraph._p.style
    if key not in known:
        known[key] = (paragraph.style.name or "") if paragraph.style is not None else ""
    return known[key]


def _rows(found: Any) -> Iterator[list[str]]:
    for row in found.rows:
        cells: list[str] = []
        last = None
        for cell in row.cells:
            # A cell over several columns comes once for each.
            if cell._tc is not last:
                cells.append(" ".join(cell.text.split()).replace("|", "\\|"))
            last = cell._tc
        yield cells
