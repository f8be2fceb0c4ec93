"""The rows of JSONL, CSV, TSV and Parquet files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from embedding_assets.documents.lines import MAX_LINE_CHARACTERS, read_lines
from embedding_assets.documents.rejection import EMPTY, NO_ROWS, NOT_UTF8, TOO_DEEP, TOO_LONG

if TYPE_CHECKING:
    from pyarrow import RecordBatch

TEXT_COLUMNS = ("chunk_text", "text", "content", "body")
"""Fields taken as a row's text, in this order, unless a column is named."""

JSONL_SUFFIXES = (".jsonl", ".ndjson")
CSV_DELIMITERS = {".csv": ",", ".tsv": "\t"}
ROW_SUFFIXES = (*JSONL_SUFFIXES, *CSV_DELIMITERS, ".parquet")

_PARQUET_BATCH_ROWS = 256

Row = dict[str, Any]


def read_rows(path: Path, suffix: str, text_column: str | None) -> Iterator[tuple[int | None, Row | str]]:
    """Rows of a file with their line; instead of a row the reason why there is none."""
    if path.stat().st_size == 0:
        return iter([(None, EMPTY)])
    if suffix in JSONL_SUFFIXES:
        return _jsonl_rows(path)
    if suffix in CSV_DELIMITERS:
        return _csv_rows(path, CSV_DELIMITERS[suffix], text_column)
    return _parquet_rows(path, text_column)


def _jsonl_rows(path: Path) -> Iterator[tuple[int | None, Row | str]]:
    found = False
    with path.open("rb") as stream:
        for number, line, too_long in read_lines(stream):
            if too_long or line.strip():
                found = True
                yield number, TOO_LONG if too_long else _json_object(line)
    if not found:
        yield None, NO_ROWS


def _json_object(line: bytes) -> Row | str:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        return NOT_UTF8
    except json.JSONDecodeError as error:
        return f"is not valid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return TOO_DEEP
    except ValueError:
        return "is JSON with a number of too many digits"
    return value if isinstance(value, dict) else "is not a JSON object"


class _CsvLines:
    """The decoded lines of a CSV file; remembers where it stands, which ``csv.reader`` only knows after a success."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines = read_lines(stream)
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
        line, header = next(records, (None, NO_ROWS))
        problem = header if isinstance(header, str) else missing_text([name.strip() for name in header], text_column)
        if problem is not None:
            yield line, problem
            return
        names = [name.strip() for name in header]
        found = False
        for line, fields in records:
            found = True
            yield line, fields if isinstance(fields, str) else _csv_row(names, fields)
    if not found:
        yield None, NO_ROWS


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
            yield start, TOO_LONG if lines.too_long else f"is not valid CSV: {error}"
            continue
        if lines.too_long:
            yield start, TOO_LONG
        elif not is_unicode("".join(fields)):
            yield start, NOT_UTF8
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
            problem = missing_text(file.schema_arrow.names, text_column)
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
        yield None, NO_ROWS


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
        return NOT_UTF8
    except (ValueError, OverflowError):
        return "holds a value that is out of range"
    return row


def missing_text(columns: Sequence[str], text_column: str | None) -> str | None:
    """The reason why there is no text among these columns; None if there is."""
    if any(name in columns for name in ((text_column,) if text_column else TEXT_COLUMNS)):
        return None
    wanted = f"{text_column!r}" if text_column else f"any of {', '.join(TEXT_COLUMNS)}"
    found = ", ".join(repr(name[:60]) for name in columns[:20]) + (", …" if len(columns) > 20 else "")
    return f"has no column {wanted}; found {found or 'none'}; name the one with the text by --text-column"


def is_unicode(text: str) -> bool:
    """True if a text can be encoded, as one with lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
