"""Files to read, and what is read from them."""

from __future__ import annotations

import json
from pathlib import Path

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.reading import read_file
from embedding_assets.documents.rejection import Rejection

BAD_UTF8 = b"\xff\xfe"


def read(*paths: Path, text_column: str | None = None) -> tuple[list[Document], list[Rejection]]:
    """Documents and rejections of files and those of folders, which are known by their paths."""
    options = ReadOptions(text_column=text_column)
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    found = [one for path in files for one in read_file(path, path.as_posix(), options)]
    rejections = [one for one in found if isinstance(one, Rejection)]
    return [one for one in found if isinstance(one, Document)], rejections


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
