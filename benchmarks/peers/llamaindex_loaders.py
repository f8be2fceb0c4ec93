"""LlamaIndex: its directory reader and its sentence splitter, counting the model's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core import SimpleDirectoryReader
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode
from llama_index.readers.file import CSVReader, HTMLTagReader
from llama_index.readers.json import JSONReader

from peers.loading import Job, Ways, serve_loading


def prepare_ways(job: Job) -> Ways:
    tokenizer = job.read_tokenizer()
    splitter = SentenceSplitter(
        chunk_size=job.chunk_tokens - tokenizer.num_special_tokens_to_add(False),
        chunk_overlap=0,
        tokenizer=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
    )
    # What it would take for plain text, and rows as documents of their own.
    readers: dict[str, Any] = {
        ".html": HTMLTagReader(tag="body"),
        ".csv": CSVReader(concat_rows=False),
        ".jsonl": JSONReader(is_jsonl=True),
    }

    def split(folder: Path) -> list[str]:
        documents = SimpleDirectoryReader(str(folder), recursive=True, file_extractor=readers).load_data()
        return [node.get_content(MetadataMode.NONE) for node in splitter.get_nodes_from_documents(documents)]

    return dict.fromkeys(job.formats, split)


if __name__ == "__main__":
    serve_loading(prepare_ways, "llama-index-core", "llama-index-readers-file", "pypdf", "tokenizers")
