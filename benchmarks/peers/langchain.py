"""LangChain: PGVectorStore with HuggingFaceEmbeddings, as its documentation shows it."""

from __future__ import annotations

from collections.abc import Callable

from langchain_huggingface import HuggingFaceEmbeddings
from langchain_postgres import PGEngine, PGVectorStore

from peers.ingesting import DIMENSIONS, TABLE, Job, serve_ingestion


def load(job: Job) -> Callable[[], Callable[[list[str]], object]]:
    engine = PGEngine.from_connection_string(url=job.url("psycopg"))
    embeddings = HuggingFaceEmbeddings(model_name=job.model, model_kwargs={"device": "cpu"})

    def emptied() -> Callable[[list[str]], object]:
        engine.init_vectorstore_table(table_name=TABLE, vector_size=DIMENSIONS, overwrite_existing=True)
        store = PGVectorStore.create_sync(engine=engine, table_name=TABLE, embedding_service=embeddings)
        return store.add_texts

    return emptied


if __name__ == "__main__":
    serve_ingestion(load, "langchain-postgres", "langchain-huggingface", "sentence-transformers", "torch")
