"""This package's pipeline from table to table (command ``pipeline``), and its encoding alone (``encode``).

Both in one process, on one loaded model, so that nothing but the database's part differs.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from embedding_assets.config import get_settings
from embedding_assets.models import DocumentMetadata, ProcessedChunk
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.chunks import store_chunks
from embedding_assets.providers.space_selection import create_provider
from peers.serve import Answer, serve

WARM_TEXTS = 64


def main() -> None:
    job = json.loads(sys.argv[1])
    with ExitStack() as stack:

        def prepare() -> tuple[Answer, Callable[[str], Answer]]:
            settings = get_settings()
            database = stack.enter_context(open_database(settings))
            provider = create_provider(settings, database)
            provider.load()
            metadata = DocumentMetadata(source="benchmark")
            chunks = [
                ProcessedChunk.create_from_chunk(text, metadata) for text in json.loads(Path(job["texts"]).read_text())
            ]
            chunks.sort(key=lambda chunk: chunk.chunk_hash)

            def pipeline(count: int) -> None:
                database.run(lambda connection: connection.execute("TRUNCATE knowledge_base CASCADE"))
                store_chunks(database, chunks[:count], [])
                # A first load goes without the index.
                database.run(lambda connection: connection.execute("DROP INDEX IF EXISTS idx_knowledge_embedding"))
                started = time.perf_counter()
                stats = EmbeddingGenerator(settings, database=database, provider=provider).generate_embeddings_batch()
                times["pipeline"] = time.perf_counter() - started
                if stats.embedded != count:
                    raise RuntimeError(f"{stats.embedded} of {count} chunks were embedded")

            def encode(count: int) -> None:
                window = settings.embedding.window_size
                vectors = np.empty((count, provider.space.dimensions), dtype=np.float32)
                started = time.perf_counter()
                for begin in range(0, count, window):
                    texts = [chunk.chunk_text for chunk in chunks[begin : min(begin + window, count)]]
                    for batch in provider.embed(texts):
                        vectors[begin + np.asarray(batch.indices, dtype=int)] = batch.vectors
                times["encode"] = time.perf_counter() - started
                np.save(job["vectors"], vectors)

            def work(command: str) -> Answer:
                ways[command](len(chunks))
                return {"seconds": times[command]}

            times: dict[str, float] = {}
            ways = {"pipeline": pipeline, "encode": encode}
            for way in ways.values():
                way(min(WARM_TEXTS, len(chunks)))
            return {"versions": {"torch": importlib.metadata.version("torch")}}, work

        serve(prepare)


if __name__ == "__main__":
    main()
