"""Chunks as rows on their way into the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from embedding_assets.models import ProcessedChunk


class ChunkRow(NamedTuple):
    """A chunk that was checked, as its row is stored: it crosses processes at a quarter of the time a model takes.

    Attributes:
        chunk_hash: see ``ProcessedChunk``, as of all others.
        chunk_text: the text.
        context_header: what is embedded in front of it.
        document_metadata: JSON.
        chunk_index: position in the document.
        total_chunks: chunks of the document.
        token_count: tokens of header and text.
    """

    chunk_hash: str
    chunk_text: str
    context_header: str
    document_metadata: str
    chunk_index: int
    total_chunks: int
    token_count: int

    @classmethod
    def of(cls, chunk: ProcessedChunk) -> Self:
        """The row of a chunk."""
        return cls(
            chunk.chunk_hash,
            chunk.chunk_text,
            chunk.context_header,
            chunk.metadata.model_dump_json(),
            chunk.chunk_index,
            chunk.total_chunks,
            chunk.token_count,
        )
