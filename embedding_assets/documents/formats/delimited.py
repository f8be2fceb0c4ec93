"""CSV and TSV: the delimiter and the quoting are found from the header."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, takewhile, zip_longest
from typing import IO, Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.opened import OpenedFile, wrong_encoding
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.registry import format_of
from embedding_assets.documents.formats.rows import (
    HEADER_ROWS,
    NO_ROWS,
    Row,
    column_names,
    find_header,
    missing_text,
    row_document,
)
from embedding_assets.documents.formats.tab_rows import Record, whole_rows
from embedding_assets.documents.formats.values import is_unicode
from embedding_assets.documents.lines import MAX_WRITING_CHARACTERS, read_lines
from embedding_assets.documents.rejection import EMPTY, TOO_LONG, BlankRow, Rejection
from embedding_assets.formatting import counted

logger = logging.getLogger(__name__)

_DELIMITERS: Final = (",", ";", "\t", "|")
_OF_SENTENCES: Final = ",;"
_SEPARATOR_LINE: Final = "sep="
_HEADER_CHARACTERS: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Dialect:
    delimiter: str
    is_quoted: bool
    is_spaced: bool = False
    first_line: int = 1


class _Lines:
    """The decoded lines of a CSV file; remembers where it stands, which ``csv.reader`` only knows after a success."""

    def __init__(self, stream: IO[bytes], dialect: _Dialect) -> None:
        self._lines = read_lines(stream)
        self._dialect = dialect
        self._is_first = True
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
        if self._is_first:
            text = _without_spaces(text, self._dialect)
        self._is_first = False
        self._open_quote ^= self._dialect.is_quoted and text.count('"') % 2 == 1
        self._characters += len(text)
        self.too_long = self.too_long or too_long or (self._open_quote and self._characters > MAX_WRITING_CHARACTERS)
        return text

    def start_record(self) -> int:
        """The line at which the next record starts."""
        self._open_quote = self.too_long = False
        self._is_first = True
        self._characters = 0
        return self.number + 1

    def skip_open_field(self) -> None:
        """Read up to where the quoted field ends in which the reader gave up."""
        while self._open_quote and next(self, None) is not None:
            pass


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The documents that the rows of a file are."""
    if file.path.stat().st_size == 0:
        yield file.rejected(EMPTY)
        return
    kind = file.options.format or (found.name if (found := format_of(file.path)) else "csv")
    with _lines(file) as stream:
        dialect = _dialect(file, stream, "\t" if kind == "tsv" else ",")
    with _lines(file) as stream:
        yield from _rows(file, stream, dialect)


@contextmanager
def _lines(file: OpenedFile) -> Iterator[IO[bytes]]:
    """The file in UTF-8, with lines that end in ``\\n`` if they end in ``\\r`` alone, as on old Macs."""
    with file.stream() as stream:
        lines = file.utf8_lines(stream)
        first = lines.peek(1).split(b"\n", 1)[0].removesuffix(b"\r")
        is_of_mac = b"\r" in b"".join(first.split(b'"')[::2])
        yield io.BufferedReader(_OfMac(lines)) if is_of_mac else lines


