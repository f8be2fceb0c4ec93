"""Chunks and vectors in a table of a test, and what PostgreSQL says about it."""

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql
from psycopg.conninfo import make_conninfo

from embedding_assets.models import DocumentMetadata, ProcessedChunk
from embedding_assets.postgres.backlog import fetch_pending
from embedding_assets.postgres.chunks import LoadedDocument
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, hash_of

SMALL_SPACE = dataclasses.replace(FAKE_SPACE, dimensions=8)
OTHER_SMALL_SPACE = dataclasses.replace(SMALL_SPACE, model="fake/other")


def as_role(url: str, role: str, **parameters: str) -> str:
    return make_conninfo(url, user=role, **parameters)


def unit_vectors(count: int, dimensions: int = 8, seed: int = 7) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def insert_vectors(
    database: Database, column: SpaceColumn, vectors: Sequence[NDArray[np.float32]], **fields: object
) -> list[str]:
    """Insert chunks that are embedded already; returns their hashes."""
    hashes = [hash_of(f"chunk {number}") for number in range(len(vectors))]
    names = ["chunk_hash", "chunk_text", column.name, *fields]
    marks = ", ".join(["%s"] * len(names))
    rows = [
        [chunk_hash, f"text of {chunk_hash}", Vector(vector), *fields.values()]
        for chunk_hash, vector in zip(hashes, vectors, strict=True)
    ]
    database.run(
        lambda connection: connection.cursor().executemany(
            f"INSERT INTO knowledge_base ({', '.join(names)}) VALUES ({marks})", rows
        )
    )
    return hashes


def in_threads(*works: Callable[[], object]) -> list:
    """Do all at once; returns what came back, in the order in which they were done."""
    results = []
    threads = [threading.Thread(target=lambda work=work: results.append(work())) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    return results


def chunks_of(
    origin: str, texts: Sequence[str], *, source: str | None = None, **metadata: str
) -> tuple[list[ProcessedChunk], LoadedDocument]:
    document = DocumentMetadata(source=source or origin, origin=origin, **metadata)
    chunks = [
        ProcessedChunk.create_from_chunk(
            text, document, chunk_index=number, total_chunks=len(texts), occurrence=texts[:number].count(text)
        )
        for number, text in enumerate(texts)
    ]
    digest = hashlib.sha256(repr((texts, metadata)).encode()).hexdigest()
    return chunks, LoadedDocument(origin, digest, frozenset(chunk.chunk_hash for chunk in chunks))


def insert_hashes(execute, hashes: Sequence[str], *, vector: str | None = None) -> None:
    execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) "
        "SELECT h, 'text of ' || h, %s::vector FROM unnest(%s::text[]) h",
        vector,
        list(hashes),
    )


def embed_most(execute, analyzed: str) -> None:
    """5,000 chunks, some 100 of them pending in the first space; analyzed "never", "before" or "since" that is so."""
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 5000) n")  # fmt: skip
    if analyzed == "before":
        execute("ANALYZE knowledge_base")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_hash > '05'")
    if analyzed == "since":
        execute("ANALYZE knowledge_base")


class PlanRecorder:
    """A database that also asks how each query is executed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plan = ""

    @property
    def table(self):
        return self._database.table

    def run(self, work):
        def explained(connection):
            class Explaining:
                @staticmethod
                def execute(query, parameters=None):
                    # A setting, or a plan that is asked for anyway.
                    if isinstance(query, str) or query.as_string(connection).startswith("EXPLAIN"):
                        return connection.execute(query, parameters)
                    rows = connection.execute(
                        sql.SQL("EXPLAIN (ANALYZE, BUFFERS) {}").format(query), parameters
                    ).fetchall()
                    self.plan = "\n".join(row[0] for row in rows)
                    return connection.execute(query, parameters)

            return work(Explaining)

        return self._database.run(explained)

    def read(self, statements):
        """Explains all but settings; the plan is that of a search itself, which others are read beside."""

        def explained(connection):
            rows = []
            for query, values in statements:
                if len(statements) > 1 and "set_config" not in query.as_string(connection):
                    plan = connection.execute(
                        sql.SQL("EXPLAIN (ANALYZE, BUFFERS) {}").format(query), values, prepare=False
                    ).fetchall()
                    self.plan = "\n".join(row[0] for row in plan)
                rows.append(connection.execute(query, values, prepare=False).fetchall())
            return rows

        return self._database.run(explained)


def pending_chunks(database, column) -> list:
    return fetch_pending(database, column, range(256), after="", limit=99)


def stored_vectors(database, column) -> dict[str, np.ndarray]:
    rows = database.run(
        lambda connection: connection.execute(
            f"SELECT chunk_hash, {column.name} FROM knowledge_base WHERE {column.name} IS NOT NULL"
        ).fetchall()
    )
    return {chunk_hash: vector.to_numpy() for chunk_hash, vector in rows}


def table_counters(database, execute, *, updates: int) -> dict[str, int]:
    """What PostgreSQL counted for the table, once it has counted ``updates`` rows; sessions report late."""
    database.close()
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        rows = execute("SELECT to_jsonb(s) FROM pg_stat_user_tables s WHERE relname = 'knowledge_base'")
        if rows[0][0]["n_tup_upd"] >= updates:
            return rows[0][0]
        time.sleep(0.1)
    raise AssertionError(rows)


def embed_in_portions(database, column, portion: int = 40) -> None:
    chunks = fetch_pending(database, column, range(256), after="", limit=1000)
    vectors = unit_vectors(len(chunks), column.space.dimensions)
    for start in range(0, len(chunks), portion):
        part = slice(start, start + portion)
        assert len(write_vectors(database, column, chunks[part], vectors[part]).written) == len(chunks[part])


def run_sql(url: str, *statements: str) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
