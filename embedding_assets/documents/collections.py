"""Folders and files of this machine: to which collection they belong, wherever their folder is by now."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedding_assets.documents.naming import name_root
from embedding_assets.documents.stores.address import is_elsewhere
from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible
from embedding_assets.postgres.documents import Collection


@dataclass(frozen=True, slots=True)
class LocalRoot:
    """A folder or file to load, and what its documents are called.

    Attributes:
        path: where it is; links are kept as they were given.
        collection: what it belongs to.
        origin: its own name: the collection's, or that with the path below the collection's folder.
        is_folder: whether it is one.
    """

    path: Path
    collection: Collection
    origin: str
    is_folder: bool

    def __str__(self) -> str:
        return visible(str(self.path))

    def holds(self, origin: str) -> bool:
        """Whether the file of a document below it is there, loaded or left out."""
        return os.path.lexists(f"{self.path}/{origin[len(self.origin) + 1 :]}")

    def surrounds(self, place: str) -> bool:
        """Whether the folder of a collection is in it."""
        return (
            self.is_folder and not is_elsewhere(place) and _resolved(Path(place)).is_relative_to(_resolved(self.path))
        )

    def has(self, origin: str, content: str) -> bool:
        """Whether the file of a document of its collection is there, with the same content."""
        path = Path(self.collection.root, origin.removeprefix(f"{self.collection.name}/"))
        try:
            if not path.is_file():
                return False
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == content
        except (OSError, ValueError):
            return False


def local_root(given: str, known: Sequence[Collection], wanted: str | None) -> LocalRoot:
    """A folder or file to load; see ``name_root``.

    Raises:
        DocumentError: it is empty or not there, or has a name that nothing can be called by.
    """
    path = _checked(given)
    is_folder = path.is_dir()
    base = path if is_folder else path.parent
    collection, origin = name_root(
        str(base),
        None if is_folder else path.name,
        shown=visible(str(path)),
        default=base.name,
        known=known,
        wanted=wanted,
        below=lambda one: _path_below(one, base),
    )
    if not _is_utf8(str(path)):
        raise DocumentError(f"{visible(str(path))} has a name that is not valid UTF-8; load it from where it has not")
    return LocalRoot(path, collection, origin, is_folder)


def is_same_folder(one: str, other: str) -> bool:
    """Whether two folders of collections are the same one."""
    if is_elsewhere(one) or is_elsewhere(other):
        return one == other
    return _resolved(Path(one)) == _resolved(Path(other))


def _checked(given: str) -> Path:
    if not given.strip():
        raise DocumentError("a path is empty, as of a variable that is not set; `.` is the current folder")
    try:
        path = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 (a link is kept: it may be switched)
        mode = path.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:
        raise DocumentError(f"{visible(given)} {_reason(error)}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DocumentError(
            f"{visible(given)} is a pipe, socket or device; what comes out of one is read by `load - --format FORMAT`"
        )
    return path


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "does not exist"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "is not a path"


def _path_below(collection: Collection, base: Path) -> str | None:
    """The path from a collection's folder to ``base``, empty if it is that; None if it is not in there."""
    if is_elsewhere(collection.root):
        return None
    root = Path(collection.root)
    for folder, place in ((root, base), (_resolved(root), _resolved(base))):
        if place == folder:
            return ""
        if collection.is_folder and place.is_relative_to(folder):
            return place.relative_to(folder).as_posix()
    return None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
