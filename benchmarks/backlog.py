"""Finding what is pending: 1,000 chunks without a vector in tables of ten thousand to a million rows.

The tables are in an embedded PostgreSQL of the benchmark's own, which holds all of them in memory; the rows that are
embedded all have the same short vector, stored in the row, which makes the table as large as with long vectors, which
are stored out of line. Run: make bench-backlog
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import psycopg
from psycopg.conninfo import make_conninfo
from report import Aim, Result, Row, interleave, publish
from servers import own_server

from embedding_assets.config import DatabaseConfig
from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.backlog import count_backlog, due_in_range, due_prefixes, fetch_pending
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn, VectorSpace

SIZES = (10_000, 100_000, 1_000_000)
PENDING = 1000
ALL_BUCKETS = range(256)
SPACE = VectorSpace("benchmark", "benchmark/constant", "1", 8, True, "", 384)

# A chunk of 480 characters; every n-th row is pending.
FILL = """
INSERT INTO knowledge_base (chunk_hash, chunk_text, document_metadata, embedding)
SELECT md5(n::text) || md5((-n)::text), repeat(md5(n::text), 15),
       jsonb_build_object('source', 'document ' || n / 20, 'origin', 'documents/' || n / 20 || '.md'),
       CASE WHEN n % %(step)s <> 0 THEN '[1,0,0,0,0,0,0,0]'::vector END
FROM generate_series(1, %(rows)s) AS n
"""
NAIVE = "SELECT chunk_hash, chunk_text FROM knowledge_base WHERE embedding IS NULL ORDER BY chunk_hash LIMIT 1000"

FETCH = "fetch them"
PROBE = "which of 16 prefixes are due"
COUNT_DUE = "count those due"
COUNT_ALL = "count all chunks by state"
NAIVE_FETCH = "fetch them without the partial index"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="sizes of the tables")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with own_server() as url:
        publish(compare(url, sorted(arguments.rows), arguments.rounds))


def compare(url: str, sizes: list[int], rounds: int) -> Result:
    """Ask each question of each table in turn."""
    with ExitStack() as stack:
        ways: dict[str, Callable[[], float]] = {}
        labels: dict[str, list[str]] = {}
        heaps: dict[str, float] = {}
        for rows in sizes:
            database = stack.enter_context(make_table(url, rows))
            heaps[f"{rows:,} rows"] = heap_mb(database)
            for question, ask in questions(database, register_space(database, SPACE)).items():
                label = f"{question}, {rows:,} rows"
                labels.setdefault(question, []).append(label)
                ways[label] = ask
                ask()  # so that no round is the first to read the table
        times = interleave(ways, rounds)
    growth = {
        question: statistics.median(times[names[-1]]) / statistics.median(times[names[0]])
        for question, names in labels.items()
    }
    span = f"from {sizes[0]:,} to {sizes[-1]:,} rows"
    return Result(
        name="backlog",
        title=f"Finding {PENDING:,} pending chunks in tables of {sizes[0]:,} to {sizes[-1]:,} rows",
        unit="ms",
        lower_is_better=True,
        rows=[
            Row(label, times[label], ours=question != NAIVE_FETCH)
            for question, names in labels.items()
            for label in names
        ],
        aims=[
            Aim(f"{question}: growth {span}", growth[question], 2, at_most=True)
            for question in (FETCH, PROBE, COUNT_DUE)
        ],
        facts={
            "growth": {question: round(factor, 2) for question, factor in growth.items()},
            "pending": PENDING,
            "heap_mb": heaps,
        },
    )


def questions(database: Database, column: SpaceColumn) -> dict[str, Callable[[], float]]:
    """What the pipeline asks of a table, and the query one would write first; each returns milliseconds."""
    prefixes = all_prefixes(1)

    def fetch() -> None:
        assert len(fetch_pending(database, column, ALL_BUCKETS, after="", limit=PENDING)) == PENDING

    def probe() -> None:
        assert due_prefixes(database, column, prefixes) == prefixes

    def count_due() -> None:
        assert due_in_range(database, column, ALL_BUCKETS) == PENDING

    def count_all() -> None:
        assert count_backlog(database, column).pending == PENDING

    asked = {FETCH: fetch, PROBE: probe, COUNT_DUE: count_due, COUNT_ALL: count_all}
    return {
        **{question: partial(milliseconds, ask) for question, ask in asked.items()},
        NAIVE_FETCH: partial(naive_milliseconds, database, column),
    }


def milliseconds(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1000


def naive_milliseconds(database: Database, column: SpaceColumn) -> float:
    """The index is dropped in a transaction that is rolled back."""
    with database.session() as connection, connection.transaction(force_rollback=True):
        connection.execute(f"DROP INDEX {column.pending_index}".encode())

        def ask() -> None:
            assert len(connection.execute(NAIVE).fetchall()) == PENDING

        return milliseconds(ask)


def make_table(url: str, rows: int) -> Database:
    """A migrated database of its own with so many chunks, all but ``PENDING`` of them embedded."""
    name = f"rows_{rows}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    database = Database(make_conninfo(url, dbname=name), DatabaseConfig())
    migrate(database)
    register_space(database, SPACE)
    started = time.perf_counter()
    with database.session() as connection:
        connection.execute(FILL.replace("%(step)s", str(rows // PENDING)).replace("%(rows)s", str(rows)).encode())
        connection.execute("VACUUM ANALYZE knowledge_base")
    print(f"made {rows:,} rows in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return database


def heap_mb(database: Database) -> float:
    with database.session() as connection:
        row = connection.execute("SELECT pg_relation_size('knowledge_base') / 1e6").fetchone()
    return round(float(row[0]), 1) if row else 0.0


if __name__ == "__main__":
    main()
