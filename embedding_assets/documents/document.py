"""A document: one text and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from embedding_assets.models import DocumentMetadata


@dataclass(frozen=True, slots=True)
class Document:
    """One text and where it comes from.

    Attributes:
        metadata: rows of one file share their ``origin``, the file.
        text: never blank.
        markdown: whether headings in the text are headings.
        chunk_hash: given if the document already is a chunk, which is then kept whole.
        context_header: what stands above the whole text.
        file_digest: of a row: fingerprint of the whole file and of how it is read.
    """

    metadata: DocumentMetadata
    text: str
    markdown: bool
    chunk_hash: str | None = None
    context_header: str = ""
    file_digest: str = ""
