"""What grows with a table: bytes a chunk by kind, write-ahead log, and the time of an index build, at several sizes.

Random unit vectors, real chunks, an embedded PostgreSQL of the benchmark's own; nothing is encoded. docs/scaling.md is
calculated from it. Run: make bench-scale
"""

from __future__ import annotations

import argparse
import time

from psycopg.conninfo import make_conninfo
from report import Result, Row, publish
from servers import own_server
from write import DIMENSIONS, INDEX, SPACE, all_pending, execute, make_chunks, unit_vectors, versions

from embedding_assets.config import DatabaseConfig
from embedding_assets.pipeline.generator import COMMIT_CHUNKS
from embedding_assets.postgres.chunks import store_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import drop_before_load
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors

Numbers = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 10_000, 20_000, 40_000])
    arguments = parser.parse_args()
    with own_server() as url:
        publish(measure(url, arguments.rows))


def measure(url: str, sizes: list[int]) -> Result:
    """One table of each size, the largest last, of which the bytes are kept."""
    built, largest = {}, {}
    for rows in sizes:
        name = f"chunks_{rows}"
        execute(url, f"CREATE DATABASE {name}")
        numbers = load_and_index(make_conninfo(url, dbname=name), rows)
        built[rows], largest = numbers.pop("index_seconds"), numbers
        found = versions(url, name)
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")
    return Result(
        name="scale",
        title=f"What grows with a table: building the index, {DIMENSIONS} dimensions",
        unit="rows/s",
        rows=[Row(f"CREATE INDEX, {rows:,} rows", [rows / seconds]) for rows, seconds in built.items()],
        aims=[],
        facts={
            "rows": max(sizes),
            **{name: round(value) for name, value in largest.items()},
            "index_seconds": {f"{rows:,} rows": round(seconds, 2) for rows, seconds in built.items()},
            "index": f"m {INDEX.m}, ef_construction {INDEX.ef_construction}, up to {INDEX.workers} workers",
            **found,
        },
    )


def load_and_index(url: str, rows: int) -> Numbers:
    """A first load as the pipeline writes it; sizes and write-ahead log in bytes a row, and the build's seconds."""
    vectors = unit_vectors(rows)
    with Database(url, DatabaseConfig()) as database:
        migrate(database)
        # In portions, as documents come.
        chunks = make_chunks(rows)
        for start in range(0, rows, 1000):
            store_chunks(database, chunks[start : start + 1000], [])
        column = register_space(database, SPACE)
        pending = all_pending(database, column)
        drop_before_load(database, column)
        begin = log_position(database)
        for start in range(0, rows, COMMIT_CHUNKS):
            portion = slice(start, start + COMMIT_CHUNKS)
            write_vectors(database, column, pending[portion], vectors[portion])
        written = log_position(database)
        started = time.perf_counter()
        build_vector_index(database, column, INDEX)
        seconds = time.perf_counter() - started
        numbers = sizes(database)
        numbers |= {"wal_of_vectors": written - begin, "wal_of_index": log_position(database) - written}
    return {**{name: value / rows for name, value in numbers.items()}, "index_seconds": seconds}


def sizes(database: Database) -> Numbers:
    """Bytes of the table's parts."""
    query = """
        SELECT pg_relation_size(oid), pg_total_relation_size(reltoastrelid),
            pg_relation_size('idx_knowledge_embedding'),
            pg_indexes_size(oid) - pg_relation_size('idx_knowledge_embedding')
        FROM pg_class WHERE oid = 'knowledge_base'::regclass
    """
    with database.session() as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return dict(zip(("heap", "toast", "vector_index", "other_indexes"), row, strict=True))


def log_position(database: Database) -> float:
    with database.session() as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return float(row[0])


if __name__ == "__main__":
    main()
