"""A document: one text, its structure, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedding_assets.models import DocumentMetadata


@dataclass(frozen=True, slots=True)
class Places:
    """Where in its file the characters of a text stand.

    Attributes:
        unit: what is counted: ``line``, ``page``, ``slide``, ``cell``.
        starts: offsets in the text at which the second and each later unit begins; None: after each newline.
        first: number of the unit that the text begins in.
    """

    unit: str
    starts: Sequence[int] | None = None
    first: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text with a heading of its own, such as a chapter or a function.

    Attributes:
        start: offset at which it begins.
        end: offset at which it ends.
        names: headings above it, outermost first.
    """

    start: int
    end: int
    names: tuple[str, ...]


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
        places: given if chunks are to say where in the file they stand.
        parts: those of a text that is not Markdown and has some, in order; headings between them are in their names.
        is_code: whether the parts are definitions of source code: small neighbours share a chunk.
    """

    metadata: DocumentMetadata
    text: str
    markdown: bool
    chunk_hash: str | None = None
    context_header: str = ""
    file_digest: str = ""
    places: Places | None = None
    parts: tuple[Part, ...] = ()
    is_code: bool = False
