"""LangChain: PGVectorStore with OpenAIEmbeddings, as its documentation shows it; the server by OPENAI_BASE_URL."""

from __future__ import annotations

from collections.abc import Callable

from langchain_openai import OpenAIEmbeddings
from langchain_postgres import PGEngine, PGVectorStore

from peers.ingesting import DIMENSIONS, TABLE, Job, serve_ingestion


def load(job: Job) -> Callable[[], Callable[[list[str]], object]]:
    engine = PGEngine.from_connection_string(url=job.url("psycopg"))
    # The check of lengths fetches a tokenizer from the network, and costs time: without it is the faster way.
    embeddings = OpenAIEmbeddings(model=job.model, dimensions=DIMENSIONS, check_embedding_ctx_length=False)

    def emptied() -> Callable[[list[str]], object]:
        engine.init_vectorstore_table(table_name=TABLE, vector_size=DIMENSIONS, overwrite_existing=True)
        store = PGVectorStore.create_sync(engine=engine, table_name=TABLE, embedding_service=embeddings)
        return store.add_texts

    return emptied


if __name__ == "__main__":
    serve_ingestion(load, "langchain-postgres", "langchain-openai", "openai")
