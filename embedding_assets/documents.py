"""Files → documents: text, Markdown, JSONL, CSV, Parquet. The bad is rejected by file and line, the rest goes on."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError

from embedding_assets.errors import DocumentError
from embedding_assets.models import DocumentMetadata, ProcessedChunk

if TYPE_CHECKING:
    from pyarrow import RecordBatch

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

MAX_LINE_CHARACTERS = 1_000_000
"""Longest line, or text of a row. No writing is that long: it is data in a text file, and would be parsed in memory."""

TEXT_COLUMNS = ("chunk_text", "text", "content", "body")
"""Fields taken as a row's text, in this order, unless a column is named."""

MARKDOWN_SUFFIXES = (".md", ".markdown")
PLAIN_SUFFIXES = (".txt", ".rst", ".text")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
CSV_DELIMITERS = {".csv": ",", ".tsv": "\t"}
ACCEPTED_SUFFIXES = (*MARKDOWN_SUFFIXES, *PLAIN_SUFFIXES, *JSONL_SUFFIXES, *CSV_DELIMITERS, ".parquet")

# Either read into a place of their own, or computed anew for every chunk.
_RESERVED_FIELDS = frozenset({"chunk_hash", "context_header", "title", "source", "origin"}) | frozenset(
    {"chunk_index", "total_chunks", "token_count", "embedding"}
)
_TITLE_SEARCH_CHARACTERS = 20_000
_HEADING_CHARACTERS = 500
_PARQUET_BATCH_ROWS = 256
_UTF8_BYTES = 4
_BOM = b"\xef\xbb\xbf"
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?=[\w-]+[ \t]*:).*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)

