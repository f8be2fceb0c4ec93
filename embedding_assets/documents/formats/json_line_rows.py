"""Rows of JSON, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.opened import OpenedFile, wrong_encoding
from embedding_assets.documents.formats.rows import Row, row_documents
from embedding_assets.documents.lines import read_lines
from embedding_assets.documents.rejection import TOO_DEEP, TOO_LONG, Rejection


def read_rows(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The documents that the lines of a file are, whatever it is called."""
    yield from row_documents(file, _rows(file))


def _rows(file: OpenedFile) -> Iterator[tuple[int | None, Row | str]]:
    with file.stream() as stream:
        for number, line, too_long in read_lines(file.utf8_lines(stream)):
            if too_long or line.strip():
                yield number, TOO_LONG if too_long else _object(line)


def _object(line: bytes) -> Row | str:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        return wrong_encoding("utf-8")
    except json.JSONDecodeError as error:
        return f"is not valid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return TOO_DEEP
    except ValueError:
        return "is JSON with a number of too many digits"
    return value if isinstance(value, dict) else "is not a JSON object"