class _OfMac(io.RawIOBase):
    """Bytes whose lines end in ``\\r``, with ``\\n`` in its place."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._stream.read(len(view)).replace(b"\r", b"\n")
        view[: len(data)] = data
        return len(data)


def _dialect(file: OpenedFile, stream: IO[bytes], usual: str) -> _Dialect:
    """The delimiter that stands most often in the header, outside of quotes, and whether there are any.

    A header may stand below the title of an export, where there are other delimiters, or none.
    """
    separator, lines = _first_lines(stream)
    dialects: dict[int, _Dialect] = {}
    rows: list[tuple[int, list[str]]] = []
    of_table: _Dialect | None = None
    names_text = False
    for at, (number, line) in enumerate(lines, start=1):
        below = [below for _, below in lines[at:]]
        one = replace(of_table or _dialect_of(line, below, separator, usual), first_line=number)
        dialects[number] = one
        fields = _fields(line, one)
        if _is_row(fields, below, one) and not (one.is_spaced and names_text):
            of_table = one
        elif rows or not _has_text(fields, file.options):
            fields = [line]
        rows.append((number, fields))
        # Lines of a column that is called so are prose.
        names_text = names_text or _has_text(fields, file.options)
        if one.is_quoted and line.count('"') % 2:
            # Of a header over several lines, or of text, the next line is no row.
            break
    found = find_header(rows, file.options)
    if found is None:
        return _Dialect(separator or usual, is_quoted=True)
    if found.problem is None and found.above:
        said = f"left out {counted(found.above, 'line')} above the header"
        logger.warning(said, extra={"document": file.source})
    return dialects[found.line]


def _first_lines(stream: IO[bytes]) -> tuple[str, list[tuple[int, str]]]:
    """The delimiter that a line of its own names, or nothing, and the lines below that are not blank."""
    separator = ""
    lines: list[tuple[int, str]] = []
    for number, data, too_long in read_lines(stream):
        line = data.decode("utf-8", "replace").strip("\r\n")[:_HEADER_CHARACTERS]
        if not lines and line.lower().startswith(_SEPARATOR_LINE) and len(line) == len(_SEPARATOR_LINE) + 1:
            # As Excel writes it.
            separator = line[-1]
        elif line.strip() and not too_long:
            lines.append((number, line))
        if too_long or len(lines) == HEADER_ROWS:
            # Of one too long nothing is known, nor looked for below.
            break
    return separator, lines


def _is_row(fields: Sequence[str], below: Sequence[str], dialect: _Dialect) -> bool:
    """Whether the line below has as many fields; what is between the commas of a sentence is none.

    Where a space is behind each comma, fields are words, and all lines below have as many.
    """
    if len(fields) < 2 or (dialect.delimiter in _OF_SENTENCES and any(map(_begins_with_space, fields[1:]))):
        return False
    if dialect.is_spaced:
        are_words = all(len(field.split()) == 1 for field in fields)
        return are_words and bool(below) and all(_has_as_many(fields, line, dialect) for line in below)
    return _has_as_many(fields, below[0] if below else "", dialect)


def _has_as_many(fields: Sequence[str], line: str, dialect: _Dialect) -> bool:
    count = len(_fields(line, dialect))
    goes_on = dialect.is_quoted and line.count('"') % 2 == 1
    return count == len(fields) or (goes_on and count < len(fields))


def _begins_with_space(field: str) -> bool:
    return field.startswith(" ") and not field.isspace()


def _has_text(fields: Sequence[str], options: ReadOptions) -> bool:
    return missing_text(column_names(fields), options.text_column, options.template) is None


def _fields(line: str, dialect: _Dialect) -> list[str]:
    """Those of a line by itself; of one that is no row, all of it."""
    try:
        return next(_reader([_without_spaces(line, dialect)], dialect), [])
    except csv.Error:
        return [line]


def _reader(lines: Iterable[str], dialect: _Dialect, *, strict: bool = False) -> Iterator[list[str]]:
    if not dialect.is_quoted:
        return csv.reader(lines, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=dialect.delimiter, strict=strict)


@cache
def _spaced(mark: str) -> re.Pattern[str]:
    """A field, with the delimiter before it: quoted as a whole, opened for lines below, said in quotes, or plain."""
    return re.compile(
        rf'(^|{mark})(?: *+("(?:[^"]|"")*+"(?={mark}|[\r\n]*+\Z))|(".*+)|( ++"[^{mark}]*+)| *+([^{mark}]*+))', re.DOTALL
    )


def _without_spaces(line: str, dialect: _Dialect) -> str:
    """The first line of a row without a space behind each delimiter, but where there is a quote that ends elsewhere."""
    if not dialect.is_spaced:
        return line
    return _spaced(re.escape(dialect.delimiter)).sub(r"\1\2\3\4\5", line)


def _dialect_of(line: str, below: Sequence[str], separator: str, usual: str) -> _Dialect:
    """That of a file whose header is this line."""
    if separator:
        return _Dialect(separator, is_quoted=True)
    bare = _bare(line)
    counts = {mark: bare.count(mark) for mark in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda mark: (counts[mark], mark == usual))
    delimiter = delimiter if counts[delimiter] else usual
    # Who writes tabs between fields seldom quotes them, and then the header too.
    is_quoted = delimiter != "\t" or line.lstrip().startswith('"')
    return _Dialect(delimiter, is_quoted, delimiter in _OF_SENTENCES and _is_spaced(line, below, delimiter))


def _is_spaced(line: str, below: Iterable[str], mark: str) -> bool:
    """Whether a space is behind each delimiter of a header, and of the lines below up to one with an opened field."""
    whole = takewhile(lambda one: one.count('"') % 2 == 0, below)
    counts = [(bare.count(mark), bare.count(f"{mark} ")) for bare in map(_bare, chain([line], whole))]
    return counts[0][0] > 0 and all(all_marks == spaced for all_marks, spaced in counts)


def _bare(line: str) -> str:
    """What is outside of quotes."""
    return "".join(line.split('"')[::2])


def _rows(file: OpenedFile, stream: IO[bytes], dialect: _Dialect) -> Iterator[Document | Rejection]:
    records = _records(stream, dialect) if dialect.is_quoted else whole_rows(_records(stream, dialect))
    line, header = next(records, (None, NO_ROWS))
    names = [] if isinstance(header, str) else column_names(header)
    options = file.options
    problem = header if isinstance(header, str) else missing_text(names, options.text_column, options.template)
    if problem is not None:
        yield file.rejected(problem, line)
        return
    found = False
    for line, fields in records:
        found = True
        row = row_document(file, line, fields if isinstance(fields, str) else _row(names, fields))
        # One that ends before its text may have been cut off.
        is_short = isinstance(row, BlankRow) and len(fields) < len(names)
        yield file.rejected(row.reason, line) if isinstance(row, BlankRow) and is_short else row
    if not found:
        yield file.rejected(NO_ROWS)


def _records(stream: IO[bytes], dialect: _Dialect) -> Iterator[Record]:
    # The limit is the process's; raising it takes nothing from others.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_WRITING_CHARACTERS))
    lines = _Lines(stream, dialect)
    for _ in range(dialect.first_line - 1):
        next(lines, None)
    reader = _reader(lines, dialect, strict=True)
    while True:
        start = lines.start_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.too_long:
                lines.skip_open_field()
            yield start, TOO_LONG if lines.too_long else f"is not valid CSV: {error}"
            continue
        if lines.too_long:
            yield start, TOO_LONG
        elif not is_unicode("".join(fields)):
            yield start, wrong_encoding("utf-8")
        elif fields or not dialect.is_quoted:
            yield start, fields


def _row(names: Sequence[str], fields: Sequence[str]) -> Row | str:
    if any(map(str.strip, fields[len(names) :])):
        return f"has {len(fields)} fields, the header names {len(names)}"
    return dict(zip_longest(names, fields[: len(names)]))