_TOO_LONG = f"is longer than {MAX_LINE_CHARACTERS:,} characters"
_TOO_DEEP = "is nested too deeply"
_NOT_UTF8 = "is not valid UTF-8"
_EMPTY = "is empty"
_NO_ROWS = "has no rows"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that could not be loaded.

    Attributes:
        source: the file.
        line: line of the file, counted from 1 (row number in Parquet); None if it is the file as a whole.
        reason: never contains text of the document.
    """

    source: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place}: {self.reason}"


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


@dataclass(frozen=True, slots=True)
class Heading:
    """A Markdown heading; ``start`` and ``end`` are the half-open range of its lines, counted from 0."""

    level: int
    text: str
    start: int
    end: int


class _RowError(Exception):
    """The reason why a row is no document."""


def read_documents(
    paths: Iterable[Path], *, text_column: str | None, on_reject: Callable[[Rejection], None]
) -> Iterator[Document]:
    """Read files, and folders recursively in sorted order, as a stream.

    Args:
        paths: files and folders; hidden entries and other kinds of file in a folder are passed over.
        text_column: field of a row that holds its text; None takes the first of ``TEXT_COLUMNS``.
        on_reject: called for whatever is skipped because it is bad.

    Raises:
        DocumentError: a path does not exist, or a file named directly is of an unknown kind; raised at once.
    """
    roots = [_checked_root(path) for path in paths]
    return _documents(roots, text_column, on_reject)


def _checked_root(path: Path) -> Path:
    root = path.expanduser().resolve()
    accepted = f"accepted are folders and files ending in {', '.join(ACCEPTED_SUFFIXES)}"
    if not root.exists():
        raise DocumentError(f"{_printable(path)} does not exist; {accepted}")
    if not root.is_dir() and not _is_accepted(root):
        raise DocumentError(f"{_printable(path)} is of an unknown kind; {accepted}")
    return root


def _documents(
    roots: Iterable[Path], text_column: str | None, on_reject: Callable[[Rejection], None]
) -> Iterator[Document]:
    seen: set[Path] = set()
    for root in roots:
        for item in _walk(root):
            if isinstance(item, Rejection):
                on_reject(item)
            elif item not in seen:
                seen.add(item)
                for result in _read_file(item, text_column):
                    if isinstance(result, Rejection):
                        on_reject(result)
                    else:
                        yield result


def _walk(root: Path) -> Iterator[Path | Rejection]:
    if not root.is_dir():
        yield root
        return
    found = False
    for item in _folder_files(root):
        found = True
        yield item
    if not found:
        yield Rejection(_printable(root), None, f"holds no file ending in {', '.join(ACCEPTED_SUFFIXES)}")


def _folder_files(folder: Path) -> Iterator[Path | Rejection]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield Rejection(_printable(folder), None, f"cannot be read: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # A link to a folder may lead back up and never end.
        if entry.is_dir() and not entry.is_symlink():
            yield from _folder_files(entry)
        elif _is_accepted(entry):
            yield entry


def _is_accepted(path: Path) -> bool:
    return path.suffix.lower() in ACCEPTED_SUFFIXES and path.is_file()


def _printable(path: Path) -> str:
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read_file(path: Path, text_column: str | None) -> Iterator[Document | Rejection]:
    source = _printable(path)
    if source != path.as_posix():
        yield Rejection(source, None, "has a name that is not valid UTF-8")
        return
    suffix = path.suffix.lower()
    try:
        if suffix in MARKDOWN_SUFFIXES + PLAIN_SUFFIXES:
            yield _read_text(path, markdown=suffix in MARKDOWN_SUFFIXES)
            return
        digest = _file_digest(path, text_column)
        for line, row in _rows(path, suffix, text_column):
            result = _row_result(path, line, row, text_column)
            yield result if isinstance(result, Rejection) else replace(result, file_digest=digest)
    except OSError as error:
        yield Rejection(source, None, f"cannot be read: {error.strerror}")


def _file_digest(path: Path, text_column: str | None) -> str:
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{content}:{text_column or ''}"


def _read_text(path: Path, *, markdown: bool) -> Document | Rejection:
    source = path.as_posix()
    lines = []
    with path.open("rb") as stream:
        for number, line, too_long in _lines(stream):
            if too_long:
                return Rejection(source, number, _TOO_LONG)
            lines.append(line)
    data = b"".join(lines)
    try:
        text = normalized_newlines(data.decode())
    except UnicodeDecodeError as error:
        return Rejection(source, data.count(b"\n", 0, error.start) + 1, _NOT_UTF8)
    if "\x00" in text:
        return Rejection(source, text.count("\n", 0, text.index("\x00")) + 1, "contains a NUL character")
    if not text.strip():
        return Rejection(source, None, f"{_EMPTY} or blank" if text else _EMPTY)
    title = markdown_title(text) if markdown else ""
    return Document(DocumentMetadata(source=source, title=title or path.stem), text, markdown)


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """Lines with their number and whether they are too long; of such a line only its quoting is kept."""
    limit = MAX_LINE_CHARACTERS * _UTF8_BYTES
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) <= MAX_LINE_CHARACTERS:
            yield number, line, False
            continue
        quotes = line.count(b'"')
        too_long = len(line.decode("utf-8", "replace").rstrip("\r\n")) > MAX_LINE_CHARACTERS
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(limit)
            quotes += rest.count(b'"')
            too_long = too_long or bool(rest)
        # An odd quote opens or closes a CSV field that other lines belong to.
        yield number, (b'"\n' if quotes % 2 else b"\n") if too_long else line, too_long


def _rows(path: Path, suffix: str, text_column: str | None) -> Iterator[tuple[int | None, Row | str]]:
    """Rows of a file with their line; instead of a row the reason why there is none."""
    if path.stat().st_size == 0:
        return iter([(None, _EMPTY)])
    if suffix in JSONL_SUFFIXES:
        return _jsonl_rows(path)
    if suffix in CSV_DELIMITERS:
        return _csv_rows(path, CSV_DELIMITERS[suffix], text_column)
    return _parquet_rows(path, text_column)


def _jsonl_rows(path: Path) -> Iterator[tuple[int | None, Row | str]]:
    found = False
    with path.open("rb") as stream:
        for number, line, too_long in _lines(stream):
            if too_long or line.strip():
                found = True
                yield number, _TOO_LONG if too_long else _json_object(line)
    if not found:
        yield None, _NO_ROWS


def _json_object(line: bytes) -> Row | str:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        return _NOT_UTF8
    except json.JSONDecodeError as error:
        return f"is not valid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return "is JSON with a number of too many digits"
    return value if isinstance(value, dict) else "is not a JSON object"


class _CsvLines:
    """The decoded lines of a CSV file; remembers where it stands, which ``csv.reader`` only knows after a success."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines = _lines(stream)
        self._open_quote = False
        self._characters = 0
        self.number = 0
        self.too_long = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line, too_long = next(self._lines)
        # Invalid bytes become lone surrogates, by which their row is known afterwards.
        text = line.decode("utf-8", "surrogateescape")
        self._open_quote ^= text.count('"') % 2 == 1
        self._characters += len(text)
        self.too_long = self.too_long or too_long or (self._open_quote and self._characters > MAX_LINE_CHARACTERS)
        return text

    def start_record(self) -> int:
        """The line at which the next record starts."""
        self._open_quote = self.too_long = False
        self._characters = 0
        return self.number + 1

    def skip_open_field(self) -> None:
        """Read up to where the quoted field ends in which the reader gave up."""
        while self._open_quote and next(self, None) is not None:
            pass


def _csv_rows(path: Path, delimiter: str, text_column: str | None) -> Iterator[tuple[int | None, Row | str]]:
    with path.open("rb") as stream:
        records = _csv_records(stream, delimiter)
        line, header = next(records, (None, _NO_ROWS))
        problem = header if isinstance(header, str) else _missing_text([name.strip() for name in header], text_column)
        if problem is not None:
            yield line, problem
            return
        names = [name.strip() for name in header]
        found = False
        for line, fields in records:
            found = True
            yield line, fields if isinstance(fields, str) else _csv_row(names, fields)
    if not found:
        yield None, _NO_ROWS


