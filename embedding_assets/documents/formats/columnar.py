"""Parquet and Arrow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.opened import OpenedFile
from embedding_assets.documents.formats.registry import format_of
from embedding_assets.documents.formats.rows import NO_ROWS, Row, column_names, missing_text, row_document
from embedding_assets.documents.formats.values import log_left_out
from embedding_assets.documents.rejection import EMPTY, NOT_UTF8, Rejection

if TYPE_CHECKING:
    from pyarrow import Array, DataType, Field, RecordBatch, Schema

_BATCH_ROWS: Final = 256
_INDEX: Final = re.compile(r"__index_level_\d+__")
_NO_VALUES: Final = (ValueError, OverflowError, KeyError)
"""What is raised where Python has no such value: years beyond 9999, unknown time zones, fields of one name twice."""
_NOT_UTF8: Final = object()
_LEFT_OUT: Final = object()


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The documents that the rows of a file are; what precedes damage is read."""
    import pyarrow

    if file.path.stat().st_size == 0:
        yield file.rejected(EMPTY)
        return
    kind = file.options.format or (found.name if (found := format_of(file.path)) else "parquet")
    title = "Parquet" if kind == "parquet" else "Arrow"
    number = 0
    try:
        with _unpacked(file) as stream, (_parquet if kind == "parquet" else _arrow)(stream) as (schema, batches):
            problem = missing_text(column_names(schema.names), file.options.text_column, file.options.template)
            if problem is not None:
                yield file.rejected(problem)
                return
            has_maps = any(_has_maps(field.type) for field in schema)
            for batch in batches:
                columns = _named(batch)
                for row in _rows(file, columns):
                    number += 1
                    yield row_document(file, number, _with_maps_of_fields(row, columns.schema) if has_maps else row)
    except (pyarrow.ArrowException, OSError):
        yield (
            file.rejected("is followed by damage", number)
            if number
            else file.rejected(f"is not a readable {title} file")
        )
        return
    if not number:
        yield file.rejected(NO_ROWS)


@contextmanager
def _unpacked(file: OpenedFile) -> Iterator[IO[bytes]]:
    """The file itself; of one that is packed a copy, for these formats are not read from front to back."""
    import shutil
    import tempfile

    with file.stream() as stream:
        if not file.is_packed:
            yield stream
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.seek(0)
            yield copy


@contextmanager
def _parquet(stream: IO[bytes]) -> Iterator[tuple[Schema, Iterator[RecordBatch]]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(stream) as parquet:
        yield parquet.schema_arrow, parquet.iter_batches(batch_size=_BATCH_ROWS)


@contextmanager
def _arrow(stream: IO[bytes]) -> Iterator[tuple[Schema, Iterator[RecordBatch]]]:
    import pyarrow

    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    if is_file:
        with pyarrow.ipc.open_file(stream) as arrow:
            yield arrow.schema, _slices(arrow.get_batch(index) for index in range(arrow.num_record_batches))
    else:
        with pyarrow.ipc.open_stream(stream) as arrow:
            yield arrow.schema, _slices(iter(arrow))


def _slices(batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
    for batch in batches:
        # Offsets of a damaged one may point anywhere; texts are looked at row by row.
        _check(batch)
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


def _named(batch: RecordBatch) -> RecordBatch:
    """With a name of its own for each column, and without the numbers that pandas gives rows that have no index."""
    import pyarrow

    kept = [number for number, name in enumerate(batch.schema.names) if not _INDEX.fullmatch(name)]
    names = column_names(batch.schema.names[number] for number in kept)
    if names == batch.schema.names:
        return batch
    return pyarrow.RecordBatch.from_arrays([batch.column(number) for number in kept], names=names)


def _check(batch: RecordBatch) -> None:
    import pyarrow

    try:
        batch.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise


def _rows(file: OpenedFile, batch: RecordBatch) -> list[Row | str]:
    try:
        rows: list[Row | str] = batch.to_pylist()
    except _NO_VALUES:
        columns = {name: _values(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        return [_row(file, {name: values[at] for name, values in columns.items()}) for at in range(batch.num_rows)]
    return rows


def _values(column: Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except _NO_VALUES:
        return [_value(column.slice(at, 1)) for at in range(len(column))]
    return values


def _value(column: Array) -> Any:
    """The only value of a column; what Python does not have as such, as a day in the year 10000, in words if it can."""
    try:
        return column[0].as_py()
    except UnicodeDecodeError:
        return _NOT_UTF8
    except _NO_VALUES:
        return _in_words(column) or _LEFT_OUT


def _in_words(column: Array) -> str | None:
    import pyarrow

    types = pyarrow.types
    zone = ""
    if types.is_timestamp(column.type) and column.type.tz:
        column, zone = column.cast(pyarrow.timestamp(column.type.unit)), "+00:00"
    if not types.is_temporal(column.type) or types.is_duration(column.type):
        return None
    try:
        words: str = column.cast(pyarrow.string())[0].as_py()
    except pyarrow.ArrowException:
        return None
    return None if "out of range" in words else f"{words}{zone}"


def _row(file: OpenedFile, row: dict[str, Any]) -> Row | str:
    if any(value is _NOT_UTF8 for value in row.values()):
        return NOT_UTF8
    for name in [name for name, value in row.items() if value is _LEFT_OUT]:
        log_left_out(file, name, "values that cannot be read")
        del row[name]
    return row


def _has_maps(kind: DataType) -> bool:
    import pyarrow

    fields = (kind.field(number).type for number in range(kind.num_fields))
    return pyarrow.types.is_map(kind) or any(map(_has_maps, fields))


def _with_maps(value: Any, kind: DataType) -> Any:
    """A value of a type with its maps as such; as they come they are lists of pairs, and empty ones just lists."""
    import pyarrow

    types = pyarrow.types
    if value is None or not _has_maps(kind):
        return value
    if types.is_map(kind):
        return {str(key): _with_maps(item, kind.item_type) for key, item in value}
    if types.is_struct(kind):
        return _with_maps_of_fields(value, kind)
    if types.is_run_end_encoded(kind):
        return _with_maps(value, kind.value_type)
    # Of a union it is not known which of its types a value has.
    return value if types.is_union(kind) else [_with_maps(item, kind.value_type) for item in value]


def _with_maps_of_fields(row: Row | str, fields: Iterable[Field]) -> Row | str:
    if isinstance(row, str):
        return row
    kinds = {field.name: field.type for field in fields}
    return {name: _with_maps(value, kinds[name]) for name, value in row.items()}
