"""Whether the files of some folders have changed, by what file systems and stores say of them; none is read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.finding import find_files
from embedding_assets.documents.formats.reading import is_readable
from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.stores.address import is_elsewhere, parsed
from embedding_assets.documents.stores.listing import StoreTree
from embedding_assets.documents.stores.opening import open_store
from embedding_assets.documents.stores.root import StoreRoot, file_at
from embedding_assets.documents.stores.store import StoreError
from embedding_assets.documents.walking import WalkCounts, walk
from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible
from embedding_assets.postgres.documents import Collection

if TYPE_CHECKING:
    from embedding_assets.documents.found_file import FoundFile
    from embedding_assets.documents.ignoring import Choice

_HOUR_SECONDS = 3_600

_Found = Iterator["FoundFile | Rejection"]


@dataclass(frozen=True, slots=True)
class Appearance:
    """How some folders look.

    Attributes:
        digest: of the names, sizes and times of their files: another one once a file has changed.
        files: how many there are.
        missing: sentences on paths and URLs that do not lead to anything.
    """

    digest: str
    files: int
    missing: tuple[str, ...]


def look_at(paths: Sequence[str], choice: Choice, *, seconds: float) -> Appearance | None:
    """How folders and files look now; None if that cannot be found out in time.

    Buckets are listed. Of a web server's file that has no mark only the hour is taken: it looks another way once an
    hour.

    Args:
        paths: of the folders and files, and URLs.
        choice: which files of the folders count.
        seconds: longest time to look.

    Raises:
        StoreError: a store cannot be asked just now.
    """
    digest = hashlib.sha256()
    until = time.monotonic() + seconds

    def is_wanted(name: str) -> bool:
        if time.monotonic() > until:
            raise TimeoutError
        return is_readable(name)

    missing = []
    files = 0
    try:
        for path in paths:
            found: _Found
            try:
                found = (_found_elsewhere if is_elsewhere(path) else _found_here)(path, choice, is_wanted, until)
            except DocumentError as error:
                missing.append(str(error))
                digest.update(f"{path}\0gone\0".encode("utf-8", "surrogateescape"))
                continue
            for one in found:
                files += not isinstance(one, Rejection)
                digest.update(_line(one).encode("utf-8", "surrogateescape"))
    except TimeoutError:
        return None
    return Appearance(digest.hexdigest(), files, tuple(missing))


def _found_here(path: str, choice: Choice, is_wanted: Callable[[str], bool], _: float) -> _Found:
    place = Path(path).expanduser().absolute()
    try:
        place.stat()
    except (OSError, RuntimeError, ValueError):
        raise DocumentError(f"{visible(path)} does not exist") from None
    # What it is called in the table does not matter here.
    root = LocalRoot(place, Collection(path, path, is_folder=True), path, place.is_dir())
    return find_files(root, choice, is_wanted, WalkCounts())


def _found_elsewhere(path: str, choice: Choice, is_wanted: Callable[[str], bool], until: float) -> _Found:
    address = parsed(path)
    store = open_store(address)
    name = str(address)
    try:
        file = file_at(address, store, seconds=until - time.monotonic())
        root = StoreRoot(address, Collection(name, name, is_folder=True), name, store, file)
        if file is not None:
            return find_files(root, choice, is_wanted, WalkCounts())
        tree = StoreTree(root)
        tree.list(seconds=until - time.monotonic())
    except StoreError as error:
        if error.is_transient:
            raise
        raise DocumentError(f"{address} cannot be read: {error.strerror}") from None
    return walk(tree, name, choice, is_wanted, WalkCounts())


def _line(found: FoundFile | Rejection) -> str:
    if isinstance(found, Rejection):
        return f"{found}\0"
    if not isinstance(found, LocalFile):
        return f"{found.origin}\0{found.state().mark or int(time.time()) // _HOUR_SECONDS}\0"
    try:
        status = found.path.stat()
    except OSError as error:
        return f"{found.origin}\0{error.strerror}\0"
    return f"{found.origin}\0{status.st_size}\0{status.st_mtime_ns}\0"
