"""LangChain: its loaders of files and its recursive splitter, counting the model's tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from langchain_community.document_loaders import (
    BSHTMLLoader,
    CSVLoader,
    DirectoryLoader,
    Docx2txtLoader,
    JSONLoader,
    PyPDFLoader,
    TextLoader,
)
from langchain_core.documents import Document
from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

from peers.loading import Job, Ways, serve_loading

_CSV: dict[str, Any] = {"content_columns": ["text"], "metadata_columns": ["id", "title"]}
_JSONL: dict[str, Any] = {"jq_schema": ".", "content_key": "text", "json_lines": True}


def prepare_ways(job: Job) -> Ways:
    tokenizer = job.read_tokenizer()
    size: dict[str, Any] = {
        "chunk_size": job.chunk_tokens - tokenizer.num_special_tokens_to_add(False),
        "chunk_overlap": 0,
        "length_function": lambda text: len(tokenizer.encode(text, add_special_tokens=False)),
    }
    plain = RecursiveCharacterTextSplitter(**size)
    markdown = RecursiveCharacterTextSplitter.from_language(Language.MARKDOWN, **size)

    def split(splitter: RecursiveCharacterTextSplitter, load: Callable[[Path], list[Document]], at: Path) -> list[str]:
        return [document.page_content for document in splitter.split_documents(load(at))]

    return {
        "markdown": partial(split, markdown, partial(_folder, "*.md", TextLoader)),
        "html": partial(split, plain, partial(_folder, "*.html", BSHTMLLoader)),
        "pdf": partial(split, plain, partial(_folder, "*.pdf", PyPDFLoader)),
        "docx": partial(split, plain, partial(_folder, "*.docx", Docx2txtLoader)),
        "csv": partial(split, plain, partial(_folder, "*.csv", CSVLoader, **_CSV)),
        "jsonl": partial(split, plain, partial(_folder, "*.jsonl", JSONLoader, **_JSONL)),
    }


def _folder(pattern: str, loader: Any, folder: Path, **arguments: object) -> list[Document]:
    return DirectoryLoader(str(folder), glob=f"**/{pattern}", loader_cls=loader, loader_kwargs=arguments).load()


if __name__ == "__main__":
    serve_loading(prepare_ways, "langchain-community", "langchain-text-splitters", "pypdf", "tokenizers")
