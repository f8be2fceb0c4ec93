"""A file that was found: on this machine, or at another one that it is fetched from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedding_assets.documents.file_state import FileState, file_state


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine.

    Attributes:
        path: where it lies.
        origin: what its document is called.
        mark: of one that was fetched, see ``FileState``.
    """

    path: Path
    origin: str
    mark: str | None = None

    def state(self) -> FileState:
        """What it holds now, by reading it.

        Raises:
            OSError: it cannot be read.
        """
        return file_state(self.path, self.mark)


class RemoteFile(Protocol):
    """A file at another machine."""

    @property
    def origin(self) -> str:
        """What its document is called."""
        ...

    @property
    def size(self) -> int:
        """In bytes, as far as that is known."""
        ...

    def state(self) -> FileState:
        """By what it is known, without its content."""
        ...

    async def fetch(self, path: Path) -> LocalFile:
        """All of it, as a new file at ``path``.

        Raises:
            OSError: it cannot be had, or there is no room for it.
        """
        ...


FoundFile = LocalFile | RemoteFile
