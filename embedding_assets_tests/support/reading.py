"""Files to read, and what is read from them."""

from __future__ import annotations

import json
from pathlib import Path

from embedding_assets.documents.document import Document
from embedding_assets.documents.files import read_documents
from embedding_assets.documents.rejection import Rejection

BAD_UTF8 = b"\xff\xfe"


def read(*paths: Path, text_column: str | None = None) -> tuple[list[Document], list[Rejection]]:
    rejections: list[Rejection] = []
    documents = list(read_documents(paths, text_column=text_column, on_reject=rejections.append))
    return documents, rejections


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
