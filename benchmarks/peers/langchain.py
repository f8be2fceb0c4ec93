"""LangChain: PGVectorStore with HuggingFaceEmbeddings, as its documentation shows it."""

from __future__ import annotations

from collections.abc import Callable

from langchain_huggingface import HuggingFaceEmbeddings

from peers.ingesting import Job, serve_ingestion
from peers.langchain_store import emptied_store


def load(job: Job) -> Callable[[], Callable[[list[str]], object]]:
    embeddings = HuggingFaceEmbeddings(model_name=job.model, model_kwargs={"device": "cpu"})
    return emptied_store(job, embeddings)


if __name__ == "__main__":
    serve_ingestion(load, "langchain-postgres", "langchain-huggingface", "sentence-transformers", "torch")
