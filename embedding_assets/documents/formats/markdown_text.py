"""Markdown, also with front matter, and MDX."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.formats.mdx import without_statements
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.front_matter import FrontMatterError, front_matter, front_matter_end
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

logger = logging.getLogger(__name__)

_MDX_SUFFIX = ".mdx"


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a Markdown file is; front matter becomes its metadata."""
    text = file.text()
    try:
        fields, start = front_matter(text)
    except FrontMatterError:
        # Neither a reason to lose the page, nor a part of it.
        fields, start = {}, front_matter_end(text)
        logger.warning("left out front matter that cannot be read", extra={"document": file.source})
    lines = text.count("\n", 0, start)
    body = without_data(text[start:])
    if file.name.suffix.lower() == _MDX_SUFFIX:
        body = without_statements(body)
    check_lines(body)
    title = fields.pop("title", "")
    name = str(title) if isinstance(title, str | int | float) else ""
    heading = name or markdown_title(body)
    metadata = document_metadata(file, heading, fields)
    if not has_words(body):
        raise UnreadableError(NOTHING)
    yield Document(metadata, body, markdown=True, places=Places("line", first=lines + 1))
