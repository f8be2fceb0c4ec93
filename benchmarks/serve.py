"""Searches over HTTP, and the same by a Searcher in this process, at 100,000 chunks: by 1, 4 and 16 clients at once.

Chunks are real short texts with the demo model's vectors, in an embedded PostgreSQL of the benchmark's own; 300 more,
which are not in the table, are the questions, embedded by the same model as they are asked. The service is the command
in a process of its own, on loopback, and the clients share the machine with it. With --folder the table is kept and
gone on from; --prepare only makes it. Run: make bench-serve
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from docstrings import embedded_texts, short_texts
from index import versions
from pgvector import Vector
from report import Aim, Result, Row, publish

from embedding_assets.config import SearchConfig, Settings, get_settings
from embedding_assets.encoder import demo_model
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.providers.space_selection import describe_space
from embedding_assets.retrieval import Question, Searcher

CLIENTS = (1, 4, 16)
QUESTIONS = 300
K = 5

Ask = Callable[[str], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each way in each round")
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on from what is there")
    parser.add_argument("--prepare", action="store_true", help="make the table, and measure nothing")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # a server that root starts runs as another user
    try:
        settings = own_settings(folder)
        questions = prepared(settings, arguments.rows, folder)
        if not arguments.prepare:
            publish(measure(settings, questions, arguments))
    finally:
        stop_embedded_server(folder / "data")
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def own_settings(folder: Path) -> Settings:
    """For this process and for the service."""
    os.environ |= {
        "EMBEDDING_DATA_DIR": str(folder / "model"),
        "EMBEDDING_DATABASE_URL": start_embedded_server(folder / "data"),
        "EMBEDDING_MODEL_NAME": demo_model.NAME,
    }
    return get_settings()


def prepared(settings: Settings, rows: int, folder: Path) -> list[str]:
    """Fill and index the table, unless it is; returns the questions."""
    file = folder / "questions.json"
    if file.exists():
        questions: list[str] = json.loads(file.read_text("utf-8"))
        return questions
    count = rows + QUESTIONS
    vectors = embedded_texts(count, folder)
    plain = short_texts(count)
    texts = np.array(plain, dtype=object)[np.random.default_rng(0).permutation(count)]
    with open_database(settings) as database:
        if not list_spaces(database):
            fill(database, settings, texts[QUESTIONS:], vectors[QUESTIONS:])
    file.write_text(json.dumps(list(texts[:QUESTIONS])), "utf-8")
    return prepared(settings, rows, folder)


def fill(database: Database, settings: Settings, texts: Any, vectors: Any) -> None:
    column = register_space(database, describe_space(settings)[0])

    def copy_rows(connection: Any) -> None:
        statement = f"COPY knowledge_base (chunk_hash, chunk_text, {column.name}) FROM STDIN (FORMAT BINARY)"
        with connection.cursor().copy(statement) as copy:
            copy.set_types(["text", "text", "vector"])
            for number, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
                copy.write_row((f"{number * 2654435761 % 2**32:08x}{number:08x}", str(text), Vector(vector)))

    database.run(copy_rows)
    build_indexes(database, column, settings.index)
    build_for_searches(database, settings.index, settings.search.language)
    with database.session() as connection:
        connection.execute("VACUUM ANALYZE knowledge_base")
        connection.execute("CHECKPOINT")


def measure(settings: Settings, questions: list[str], arguments: argparse.Namespace) -> Result:
    """Rates and latencies of each way; the ways take turns."""
    rates: dict[str, list[float]] = {}
    latencies: dict[str, list[float]] = {}
    with Searcher(settings.with_group("database", pool_size=max(CLIENTS))) as searcher, service() as address:
        ways = {"in this process": in_process(searcher), "over HTTP": over_http(address)}
        for connect in ways.values():
            for question in questions:  # so that none is the first to read a page
                connect()(question)
        for _ in range(arguments.rounds):
            for (way, connect), clients in itertools.product(ways.items(), CLIENTS):
                label = f"{way}, {clients} at once"
                took = ask_for(arguments.seconds, connect, questions, clients)
                rates.setdefault(label, []).append(len(took) / arguments.seconds)
                latencies.setdefault(label, []).extend(took)
                print(label, f"{rates[label][-1]:.0f}/s", file=sys.stderr, flush=True)
        found = versions(searcher.database)
    return result(rates, latencies, arguments.rows, found)


def in_process(searcher: Searcher) -> Callable[[], Ask]:
    return lambda: lambda question: check(len(searcher.ask(Question(question, k=K))))


def over_http(address: str) -> Callable[[], Ask]:
    def connect() -> Ask:
        client = httpx2.Client(base_url=address, timeout=60, trust_env=False)

        def ask(question: str) -> None:
            response = client.post("/search", json={"query": question, "k": K})
            check(len(response.raise_for_status().json()["results"]))

        return ask

    return connect


def check(found: int) -> None:
    if found != K:
        raise AssertionError(f"{found} results, {K} were asked for")


def ask_for(seconds: float, connect: Callable[[], Ask], questions: list[str], clients: int) -> list[float]:
    """Seconds that each search took, of so many clients that ask one after the other."""
    took: list[float] = []
    numbers = itertools.count()
    end = time.perf_counter() + seconds

    def run() -> None:
        ask = connect()
        while (started := time.perf_counter()) < end:
            ask(questions[next(numbers) % len(questions)])
            took.append(time.perf_counter() - started)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


@contextmanager
def service() -> Iterator[str]:
    """The command on a free port, ready to answer; gives its address."""
    command = [sys.executable, "-m", "embedding_assets.cli.entry", "serve", "--port", "0", "--json"]
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(process.terminate)
        assert process.stdout is not None
        address = str(json.loads(process.stdout.readline())["address"])
        with httpx2.Client(base_url=address, trust_env=False) as client:
            while client.get("/healthz").status_code != 200:
                time.sleep(0.1)
        yield address


def result(
    rates: dict[str, list[float]], latencies: dict[str, list[float]], rows: int, found: dict[str, str]
) -> Result:
    quantiles = {label: [float(q) * 1000 for q in np.percentile(took, [50, 95])] for label, took in latencies.items()}
    medians = {label: float(np.median(values)) for label, values in rates.items()}
    return Result(
        name="serve",
        title=f"Searches a second over {rows:,} chunks, in the process and over HTTP",
        unit="searches/s",
        rows=[
            Row(label, values, note=f"p50 {quantiles[label][0]:.1f} ms, p95 {quantiles[label][1]:.1f} ms")
            for label, values in rates.items()
        ],
        aims=[
            Aim(
                f"rate over HTTP as a share of that in the process, {clients} at once",
                medians[f"over HTTP, {clients} at once"] / medians[f"in this process, {clients} at once"],
                0.7,
            )
            for clients in CLIENTS
        ],
        facts={
            "rows": rows,
            "vectors": "of real short texts (docstrings, by all-MiniLM-L6-v2, lifted from 384 to 768 dimensions)",
            "questions": f"{QUESTIONS} other texts, embedded by the same model as they are asked; k {K}",
            "searches": f"{SearchConfig().mode}, without a filter",
            "clients": "threads of one process on the same cores as service and database",
            **found,
        },
    )


if __name__ == "__main__":
    main()
