"""A file → the documents in it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError
from embedding_assets.documents.formats.registry import EXTRA, SUFFIXES, Format, format_by_name, format_of
from embedding_assets.documents.rejection import TOO_DEEP, Rejection

if TYPE_CHECKING:
    from embedding_assets.documents.document import Document
    from embedding_assets.documents.formats.options import ReadOptions

logger = logging.getLogger(__name__)

ACCEPTED_SUFFIXES = SUFFIXES

Reader = Callable[[OpenedFile], "Iterator[Document | Rejection]"]
"""What reads a format: it yields documents and rejections of rows, or raises ``UnreadableError``."""


def is_readable(name: str) -> bool:
    """Whether a file of that name is of a kind that is read; what that takes may still have to be installed."""
    return format_by_name(name) is not None


def read_file(path: Path, source: str, options: ReadOptions) -> Iterator[Document | Rejection]:
    """The documents of a file, and what of it is rejected; ends when the file was read to its end.

    A file that was not read to its end ends with a rejection.

    Args:
        path: the file.
        source: the name by which it is known; the origin of its documents.
        options: how it is to be read.
    """
    printable = source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if printable != source:
        yield Rejection(printable, None, "has a name that is not valid UTF-8")
        return
    file = OpenedFile(path, source, options)
    # What was fetched keeps its suffix, not its name.
    kind = options.format_of(path) or format_of(PurePosixPath(source))
    if kind is None:
        yield file.rejected("is of an unknown kind; --format says how to read it, as in --format text")
        return
    if not kind.is_installed:
        yield file.rejected(f"needs {', '.join(kind.packages)} to be read: {EXTRA}")
        return
    yield from _read(kind, file)


def _read(kind: Format, file: OpenedFile) -> Iterator[Document | Rejection]:
    try:
        read: Reader = import_module(f"{__package__}.{kind.module}").read
        if not kind.has_rows:
            yield from read(file)
            return
        digest = _file_digest(file)
        for result in read(file):
            yield result if isinstance(result, Rejection) else replace(result, file_digest=digest)
    except UnreadableError as error:
        yield file.rejected(error.reason, error.line)
    except OSError as error:
        yield file.rejected(f"cannot be read: {error.strerror or type(error).__name__}")
    except RecursionError:
        yield file.rejected(TOO_DEEP)
    except (GeneratorExit, MemoryError):
        raise
    except Exception as error:
        # Without its message, which may hold text of the file.
        logger.debug("cannot read %s", file.source, exc_info=True)
        yield file.rejected(f"is not a readable {kind.title} file ({type(error).__name__})")


def _file_digest(file: OpenedFile) -> str:
    with file.path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{content}:{file.options.manner}"
