"""The files below some paths, and the documents in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from embedding_assets.documents.document import Document
from embedding_assets.documents.fields import row_document
from embedding_assets.documents.lines import normalized_newlines, read_lines
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import EMPTY, NOT_UTF8, TOO_LONG, Rejection
from embedding_assets.documents.rows import ROW_SUFFIXES, read_rows
from embedding_assets.errors import DocumentError
from embedding_assets.models import DocumentMetadata

MARKDOWN_SUFFIXES = (".md", ".markdown")
PLAIN_SUFFIXES = (".txt", ".rst", ".text")
ACCEPTED_SUFFIXES = (*MARKDOWN_SUFFIXES, *PLAIN_SUFFIXES, *ROW_SUFFIXES)


def read_documents(
    paths: Iterable[Path], *, text_column: str | None, on_reject: Callable[[Rejection], None]
) -> Iterator[Document]:
    """Read files, and folders recursively in sorted order, as a stream.

    Args:
        paths: files and folders; hidden entries and other kinds of file in a folder are passed over.
        text_column: field of a row that holds its text; None takes the first of ``TEXT_COLUMNS``.
        on_reject: called for whatever is skipped because it is bad.

    Raises:
        DocumentError: a path does not exist, or a file named directly is of an unknown kind; raised at once.
    """
    roots = [_checked_root(path) for path in paths]
    return _documents(roots, text_column, on_reject)


def _checked_root(path: Path) -> Path:
    root = path.expanduser().resolve()
    accepted = f"accepted are folders and files ending in {', '.join(ACCEPTED_SUFFIXES)}"
    if not root.exists():
        raise DocumentError(f"{_printable(path)} does not exist; {accepted}")
    if not root.is_dir() and not _is_accepted(root):
        raise DocumentError(f"{_printable(path)} is of an unknown kind; {accepted}")
    return root


def _documents(
    roots: Iterable[Path], text_column: str | None, on_reject: Callable[[Rejection], None]
) -> Iterator[Document]:
    seen: set[Path] = set()
    for root in roots:
        for item in _walk(root):
            if isinstance(item, Rejection):
                on_reject(item)
            elif item not in seen:
                seen.add(item)
                for result in _read_file(item, text_column):
                    if isinstance(result, Rejection):
                        on_reject(result)
                    else:
                        yield result


def _walk(root: Path) -> Iterator[Path | Rejection]:
    if not root.is_dir():
        yield root
        return
    found = False
    for item in _folder_files(root):
        found = True
        yield item
    if not found:
        yield Rejection(_printable(root), None, f"holds no file ending in {', '.join(ACCEPTED_SUFFIXES)}")


def _folder_files(folder: Path) -> Iterator[Path | Rejection]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield Rejection(_printable(folder), None, f"cannot be read: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # A link to a folder may lead back up and never end.
        if entry.is_dir() and not entry.is_symlink():
            yield from _folder_files(entry)
        elif _is_accepted(entry):
            yield entry


def _is_accepted(path: Path) -> bool:
    return path.suffix.lower() in ACCEPTED_SUFFIXES and path.is_file()


def _printable(path: Path) -> str:
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read_file(path: Path, text_column: str | None) -> Iterator[Document | Rejection]:
    source = _printable(path)
    if source != path.as_posix():
        yield Rejection(source, None, "has a name that is not valid UTF-8")
        return
    suffix = path.suffix.lower()
    try:
        if suffix in MARKDOWN_SUFFIXES + PLAIN_SUFFIXES:
            yield _read_text(path, markdown=suffix in MARKDOWN_SUFFIXES)
            return
        digest = _file_digest(path, text_column)
        for line, row in read_rows(path, suffix, text_column):
            result = row_document(path, line, row, text_column)
            yield result if isinstance(result, Rejection) else replace(result, file_digest=digest)
    except OSError as error:
        yield Rejection(source, None, f"cannot be read: {error.strerror}")


def _file_digest(path: Path, text_column: str | None) -> str:
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{content}:{text_column or ''}"


def _read_text(path: Path, *, markdown: bool) -> Document | Rejection:
    source = path.as_posix()
    lines = []
    with path.open("rb") as stream:
        for number, line, too_long in read_lines(stream):
            if too_long:
                return Rejection(source, number, TOO_LONG)
            lines.append(line)
    data = b"".join(lines)
    try:
        text = normalized_newlines(data.decode())
    except UnicodeDecodeError as error:
        return Rejection(source, data.count(b"\n", 0, error.start) + 1, NOT_UTF8)
    if "\x00" in text:
        return Rejection(source, text.count("\n", 0, text.index("\x00")) + 1, "contains a NUL character")
    if not text.strip():
        return Rejection(source, None, f"{EMPTY} or blank" if text else EMPTY)
    title = markdown_title(text) if markdown else ""
    return Document(DocumentMetadata(source=source, title=title or path.stem), text, markdown)
