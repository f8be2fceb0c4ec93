"""The whole pipeline, from table to table, against its own encoding and against LangChain's and LlamaIndex's.

All fill pgvector tables of one embedded PostgreSQL of the benchmark's own, with the same full-size MPNet, without a
vector index while loading. Run: make bench-end_to_end
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psycopg
from environments import PeerUnavailableError, peer_python
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from report import Aim, Result, Row, interleave, publish
from texts import full_size_mpnet, real_chunks
from workers import Worker

PAUSE_SECONDS = 0.5
PEERS = {
    "langchain": ("LangChain: PGVectorStore.add_texts", 'SELECT content, embedding FROM "chunks"'),
    "llamaindex": ("LlamaIndex: IngestionPipeline.run", 'SELECT text, embedding FROM "data_chunks"'),
}
OURS_QUERY = "SELECT chunk_text, embedding FROM knowledge_base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunks", type=int, default=1024, help="chunks that ours embeds a round")
    parser.add_argument("--peer-chunks", type=int, default=64, help="every n-th of them, for the slower ones")
    arguments = parser.parse_args()
    from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server

    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.chmod(0o755)
    try:
        note("making the model")
        full_size_mpnet(folder / "mpnet")
        texts = sorted(real_chunks(arguments.chunks), key=lambda text: hashlib.sha256(text.encode()).hexdigest())
        url = start_embedded_server(folder / "data")
        publish(compare(folder, url, texts, arguments.peer_chunks, arguments.rounds))
    finally:
        stop_embedded_server(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)


def compare(folder: Path, url: str, texts: list[str], peer_chunks: int, rounds: int) -> Result:
    """Let the ways take turns and compare what they wrote."""
    few = [texts[index * len(texts) // peer_chunks] for index in range(peer_chunks)]
    for name, content in (("texts", texts), ("few", few)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    refused: dict[str, str] = {}
    peaks: dict[str, float] = {}
    with ExitStack() as stack:
        note("starting: embedding_assets")
        workers = {"ours": stack.enter_context(start_ours(folder, url))}
        for name, (label, _) in PEERS.items():
            note(f"starting: {label}")
            try:
                workers[name] = stack.enter_context(start_peer(name, folder, url))
            except PeerUnavailableError as error:
                refused[name] = str(error)
                note(f"  {error}")

        def timed(name: str, command: str, count: int) -> Callable[[], float]:
            def run() -> float:
                time.sleep(PAUSE_SECONDS)  # until the last one's threads have stopped spinning
                seconds: float = workers[name].run(command)["seconds"]
                peaks[command] = workers[name].peak_memory_mb
                return count / seconds

            return run

        ways = {command: timed("ours", command, len(texts)) for command in ("encode", "pipeline")}
        ways |= {name: timed(name, name, len(few)) for name in PEERS if name in workers}
        values = interleave(ways, rounds)
        versions = {
            f"versions ({name})": ", ".join(f"{package} {at}" for package, at in worker.facts["versions"].items())
            for name, worker in workers.items()
        }
        reference = encoded_vectors(folder, url)
        rows = [
            Row("embedding_assets, encoding alone", values["encode"], note=f"{len(texts):,} chunks, no database"),
            Row(
                "embedding_assets, table to table",
                values["pipeline"],
                peaks["pipeline"],
                f"{len(texts):,} chunks, {likeness(url, OURS_QUERY, reference)}",
                ours=True,
            ),
            *(
                Row(
                    label,
                    values.get(name, []),
                    peaks.get(name),
                    refused.get(name) or f"{len(few)} chunks, {likeness(database_url(url, name), query, reference)}",
                )
                for name, (label, query) in PEERS.items()
            ),
        ]
    share = statistics.median(
        pipeline / encode for pipeline, encode in zip(values["pipeline"], values["encode"], strict=True)
    )
    return Result(
        name="end_to_end",
        title="From text to pgvector: full-size MPNet, 500-character chunks",
        unit="chunks/s",
        rows=rows,
        aims=[Aim("share of encoding alone (median of the rounds' own)", share, 0.95)],
        facts={
            "mean characters": round(sum(map(len, texts)) / len(texts)),
            "rounds": rounds,
            "settings": "as each comes: float32 in the peers, what suits the CPU in ours",
            "index": "none while loading, in any of them",
            "PostgreSQL": server_versions(url),
            **versions,
        },
    )


def start_ours(folder: Path, url: str) -> Worker:
    environment = {
        "EMBEDDING_DATABASE_URL": url,
        "EMBEDDING_MODEL_NAME": str(folder / "mpnet"),
        "EMBEDDING_DEVICE": "cpu",
    }
    job = {"texts": str(folder / "texts.json"), "vectors": str(folder / "encoded.npy")}
    return Worker("pipeline", job, environment=environment)


def start_peer(name: str, folder: Path, url: str) -> Worker:
    python = peer_python(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(database_url(url, name), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    job = {
        "model": str(folder / "mpnet"),
        "texts": str(folder / "few.json"),
        "socket": str(conninfo_to_dict(url)["host"]),
        "database": name,
    }
    return Worker(name, job, python=python)


def encoded_vectors(folder: Path, url: str) -> dict[str, np.ndarray]:
    """Text → vector, as encoding alone made them, which is in the order of the table's hashes."""
    with psycopg.connect(url) as connection:
        texts = connection.execute('SELECT chunk_text FROM knowledge_base ORDER BY chunk_hash COLLATE "C"').fetchall()
    return {text: vector for (text,), vector in zip(texts, np.load(folder / "encoded.npy"), strict=True)}


def likeness(url: str, query: str, reference: dict[str, np.ndarray]) -> str:
    """The lowest cosine of a table's vectors with those of encoding alone."""
    with psycopg.connect(url) as connection:
        register_vector(connection)
        rows = connection.execute(query).fetchall()
    cosines = []
    for text, stored in rows:
        left, right = np.asarray(stored.to_numpy(), dtype=np.float64), reference[text].astype(np.float64)
        cosines.append(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    return f"cosine ≥ {np.floor(min([*cosines, 1.0]) * 1e6) / 1e6:.6f}"


def database_url(url: str, name: str) -> str:
    """The same server's database of that name."""
    return make_conninfo(url, dbname=name)


def server_versions(url: str) -> str:
    """The server and its pgvector."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT split_part(current_setting('server_version'), ' ', 1), extversion "
            "FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
    return f"{row[0]}, pgvector {row[1]}" if row else "unknown"


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
