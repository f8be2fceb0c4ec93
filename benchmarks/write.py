"""Vectors into a table of chunks: the usual UPDATE row by row, ours, and COPY into a table of its own as the bound.

Random unit vectors go into an embedded PostgreSQL of the benchmark's own; nothing is encoded. Every way starts from a
copy of one database that the package's migrations made, with real chunks in it. Run: make bench-write
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg.conninfo import make_conninfo
from report import Aim, Result, Row, interleave, peak_memory_mb, publish
from servers import own_server
from texts import real_chunks

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.models import DocumentMetadata, ProcessedChunk
from embedding_assets.pipeline.generator import COMMIT_CHUNKS
from embedding_assets.postgres.backlog import PendingChunk, fetch_pending
from embedding_assets.postgres.chunks import store_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import drop_before_load
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.spaces import SpaceColumn, VectorSpace

DIMENSIONS = 768
LOOP_COMMIT = 32
SPACE = VectorSpace("benchmark", "benchmark/random", "1", DIMENSIONS, True, "", 384)
FURTHER_SPACE = VectorSpace("benchmark", "benchmark/random", "2", DIMENSIONS, True, "", 384)
INDEX = IndexConfig(memory_mb=1024, workers=2)
HNSW = f"USING hnsw (embedding vector_cosine_ops) WITH (m = {INDEX.m}, ef_construction = {INDEX.ef_construction})"
TEMPLATE = "chunks"

Vectors = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--later-rows", type=int, default=1000, help="rows of the later load")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with own_server() as url:
        publish(compare(url, arguments.rows, arguments.later_rows, arguments.rounds))


def compare(url: str, rows: int, later_rows: int, rounds: int) -> Result:
    """Let the ways take turns, each on a fresh copy of the table."""
    chunks = make_chunks(rows + later_rows)
    vectors = unit_vectors(rows + later_rows)
    make_template(url, chunks[:rows])
    ours = Ours(chunks[rows:], vectors)

    def on_a_copy(way: Callable[[str], float]) -> Callable[[], float]:
        def run() -> float:
            with copy_of_template(url) as copy_url:
                return way(copy_url)

        return run

    rates = interleave(
        {
            "loop": on_a_copy(lambda copy_url: update_row_by_row(copy_url, vectors[:rows])),
            "ours": on_a_copy(ours.run),
            "copy": on_a_copy(lambda copy_url: copy_and_index(copy_url, vectors[:rows])),
        },
        rounds,
    )
    loop, first, bound = (statistics.median(rates[name]) for name in ("loop", "ours", "copy"))
    return Result(
        name="write",
        title=f"Writing {rows:,} vectors of {DIMENSIONS} dimensions",
        unit="rows/s",
        rows=[
            Row(
                "UPDATE row by row, index in place",
                rates["loop"],
                note=f"the vector as text, commit every {LOOP_COMMIT}, HNSW index there from the start",
            ),
            Row("ours, first load", rates["ours"], ours=True, note="index built afterwards, included"),
            Row("COPY into a table of its own", rates["copy"], note="then CREATE INDEX, included: a bound"),
            Row(
                "ours, a further model's column",
                ours.further,
                note=f"its index included, that of the first column in place; "
                f"{statistics.median(ours.heap_only):.0%} of the updates heap-only",
            ),
            Row("ours, later load", ours.later, note=f"{later_rows:,} rows more, index in place"),
        ],
        aims=[
            Aim("times as fast as row by row, index included", first / loop, 8),
            Aim("times the time of COPY plus CREATE INDEX", bound / first, 1.3, at_most=True),
        ],
        facts={
            "rows_a_commit": COMMIT_CHUNKS,
            "seconds_of_the_first_load": ours.parts(),
            "index": f"m {INDEX.m}, ef_construction {INDEX.ef_construction}, up to {INDEX.workers} workers",
            "heap_mb": ours.heap_mb,
            "peak_memory_mb_of_the_client": round(peak_memory_mb()),
            **versions(url),
        },
    )


class Ours:
    """The functions that the pipeline calls, in its order; encoding left out.

    Args:
        later: chunks that are added once the first are embedded.
        vectors: for all chunks, the later ones last.
    """

    def __init__(self, later: list[ProcessedChunk], vectors: Vectors) -> None:
        self._later = later
        self._vectors = vectors
        self._spent: list[Counter[str]] = []
        self.later: list[float] = []
        self.further: list[float] = []
        self.heap_only: list[float] = []
        self.heap_mb: dict[str, float] = {}

    def run(self, url: str) -> float:
        """A first load, a further space's first load, a later load; returns the rate of the first, keeps the others."""
        rows = len(self._vectors) - len(self._later)
        with Database(url, DatabaseConfig()) as database:
            column = register_space(database, SPACE)
            self.heap_mb["before"] = heap_mb(database)
            spent: Counter[str] = Counter()
            with statement_times(spent):
                seconds = self._load(database, column)
            spent["rest"] = seconds - sum(spent.values())
            self._spent.append(spent)
            self.heap_mb["after the first load"] = heap_mb(database)

            further = register_space(database, FURTHER_SPACE, new_space=True)
            updates, heap_only = update_counters(database, at_least=rows)
            self.further.append(rows / self._load(database, further))
            more_updates, more_heap_only = update_counters(database, at_least=updates + rows)
            self.heap_only.append((more_heap_only - heap_only) / (more_updates - updates))
            self.heap_mb["after the further column's"] = heap_mb(database)

            store_chunks(database, self._later, [])
            self.later.append(len(self._later) / self._load(database, column))
        return rows / seconds

    def _load(self, database: Database, column: SpaceColumn) -> float:
        pending = all_pending(database, column)
        started = time.perf_counter()
        drop_before_load(database, column)
        for start in range(0, len(pending), COMMIT_CHUNKS):
            portion = slice(start, start + COMMIT_CHUNKS)
            written = write_vectors(database, column, pending[portion], self._vectors[: len(pending)][portion]).written
            assert len(written) == len(pending[portion])
        build_vector_index(database, column, INDEX)
        return time.perf_counter() - started

    def parts(self) -> dict[str, float]:
        """Where the first load's time went, seconds, medians of the rounds."""
        names = dict.fromkeys(name for spent in self._spent for name in spent)
        return {name: round(statistics.median(spent[name] for spent in self._spent), 3) for name in names}


