"""Documents whose files are not there any more, or are there under another name."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
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
        collections: names of those of which there is any file.
        begun: names of those that had no documents before, none of which can be gone.
    """

    seen: set[int] = field(default_factory=set)
    new: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)
    collections: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)

    def has(self, origin: str) -> bool:
        """Whether there is such a file."""
        return hash(origin) in self.seen

    def is_new(self, origin: str) -> bool:
        """Whether such a file was not there before."""
        return hash(origin) in self.new

    def is_unchanged(self, origin: str) -> bool:
        """Whether such a file was there before, and is as it was."""
        key = hash(origin)
        return key in self.seen and not (key in self.new or key in self.changed or origin in self.failed)

    def may_have(self, origin: str) -> bool:
        """Whether there is such a file, or may be one in a folder that could not be listed."""
        return self.has(origin) or any(origin.startswith(f"{folder}/") for folder in self.unread)


@dataclass(slots=True)
class Gone:
    """Origins of documents that were not found.

    Attributes:
        gone: those whose file is not there any more, by collection.
        renamed: of the other ones whose file is not there, those whose content is: under another name, and new there.
        taken_over: those that an earlier version called by their absolute paths, and that are loaded by their names.
        earlier: by collection: how many documents an earlier version called so, whether found or not.
    """

    gone: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    renamed: list[str] = field(default_factory=list)
    taken_over: list[str] = field(default_factory=list)
    earlier: Counter[str] = field(default_factory=Counter)


def find_gone(database: Database, root: Root, found: Found, gone: Gone) -> None:
    """Add the documents of a root that were not found in it; of a file only the one that an earlier version loaded."""
    if root.is_folder and root.collection.name not in found.begun:
        _find_missing(database, root, found, gone)
    if isinstance(root, LocalRoot):
        _find_earlier(database, root, found, gone)


def _find_missing(database: Database, root: Root, found: Found, gone: Gone) -> None:
    collection = root.collection.name
    names = _NewNames(database, collection, found)
    for page in documents_below(database, root.origin, collection):
        missing = [one for one in page if not found.may_have(one[0]) and not root.holds(one[0])]
        names.look_for([content for _, content, _ in missing if content is not None])
        for origin, content, is_recent in missing:
            is_renamed = content is not None and names.take(content, is_recent=is_recent)
            (gone.renamed if is_renamed else gone.gone[collection]).append(origin)


class _NewNames:
    """New files by their contents, each of which is the new name of one document at most.

    Of two copies of a file, of which one is deleted, the other is not its new name. So a file that was not there before
    may be the new name of any document; one that a load has seen that was stopped, only of those recorded before that
    load: of others it is a copy, which lay beside them.
    """

    def __init__(self, database: Database, collection: str, found: Found) -> None:
        self._database = database
        self._collection = collection
        self._found = found
        self._looked_for: set[str] = set()
        self._new: Counter[str] = Counter()
        self._seen_by_stopped: Counter[str] = Counter()

    def look_for(self, contents: Sequence[str]) -> None:
        """Find the files of these contents, where that is not done."""
        contents = list(set(contents) - self._looked_for)
        self._looked_for.update(contents)
        for content, origin, is_recent in origins_with(self._database, self._collection, contents) if contents else ():
            if self._found.is_new(origin):
                self._new[content] += 1
            elif is_recent and self._found.is_unchanged(origin):
                self._seen_by_stopped[content] += 1

    def take(self, content: str, *, is_recent: bool) -> bool:
        """Whether a document has a new name, which no other one has then; see ``origins_with`` for ``is_recent``."""
        for names in (self._new,) if is_recent else (self._seen_by_stopped, self._new):
            if names[content]:
                names[content] -= 1
                return True
        return False


def _find_earlier(database: Database, root: LocalRoot, found: Found, gone: Gone) -> None:
    """Those of earlier versions, which called a file by its absolute path, without links."""
    place = str(root.path.resolve())
    if not root.is_folder:
        if find_documents(database, [place]):
            gone.earlier[root.collection.name] += 1
            if found.has(root.origin) and root.origin not in found.failed:
                gone.taken_over.append(place)
        return
    for page in documents_below(database, place, None):
        gone.earlier[root.collection.name] += len(page)
        for path, _, _ in page:
            origin = f"{root.origin}/{path[len(place) + 1 :]}"
            if found.has(origin):
                if origin not in found.failed:
                    gone.taken_over.append(path)
            elif not found.may_have(origin) and not os.path.lexists(path):
                gone.gone[root.collection.name].append(path)
