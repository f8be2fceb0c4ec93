"""The files of what is to be loaded, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.formats.reading import is_readable
from embedding_assets.documents.walking import WalkCounts, walk
from embedding_assets.errors import DocumentError

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.found_file import FoundFile
    from embedding_assets.documents.ignoring import Choice
    from embedding_assets.documents.rejection import Rejection
    from embedding_assets.documents.root import Root


def check_kind(root: Root, read: ReadOptions) -> None:
    """Make sure that a file that was named can be read.

    Raises:
        DocumentError: it is of a kind that is not read.
    """
    if not (root.is_folder or read.format or is_readable(Path(root.origin))):
        raise DocumentError(f"{root} is of a kind that is not read; `embedding-assets formats` lists those that are")


def find_files(
    root: Root, choice: Choice, is_wanted: Callable[[Path], bool], counts: WalkCounts
) -> Iterator[FoundFile | Rejection]:
    """The files to read of a root, by name; see ``walk``."""
    assert isinstance(root, LocalRoot)
    return walk(root, choice, is_wanted, counts)