def update_row_by_row(url: str, vectors: Vectors) -> float:
    """What most scripts do; returns rows a second."""
    with closing(psycopg.connect(url)) as connection:
        connection.execute(f"CREATE INDEX ON knowledge_base {HNSW}")
        hashes = [row[0] for row in connection.execute("SELECT chunk_hash FROM knowledge_base ORDER BY chunk_hash")]
        connection.commit()
        started = time.perf_counter()
        for start in range(0, len(hashes), LOOP_COMMIT):
            batch = slice(start, start + LOOP_COMMIT)
            for chunk_hash, vector in zip(hashes[batch], vectors[batch], strict=True):
                connection.execute(
                    "UPDATE knowledge_base SET embedding = %s WHERE chunk_hash = %s", [str(vector.tolist()), chunk_hash]
                )
            connection.commit()
        return len(hashes) / (time.perf_counter() - started)


def copy_and_index(url: str, vectors: Vectors) -> float:
    """Vectors alone, without a table of chunks to be joined to; returns rows a second."""
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(vectors))]
    with closing(psycopg.connect(url)) as connection:
        register_vector(connection)
        connection.execute(
            f'CREATE TABLE bound (chunk_hash text COLLATE "C" PRIMARY KEY, embedding vector({DIMENSIONS}))'
        )
        connection.execute(f"SET maintenance_work_mem = '{INDEX.memory_mb}MB'")
        connection.execute(f"SET max_parallel_maintenance_workers = {INDEX.workers}")
        connection.execute("SET min_parallel_table_scan_size = 0")
        connection.commit()
        started = time.perf_counter()
        with connection.cursor().copy("COPY bound FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "vector"])
            for chunk_hash, vector in zip(hashes, vectors, strict=True):
                copy.write_row((chunk_hash, Vector(vector)))
        connection.commit()
        connection.execute(f"CREATE INDEX ON bound {HNSW}")
        connection.commit()
        return len(hashes) / (time.perf_counter() - started)


def make_chunks(count: int) -> list[ProcessedChunk]:
    """Chunks of real text; where there is too little of it, it is used again under other numbers."""
    texts = real_chunks(2500)
    return [
        ProcessedChunk.create_from_chunk(
            f"{number} {texts[number % len(texts)]}",
            DocumentMetadata(source=f"document {number // 20}", origin=f"documents/{number // 20}.md", title="Title"),
            chunk_index=number % 20,
            total_chunks=20,
        )
        for number in range(count)
    ]


def unit_vectors(count: int) -> Vectors:
    vectors = np.random.default_rng(0).standard_normal((count, DIMENSIONS), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_template(url: str, chunks: Sequence[ProcessedChunk]) -> None:
    """A database with the package's schema and the chunks, stored as ``load`` stores them."""
    execute(url, f"CREATE DATABASE {TEMPLATE}")
    with Database(make_conninfo(url, dbname=TEMPLATE), DatabaseConfig()) as database:
        migrate(database)
        for start in range(0, len(chunks), 1000):
            store_chunks(database, chunks[start : start + 1000], [])
        with database.session() as connection:
            connection.execute("VACUUM ANALYZE")


@contextmanager
def copy_of_template(url: str) -> Iterator[str]:
    execute(url, f"CREATE DATABASE copy TEMPLATE {TEMPLATE}")
    execute(url, "CHECKPOINT")
    try:
        yield make_conninfo(url, dbname="copy")
    finally:
        execute(url, "DROP DATABASE copy WITH (FORCE)")


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def all_pending(database: Database, column: SpaceColumn) -> list[PendingChunk]:
    """The whole backlog at once, which the pipeline never reads: here only the writing is measured."""
    return fetch_pending(database, column, range(256), after="", limit=10_000_000)


@contextmanager
def statement_times(spent: Counter[str]) -> Iterator[None]:
    """Add up the seconds that the client waits for each kind of statement; those of no interest are left out."""
    kinds = {"UPDATE": "UPDATE", "VACUUM": "VACUUM and ANALYZE", "CREATE INDEX": "CREATE INDEX"}
    execute_, copy_, commit_ = psycopg.Connection.execute, psycopg.Cursor.copy, psycopg.Connection.commit

    def timed_execute(self: psycopg.Connection[Any], query: Any, *args: Any, **options: Any) -> psycopg.Cursor[Any]:
        text = query if isinstance(query, str) else query.as_string(self)
        kind = next((name for beginning, name in kinds.items() if text.startswith(beginning)), None)
        started = time.perf_counter()
        cursor = execute_(self, query, *args, **options)
        if kind is not None:
            spent[kind] += time.perf_counter() - started
        return cursor

    @contextmanager
    def timed_copy(self: psycopg.Cursor[Any], *args: Any, **options: Any) -> Iterator[psycopg.Copy]:
        started = time.perf_counter()
        with copy_(self, *args, **options) as copy:
            yield copy
        spent["COPY"] += time.perf_counter() - started

    def timed_commit(self: psycopg.Connection[Any]) -> None:
        started = time.perf_counter()
        commit_(self)
        spent["COMMIT"] += time.perf_counter() - started

    with (
        patch.object(psycopg.Connection, "execute", timed_execute),
        patch.object(psycopg.Cursor, "copy", timed_copy),
        patch.object(psycopg.Connection, "commit", timed_commit),
    ):
        yield


def heap_mb(database: Database) -> float:
    """Size of the table without its vectors, which are stored out of line, and without its indexes."""
    with database.session() as connection:
        row = connection.execute("SELECT pg_relation_size('knowledge_base') / 1e6").fetchone()
    return round(float(row[0]), 1) if row else 0.0


def update_counters(database: Database, *, at_least: int) -> tuple[int, int]:
    """Updated rows so far, and those of them that no index noticed; sessions report them when they end."""
    database.close()
    while True:
        with database.session() as connection:
            row = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'knowledge_base'"
            ).fetchone()
        if row and row[0] >= at_least:
            return row[0], row[1]
        time.sleep(0.05)


def versions(url: str, database: str = TEMPLATE) -> dict[str, object]:
    with psycopg.connect(make_conninfo(url, dbname=database)) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
    assert row is not None
    return {"postgresql": row[0], "pgvector": row[1], "psycopg": psycopg.__version__}


if __name__ == "__main__":
    main()
