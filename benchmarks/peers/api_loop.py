"""What most scripts do: select some, await the official client, update row by row; the server by OPENAI_BASE_URL.

The command is the number of texts a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
from openai import AsyncOpenAI

from peers.ingesting import DIMENSIONS
from peers.serve import Answer, serve

WARM_TEXTS = 64


def main() -> None:
    job = json.loads(sys.argv[1])
    texts = json.loads(Path(job["texts"]).read_text())
    with closing(psycopg.connect(job["url"])) as connection:

        def work(command: str) -> Answer:
            fill(connection, texts)
            started = time.perf_counter()
            asyncio.run(embed(connection, job["model"], int(command)))
            return {"seconds": time.perf_counter() - started}

        def prepare() -> tuple[Answer, Callable[[str], Answer]]:
            fill(connection, texts[:WARM_TEXTS])
            asyncio.run(embed(connection, job["model"], WARM_TEXTS))
            return {"versions": {"openai": importlib.metadata.version("openai")}}, work

        serve(prepare)


def fill(connection: psycopg.Connection, texts: list[str]) -> None:
    """A new table, with nothing embedded."""
    connection.execute("DROP TABLE IF EXISTS chunks")
    connection.execute(f"CREATE TABLE chunks (hash text PRIMARY KEY, content text, embedding vector({DIMENSIONS}))")
    connection.cursor().executemany(
        "INSERT INTO chunks VALUES (%s, %s)", [[hashlib.sha256(text.encode()).hexdigest(), text] for text in texts]
    )
    connection.commit()


async def embed(connection: psycopg.Connection, model: str, inputs: int) -> None:
    """Until nothing is left; as everywhere, without a hand on errors."""
    async with AsyncOpenAI() as client:
        while rows := connection.execute(
            "SELECT hash, content FROM chunks WHERE embedding IS NULL LIMIT %s", [inputs]
        ).fetchall():
            answer = await client.embeddings.create(
                model=model, input=[content for _, content in rows], dimensions=DIMENSIONS
            )
            for (chunk_hash, _), one in zip(rows, answer.data, strict=True):
                connection.execute("UPDATE chunks SET embedding = %s WHERE hash = %s", [str(one.embedding), chunk_hash])
            connection.commit()


if __name__ == "__main__":
    main()
