"""LlamaIndex: an ingestion pipeline of HuggingFaceEmbedding into PGVectorStore, as its documentation shows it."""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.postgres import PGVectorStore

from peers.ingesting import DIMENSIONS, TABLE, Job, serve_ingestion


def load(job: Job) -> Callable[[], Callable[[list[str]], None]]:
    embedding = HuggingFaceEmbedding(model_name=job.model, device="cpu")
    store = PGVectorStore.from_params(
        connection_string=job.url("psycopg2"),
        async_connection_string=job.url("asyncpg"),
        table_name=TABLE,
        embed_dim=DIMENSIONS,
    )

    def emptied() -> Callable[[list[str]], None]:
        store.clear()
        pipeline = IngestionPipeline(transformations=[embedding], vector_store=store, disable_cache=True)

        def fill(texts: list[str]) -> None:
            pipeline.run(nodes=[TextNode(text=text) for text in texts])

        return fill

    return emptied


if __name__ == "__main__":
    serve_ingestion(load, "llama-index-core", "llama-index-vector-stores-postgres", "sentence-transformers", "torch")
