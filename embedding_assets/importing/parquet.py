"""Keys and vectors from Parquet files, in portions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ConfigurationError, DocumentError
from embedding_assets.postgres.foreign.relation import KeyedVector
from embedding_assets.postgres.foreign.snapshot import PORTION_ROWS

if TYPE_CHECKING:
    from pyarrow import RecordBatch

    from embedding_assets.postgres.connection import Connection


def parquet_source(
    paths: Sequence[Path], key: Sequence[str], vector: str
) -> Callable[[Connection], Iterator[list[KeyedVector]]]:
    """Reads the files' rows as ``import_keyed`` wants them; a portion at a time, so that a file may be of any size.

    Raises:
        ConfigurationError: a file has no such columns.
        DocumentError: a file cannot be read.
    """
    for path in paths:
        _check(path, key, vector)

    def read(_: Connection) -> Iterator[list[KeyedVector]]:
        for path in paths:
            yield from _read(path, key, vector)

    return read


def _check(path: Path, key: Sequence[str], vector: str) -> None:
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError):
        raise DocumentError(f"{path} is not a readable Parquet file") from None
    for name in (*key, vector):
        if schema.names.count(name) != 1:
            raise ConfigurationError(f"{path} has no column {name}; it has {', '.join(schema.names)}")
    kind = schema.field(vector).type
    is_list = pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)
    if not is_list or not pyarrow.types.is_floating(kind.value_type):
        raise ConfigurationError(f"column {vector} of {path} is {kind}; a vector is a list of floating-point numbers")


def _read(path: Path, key: Sequence[str], vector: str) -> Iterator[list[KeyedVector]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PORTION_ROWS, columns=[*key, vector]):
                yield _rows(batch, key, vector)
    except (pyarrow.ArrowException, OSError):
        raise DocumentError(f"{path} is damaged") from None


def _rows(batch: RecordBatch, key: Sequence[str], vector: str) -> list[KeyedVector]:
    keys = [batch.column(name).to_pylist() for name in key]
    vectors = batch.column(vector)
    return [
        KeyedVector(tuple(_text(column[row]) for column in keys), _vector(vectors[row]))
        for row in range(batch.num_rows)
    ]


def _vector(value: Any) -> NDArray[np.float32] | None:
    if not value.is_valid:
        return None
    numbers = value.values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        return np.asarray(numbers, dtype=np.float64).astype(np.float32)


def _text(value: object) -> str | None:
    """A key's column as PostgreSQL reads it."""
    if value is None:
        return None
    if isinstance(value, bytes):
        # The only binary type that is a key as a rule.
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else f"\\x{value.hex()}"
    return str(value)
