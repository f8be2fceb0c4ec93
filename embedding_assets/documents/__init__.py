"""Files → documents: text, Markdown, JSONL, CSV, Parquet. The bad is rejected by file and line, the rest goes on."""

from embedding_assets.documents.document import Document
from embedding_assets.documents.files import ACCEPTED_SUFFIXES, read_documents
from embedding_assets.documents.lines import MAX_LINE_CHARACTERS, normalized_newlines
from embedding_assets.documents.markdown import Heading, markdown_headings, markdown_title
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.rows import TEXT_COLUMNS

__all__ = [
    "ACCEPTED_SUFFIXES",
    "MAX_LINE_CHARACTERS",
    "TEXT_COLUMNS",
    "Document",
    "Heading",
    "Rejection",
    "markdown_headings",
    "markdown_title",
    "normalized_newlines",
    "read_documents",
]