def _csv_records(stream: IO[bytes], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    # The limit is the process's; raising it takes nothing from others.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_CHARACTERS))
    lines = _CsvLines(stream)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = lines.start_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.too_long:
                lines.skip_open_field()
            yield start, _TOO_LONG if lines.too_long else f"is not valid CSV: {error}"
            continue
        if lines.too_long:
            yield start, _TOO_LONG
        elif not _is_unicode("".join(fields)):
            yield start, _NOT_UTF8
        elif fields:
            yield start, fields


def _csv_row(names: Sequence[str], fields: Sequence[str]) -> Row | str:
    if len(fields) > len(names):
        return f"has {len(fields)} fields, the header names {len(names)}"
    return dict(zip_longest(names, fields))


def _parquet_rows(path: Path, text_column: str | None) -> Iterator[tuple[int | None, Row | str]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            problem = _missing_text(file.schema_arrow.names, text_column)
            if problem is not None:
                yield None, problem
                return
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for row in _batch_rows(batch):
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError):
        yield (number, "is followed by damage") if number else (None, "is not a readable Parquet file")
        return
    if not number:
        yield None, _NO_ROWS


def _batch_rows(batch: RecordBatch) -> list[Row | str]:
    try:
        rows: list[Row | str] = batch.to_pylist()
    except (ValueError, OverflowError):
        return [_single_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
    return rows


def _single_row(batch: RecordBatch) -> Row | str:
    try:
        row: Row = batch.to_pylist()[0]
    except UnicodeDecodeError:
        return _NOT_UTF8
    except (ValueError, OverflowError):
        return "holds a value that is out of range"
    return row


def _missing_text(columns: Sequence[str], text_column: str | None) -> str | None:
    if any(name in columns for name in ((text_column,) if text_column else TEXT_COLUMNS)):
        return None
    wanted = f"{text_column!r}" if text_column else f"any of {', '.join(TEXT_COLUMNS)}"
    found = ", ".join(repr(name[:60]) for name in columns[:20]) + (", …" if len(columns) > 20 else "")
    return f"has no column {wanted}; found {found or 'none'}; name the one with the text by --text-column"


def _row_result(path: Path, line: int | None, row: Row | str, text_column: str | None) -> Document | Rejection:
    source = path.as_posix()
    if isinstance(row, str):
        return Rejection(source, line, row)
    try:
        return _row_document(path, row, text_column)
    except _RowError as error:
        return Rejection(source, line, str(error))
    except RecursionError:
        return Rejection(source, line, _TOO_DEEP)


def _row_document(path: Path, row: Row, text_column: str | None) -> Document:
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
    file = path.as_posix()
    # Not the line: a row inserted above would give all that follow another hash.
    source = _row_string(row, "source") or (f"{file}#{identity}" if identity else file)
    fields |= {"source": source, "title": title or path.stem, "origin": file}
    try:
        metadata = DocumentMetadata.model_validate(fields)
    except ValidationError:
        raise _RowError(_TOO_DEEP) from None
    if not chunk_hash:
        # Only a title of its own tells a row from its neighbours; the file's name is the same for all of them.
        return Document(metadata, text, markdown=False, context_header=header or title)
    try:
        ProcessedChunk.create_from_chunk(text, metadata, chunk_hash=chunk_hash)
    except ValidationError:
        raise _RowError("has a chunk_hash that is not lowercase hex of 2 to 128 characters") from None
    return Document(metadata, text, markdown=False, chunk_hash=chunk_hash, context_header=header)


def _row_text(row: Row, text_column: str | None) -> tuple[str, str]:
    names = [name for name in ((text_column,) if text_column else TEXT_COLUMNS) if name in row]
    if not names:
        raise _RowError(_missing_text(list(row), text_column))
    name = next((name for name in names if row[name] is not None), names[0])
    text = row[name]
    if text is None:
        raise _RowError(f"has an empty {name!r}")
    if not isinstance(text, str):
        raise _RowError(f"has a {name!r} that is not a string")
    if len(text) > MAX_LINE_CHARACTERS:
        raise _RowError(_TOO_LONG)
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
    if not _is_unicode(text):
        raise _RowError(f"contains a lone surrogate, which is not valid Unicode, in {name[:60]!r}")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def normalized_newlines(text: str) -> str:
    """The text with every line ending as ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def markdown_title(text: str) -> str:
    """The first heading of a Markdown text; empty if none stands near its beginning."""
    headings = markdown_headings(text[:_TITLE_SEARCH_CHARACTERS])
    return next((heading.text for heading in headings if heading.text), "")


def markdown_headings(text: str) -> list[Heading]:
    """The headings that divide a Markdown text; not those inside quotes, lists, code or front matter.

    Args:
        text: with ``\\n`` as its only line ending.
    """
    from markdown_it import MarkdownIt

    blocks = MarkdownIt("commonmark").disable("inline")
    inline = MarkdownIt("commonmark")
    tokens = blocks.parse(_FRONT_MATTER.sub(lambda found: "\n" * found.group().count("\n"), text))
    headings = []
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map is not None:
            words = _inline_text(inline, content.content[:_HEADING_CHARACTERS])
            headings.append(Heading(int(opening.tag[1:]), words, opening.map[0], opening.map[1]))
    return headings


def _inline_text(parser: Any, markup: str) -> str:
    children = parser.parseInline(markup)[0].children or []
    kept = (" " if child.type == "softbreak" else child.content for child in children if child.type != "html_inline")
    return " ".join("".join(kept).split())
