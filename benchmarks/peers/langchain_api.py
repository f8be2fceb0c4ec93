"""LangChain: PGVectorStore with OpenAIEmbeddings, as its documentation shows it; the server by OPENAI_BASE_URL."""

from __future__ import annotations

from collections.abc import Callable

from langchain_openai import OpenAIEmbeddings

from peers.ingesting import DIMENSIONS, Job, serve_ingestion
from peers.langchain_store import emptied_store


def load(job: Job) -> Callable[[], Callable[[list[str]], object]]:
    # The check of lengths fetches a tokenizer from the network, and costs time: without it is the faster way.
    embeddings = OpenAIEmbeddings(model=job.model, dimensions=DIMENSIONS, check_embedding_ctx_length=False)
    return emptied_store(job, embeddings)


if __name__ == "__main__":
    serve_ingestion(load, "langchain-postgres", "langchain-openai", "openai")
