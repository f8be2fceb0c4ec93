"""Searches by vector, by words and by both over 100,000 chunks, and a filter that 4 of 200,000 rows pass.

The texts are some ten sentences each of the docstrings of this environment's packages; the questions are further such
sentences. The vectors are made at random around 1,000 centres, 768 dimensions, since only the time is measured: what is
found is judged by `benchmarks/quality.py`. All by the functions that `search` calls, in an embedded PostgreSQL of the
benchmark's own; what embeds the questions is left out. With --folder the table and what was measured are kept and gone
on from, so that a part at a time can be measured. Run: make bench-search
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docstrings import short_texts
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql
from psycopg.types.json import Jsonb
from report import Aim, Result, Row, publish

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.postgres.catalog import drop_index
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.search import find_chunks
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.spaces import SpaceColumn, VectorSpace

LIMIT = 10
QUESTIONS = 200
SENTENCES = 30_000
SENTENCES_A_CHUNK = 10
ROWS_A_SOURCE = 4
SPACE = VectorSpace("benchmark", "benchmark/random", "1", 768, True, "", 384)
CONFIG = IndexConfig(ef_search=100)
MODES = ("vector", "text", "hybrid")

Vectors = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on from what is there")
    parser.add_argument("--parts", nargs="*", default=["modes", "filter"], choices=["modes", "filter"])
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # a server that root starts runs as another user
    try:
        found = measure(folder, arguments.rows, arguments.parts)
        if {"modes", "filter"} <= found.keys():
            publish(result(found, arguments.rows))
    finally:
        stop_embedded_server(folder / "data")
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, rows: int, parts: Sequence[str]) -> dict[str, Any]:
    """What was found by each part so far, in a file as well."""
    file = folder / "found.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    sentences = short_texts(SENTENCES)
    with Database(start_embedded_server(folder / "data"), DatabaseConfig()) as database:
        migrate(database)
        column = next(iter(list_spaces(database)), None) or register_space(database, SPACE)
        for part in parts:
            fill(database, column, sentences, rows if part == "modes" else 2 * rows)
            found[part] = measure_modes(database, column, sentences) if part == "modes" else measure_filter(
                database, column, rows
            )  # fmt: skip
            found["versions"] = versions(database)
            file.write_text(json.dumps(found, indent=1), "utf-8")
            print(part, found[part], flush=True)
    return found


def fill(database: Database, column: SpaceColumn, sentences: list[str], rows: int) -> None:
    """The table with so many rows and all indexes, as after a load."""
    [[(there,)]] = database.read([(sql.SQL("SELECT count(*) FROM knowledge_base").format(), {})])
    if there < rows:
        with database.session() as connection:
            drop_index(connection, database.table, column.index)
        vectors = random_vectors(rows - there, seed=there)
        chance = np.random.default_rng(there)

        def work(connection: Any) -> None:
            statement = (
                "COPY knowledge_base (chunk_hash, chunk_text, document_metadata, embedding) FROM STDIN (FORMAT BINARY)"
            )
            with connection.cursor().copy(statement) as copy:
                copy.set_types(["text", "text", "jsonb", "vector"])
                for number, vector in enumerate(vectors, start=there):
                    chosen = chance.integers(0, len(sentences) - QUESTIONS, SENTENCES_A_CHUNK)
                    text = " ".join([f"ERR-{number:06d}", *(sentences[one] for one in chosen)])
                    metadata = {"source": f"docs/page{number // ROWS_A_SOURCE}.md", "title": "Page"}
                    copy.write_row((hash_of(number), text, Jsonb(metadata), Vector(vector)))

        database.run(work)
        with database.session() as connection:
            connection.execute("VACUUM ANALYZE knowledge_base")
    build_vector_index(database, column, CONFIG)
    build_for_searches(database, CONFIG, "simple")


def measure_modes(database: Database, column: SpaceColumn, sentences: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each question in each mode."""
    asked = sentences[-QUESTIONS:]
    vectors = random_vectors(QUESTIONS, seed=-1)

    def ask(mode: str, number: int) -> None:
        find_chunks(
            database, column=column, vector=None if mode == "text" else vectors[number],
            words=None if mode == "vector" else asked[number], limit=LIMIT, where=(), index=CONFIG,
        )  # fmt: skip

    milliseconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for is_measured in (False, True):  # so that no question is the first to read a page
        for number in range(QUESTIONS):
            for mode in MODES:
                taken = timed(lambda mode=mode, number=number: ask(mode, number))  # type: ignore[misc]
                if is_measured:
                    milliseconds[mode].append(round(taken, 2))
    return milliseconds


