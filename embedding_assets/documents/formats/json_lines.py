"""JSON lines: one row a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats import json_rows
from embedding_assets.documents.formats.json_line_rows import read_rows
from embedding_assets.documents.formats.opened import OpenedFile
from embedding_assets.documents.rejection import EMPTY, Rejection

_ARRAY: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{")


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The documents that the lines of a file are, or the rows of an array that is called so."""
    if file.path.stat().st_size == 0:
        yield file.rejected(EMPTY)
        return
    yield from json_rows.read(file) if _is_array(file) else read_rows(file)


def _is_array(file: OpenedFile) -> bool:
    with file.stream() as stream:
        return _ARRAY.match(file.utf8_lines(stream).peek(1)) is not None
