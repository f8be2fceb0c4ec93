"""The fields of a row → the document that it is."""

from __future__ import annotations

import math
from pathlib import PurePosixPath

from pydantic import ValidationError

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.rows import TEXT_COLUMNS, Row, is_unicode, missing_text
from embedding_assets.documents.lines import MAX_LINE_CHARACTERS, normalized_newlines
from embedding_assets.documents.rejection import TOO_DEEP, TOO_LONG, Rejection
from embedding_assets.models import DocumentMetadata, ProcessedChunk

# Either read into a place of their own, or computed for every chunk.
_RESERVED_FIELDS = frozenset({"chunk_hash", "context_header", "title", "source", "origin"}) | frozenset(
    {"chunk_index", "total_chunks", "token_count", "embedding"}
)


class _RowError(Exception):
    """The reason why a row is no document."""


def row_document(file: str, line: int | None, row: Row | str, text_column: str | None) -> Document | Rejection:
    """The document that a row is, or the rejection of it; of a row that already is a reason, the rejection."""
    if isinstance(row, str):
        return Rejection(file, line, row)
    try:
        return _document(file, row, text_column)
    except _RowError as error:
        return Rejection(file, line, str(error))
    except RecursionError:
        return Rejection(file, line, TOO_DEEP)


def _document(file: str, row: Row, text_column: str | None) -> Document:
    text_name, text = _row_text(row, text_column)
    title = _row_string(row, "title")
    header = _row_string(row, "context_header")
    chunk_hash = _row_string(row, "chunk_hash")
    identity = _row_string(row, "id")
    fields = {
        _storable(key, key): kept
        for key, value in row.items()
        if key not in _RESERVED_FIELDS and key != text_name and (kept := _json_value(value, key)) not in (None, "")
    }
    # Not the line: a row inserted above would give all that follow another hash.
    source = _row_string(row, "source") or (f"{file}#{identity}" if identity else file)
    fields |= {"source": source, "title": title or PurePosixPath(file).stem, "origin": file}
    try:
        metadata = DocumentMetadata.model_validate(fields)
    except ValidationError:
        raise _RowError(TOO_DEEP) from None
    if not chunk_hash:
        # Only a title of its own distinguishes a row from its neighbours; the file's name is the same for all of them.
        return Document(metadata, text, markdown=False, context_header=header or title)
    try:
        ProcessedChunk.create_from_chunk(text, metadata, chunk_hash=chunk_hash)
    except ValidationError:
        raise _RowError("has a chunk_hash that is not lowercase hex of 2 to 128 characters") from None
    return Document(metadata, text, markdown=False, chunk_hash=chunk_hash, context_header=header)


def _row_text(row: Row, text_column: str | None) -> tuple[str, str]:
    names = [name for name in ((text_column,) if text_column else TEXT_COLUMNS) if name in row]
    if not names:
        raise _RowError(missing_text(list(row), text_column))
    name = next((name for name in names if row[name] is not None), names[0])
    text = row[name]
    if text is None:
        raise _RowError(f"has an empty {name!r}")
    if not isinstance(text, str):
        raise _RowError(f"has a {name!r} that is not a string")
    if len(text) > MAX_LINE_CHARACTERS:
        raise _RowError(TOO_LONG)
    if not text.strip():
        raise _RowError(f"has an empty or blank {name!r}")
    return name, normalized_newlines(_storable(text, name))


def _row_string(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _RowError(f"has a {name!r} that is not a string")
    return _storable(str(value), name).strip()


def _storable(text: str, name: str) -> str:
    if "\x00" in text:
        raise _RowError(f"contains a NUL character in {name[:60]!r}")
    if not is_unicode(text):
        raise _RowError(f"contains a lone surrogate, which is not valid Unicode, in {name[:60]!r}")
    return text


def _json_value(value: object, name: str) -> object:
    """A field as JSON keeps it: dates and decimals as text, NaN and bytes as null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _storable(value, name)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_storable(str(key), name): _json_value(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item, name) for item in value]
    return None if isinstance(value, bytes) else str(value)
