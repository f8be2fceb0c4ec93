"""Collections: what a file is called that was given to be loaded, wherever its folder is by now."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible
from embedding_assets.postgres.chunks import check_is_own
from embedding_assets.postgres.documents import Collection, list_collections, sample_documents
from embedding_assets.postgres.source_records import find_source

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

_COMPARED: Final = 50
"""Documents by which a collection is recognised in another folder."""

_MOST_NAME_BYTES: Final = 200


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


def find_roots(database: Database, paths: Sequence[str], collection: str | None) -> list[LocalRoot]:
    """What is to be loaded, each with its name; nothing is read yet.

    A path in a folder that was loaded before, or is given before it, belongs to that folder's collection. Any other is
    the folder of a collection of its own name; of a file it is the folder around it.

    Args:
        database: which collections there are.
        paths: files and folders.
        collection: the name to use instead.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
        DocumentError: a path is empty or not there, or a collection of that name was loaded from a folder that holds
            other documents.
    """
    check_is_own(database)
    known = list_collections(database)
    roots: dict[Path, LocalRoot] = {}
    for given in paths:
        path = _checked(given)
        root = _root(path, known, collection)
        name, folder = root.collection.name, root.collection.root
        _check_is_free(database, name)
        before = next((one for one in known if one.name == name), None)
        if before is not None and not _is_same_folder(before.root, folder):
            if other := next((one for one in roots.values() if one.collection.name == name), None):
                raise DocumentError(
                    f"{root} and {other} would both be the collection {name}; load them one by one, each with a "
                    "--collection of its own"
                )
            if collection is None:
                _check_is_moved(database, before, root)
        known = [*(one for one in known if one.name != name), root.collection]
        roots[path] = root
    return list(roots.values())


def collections_inside(database: Database, roots: Sequence[LocalRoot]) -> list[str]:
    """Names of other collections that were loaded from folders below these: their documents are loaded twice."""
    own = {root.collection.name for root in roots}
    folders = [_resolved(root.path) for root in roots if root.is_folder]
    return [
        one.name
        for one in list_collections(database)
        if one.name not in own and any(_resolved(Path(one.root)).is_relative_to(folder) for folder in folders)
    ]


def _checked(given: str) -> Path:
    if not given.strip():
        raise DocumentError("a path is empty, as of a variable that is not set; `.` is the current folder")
    try:
        path = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 (a link is kept: it may be switched)
        mode = path.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:
        raise DocumentError(f"{visible(given)} {_reason(error)}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DocumentError(f"{visible(given)} is a pipe, socket or device; write what it gives to a file first")
    return path


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "does not exist"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "is not a path"


def _root(path: Path, known: Sequence[Collection], wanted: str | None) -> LocalRoot:
    is_folder = path.is_dir()
    base = path if is_folder else path.parent
    around = None
    for one in known:
        # Of several the one deepest down: it was loaded on purpose.
        fits = wanted in (None, one.name) and _path_below(one.root, base, is_folder=one.is_folder) is not None
        if fits and (around is None or len(one.root) > len(around.root)):
            around = one
    if around is not None:
        below = _path_below(around.root, base, is_folder=around.is_folder) or ""
        collection = Collection(around.name, around.root, around.is_folder or (is_folder and not below))
    else:
        below = ""
        collection = Collection(base.name if wanted is None else wanted, str(base), is_folder)
    _check_name(collection.name, path, is_default=wanted is None)
    if not _is_utf8(str(path)):
        raise DocumentError(f"{visible(str(path))} has a name that is not valid UTF-8; load it from where it has not")
    parts = [collection.name, *([below] if below else []), *([] if is_folder else [path.name])]
    return LocalRoot(path, collection, "/".join(parts), is_folder)


def _path_below(root: str, base: Path, *, is_folder: bool) -> str | None:
    """The path from a collection's folder to ``base``, empty if it is that; None if it is not in there."""
    for folder, place in ((Path(root), base), (_resolved(Path(root)), _resolved(base))):
        if place == folder:
            return ""
        if is_folder and place.is_relative_to(folder):
            return place.relative_to(folder).as_posix()
    return None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _is_same_folder(one: str, other: str) -> bool:
    return _resolved(Path(one)) == _resolved(Path(other))


def _check_name(name: str, path: Path, *, is_default: bool) -> None:
    shown = visible(name)
    if (
        not name
        or "/" in name
        or shown != name
        or name.strip() != name
        or len(name.encode("utf-8", "replace")) > (_MOST_NAME_BYTES)
    ):
        if is_default:
            raise DocumentError(
                f"{visible(str(path))}: the folder's name {shown!r} cannot be that of a collection; give one with "
                "--collection"
            )
        raise DocumentError(f"--collection: {shown!r} is no name; use up to 200 printable characters without /")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_is_free(database: Database, name: str) -> None:
    if database.table.is_own and database.run(lambda connection: find_source(connection, name)) is not None:
        raise DocumentError(
            f"{name} is a source of `embedding-assets sync`, whose documents are called so; give another name with "
            "--collection"
        )


def _check_is_moved(database: Database, before: Collection, root: LocalRoot) -> None:
    """Make sure that a collection's folder was moved, and is not another one of the same name."""
    sample = sample_documents(database, before.name, _COMPARED)
    if 2 * sum(_has(root, origin, content) for origin, content in sample) < len(sample):
        raise DocumentError(
            f"{root}: the collection {before.name} was loaded from {visible(before.root)}, which holds other "
            "documents. Give this one a name of its own with --collection NAME; if it is the same one, moved and "
            f"changed, say so with --collection {before.name}"
        )


def _has(root: LocalRoot, origin: str, content: str) -> bool:
    path = Path(root.collection.root, origin.removeprefix(f"{root.collection.name}/"))
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == content
    except (OSError, ValueError):
        return False
