"""What the readers of rows share: which field is the text, and the document that a row is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, without_data
from embedding_assets.documents.formats.options import ReadOptions, fields_of_template
from embedding_assets.documents.formats.values import (
    fields_of_folders,
    is_missing,
    json_fields,
    json_value,
    storable,
    taken_fields,
)
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.rejection import NOT_UTF8, NOTHING, TOO_DEEP, BlankRow, Rejection, too_long
from embedding_assets.documents.words import has_words
from embedding_assets.models import DocumentMetadata, ProcessedChunk

TEXT_COLUMNS: Final = ("chunk_text", "text", "content", "body", "page_content")
"""Fields taken as a row's text, in this order and whatever their case, unless a field or a template is named."""

NO_ROWS: Final = "has no rows"

Row = Mapping[str, Any]


class _BlankError(UnreadableError):
    """The reason why there is nothing in a row."""


# Either read into a place of their own, or computed for every chunk.
_RESERVED: Final = frozenset({"chunk_hash", "context_header", "title", "source", "origin", "position"}) | frozenset(
    {"chunk_index", "total_chunks", "token_count", "embedding"}
)
# A field of a template that is longer than this is text, and not what somebody filters by.
_LONGEST_KEPT: Final = 200
HEADER_ROWS: Final = 20
"""Rows among which a header is looked for."""
_MOST_IN_TITLE: Final = 2
"""Cells that a row of a title has."""
_LONGEST_NAME: Final = 60
"""Characters that a column's name has at most where it stands below a title."""
_NAMING_FIELDS: Final = ("url", "href", "path", "name", "title", "id")


def row_documents(file: OpenedFile, rows: Iterable[tuple[int | None, Row | str]]) -> Iterator[Document | Rejection]:
    """The documents that rows are, each with its line, and the rejections of those that are none, or are a reason."""
    found = False
    for line, row in rows:
        found = True
        yield row_document(file, line, row)
    if not found:
        yield file.rejected(NO_ROWS)


def row_document(file: OpenedFile, line: int | None, row: Row | str) -> Document | Rejection:
    """The document that a row is, or the rejection of it; of a row that already is a reason, the rejection."""
    if isinstance(row, str):
        return file.rejected(row, line)
    try:
        return _document(file, row)
    except _BlankError as error:
        return BlankRow(file.source, line, error.reason)
    except UnreadableError as error:
        return file.rejected(error.reason, line)
    except RecursionError:
        return file.rejected(TOO_DEEP, line)


def _document(file: OpenedFile, row: Row) -> Document:
    used, text = (
        _templated(row, file.options.template) if file.options.template else _text(row, file.options.text_column)
    )
    title = _string(row, "title")
    header = _string(row, "context_header")
    chunk_hash = _string(row, "chunk_hash")
    identity = _string(row, "id")
    fields = fields_of_folders(file, _RESERVED) | json_fields(row, file, _RESERVED | used)
    # Said in words above; as it is, it can be filtered by.
    said = {name: row[name] for name in ("source", "title") if isinstance(row.get(name), dict | list)}
    taken = {name: value for name, value in row.items() if name not in used}
    fields |= taken_fields(taken, file) | taken_fields(said, file, said)
    # Not the line: a row inserted above would give all that follow another hash.
    source = _string(row, "source") or (f"{file.source}#{identity}" if identity else file.source)
    fields |= {"source": source, "title": title or file.name.stem, "origin": file.source}
    try:
        metadata = DocumentMetadata.model_validate(fields)
    except ValidationError:
        raise UnreadableError(TOO_DEEP) from None
    if not chunk_hash:
        # Only a title of its own distinguishes a row from its neighbours; the file's name is the same for all of them.
        own = "title" in used or _is_in_text(title, file.options.template)
        return Document(metadata, text, markdown=False, context_header=header or ("" if own else title))
    try:
        ProcessedChunk.create_from_chunk(text, metadata, chunk_hash=chunk_hash)
    except ValidationError:
        raise UnreadableError("has a chunk_hash that is not lowercase hex of 2 to 128 characters") from None
    return Document(metadata, text, markdown=False, chunk_hash=chunk_hash, context_header=header)


def _is_in_text(title: str, template: str | None) -> bool:
    return bool(title) and template is not None and any(name == "title" for _, name in fields_of_template(template))


