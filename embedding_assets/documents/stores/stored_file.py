"""A file elsewhere that was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedding_assets.documents.file_state import FileState
from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.stores.store import Store, StoredObject
from embedding_assets.documents.temporary_file import TemporaryFile


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file elsewhere.

    Attributes:
        store: what has it.
        version: as it was found.
        origin: what its document is called.
    """

    store: Store
    version: StoredObject
    origin: str

    @property
    def size(self) -> int:
        """In bytes, as far as that is known."""
        return self.version.size or 0

    def state(self) -> FileState:
        """By what it is known; it is not fetched for that."""
        return FileState("", mark=self.version.mark)

    async def fetch(self, path: Path) -> LocalFile:
        """All of it, as a new file at ``path``.

        Raises:
            OSError: it cannot be had, or there is no room for it.
        """
        with TemporaryFile(path) as target:
            version = await self.store.read(self.version.path, target)
        return LocalFile(path, self.origin, version.mark)
