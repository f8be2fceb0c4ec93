"""Documents whose files are not there any more, or are there under another name."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.postgres.documents import documents_below, find_documents, origins_with

if TYPE_CHECKING:
    from embedding_assets.documents.root import Root
    from embedding_assets.postgres.connection import Database


@dataclass(slots=True)
class Found:
    """What a load has come across.

    Attributes:
        seen: hashes of the origins of all files.
        new: those of files that were not in the table before.
        changed: those of files that were, and were read now.
        failed: origins of files that were not read to their end, or had rejected parts.
        unread: origins of folders that could not be listed.
    """

    seen: set[int] = field(default_factory=set)
    new: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)

    def has(self, origin: str) -> bool:
        """Whether there is such a file."""
        return hash(origin) in self.seen

    def is_new(self, origin: str, *, is_recent: bool) -> bool:
        """Whether such a file was not there before, or a load that was stopped since then is the first that saw it."""
        return hash(origin) in self.new or (is_recent and self.has(origin) and hash(origin) not in self.changed)

    def may_have(self, origin: str) -> bool:
        """Whether there is such a file, or may be one in a folder that could not be listed."""
        return self.has(origin) or any(origin.startswith(f"{folder}/") for folder in self.unread)


@dataclass(slots=True)
class Gone:
    """Origins of documents that were not found.

    Attributes:
        gone: those whose file is not there any more.
        renamed: of the other ones whose file is not there, those whose content is: under another name, and new there.
        taken_over: those that an earlier version called by their absolute paths, and that are loaded by their names.
        earlier: documents that an earlier version called so, whether found or not.
    """

    gone: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    taken_over: list[str] = field(default_factory=list)
    earlier: int = 0


def find_gone(database: Database, root: Root, found: Found, gone: Gone) -> None:
    """Add the documents of a root that were not found in it; of a file only the one that an earlier version loaded."""
    if root.is_folder:
        _find_missing(database, root, found, gone)
    if isinstance(root, LocalRoot):
        _find_earlier(database, root, found, gone)


def _find_missing(database: Database, root: Root, found: Found, gone: Gone) -> None:
    collection = root.collection.name
    # One for each: of two copies of a file, of which one is deleted, the other is not its new name.
    taken: Counter[str] = Counter()
    for page in documents_below(database, root.origin, collection):
        missing = {origin: content for origin, content in page if not found.may_have(origin) and not root.holds(origin)}
        contents = [content for content in missing.values() if content is not None]
        elsewhere = Counter(
            content
            for content, origin, is_recent in (origins_with(database, collection, contents) if contents else ())
            if found.is_new(origin, is_recent=is_recent)
        )
        for origin, content in missing.items():
            if content is None or elsewhere[content] <= taken[content]:
                gone.gone.append(origin)
            else:
                taken[content] += 1
                gone.renamed.append(origin)


def _find_earlier(database: Database, root: LocalRoot, found: Found, gone: Gone) -> None:
    """Those of earlier versions, which called a file by its absolute path, without links."""
    place = str(root.path.resolve())
    if not root.is_folder:
        if find_documents(database, [place]):
            gone.earlier += 1
            if found.has(root.origin) and root.origin not in found.failed:
                gone.taken_over.append(place)
        return
    for page in documents_below(database, place, None):
        gone.earlier += len(page)
        for path, _ in page:
            origin = f"{root.origin}/{path[len(place) + 1 :]}"
            if found.has(origin):
                if origin not in found.failed:
                    gone.taken_over.append(path)
            elif not found.may_have(origin) and not os.path.lexists(path):
                gone.gone.append(path)