def _text(row: Row, text_column: str | None) -> tuple[frozenset[str], str]:
    if text_column and text_column not in row and "." in text_column:
        names, text = [text_column], _nested(row, text_column)
        if text is None:
            raise UnreadableError(missing_text(list(row), text_column) or "")
    else:
        names = text_columns(row, text_column)
        if not names:
            raise UnreadableError(missing_text(list(row), text_column) or "")
        name = next((name for name in names if not is_missing(row[name])), names[0])
        names, text = [name], row[name]
    name = names[0]
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise UnreadableError(f"has a {name!r} that {NOT_UTF8}") from None
    if is_missing(text):
        raise _BlankError(f"has an empty {name!r}")
    if isinstance(text, list | tuple):
        text = _spoken(text)
    if text_column and isinstance(text, int | float | Decimal | date | time) and not isinstance(text, bool):
        # A count, most likely, in a column that is only called like a text; but not where somebody names it.
        text = _worded(text, name)
    if not isinstance(text, str):
        raise UnreadableError(f"has a {name!r} that is not a string")
    if not text.strip():
        raise _BlankError(f"has an empty or blank {name!r}")
    return frozenset(names), _checked(text, f"{name!r}", name)


def _spoken(parts: Sequence[object]) -> object:
    """The text of a message in parts, some of them objects of the type ``text``; other lists as they are.

    A part of another type may say something elsewhere in it, as code or a result does.
    """
    texts = [_text_of(part) for part in parts]
    if None in texts or all(isinstance(part, str) for part in parts):
        return parts
    return "\n".join(text for text in texts if text is not None)


def _text_of(part: object) -> str | None:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else part
    return text if isinstance(text, str) else None


def _checked(text: str, where: str, name: str) -> str:
    text = without_data(text)
    if reason := too_long(text):
        raise UnreadableError(reason)
    text = normalized_newlines(storable(text, name))
    if not has_words(text):
        raise _BlankError(f"has a {where} that {NOTHING}")
    return text


def _templated(row: Row, template: str) -> tuple[frozenset[str], str]:
    """The text that a template makes of a row; a field that is not there leaves nothing in its place."""
    parts = fields_of_template(template)
    names = [name for _, name in parts if name]
    if not any(name in row or _nested(row, name) is not None for name in names):
        raise UnreadableError(_missing(list(row), f"any of {', '.join(map(repr, names))}"))
    values = {name: _worded(row.get(name) if name in row else _nested(row, name), name) for name in names}
    if not any(values.values()):
        raise _BlankError(f"is empty or blank in {', '.join(map(repr, names))}")
    text = "".join(f"{before}{values.get(name, '')}" for before, name in parts)
    used = frozenset(name for name in names if len(values[name]) > _LONGEST_KEPT)
    return used, _checked(text.strip(), "text", names[0])


def _worded(value: object, name: str) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    plain = json_value(value, name)
    return plain.strip() if isinstance(plain, str) else "" if plain is None else json.dumps(plain)


def _nested(row: Row, name: str) -> Any:
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _string(row: Row, name: str) -> str:
    """A field in words; of an object what names it best."""
    value = row.get(name)
    if isinstance(value, Mapping):
        scalars = [value[key] for key in _NAMING_FIELDS if isinstance(value.get(key), str | int | float)]
        only = next(iter(value.values())) if len(value) == 1 else None
        value = scalars[0] if scalars else only if isinstance(only, str | int | float) else None
    elif isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value[:20] if isinstance(item, str | int | float))
    if is_missing(value) or isinstance(value, bool | bytes):
        return ""
    return storable(str(value), name).strip()


def text_columns(columns: Iterable[str], text_column: str | None) -> list[str]:
    """Those of the columns that may hold the text, best first."""
    if text_column:
        return [name for name in columns if name == text_column][:1]
    lowered: dict[str, str] = {}
    for name in columns:
        # As it is written before what is written otherwise.
        if name.lower() not in lowered or name in TEXT_COLUMNS:
            lowered[name.lower()] = name
    return [lowered[name] for name in TEXT_COLUMNS if name in lowered]


@dataclass(frozen=True, slots=True)
class Header:
    """The row of a table that names its columns.

    Attributes:
        line: its number.
        names: of the columns.
        problem: the reason why there is no text among them, if so.
        above: how many rows stand above it, such as a title.
    """

    line: int
    names: list[str]
    problem: str | None
    above: int = 0


