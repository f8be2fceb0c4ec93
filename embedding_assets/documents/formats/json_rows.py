"""JSON: an array of rows, an object that holds one, rows by their names, or a single row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.json_line_rows import read_rows
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, decoded, utf16_hint
from embedding_assets.documents.formats.rows import NO_ROWS, Row, missing_text, row_documents, text_columns
from embedding_assets.documents.rejection import EMPTY, TOO_DEEP, Rejection

_NOT_ROWS = "is JSON, but not rows: neither an array of objects, nor an object that is one or holds some"


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The documents that the rows of a file are; a row is named by its number, counted from 1, not by its line."""
    data = file.read()
    text = decoded(data, file.options.encoding)
    if file.options.encoding is None and "\x00" in text and (hint := utf16_hint(data)):
        raise UnreadableError(f"contains a NUL character{hint}", 1)
    if not text.strip():
        raise UnreadableError(EMPTY)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and "\n" not in text[: error.pos].strip():
            # JSON lines that are called otherwise.
            yield from read_rows(file)
            return
        raise UnreadableError(f"is not valid JSON: {error.msg} at column {error.colno}", error.lineno) from None
    except RecursionError:
        raise UnreadableError(TOO_DEEP) from None
    except ValueError:
        raise UnreadableError("is JSON with a number of too many digits") from None
    yield from row_documents(file, _rows(file, value))


def _rows(file: OpenedFile, value: Any) -> Iterator[tuple[int | None, Row | str]]:
    if isinstance(value, dict):
        if _is_row(file, value):
            yield None, value
            return
        value = _held(value)
    if not isinstance(value, list):
        raise UnreadableError(_NOT_ROWS)
    if not value:
        raise UnreadableError(NO_ROWS)
    # Of what is no rows of text at all, such as settings, one reason will do.
    problem = _problem(file, value)
    if problem is not None:
        raise UnreadableError(problem)
    for number, row in enumerate(value, start=1):
        yield number, row if isinstance(row, dict) else "is not a JSON object"


def _is_row(file: OpenedFile, value: dict[str, Any]) -> bool:
    options = file.options
    if options.text_column is None and options.template is None:
        return any(isinstance(value[name], str) for name in text_columns(value, None))
    return missing_text(list(value), options.text_column, options.template) is None


def _problem(file: OpenedFile, rows: list[Any]) -> str | None:
    """The reason why no row has a text."""
    objects = [row for row in rows if isinstance(row, dict)]
    if not objects:
        return _NOT_ROWS
    options = file.options
    problems = (missing_text(list(row), options.text_column, options.template) for row in objects)
    first = next(problems)
    return None if first is None or any(problem is None for problem in problems) else first


def _held(value: dict[str, Any]) -> Any:
    """The rows in an object: its only array of objects, or objects by their names, which become their ``id``."""
    arrays = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
    if len(arrays) == 1:
        return arrays[0]
    if value and not arrays and all(isinstance(item, dict) for item in value.values()):
        return [{"id": name, **item} for name, item in value.items()]
    return None
