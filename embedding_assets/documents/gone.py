"""Documents whose files are not there any more, or are there under another name."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedding_assets.postgres.documents import documents_below, find_documents, origins_with

if TYPE_CHECKING:
    from embedding_assets.documents.collections import Root
    from embedding_assets.postgres.connection import Database


@dataclass(slots=True)
class Gone:
    """Origins of documents that were not found.

    Attributes:
        gone: those whose file is not there any more.
        renamed: of the other ones whose file is not there, those whose content is: under another name.
        taken_over: those that an earlier version called by their absolute paths, and that are loaded by their names.
        earlier: documents that an earlier version called so, whether found or not.
    """

    gone: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    taken_over: list[str] = field(default_factory=list)
    earlier: int = 0


def find_gone(
    database: Database, root: Root, seen: Collection[int], failed: Collection[str], unread: Sequence[str], gone: Gone
) -> None:
    """Add the documents of a root that were not found in it.

    Args:
        database: where they are recorded.
        root: a folder; of a file only the one that an earlier version has loaded.
        seen: hashes of the origins that were found.
        failed: origins of files that were found, and not read to their end.
        unread: origins of folders that could not be listed.
        gone: to be added to.
    """
    if root.is_folder:
        _find_missing(database, root, seen, unread, gone)
    _find_earlier(database, root, seen, failed, unread, gone)


def _find_missing(
    database: Database, root: Root, seen: Collection[int], unread: Sequence[str], gone: Gone
) -> None:
    collection = root.collection.name
    for page in documents_below(database, root.origin, collection):
        missing = {
            origin: content
            for origin, content, _ in page
            if hash(origin) not in seen
            and not _is_below(origin, unread)
            and not os.path.lexists(f"{root.path}/{origin[len(root.origin) + 1 :]}")
        }
        contents = [content for content in missing.values() if content is not None]
        elsewhere = {
            content
            for content, origin in (origins_with(database, collection, contents) if contents else ())
            if hash(origin) in seen
        }
        for origin, content in missing.items():
            (gone.renamed if content in elsewhere else gone.gone).append(origin)


def _find_earlier(
    database: Database,
    root: Root,
    seen: Collection[int],
    failed: Collection[str],
    unread: Sequence[str],
    gone: Gone,
) -> None:
    """Those of earlier versions, which called a file by its absolute path, without links."""
    place = str(root.path.resolve())
    if not root.is_folder:
        found = find_documents(database, [place])
        if found and hash(root.origin) in seen and root.origin not in failed:
            gone.taken_over.append(place)
        gone.earlier += len(found)
        return
    for page in documents_below(database, place, None):
        for path, _, _ in page:
            origin = f"{root.origin}/{path[len(place) + 1 :]}"
            gone.earlier += 1
            if hash(origin) in seen:
                if origin not in failed:
                    gone.taken_over.append(path)
            elif not _is_below(origin, unread) and not os.path.lexists(path):
                gone.gone.append(path)


def _is_below(origin: str, folders: Sequence[str]) -> bool:
    return any(origin.startswith(f"{folder}/") for folder in folders)
