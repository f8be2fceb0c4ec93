"""The files below some paths, and the documents in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.reading import ACCEPTED_SUFFIXES, is_readable, read_file
from embedding_assets.documents.rejection import Rejection
from embedding_assets.errors import DocumentError


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
                for result in read_file(item, item.as_posix(), ReadOptions(text_column=text_column)):
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
    return is_readable(path) and path.is_file()


def _printable(path: Path) -> str:
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