def measure_filter(database: Database, column: SpaceColumn, rows: int) -> dict[str, list[float]]:
    """Milliseconds of a search that 4 rows pass, by us and by reading the table."""
    vectors = random_vectors(QUESTIONS, seed=-2)
    off = sql.SQL("""
        SELECT set_config('enable_indexscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
    """).format()
    scan = sql.SQL("""
        SELECT chunk_hash, embedding <=> %(vector)s AS distance FROM knowledge_base
        WHERE document_metadata ->> 'source' = %(source)s ORDER BY distance LIMIT 10
    """).format()

    def ours(number: int) -> int:
        where = conditions_of([f"source={source(number)}"])
        return len(
            find_chunks(
                database, column=column, vector=vectors[number], words=None, limit=LIMIT, where=where, index=CONFIG
            ).chunks
        )

    def whole(number: int) -> int:
        return len(database.read([(off, {}), (scan, {"vector": Vector(vectors[number]), "source": source(number)})])[1])

    def source(number: int) -> str:
        return f"docs/page{number * 97 % (2 * rows // ROWS_A_SOURCE)}.md"

    taken: dict[str, list[float]] = {"ours": [], "scan": []}
    for number in range(40):
        for name, ask in (("ours", ours), ("scan", whole)):
            taken[name].append(round(timed(lambda ask=ask, number=number: check(ask(number))), 2))  # type: ignore[misc]
    return taken


def check(found: int) -> None:
    assert found == ROWS_A_SOURCE, found


def timed(work: Callable[[], None]) -> float:
    """Milliseconds that it takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def random_vectors(count: int, seed: int) -> Vectors:
    """Unit vectors around the same centres."""
    centres = np.random.default_rng(1).standard_normal((1000, 768)).astype(np.float32)
    chance = np.random.default_rng(seed % 2**32)
    vectors = centres[chance.integers(0, len(centres), count)]
    vectors += 0.7 * chance.standard_normal(vectors.shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hash_of(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}{number:08x}"


def versions(database: Database) -> dict[str, str]:
    query = sql.SQL("SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'")
    [[row]] = database.read([(query.format(), {})])
    return {"postgresql": row[0], "pgvector": row[1]}


def result(found: dict[str, Any], rows: int) -> Result:
    """As a table: the median of each mode, its 95th percentile and its rate beside it."""
    modes, filtered = found["modes"], found["filter"]

    def row(label: str, milliseconds: list[float]) -> Row:
        p50, p95 = (float(one) for one in np.percentile(milliseconds, [50, 95]))
        rate = 1000 / float(np.mean(milliseconds))
        return Row(label, [round(p50, 2)], note=f"p95 {p95:.1f} ms; {rate:,.0f} searches/s, one after the other")

    medians = {name: float(np.median(one)) for name, one in filtered.items()}
    return Result(
        name="search",
        title=f"Searches over {rows:,} chunks of 768 dimensions: milliseconds, the median",
        unit="ms",
        rows=[
            *(row(mode, modes[mode]) for mode in MODES),
            row(f"a filter that 4 of {2 * rows:,} rows pass", filtered["ours"]),
            row("the same by reading the table", filtered["scan"]),
        ],
        aims=[Aim("milliseconds with a filter that 4 rows pass", medians["ours"], 20, at_most=True)],
        facts={
            "rows": rows,
            "vectors": "random, around 1,000 centres",
            "texts": f"{SENTENCES_A_CHUNK} sentences of docstrings each",
            "questions": QUESTIONS,
            "limit": LIMIT,
            "index": f"m 16, ef_construction 64, ef_search {CONFIG.ef_search}; words: simple",
            **found["versions"],
        },
        lower_is_better=True,
    )


if __name__ == "__main__":
    main()