def find_header(rows: Iterable[tuple[int, Sequence[object]]], options: ReadOptions) -> Header | None:
    """The first row, or one with a text and names of columns below a title, which is narrower.

    A title is rows of one cell, the last of which may have two. Below pairs of a name with a colon and a value, such as
    the head of an invoice, a header stands apart. A row of another table that holds the word ``text`` is no header.

    Args:
        rows: the first ``HEADER_ROWS`` with their numbers.
        options: which columns have the text.

    Returns:
        None if all rows are blank.
    """
    filled = [row for row in rows if _width(row[1])]
    first: Header | None = None
    widest = 0
    is_below_pairs = False
    for above, (line, cells) in enumerate(filled):
        width = _width(cells)
        if width <= widest == _MOST_IN_TITLE:
            is_below_pairs = True
            continue
        if is_below_pairs and not (
            all(_is_pair(cells) for _, cells in filled[:above]) and _stands_apart(filled[above - 1 : above + 2])
        ):
            break
        names = column_names(cells)
        found = Header(line, names, missing_text(names, options.text_column, options.template), above)
        below = filled[above + 1][1] if above + 1 < len(filled) else ()
        if found.problem is None and width > max(widest, 1) and (not above or _are_names(cells, below)):
            return found
        if first is None or (first.problem and found.problem and widest == 1 < width):
            first = found
        if width > _MOST_IN_TITLE:
            break
        widest = max(widest, width)
    return first


def _is_pair(cells: Sequence[object]) -> bool:
    """Whether a row of a title, or of two cells, is none of a table, whose first column has no colons."""
    if _width(cells) < _MOST_IN_TITLE:
        return True
    return next(str(cell).strip() for cell in cells if _width([cell])).endswith(":")


def _stands_apart(around: Sequence[tuple[int, Sequence[object]]]) -> bool:
    """Whether a row is below a blank one, and the next one is no wider: of the row before, the row, and the next."""
    if len(around) < 3:
        return False
    (before, _), (line, cells), (_, below) = around
    return line > before + 1 and _width(cells) >= _width(below)


def _are_names(cells: Sequence[object], below: Sequence[object]) -> bool:
    """Whether cells are short and different words, which the row below does not have again."""
    words = [cell.strip().casefold() for cell in cells if isinstance(cell, str) and cell.strip()]
    repeats = any(cell == under for cell, under in zip(cells, below, strict=False) if _width([cell]))
    return len(set(words)) == _width(cells) and all(map(_is_name, words)) and not repeats


def _is_name(word: str) -> bool:
    """Whether it may name a column; not a sentence, a number or a day."""
    is_number = any(map(str.isdigit, word)) and not any(map(str.isalpha, word))
    return len(word) <= _LONGEST_NAME and "\n" not in word and not is_number


def _width(cells: Iterable[object]) -> int:
    """How many of the cells are not empty."""
    return sum(cell is not None and bool(str(cell).strip()) for cell in cells)


def column_names(header: Iterable[object]) -> list[str]:
    """The names in the cells of a header, each another one; a blank one is called by its number."""
    named = ("" if cell is None else str(cell).strip() for cell in header)
    return _distinct(name or unnamed(number) for number, name in enumerate(named, start=1))


def unnamed(column: int) -> str:
    """What a column is called that the header leaves blank, or does not reach; the first is 1."""
    return f"column_{column}"


def _distinct(names: Iterable[str]) -> list[str]:
    """The names of columns, where one comes again with a number behind it, so that no value takes another's place."""
    numbers: dict[str, int] = {}
    kept: dict[str, None] = {}
    for name in names:
        one = name
        while one in kept:
            numbers[name] = numbers.get(name, 1) + 1
            one = f"{name}_{numbers[name]}"
        kept[one] = None
    return list(kept)


def missing_text(columns: Sequence[str], text_column: str | None, template: str | None = None) -> str | None:
    """The reason why there is no text among these columns; None if there is."""
    if template is not None:
        names = [name for _, name in fields_of_template(template) if name]
        roots = {name.split(".")[0] for name in names} | set(names)
        return None if roots & set(columns) else _missing(columns, f"any of {', '.join(map(repr, names))}")
    if text_columns(columns, text_column) or (text_column and text_column.split(".")[0] in columns):
        return None
    return _missing(columns, f"{text_column!r}" if text_column else f"any of {', '.join(TEXT_COLUMNS)}")


def _missing(columns: Sequence[str], wanted: str) -> str:
    found = ", ".join(repr(name[:60]) for name in columns[:20]) + (", …" if len(columns) > 20 else "")
    return f"has no column {wanted}; found {found or 'none'}; name the one with the text by --text-column"
