"""A file → the documents in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.fields import row_document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.rows import ROW_SUFFIXES, read_rows
from embedding_assets.documents.lines import normalized_newlines, read_lines
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import EMPTY, NOT_UTF8, TOO_LONG, Rejection
from embedding_assets.models import DocumentMetadata

MARKDOWN_SUFFIXES = (".md", ".markdown")
PLAIN_SUFFIXES = (".txt", ".rst", ".text")
ACCEPTED_SUFFIXES = (*MARKDOWN_SUFFIXES, *PLAIN_SUFFIXES, *ROW_SUFFIXES)


def is_readable(path: Path) -> bool:
    """Whether a file is of a kind that is read, by its name."""
    return path.suffix.lower() in ACCEPTED_SUFFIXES


def read_file(path: Path, source: str, options: ReadOptions) -> Iterator[Document | Rejection]:
    """The documents of a file, and what of it is rejected; ends when the file was read to its end.

    Args:
        path: the file.
        source: the name by which it is known; the origin of its documents.
        options: how it is to be read.
    """
    suffix = path.suffix.lower()
    if source.encode("utf-8", "replace").decode() != source:
        yield Rejection(source, None, "has a name that is not valid UTF-8")
        return
    try:
        if suffix in MARKDOWN_SUFFIXES + PLAIN_SUFFIXES:
            yield _read_text(path, source, markdown=suffix in MARKDOWN_SUFFIXES)
            return
        digest = _file_digest(path, options)
        for line, row in read_rows(path, suffix, options.text_column):
            result = row_document(source, line, row, options.text_column)
            yield result if isinstance(result, Rejection) else replace(result, file_digest=digest)
    except OSError as error:
        yield Rejection(source, None, f"cannot be read: {error.strerror}")


def _file_digest(path: Path, options: ReadOptions) -> str:
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{content}:{options.text_column or ''}"


def _read_text(path: Path, source: str, *, markdown: bool) -> Document | Rejection:
    lines = []
    with path.open("rb") as stream:
        for number, line, too_long in read_lines(stream):
            if too_long:
                return Rejection(source, number, TOO_LONG)
            lines.append(line)
    data = b"".join(lines)
    try:
        text = normalized_newlines(data.decode())
    except UnicodeDecodeError as error:
        return Rejection(source, data.count(b"\n", 0, error.start) + 1, NOT_UTF8)
    if "\x00" in text:
        return Rejection(source, text.count("\n", 0, text.index("\x00")) + 1, "contains a NUL character")
    if not text.strip():
        return Rejection(source, None, f"{EMPTY} or blank" if text else EMPTY)
    title = markdown_title(text) if markdown else ""
    return Document(DocumentMetadata(source=source, title=title or PurePosixPath(source).stem), text, markdown)
