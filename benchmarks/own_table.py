"""What embedding a table in place costs the table: its edits, and its readers and writers while it is adopted and loaded.

A table of articles with 2 kB of text in each row, in an embedded PostgreSQL of the benchmark's own; random unit vectors,
nothing is encoded. Edits are measured once before the adoption and once after it, with vectors and an HNSW index; beside
adoption, load and build a reader and a writer ask for one row after the other. Run: make bench-own_table
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import numpy as np
import psycopg
from api import create_database
from report import Aim, Result, Row, publish
from servers import own_server

from embedding_assets.config import DatabaseConfig, IndexConfig, TableConfig
from embedding_assets.postgres.adopting import adopt
from embedding_assets.postgres.backlog import fetch_pending
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.spaces import VectorSpace

DIMENSIONS = 768
SPACE = VectorSpace("benchmark", "benchmark/random", "1", DIMENSIONS, True, "", 384)
EDITED = 2000
COMMIT = 1024
CREATE = "CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, views int NOT NULL DEFAULT 0)"
FILL = """
    INSERT INTO articles SELECT n, 'Title ' || n, (SELECT string_agg(md5(n::text || m), ' ') FROM generate_series(1, 60) m)
    FROM generate_series(1, %s) n
"""
EDITS = {
    "text edited": "UPDATE articles SET body = body || '.' WHERE id % {step} = {offset}",
    "another column": "UPDATE articles SET views = views + 1 WHERE id % {step} = {offset}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with own_server() as server:
        url = create_database(server, "own_table")
        publish(measure(url, arguments.rows, arguments.rounds))


def measure(url: str, rows: int, rounds: int) -> Result:
    config = TableConfig(relation="articles", text=r"{title}\n{body}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CREATE)
        connection.execute(FILL, [rows])
        connection.execute("VACUUM ANALYZE articles")
        rates = {f"{label}, before": edit(connection, statement, rows, rounds) for label, statement in EDITS.items()}
        # Everything once more as it was: what is measured later must not read what these edits left behind.
        connection.execute("VACUUM FULL articles")
        seconds: dict[str, float] = {}
        waits: dict[str, float] = {}
        with Database(url, DatabaseConfig(), config) as database, probed(url, rows, waits):
            seconds["adopt"] = timed(lambda: adopt(database, config))
            migrate(database)
            column = register_space(database, SPACE)
            seconds["load"] = timed(lambda: load(database, rows))
            seconds["index"] = timed(lambda: build_vector_index(database, column, IndexConfig()))
        connection.execute("VACUUM ANALYZE articles")
        rates |= {f"{label}, after": edit(connection, statement, rows, rounds) for label, statement in EDITS.items()}
    labels = [f"{label}, {when}" for label in EDITS for when in ("before", "after")]
    return Result(
        name="own_table",
        title="Updates of a table before and after it is embedded in place",
        unit="rows/s",
        rows=[Row(label, rates[label], ours=label.endswith("after")) for label in labels],
        aims=[
            Aim("longest wait of a reader, ms", waits["reader"], 100, at_most=True),
            Aim("longest wait of a writer, ms", waits["writer"], 250, at_most=True),
        ],
        facts={
            "rows": rows,
            "rounds": rounds,
            "dimensions": DIMENSIONS,
            "longest waits in ms": {who: round(wait, 1) for who, wait in waits.items()},
            "seconds": {what: round(value, 2) for what, value in seconds.items()},
        },
    )


def edit(connection: psycopg.Connection, statement: str, rows: int, rounds: int) -> list[float]:
    """Rows a second of each round, which edits rows that no other has."""
    step = rows // EDITED
    rates = []
    for offset in range(rounds):
        started = time.monotonic()
        changed = connection.execute(statement.format(step=step, offset=offset)).rowcount
        rates.append(changed / (time.monotonic() - started))
    return rates


def load(database: Database, rows: int) -> None:
    [column] = [register_space(database, SPACE)]
    vectors = np.random.default_rng(1).standard_normal((COMMIT, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    after, written = "", 0
    while chunks := fetch_pending(database, column, range(256), after=after, limit=COMMIT):
        written += len(write_vectors(database, column, chunks, vectors[: len(chunks)]).written)
        after = chunks[-1].chunk_hash
    if written < rows * 0.9:
        raise RuntimeError(f"{written} of {rows} rows were written")


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


@contextmanager
def probed(url: str, rows: int, waits: dict[str, float]) -> Iterator[None]:
    """Ask for rows and write some all the while; afterwards ``waits`` has the longest time of each, in milliseconds."""
    over = threading.Event()
    statements = {
        "reader": "SELECT body FROM articles WHERE id = %s",
        "writer": "UPDATE articles SET views = views + 1 WHERE id = %s",
    }

    def probe(who: str) -> None:
        number = 0
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            while not over.wait(0.005):
                number = (number + 7919) % rows
                started = time.monotonic()
                connection.execute(statements[who], [number + 1])
                waits[who] = max(waits.get(who, 0.0), (time.monotonic() - started) * 1000)

    threads = [threading.Thread(target=probe, args=(who,)) for who in statements]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
