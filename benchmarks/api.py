"""Embeddings a minute from an API, against the usual loop and LangChain, and how much of its limits is used.

The API is the tests' fake server, in this process, with a latency like the real one's; every way works in a process of
its own, from a table to pgvector in one embedded PostgreSQL of the benchmark's own. Run: make bench-api
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
from environments import PeerUnavailableError, peer_python
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from report import Aim, Result, Row, interleave, publish
from servers import own_server
from texts import real_chunks
from workers import Worker

from embedding_assets.config import DatabaseConfig
from embedding_assets.models import DocumentMetadata, ProcessedChunk
from embedding_assets.postgres.chunks import store_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import migrate

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_api.answers import api_vectors_of
from fake_api.server import ApiServer

MODEL = "text-embedding-3-small"
LATENCY_SECONDS, LATENCY_SECONDS_PER_INPUT = 0.3, 0.0005
LOOP_INPUTS = (100, 1000)
PAUSE_SECONDS = 0.5
# Of the limits: what the server lets through at once, when that is used up, and how long a run is to keep it busy.
BURST_SECONDS, SETTLING_SECONDS, LIMITED_SECONDS = 6, 9, 20
LIMITED_INPUTS = 16
COMMAND = (
    *(sys.executable, "-c", "from embedding_assets.cli.entry import main; main()"),
    *("embed", "--no-index", "--prefixes"),
)
LIMITS = {"requests a minute": (1_200, None), "tokens a minute": (None, 1_000_000)}


@dataclass(frozen=True)
class Share:
    """What a run made of a limit: the share that it used, and how often it was refused."""

    used: float
    violations: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with own_server() as url, tempfile.TemporaryDirectory(prefix="ea-bench-") as folder:
        publish(compare(Path(folder), url, make_texts(arguments.chunks), arguments.rounds))


def compare(folder: Path, url: str, texts: list[str], rounds: int) -> Result:
    """Let the ways take turns on a server without limits, then ours alone against limits."""
    (folder / "texts.json").write_text(json.dumps(texts))
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        server = stack.enter_context(
            ApiServer(latency_seconds=LATENCY_SECONDS, latency_seconds_per_input=LATENCY_SECONDS_PER_INPUT)
        )
        workers = {}
        for name, start in {"ours": start_ours, "loop": start_loop, "langchain": start_langchain}.items():
            note(f"starting: {name}")
            try:
                workers[name] = stack.enter_context(start(folder, create_database(url, name), server))
            except PeerUnavailableError as error:
                refused[name] = str(error)
                note(f"  {error}")

        def timed(name: str, command: str) -> Callable[[], float]:
            def run() -> float:
                time.sleep(PAUSE_SECONDS)
                seconds: float = workers[name].run(command)["seconds"]
                return len(texts) / seconds * 60

            return run

        ways = {"ours": timed("ours", "pipeline")}
        ways |= {f"loop {inputs}": timed("loop", str(inputs)) for inputs in LOOP_INPUTS}
        if "langchain" in workers:
            ways["langchain"] = timed("langchain", "run")
        rates = interleave(ways, rounds)
        assert_right(make_conninfo(url, dbname="ours"), texts)
        peaks = {name: worker.peak_memory_mb for name, worker in workers.items()}
        versions = {
            f"versions ({name})": ", ".join(f"{package} {at}" for package, at in worker.facts["versions"].items())
            for name, worker in workers.items()
            if name != "ours"
        }
        most_in_flight = server.most_in_flight
    shares = {(limit, processes): limited(url, limit, processes) for limit in LIMITS for processes in (1, 4)}
    rows = [
        Row("embedding_assets", rates["ours"], peaks["ours"], "one process, from table to table", ours=True),
        *(
            Row(
                f"loop: select {inputs}, await, UPDATE each",
                rates[f"loop {inputs}"],
                peaks["loop"],
                "the official client, one request after the other",
            )
            for inputs in LOOP_INPUTS
        ),
        Row(
            "LangChain: PGVectorStore.add_texts",
            rates.get("langchain", []),
            peaks.get("langchain"),
            refused.get("langchain") or "OpenAIEmbeddings as it comes, lengths not checked",
        ),
    ]
    return Result(
        name="api",
        title=f"{len(texts):,} chunks through an embeddings API",
        unit="embeddings/min",
        rows=rows,
        aims=[
            Aim("embeddings a minute without limits", statistics.median(rates["ours"]), 20_000),
            *(
                Aim(f"share of the {limit} reached, {processes} process{'es' * (processes > 1)}", share.used, 0.95)
                for (limit, processes), share in shares.items()
            ),
            Aim("requests over a limit", sum(share.violations for share in shares.values()), 0, at_most=True),
        ],
        facts={
            "latency": f"{LATENCY_SECONDS * 1000:g} ms + {LATENCY_SECONDS_PER_INPUT * 1000:g} ms an input",
            "mean characters": round(sum(map(len, texts)) / len(texts)),
            "rounds": rounds,
            "most requests in flight (ours)": most_in_flight,
            "index": "none while loading, in any of them",
            "limits": f"{LIMITS}, {BURST_SECONDS} s of them at once, {LIMITED_INPUTS} inputs a request, "
            f"runs of {LIMITED_SECONDS} s",
            **versions,
        },
    )


def limited(url: str, limit: str, processes: int) -> Share:
    """Our processes on disjoint ranges of one table against a server that holds a limit."""
    requests, tokens = LIMITS[limit]
    note(f"limited: {limit}, {processes} processes")
    name = f"limited_{limit.split(maxsplit=1)[0]}_{processes}"
    database = create_database(url, name)
    seconds = LIMITED_SECONDS + BURST_SECONDS
    texts = make_texts(20_000)
    if requests:
        texts = texts[: requests * seconds // 60 * LIMITED_INPUTS]
    if tokens:
        room = np.cumsum([len(text.encode()) / 4 for text in texts])
        texts = texts[: int(np.searchsorted(room, tokens * seconds / 60))]
    with Database(database, DatabaseConfig()) as opened:
        migrate(opened)
        metadata = DocumentMetadata(source="benchmark")
        store_chunks(opened, [ProcessedChunk.create_from_chunk(text, metadata) for text in texts], [])
    with ApiServer(
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        burst_seconds=BURST_SECONDS,
        latency_seconds=LATENCY_SECONDS,
        latency_seconds_per_input=LATENCY_SECONDS_PER_INPUT,
    ) as server:
        environment = {**os.environ, **settings(server, database), "EMBEDDING_OPENAI_MAX_INPUTS": str(LIMITED_INPUTS)}
        width = 16 // processes
        runs = [
            subprocess.Popen(
                [*COMMAND, f"{start:x}-{start + width - 1:x}"],
                cwd=Path(__file__).parent,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            for start in range(0, 16, width)
        ]
        statuses = [run.wait() for run in runs]
        if any(statuses):
            raise RuntimeError(f"a run ended with status {max(statuses)}")
        assert_right(database, texts)
        return Share(server.limits.used_share(after_seconds=SETTLING_SECONDS), server.violations)


def settings(server: ApiServer, database: str) -> dict[str, str]:
    """Environment of our own processes."""
    return {
        "EMBEDDING_DATABASE_URL": database,
        "EMBEDDING_PROVIDER": "openai",
        "EMBEDDING_OPENAI_MODEL": MODEL,
        "EMBEDDING_OPENAI_BASE_URL": server.url,
        "EMBEDDING_OPENAI_API_KEY": server.api_key,
    }


def start_ours(folder: Path, database: str, server: ApiServer) -> Worker:
    job = {"texts": str(folder / "texts.json"), "vectors": str(folder / "vectors.npy")}
    return Worker("pipeline", job, environment=settings(server, database))


def start_loop(folder: Path, database: str, server: ApiServer) -> Worker:
    job = {"texts": str(folder / "texts.json"), "url": database, "model": MODEL}
    return Worker("api_loop", job, environment=client_environment(server))


def start_langchain(folder: Path, database: str, server: ApiServer) -> Worker:
    where = conninfo_to_dict(database)
    job = {
        "model": MODEL,
        "texts": str(folder / "texts.json"),
        "socket": str(where["host"]),
        "database": str(where["dbname"]),
    }
    return Worker("langchain_api", job, python=peer_python("langchain_api"), environment=client_environment(server))


def client_environment(server: ApiServer) -> dict[str, str | None]:
    """What the official client, and who builds on it, reads."""
    return {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.api_key}


def create_database(url: str, name: str) -> str:
    """The URL of an empty database with pgvector."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    database = make_conninfo(url, dbname=name)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return database


def make_texts(count: int) -> list[str]:
    """Real text; where there is too little of it, it is used again under other numbers."""
    texts = real_chunks(2500)
    return [f"{number} {texts[number % len(texts)]}" for number in range(count)]


def assert_right(database: str, texts: list[str]) -> None:
    """Every text has the vector that the server has for it."""
    with psycopg.connect(database) as connection:
        register_vector(connection)
        rows = connection.execute("SELECT chunk_text, embedding FROM knowledge_base").fetchall()
    stored = [text for text, _ in rows]
    if sorted(stored) != sorted(texts):
        raise RuntimeError("the table holds other texts than were given")
    found = np.stack([vector.to_numpy() for _, vector in rows])
    if not np.allclose(found, api_vectors_of(stored, found.shape[1]), atol=1e-6):
        raise RuntimeError("a chunk has another vector than its own")


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
