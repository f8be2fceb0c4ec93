"""LangChain's PGVectorStore, as its documentation shows it, whatever embeds."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.embeddings import Embeddings
from langchain_postgres import PGEngine, PGVectorStore

from peers.ingesting import DIMENSIONS, TABLE, Job


def emptied_store(job: Job, embeddings: Embeddings) -> Callable[[], Callable[[list[str]], object]]:
    """What empties the job's table and returns what fills it."""
    engine = PGEngine.from_connection_string(url=job.url("psycopg"))

    def emptied() -> Callable[[list[str]], object]:
        engine.init_vectorstore_table(table_name=TABLE, vector_size=DIMENSIONS, overwrite_existing=True)
        store = PGVectorStore.create_sync(engine=engine, table_name=TABLE, embedding_service=embeddings)
        return store.add_texts

    return emptied
