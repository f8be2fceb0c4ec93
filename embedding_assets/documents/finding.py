"""The files of what is to be loaded, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.formats.reading import is_readable
from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.local_tree import LocalTree
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.stores.listing import StoreTree
from embedding_assets.documents.stores.root import StoreRoot
from embedding_assets.documents.stores.stored_file import StoredFile
from embedding_assets.documents.walking import WalkCounts, walk
from embedding_assets.errors import DocumentError

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.found_file import FoundFile
    from embedding_assets.documents.ignoring import Choice
    from embedding_assets.documents.root import Root


def check_kind(root: Root, read: ReadOptions) -> None:
    """Make sure that a file that was named can be read.

    Raises:
        DocumentError: it is of a kind that is not read.
    """
    if not (root.is_folder or read.format or is_readable(PurePosixPath(root.origin).name)):
        raise DocumentError(
            f"{root} is of a kind that is not read; `embedding-assets formats` lists those that are, and --format says "
            "which of them it is"
        )


def count_files(roots: Sequence[Root], choice: Choice, read: ReadOptions) -> int | None:
    """How many files there are to read; None where to know that would take as long as a store needs to list them.

    One that lies in several roots counts once.
    """
    if any(isinstance(root, StoreRoot) and root.is_folder for root in roots):
        return None
    counts = WalkCounts()
    seen: set[int] = set()
    for root in roots:
        for file in find_files(root, choice, lambda name: is_wanted(name, read), counts):
            if not isinstance(file, Rejection):
                seen.add(hash(file.origin))
    return len(seen)


def is_wanted(name: str, read: ReadOptions) -> bool:
    """Whether a file of that name in a folder is of a kind that is read."""
    return read.format is not None or is_readable(name)


def find_files(
    root: Root, choice: Choice, is_wanted: Callable[[str], bool], counts: WalkCounts
) -> Iterator[FoundFile | Rejection]:
    """The files to read of a root, by name; a file that is one itself, whatever the rules. See ``walk``."""
    if isinstance(root, StoreRoot):
        if root.file is not None:
            return iter([StoredFile(root.store, root.file, root.origin)])
        return walk(StoreTree(root), root.origin, choice, is_wanted, counts)
    assert isinstance(root, LocalRoot)
    if not root.is_folder:
        return iter([LocalFile(root.path, root.origin)])
    return walk(LocalTree(root), root.origin, choice, is_wanted, counts)
