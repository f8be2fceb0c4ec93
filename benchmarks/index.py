"""The three types of a vector index over 100,000 vectors of 768 dimensions: build, size, recall, latency.

The vectors are the demo model's, of real short texts, lifted from 384 to 768 dimensions as the model does; 300 more,
which are in no index, are the questions. The index is built and searched by the functions that the pipeline calls, in
an embedded PostgreSQL of the benchmark's own. With --folder the vectors, the table and what was measured are kept and
gone on from, so that a type at a time can be measured. Run: make bench-index
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from docstrings import embedded_texts
from numpy.typing import NDArray
from pgvector import Vector
from report import Aim, Result, Row, publish

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.postgres.catalog import describe_index, drop_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.search import find_chunks
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.spaces import IndexType, SpaceColumn, VectorSpace

TYPES: tuple[IndexType, ...] = ("vector", "halfvec", "bit")
EF_SEARCH = (40, 100, 200)
K = 10
QUESTIONS = 300
SPACE = VectorSpace("benchmark", "benchmark/demo", "1", 768, True, "", 384)

Vectors = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on from what is there")
    parser.add_argument("--types", nargs="*", default=TYPES, choices=TYPES, help="measure only these now")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # a server that root starts runs as another user
    try:
        found = measure(folder, arguments.rows, arguments.types)
        if all(one in found for one in TYPES):
            publish(result(found, arguments.rows))
    finally:
        stop_embedded_server(folder / "data")
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, rows: int, types: list[IndexType]) -> dict[str, Any]:
    """What was found for each type so far, in a file as well."""
    vectors = embedded_texts(rows + QUESTIONS, folder)
    stored, questions = vectors[QUESTIONS:], vectors[:QUESTIONS]
    file = folder / "found.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    with Database(start_embedded_server(folder / "data"), DatabaseConfig()) as database:
        column = filled_table(database, stored)
        true = nearest(stored, questions)
        for one in types:
            found[one] = measure_type(database, column, one, questions, true)
            found["versions"] = versions(database)
            file.write_text(json.dumps(found, indent=1), "utf-8")
            print(one, found[one], flush=True)
    return found


def measure_type(
    database: Database, column: SpaceColumn, one: IndexType, questions: Vectors, true: list[set[str]]
) -> dict[str, Any]:
    """Build the index, then ask it all questions at each ef_search."""
    with database.session() as connection:
        drop_index(connection, database.table, column.index)
    config = IndexConfig(type=one)
    seconds = build_vector_index(database, column, config)
    assert seconds is not None
    searches: dict[str, Any] = {}
    for ef_search in EF_SEARCH:
        config = IndexConfig(type=one, ef_search=ef_search)
        ask(database, column, config, questions)  # so that no question is the first to read a page
        milliseconds, answers = ask(database, column, config, questions)
        hits = [len(answer & wanted) for answer, wanted in zip(answers, true, strict=True)]
        p50, p95 = (float(one) for one in np.percentile(milliseconds, [50, 95]))
        searches[str(ef_search)] = {
            "recall": round(sum(hits) / (K * len(hits)), 4), "p50_ms": round(p50, 2), "p95_ms": round(p95, 2)
        }  # fmt: skip
    size = describe_index(database, column.index).size_bytes
    return {"seconds": round(seconds, 1), "megabytes": round(size / 1e6), "searches": searches}


def ask(
    database: Database, column: SpaceColumn, config: IndexConfig, questions: Vectors
) -> tuple[list[float], list[set[str]]]:
    """Milliseconds of each search, and what it found."""
    milliseconds, answers = [], []
    for question in questions:
        started = time.perf_counter()
        found = find_chunks(database, column=column, vector=question, words=None, limit=K, where=(), index=config)
        milliseconds.append((time.perf_counter() - started) * 1000)
        answers.append({chunk.chunk_hash for chunk in found.chunks})
    return milliseconds, answers


def filled_table(database: Database, vectors: Vectors) -> SpaceColumn:
    """The table with all vectors, made unless it is there."""
    migrate(database)
    known = list_spaces(database)
    if known:
        return known[0]
    column = register_space(database, SPACE)

    def fill(connection: Any) -> None:
        statement = "COPY knowledge_base (chunk_hash, chunk_text, embedding) FROM STDIN (FORMAT BINARY)"
        with connection.cursor().copy(statement) as copy:
            copy.set_types(["text", "text", "vector"])
            for number, vector in enumerate(vectors):
                copy.write_row((hash_of(number), f"text {number}", Vector(vector)))

    database.run(fill)
    with database.session() as connection:
        connection.execute("VACUUM ANALYZE knowledge_base")
        connection.execute("CHECKPOINT")
    return column


def nearest(vectors: Vectors, questions: Vectors) -> list[set[str]]:
    """The hashes of the true ``K`` nearest of each question."""
    products = questions @ vectors.T
    return [{hash_of(int(number)) for number in row} for row in np.argpartition(-products, K, axis=1)[:, :K]]


def hash_of(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}{number:08x}"


def versions(database: Database) -> dict[str, str]:
    query = "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
    row: Any = database.run(lambda connection: connection.execute(query).fetchone())
    return {"postgresql": row[0], "pgvector": row[1]}


def result(found: dict[str, Any], rows: int) -> Result:
    """As a table: the seconds of the build decide the order, everything else is said beside it."""
    notes = {
        one: f"{found[one]['megabytes']:,} MB; at ef_search 100 recall@10 {at['recall']:.3f}, p50 {at['p50_ms']:.1f} ms"
        for one in TYPES
        for at in [found[one]["searches"]["100"]]
    }
    vector, halfvec, bit = (found[one] for one in TYPES)
    at = [one["searches"]["100"] for one in (vector, halfvec, bit)]
    return Result(
        name="index",
        title=f"The types of an index over {rows:,} vectors of 768 dimensions: seconds to build",
        unit="s",
        rows=[Row(one, [found[one]["seconds"]], note=notes[one]) for one in TYPES],
        aims=[
            Aim("size of halfvec, of vector's", halfvec["megabytes"] / vector["megabytes"], 0.55, at_most=True),
            Aim("recall lost by halfvec at ef_search 100", at[0]["recall"] - at[1]["recall"], 0.005, at_most=True),
            Aim("recall lost by bit at ef_search 100", at[0]["recall"] - at[2]["recall"], 0.05, at_most=True),
        ],
        facts={
            "rows": rows,
            "vectors": "of real short texts (docstrings, by all-MiniLM-L6-v2, lifted from 384 to 768 dimensions)",
            "questions": QUESTIONS,
            "index": "m 16, ef_construction 64",
            "found": {one: found[one] for one in TYPES},
            **found["versions"],
        },
        lower_is_better=True,
    )


if __name__ == "__main__":
    main()
